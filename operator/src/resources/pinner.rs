//! The StatefulSet of one PinNode: a pinner, with its Kubo as native sidecar.
//!
//! Kubo starts first and stops last, so the pinner has its Kubo for all of its life. Kubo has no readiness probe: a Kubo
//! that is down takes no pod out of the Service, the condition KuboReady tells it.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    Affinity, Container, EnvVar, KeyToPath, Lifecycle, LifecycleHandler, NodeAffinity, NodeSelector,
    NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodAntiAffinity, PodSpec, PodTemplateSpec,
    ProjectedVolumeSource, SecretProjection, SleepAction, Volume, VolumeProjection, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};

use super::kubo_config::{self, STORAGE_MAX, SWARM_KEY_DIR};
use super::pod::{
    claim_retention, config_files, container, container_security, data_claim, env, every, exec_probe, http_probe,
    mount, pod_security, port, read_only, scratch, secret_files,
};
use crate::cluster::validate::{Cluster, Nats};
use crate::crd::anchorage_cluster::Network;
use crate::crd::shared::Storage;
use crate::desired::Desired;
use crate::kind::Kind;
use crate::names::{self, API_PORT, Component, METRICS_PORT, SWARM_PORT};
use crate::quantity;

/// Seconds in which a pinner hands its work back.
const PINNER_GRACE_SECONDS: i64 = 20;
/// Seconds that a pinner goes on serving at its end, until every Ingress has heard that it leaves.
const LEAVE_SECONDS: i64 = 3;
/// Seconds that Kubo gets on top to close its datastore; more than its own ShutdownTimeout.
const KUBO_GRACE_SECONDS: i64 = 70;
const KUBO: (i64, i64) = (1000, 100);
const PINNER: (i64, i64) = (65532, 65532);
const CREDENTIALS_DIR: &str = "/etc/anchorage/credentials";

/// What one PinNode adds to its cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Placement<'a> {
    /// The PinNode's name.
    pub name: &'a str,
    /// Reference that makes Kubernetes delete the StatefulSet with the PinNode.
    pub owner: &'a OwnerReference,
    /// The zone it is tied to.
    pub zone: Option<&'a str>,
    /// Its volume.
    pub storage: &'a Storage,
    /// Digest of the secrets that the pod reads at its start.
    pub inputs: &'a str,
}

/// The StatefulSet of one replica.
#[must_use]
pub fn desired(cluster: &Cluster, node: &Placement) -> Desired {
    let mut labels = cluster.labels(Component::Pinner);
    labels.insert(names::NODE_LABEL.to_owned(), node.name.to_owned());
    let annotations = [
        ("kubectl.kubernetes.io/default-container".to_owned(), "anchorage".to_owned()),
        (names::INPUTS.to_owned(), node.inputs.to_owned()),
    ];
    let selector = names::node_selector(&cluster.name, node.name);
    let stateful_set = StatefulSet {
        metadata: ObjectMeta { name: Some(node.name.to_owned()), labels: Some(labels.clone()), ..Default::default() },
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(names::nodes_service(&cluster.name)),
            // With OrderedReady a pod that never gets ready would block its own repair.
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                ..Default::default()
            }),
            revision_history_limit: Some(2),
            persistent_volume_claim_retention_policy: Some(claim_retention(cluster.delete_volumes)),
            selector: LabelSelector { match_labels: Some(selector), ..Default::default() },
            volume_claim_templates: Some(vec![data_claim(node.storage)]),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(labels),
                    annotations: Some(annotations.into_iter().collect()),
                    ..Default::default()
                }),
                spec: Some(pod(cluster, node)),
            },
            ..Default::default()
        }),
        ..Default::default()
    };
    Desired::new(Kind::StatefulSet, node.owner, stateful_set)
}

fn pod(cluster: &Cluster, node: &Placement) -> PodSpec {
    PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod_security(KUBO.0, KUBO.1)),
        termination_grace_period_seconds: Some(LEAVE_SECONDS + PINNER_GRACE_SECONDS + KUBO_GRACE_SECONDS),
        affinity: Some(affinity(cluster, node)),
        init_containers: Some(vec![kubo(cluster, node)]),
        containers: vec![pinner(cluster, node)],
        volumes: Some(volumes(cluster)),
        ..Default::default()
    }
}

fn kubo(cluster: &Cluster, node: &Placement) -> Container {
    const ASK: [&str; 3] = ["ipfs", "--api=/ip4/127.0.0.1/tcp/5001", "id"];
    let mut variables = vec![
        env("IPFS_PATH", "/data/ipfs"),
        env("HOME", "/data/ipfs"),
        env("IPFS_TELEMETRY", "off"),
        env(STORAGE_MAX, kubo_config::storage_max(node.storage)),
    ];
    let mut mounts = vec![mount("data", "/data/ipfs"), mount("tmp", "/tmp"), read_only("kubo", "/container-init.d")];
    if cluster.kubo.network == Network::Private {
        variables.push(env("LIBP2P_FORCE_PNET", "1"));
        mounts.push(read_only("swarm-key", SWARM_KEY_DIR));
    }
    let resources = cluster.kubo.resources.clone().unwrap_or_default();
    if let Some(limit) = resources.limits.get("memory").and_then(|limit| quantity::units(limit)) {
        // The garbage collector works harder before the kernel kills.
        variables.push(env("GOMEMLIMIT", (limit / 10 * 9).to_string()));
    }
    Container {
        // "Always" makes this init container a sidecar that runs beside the pinner.
        restart_policy: Some("Always".to_owned()),
        args: Some(vec!["daemon".to_owned(), "--migrate=true".to_owned()]),
        env: Some(variables),
        ports: Some(vec![port("swarm-tcp", SWARM_PORT, "TCP"), port("swarm-udp", SWARM_PORT, "UDP")]),
        volume_mounts: Some(mounts),
        security_context: Some(container_security(Some(KUBO))),
        // Ten minutes: a new Kubo may migrate the whole repository first.
        startup_probe: Some(every(exec_probe(&ASK), 2, 10, 300)),
        liveness_probe: Some(every(exec_probe(&ASK), 30, 20, 4)),
        ..container("kubo", &cluster.kubo.image, &resources)
    }
}

fn pinner(cluster: &Cluster, node: &Placement) -> Container {
    Container {
        args: Some(vec!["serve".to_owned()]),
        env: Some(pinner_environment(cluster, node)),
        ports: Some(vec![port("http", API_PORT, "TCP"), port("metrics", METRICS_PORT, "TCP")]),
        volume_mounts: Some(vec![read_only("credentials", CREDENTIALS_DIR)]),
        security_context: Some(container_security(Some(PINNER))),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: LEAVE_SECONDS }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        readiness_probe: Some(every(http_probe("/readyz", "http"), 3, 5, 2)),
        liveness_probe: Some(every(http_probe("/livez", "http"), 10, 5, 6)),
        ..container("anchorage", &cluster.image, &cluster.resources)
    }
}

fn pinner_environment(cluster: &Cluster, node: &Placement) -> Vec<EnvVar> {
    let file = |name: &str| format!("{CREDENTIALS_DIR}/{name}");
    let mut variables = vec![
        env("ANCHORAGE_NODE_NAME", node.name),
        env("ANCHORAGE_DATABASE_API_URL_FILE", file("api-url")),
        env("ANCHORAGE_DATABASE_WORKER_URL_FILE", file("worker-url")),
        env("ANCHORAGE_DATABASE_METRICS_URL_FILE", file("metrics-url")),
        env("ANCHORAGE_NATS_URL_FILE", file("nats-url")),
        env("ANCHORAGE_NATS_REPLICAS", cluster.stream_replicas.to_string()),
        env("ANCHORAGE_TOKENS_ROOT_FILE", file("tokens-root")),
        env("ANCHORAGE_ADMIN_TOKEN_FILE", file("admin-token")),
        env("ANCHORAGE_REPLICATION_MIN", cluster.replication.min.to_string()),
        env("ANCHORAGE_REPLICATION_MAX", cluster.replication.max.to_string()),
        env("ANCHORAGE_NETWORK_MODE", network(cluster.kubo.network)),
        env("ANCHORAGE_SHUTDOWN_GRACE_SECONDS", PINNER_GRACE_SECONDS.to_string()),
        env("ANCHORAGE_LOG_FORMAT", "json"),
    ];
    if let Some(rebalance) = &cluster.rebalance {
        variables.push(env("ANCHORAGE_REBALANCE_ENABLED", rebalance.enabled.to_string()));
        if let Some(moves) = rebalance.max_concurrent_moves {
            variables.push(env("ANCHORAGE_REBALANCE_MAX_CONCURRENT_MOVES", moves.to_string()));
        }
    }
    if let Some(zone) = node.zone {
        variables.push(env("ANCHORAGE_NODE_ZONE", zone));
    }
    if external_credentials(cluster).is_some() {
        variables.push(env("ANCHORAGE_NATS_CREDENTIALS_FILE", file("nats.creds")));
    }
    if let Some(cidrs) = &cluster.metrics_allow_cidrs {
        variables.push(env("ANCHORAGE_METRICS_ALLOW_CIDRS", cidrs.join(",")));
    }
    variables
}

fn network(network: Network) -> &'static str {
    match network {
        Network::Public => "Public",
        Network::Private => "Private",
    }
}

fn external_credentials(cluster: &Cluster) -> Option<&str> {
    match &cluster.nats {
        Nats::External { credentials_secret_name, .. } => credentials_secret_name.as_deref(),
        Nats::Managed(_) => None,
    }
}

fn volumes(cluster: &Cluster) -> Vec<Volume> {
    let name = &cluster.name;
    // Only what a pinner needs: the administrator's database URL is not among it.
    let mut sources = vec![
        from_secret(
            &names::database_secret(name),
            &[("api-url", "api-url"), ("worker-url", "worker-url"), ("metrics-url", "metrics-url")],
        ),
        from_secret(&names::nats_secret(name), &[("url", "nats-url")]),
        from_secret(&names::tokens_secret(name), &[("root", "tokens-root")]),
        from_secret(&names::admin_secret(name), &[("token", "admin-token")]),
    ];
    if let Some(secret) = external_credentials(cluster) {
        sources.push(from_secret(secret, &[("nats.creds", "nats.creds")]));
    }
    let credentials = Volume {
        name: "credentials".to_owned(),
        projected: Some(ProjectedVolumeSource { sources: Some(sources), default_mode: Some(0o440) }),
        ..Default::default()
    };
    let mut volumes = vec![credentials, config_files("kubo", &names::kubo_config(name)), scratch("tmp", "64Mi")];
    if let Some(secret) = cluster.swarm_key_secret() {
        volumes.push(secret_files("swarm-key", &secret, &["swarm.key"]));
    }
    volumes
}

fn from_secret(secret: &str, files: &[(&str, &str)]) -> VolumeProjection {
    let items = files
        .iter()
        .map(|(key, path)| KeyToPath { key: (*key).to_owned(), path: (*path).to_owned(), ..Default::default() })
        .collect();
    VolumeProjection {
        secret: Some(SecretProjection { name: secret.to_owned(), items: Some(items), ..Default::default() }),
        ..Default::default()
    }
}

/// Tied to the PinNode's zone; apart from its siblings where that is possible.
fn affinity(cluster: &Cluster, node: &Placement) -> Affinity {
    let in_zone = node.zone.map(|zone| NodeAffinity {
        required_during_scheduling_ignored_during_execution: Some(NodeSelector {
            node_selector_terms: vec![NodeSelectorTerm {
                match_expressions: Some(vec![NodeSelectorRequirement {
                    key: cluster.topology_key.clone(),
                    operator: "In".to_owned(),
                    values: Some(vec![zone.to_owned()]),
                }]),
                ..Default::default()
            }],
        }),
        ..Default::default()
    });
    let siblings = names::selector(&cluster.name, Component::Pinner);
    let apart = WeightedPodAffinityTerm {
        weight: 100,
        pod_affinity_term: PodAffinityTerm {
            topology_key: "kubernetes.io/hostname".to_owned(),
            label_selector: Some(LabelSelector { match_labels: Some(siblings), ..Default::default() }),
            ..Default::default()
        },
    };
    Affinity {
        node_affinity: in_zone,
        pod_anti_affinity: Some(PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![apart]),
            ..Default::default()
        }),
        ..Default::default()
    }
}
