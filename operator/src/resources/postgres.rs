//! The managed Postgres: one server, its Service, and a way to stay usable when its Secret was made anew.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, PodSpec, PodTemplateSpec, Service, ServicePort, ServiceSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::pod::{
    claim_retention, container, data_claim, env, every, exec_probe, mount, pod_security, port, read_only, scratch,
    secret_files,
};
use crate::cluster::validate::Cluster;
use crate::crd::anchorage_cluster::ManagedPostgres;
use crate::crd::shared::Resources;
use crate::desired::Desired;
use crate::kind::Kind;
use crate::names::{self, Component};

const PORT: i32 = 5432;
const USER: i64 = 999;

/// A volume outlives its cluster, the generated password does not: the database gets the Secret's password before
/// every start. The statement goes through standard input, so no process list shows it.
const ADOPT_PASSWORD: &str = r#"set -eu
[ -s "$PGDATA/PG_VERSION" ] || exit 0
printf "alter role postgres password '%s';\n" "$(cat "$POSTGRES_PASSWORD_FILE")" |
  postgres --single -D "$PGDATA" postgres >/dev/null
"#;

/// StatefulSet of one server.
#[must_use]
pub fn stateful_set(cluster: &Cluster, managed: &ManagedPostgres) -> Desired {
    let name = names::postgres(&cluster.name);
    let labels = cluster.labels(Component::Postgres);
    let stateful_set = StatefulSet {
        metadata: ObjectMeta { name: Some(name.clone()), labels: Some(labels.clone()), ..Default::default() },
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(name.clone()),
            pod_management_policy: Some("Parallel".to_owned()),
            revision_history_limit: Some(2),
            persistent_volume_claim_retention_policy: Some(claim_retention(cluster.delete_volumes)),
            selector: LabelSelector {
                match_labels: Some(names::selector(&cluster.name, Component::Postgres)),
                ..Default::default()
            },
            volume_claim_templates: Some(vec![data_claim(&managed.storage)]),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels: Some(labels), ..Default::default() }),
                spec: Some(pod(&name, managed, cluster.nodes)),
            },
            ..Default::default()
        }),
        ..Default::default()
    };
    Desired::new(Kind::StatefulSet, &cluster.owner, stateful_set)
}

fn pod(name: &str, managed: &ManagedPostgres, nodes: usize) -> PodSpec {
    let shared_memory =
        EmptyDirVolumeSource { medium: Some("Memory".to_owned()), size_limit: Some(Quantity("256Mi".to_owned())) };
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod_security(USER, USER)),
        termination_grace_period_seconds: Some(60),
        init_containers: Some(vec![Container {
            command: Some(["sh", "-c", ADOPT_PASSWORD].map(str::to_owned).to_vec()),
            ..server("adopt-password", managed)
        }]),
        containers: vec![Container {
            args: Some(arguments(nodes)),
            ports: Some(vec![port("postgres", PORT, "TCP")]),
            readiness_probe: Some(every(exec_probe(&["pg_isready", "-U", "postgres", "-h", "127.0.0.1"]), 2, 5, 3)),
            ..server("postgres", managed)
        }],
        volumes: Some(vec![
            scratch("run", "16Mi"),
            scratch("tmp", "256Mi"),
            Volume { name: "shm".to_owned(), empty_dir: Some(shared_memory), ..Default::default() },
            secret_files("password", name, &["password"]),
        ]),
        ..Default::default()
    }
}

fn server(name: &str, managed: &ManagedPostgres) -> Container {
    let resources: Resources = managed.resources.clone().unwrap_or_default();
    Container {
        env: Some(vec![
            env("PGDATA", "/var/lib/postgresql/data/pgdata"),
            env("POSTGRES_PASSWORD_FILE", "/etc/anchorage/postgres/password"),
            env("POSTGRES_DB", "anchorage"),
            env("POSTGRES_INITDB_ARGS", "--encoding=UTF8 --data-checksums"),
        ]),
        volume_mounts: Some(vec![
            mount("data", "/var/lib/postgresql/data"),
            mount("run", "/var/run/postgresql"),
            mount("tmp", "/tmp"),
            mount("shm", "/dev/shm"),
            read_only("password", "/etc/anchorage/postgres"),
        ]),
        ..container(name, &managed.image, &resources)
    }
}

/// Modest settings: the server shares its machine with pinners. Durability stays at its defaults, which are strict.
fn arguments(nodes: usize) -> Vec<String> {
    let settings = [
        format!("max_connections={}", connections(nodes)),
        "shared_buffers=128MB".to_owned(),
        "max_wal_size=1GB".to_owned(),
        "checkpoint_timeout=15min".to_owned(),
    ];
    let mut arguments = vec!["postgres".to_owned()];
    for setting in settings {
        arguments.extend(["-c".to_owned(), setting]);
    }
    arguments
}

/// A pinner opens up to 17 connections. In steps, since every change restarts the server, and with an end: a fleet of more
/// than a hundred pinners wants a Postgres of its own with a pooler before it.
fn connections(nodes: usize) -> usize {
    const STEP: usize = 400;
    (20 * nodes + 50).div_ceil(STEP).min(5) * STEP
}

/// The address under which pinners find it.
#[must_use]
pub fn service(cluster: &Cluster) -> Desired {
    let service = Service {
        metadata: ObjectMeta {
            name: Some(names::postgres(&cluster.name)),
            labels: Some(cluster.labels(Component::Postgres)),
            ..Default::default()
        },
        spec: Some(ServiceSpec {
            selector: Some(names::selector(&cluster.name, Component::Postgres)),
            ports: Some(vec![ServicePort { name: Some("postgres".to_owned()), port: PORT, ..Default::default() }]),
            ..Default::default()
        }),
        ..Default::default()
    };
    Desired::new(Kind::Service, &cluster.owner, service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_changes_of_the_fleet_do_not_restart_the_database() {
        assert_eq!([1, 3, 17, 18, 100, 5000].map(connections), [400, 400, 400, 800, 2000, 2000]);
    }
}
