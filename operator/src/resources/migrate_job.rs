//! The Job that brings the database to the schema of an image.
//!
//! Its name holds a digest of what it does, so a new image or another database is a new Job, and a finished one is never
//! run again. It is restarted in place until it succeeds: the reason why it does not is read from its pod.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::pod::{container, env, pod_security, read_only, secret_files};
use crate::cluster::validate::{Cluster, Database};
use crate::crd::shared::Resources;
use crate::credentials::ROLES;
use crate::database_url::DatabaseUrl;
use crate::desired::{Desired, digest};
use crate::kind::Kind;
use crate::names::{self, Component};

const USER: i64 = 65532;
const DATABASE_DIR: &str = "/etc/anchorage/database";
const ADMIN_DIR: &str = "/etc/anchorage/database-admin";

/// Name of the Job that must have completed before pinners of this cluster run.
#[must_use]
pub fn name(cluster: &Cluster) -> String {
    let place = match &cluster.database {
        Database::External { url, .. } => url.place(),
        Database::Managed(_) => DatabaseUrl::managed(&cluster.name, "").place(),
    };
    let digest = digest(&[cluster.image.as_bytes(), place.as_bytes()]);
    format!("{}-migrate-{}", cluster.name, &digest[..10])
}

/// The Job.
#[must_use]
pub fn desired(cluster: &Cluster) -> Desired {
    let labels = cluster.labels(Component::Migrate);
    let job = Job {
        metadata: ObjectMeta { name: Some(name(cluster)), labels: Some(labels.clone()), ..Default::default() },
        spec: Some(JobSpec {
            // Restarts are cheap and spaced by the kubelet; what is wrong is told, and may be put right any time.
            backoff_limit: Some(1_000_000),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..Default::default() }),
                spec: Some(pod(cluster)),
            },
            ..Default::default()
        }),
        ..Default::default()
    };
    Desired::new(Kind::Job, &cluster.owner, job)
}

fn pod(cluster: &Cluster) -> PodSpec {
    let (admin_volume, admin_file) = administrator(cluster);
    let url_file = |key: &str| format!("{DATABASE_DIR}/{key}");
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        restart_policy: Some("OnFailure".to_owned()),
        security_context: Some(pod_security(USER, USER)),
        containers: vec![Container {
            args: Some(vec!["migrate".to_owned()]),
            env: Some(vec![
                env("ANCHORAGE_DATABASE_ADMIN_URL_FILE", format!("{ADMIN_DIR}/{admin_file}")),
                env("ANCHORAGE_DATABASE_API_URL_FILE", url_file("api-url")),
                env("ANCHORAGE_DATABASE_WORKER_URL_FILE", url_file("worker-url")),
                env("ANCHORAGE_DATABASE_METRICS_URL_FILE", url_file("metrics-url")),
            ]),
            volume_mounts: Some(vec![read_only("database", DATABASE_DIR), read_only("administrator", ADMIN_DIR)]),
            ..container("migrate", &cluster.image, &Resources::default())
        }],
        volumes: Some(vec![
            secret_files("database", &names::database_secret(&cluster.name), &ROLES.map(|(_, key)| key)),
            admin_volume,
        ]),
        ..Default::default()
    }
}

/// The Secret file with the administrator's URL: the user's own, or ours for a managed Postgres.
fn administrator(cluster: &Cluster) -> (Volume, &'static str) {
    let (secret, key) = match &cluster.database {
        Database::External { secret_name, .. } => (secret_name.clone(), "url"),
        Database::Managed(_) => (names::database_secret(&cluster.name), "admin-url"),
    };
    (secret_files("administrator", &secret, &[key]), key)
}
