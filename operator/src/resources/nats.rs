//! The managed NATS: servers with JetStream on disk, and their headless Service.
//!
//! Nothing in it is precious, but `sync_interval: always` keeps what it acknowledged through a crash.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ObjectFieldSelector, PodSpec, PodTemplateSpec, Service, ServicePort, ServiceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::pod::{
    claim_retention, container, data_claim, every, http_probe, mount, pod_security, port, read_only, secret_files,
};
use crate::cluster::validate::Cluster;
use crate::crd::anchorage_cluster::ManagedNats;
use crate::crd::shared::Resources;
use crate::desired::{Desired, digest};
use crate::kind::Kind;
use crate::names::{self, Component};
use crate::quantity;
use crate::secrets::Text;

const CLIENT: i32 = 4222;
const ROUTES: i32 = 6222;
const MONITOR: i32 = 8222;
const USER: i64 = 1000;
const CONFIG_DIR: &str = "/etc/anchorage/nats";

/// The servers' configuration file. It holds the password, so it lives in a Secret.
#[must_use]
pub fn server_config(cluster: &str, managed: &ManagedNats, password: &Text) -> Text {
    Text::new(config(cluster, managed, password.expose()))
}

fn config(cluster: &str, managed: &ManagedNats, password: &str) -> String {
    let store = quantity::units(&managed.storage.size).unwrap_or(0) / 10 * 9;
    let mut config = format!(
        "# Written by anchorage-operator.\n\
         server_name: $POD_NAME\n\
         port: {CLIENT}\n\
         http_port: {MONITOR}\n\
         jetstream {{\n  store_dir: /data\n  max_memory_store: 64MB\n  max_file_store: {store}\n  sync_interval: always\n}}\n\
         authorization {{ user: anchorage, password: \"{password}\" }}\n"
    );
    if managed.replicas > 1 {
        let name = names::nats(cluster);
        let routes: Vec<String> = (0..managed.replicas)
            .map(|index| format!("\"nats://anchorage:{password}@{name}-{index}.{name}:{ROUTES}\""))
            .collect();
        config.push_str(&format!(
            "cluster {{\n  name: {cluster}\n  port: {ROUTES}\n  authorization {{ user: anchorage, password: \"{password}\" }}\n  routes: [{}]\n}}\n",
            routes.join(", ")
        ));
    }
    config
}

/// StatefulSet of the servers.
#[must_use]
pub fn stateful_set(cluster: &Cluster, managed: &ManagedNats) -> Desired {
    let name = names::nats(&cluster.name);
    let labels = cluster.labels(Component::Nats);
    // Servers read their configuration at the start; the digest leaves the password out.
    let inputs = digest(&[config(&cluster.name, managed, "").as_bytes()]);
    let annotations = [(names::INPUTS.to_owned(), inputs)].into_iter().collect();
    let stateful_set = StatefulSet {
        metadata: ObjectMeta { name: Some(name.clone()), labels: Some(labels.clone()), ..Default::default() },
        spec: Some(StatefulSetSpec {
            replicas: Some(managed.replicas),
            service_name: Some(name.clone()),
            pod_management_policy: Some("Parallel".to_owned()),
            revision_history_limit: Some(2),
            persistent_volume_claim_retention_policy: Some(claim_retention(cluster.delete_volumes)),
            selector: LabelSelector {
                match_labels: Some(names::selector(&cluster.name, Component::Nats)),
                ..Default::default()
            },
            volume_claim_templates: Some(vec![data_claim(&managed.storage)]),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations),
                    ..Default::default()
                }),
                spec: Some(pod(&name, managed)),
            },
            ..Default::default()
        }),
        ..Default::default()
    };
    Desired::new(Kind::StatefulSet, &cluster.owner, stateful_set)
}

fn pod(name: &str, managed: &ManagedNats) -> PodSpec {
    let pod_name = EnvVar {
        name: "POD_NAME".to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: "metadata.name".to_owned(), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let resources: Resources = managed.resources.clone().unwrap_or_default();
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod_security(USER, USER)),
        termination_grace_period_seconds: Some(30),
        containers: vec![Container {
            args: Some(vec!["--config".to_owned(), format!("{CONFIG_DIR}/nats.conf")]),
            env: Some(vec![pod_name]),
            ports: Some(vec![
                port("client", CLIENT, "TCP"),
                port("routes", ROUTES, "TCP"),
                port("monitor", MONITOR, "TCP"),
            ]),
            volume_mounts: Some(vec![mount("data", "/data"), read_only("config", CONFIG_DIR)]),
            readiness_probe: Some(every(http_probe("/healthz?js-server-only=true", "monitor"), 3, 5, 3)),
            liveness_probe: Some(every(http_probe("/healthz?js-enabled-only=true", "monitor"), 20, 5, 6)),
            ..container("nats", &managed.image, &resources)
        }],
        volumes: Some(vec![secret_files("config", name, &["nats.conf"])]),
        ..Default::default()
    }
}

/// Headless Service. Servers find each other through it before they are ready.
#[must_use]
pub fn service(cluster: &Cluster) -> Desired {
    let named = |name: &str, port: i32| ServicePort { name: Some(name.to_owned()), port, ..Default::default() };
    let service = Service {
        metadata: ObjectMeta {
            name: Some(names::nats(&cluster.name)),
            labels: Some(cluster.labels(Component::Nats)),
            ..Default::default()
        },
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(names::selector(&cluster.name, Component::Nats)),
            ports: Some(vec![named("client", CLIENT), named("routes", ROUTES), named("monitor", MONITOR)]),
            ..Default::default()
        }),
        ..Default::default()
    };
    Desired::new(Kind::Service, &cluster.owner, service)
}
