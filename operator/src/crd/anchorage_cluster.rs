//! `AnchorageCluster`: a whole pinning service in one object.
//!
//! The schema refuses what can be judged by looking at the object alone; what needs other objects, or belongs to a
//! later version, is judged by [`crate::cluster::validate`] and told in conditions.

#![expect(unreachable_pub, reason = "the schema derive repeats each type inside a function")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::shared::{self, Resources, Storage};

/// What the pinning service should be.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "anchorage.dev",
    version = "v1alpha1",
    kind = "AnchorageCluster",
    plural = "anchorageclusters",
    singular = "anchoragecluster",
    shortname = "anc",
    category = "anchorage",
    namespaced,
    status = "AnchorageClusterStatus",
    derive = "PartialEq",
    doc = "A multi-tenant IPFS pinning service: a fleet of PinNodes, NATS and Postgres.",
    scale(spec_replicas_path = ".spec.nodes", status_replicas_path = ".status.nodes", label_selector_path = ".status.selector"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".spec.nodes"),
    printcolumn(name = "Up", type_ = "integer", json_path = ".status.readyNodes", description = "PinNodes that are ready"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.conditions[?(@.type=='Progressing')].reason"),
    printcolumn(name = "Paused", type_ = "string", json_path = ".status.conditions[?(@.type=='Maintenance')].status"),
    printcolumn(name = "Database", type_ = "string", json_path = ".status.conditions[?(@.type=='DatabaseReady')].status"),
    printcolumn(name = "NATS", type_ = "string", json_path = ".status.conditions[?(@.type=='NatsReady')].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Image", type_ = "string", json_path = ".status.image", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = "1"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40").message("a cluster's name is at most 40 lower-case letters, digits and dashes, and begins with a letter")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.replication) || self.replication.max <= self.nodes").message("replication.max must not be greater than nodes: each copy lies on a node of its own. Raise nodes or lower replication.max"))]
pub struct AnchorageClusterSpec {
    /// How many PinNodes the cluster has. `kubectl scale anc/x --replicas=N` sets it too.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 5000))]
    pub nodes: i32,
    /// Image of the pinners. Without it, the image that the operator was installed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// How many copies of each content. Without it two, or one in a cluster of one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication: Option<Replication>,
    /// Label of Kubernetes Nodes that tells failure domains apart. Copies are spread over its values.
    #[serde(default = "zone_label")]
    #[schemars(length(min = 1, max = 317))]
    pub topology_key: String,
    /// CPU and memory of the pinner's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The Kubo beside each pinner.
    pub kubo: KuboSpec,
    /// The database, the only truth: one that exists already, or one that the operator runs.
    pub postgres: PostgresSpec,
    /// The message system: one that exists already, or one that the operator runs.
    pub nats: NatsSpec,
    /// How the API is reached from outside the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiSpec>,
    /// Sign-in of people. Not supported in this version: the cluster says so and keeps running as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcSpec>,
    /// Life cycle of API tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<TokensSpec>,
    /// Present = paused: moves, repair and garbage collection stop; accepting and serving pins go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceSpec>,
    /// Moving data when nodes come and go. Without it, data moves by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<RebalanceSpec>,
    /// How metrics are offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsSpec>,
    /// Whether volumes are deleted with the PinNode or database that they belong to.
    #[serde(default)]
    pub volume_claim_delete_policy: VolumeClaimDeletePolicy,
}

/// How many copies of each content are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.min <= self.max").message("replication.min must not be greater than replication.max"))]
pub struct Replication {
    /// A pin counts as pinned from this many copies on.
    #[schemars(range(min = 1, max = 9))]
    pub min: i32,
    /// As many copies are made.
    #[schemars(range(min = 1, max = 9))]
    pub max: i32,
}

/// The Kubo of every PinNode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.swarmKeySecretName) || self.network == 'Private'").message("swarmKeySecretName is for network: Private only; on a Public network there is no swarm key"))]
pub struct KuboSpec {
    /// Image of Kubo, 0.43 or newer.
    #[serde(default = "kubo_image")]
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// Volume of each PinNode. A change is for PinNodes created afterwards: existing volumes keep their size.
    pub storage: Storage,
    /// Public takes part in the IPFS network. Private is a swarm of its own: no bootstrap peers, no routing, a swarm key.
    #[serde(default)]
    pub network: Network,
    /// Secret with the key `swarm.key` for a Private network. Without it the operator makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub swarm_key_secret_name: Option<String>,
    /// CPU and memory of Kubo's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Kubo settings that are applied last at every start: dotted key to JSON value, such as
    /// `Swarm.ConnMgr.HighWater: 200`. Keys that would open Kubo's RPC or remove its key are refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "config_patch")]
    pub config_patch: BTreeMap<String, serde_json::Value>,
}

/// Which IPFS network the cluster's Kubos are part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Network {
    /// The public IPFS network.
    #[default]
    Public,
    /// A swarm of its own, closed by a swarm key.
    Private,
}

/// Exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretName) != has(self.managed)").message("set exactly one of postgres.secretName (a Secret whose key url is a postgres:// URL) and postgres.managed (the operator runs Postgres)"))]
pub struct PostgresSpec {
    /// Secret whose key `url` is the URL of any Postgres 15 or newer, of a role that may create roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// The operator runs one Postgres server for this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedPostgres>,
}

/// A Postgres server that the operator runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedPostgres {
    /// Volume of the database.
    #[x_kube(validation = Rule::new("self == oldSelf").message("postgres.managed.storage cannot change after creation in this version. Move to a larger Postgres and name it in postgres.secretName"))]
    pub storage: Storage,
    /// Image of Postgres.
    #[serde(default = "postgres_image")]
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// CPU and memory of the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Exactly one of `url` and `managed`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.url) != has(self.managed)").message("set exactly one of nats.url (a NATS that exists) and nats.managed (the operator runs NATS)"))]
#[x_kube(validation = Rule::new("!has(self.credentialsSecretName) || has(self.url)").message("nats.credentialsSecretName goes with nats.url; a managed NATS gets its credentials from the operator"))]
pub struct NatsSpec {
    /// URL of NATS servers with JetStream, several separated by commas. Credentials belong into credentialsSecretName.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.startsWith('nats://') || self.startsWith('tls://')").message("nats.url must begin with nats:// or tls://"))]
    #[x_kube(validation = Rule::new("!self.contains('@')").message("nats.url must not carry a password: put credentials into the Secret that nats.credentialsSecretName names"))]
    pub url: Option<String>,
    /// Secret whose key `nats.creds` holds a NATS credentials file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub credentials_secret_name: Option<String>,
    /// Copies of streams and buckets: 1, 3 or 5. Without it, one per managed server up to three; 1 with nats.url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self in [1, 3, 5]").message("nats.streamReplicas must be 1, 3 or 5"))]
    pub stream_replicas: Option<i32>,
    /// The operator runs NATS for this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedNats>,
}

/// NATS servers that the operator runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedNats {
    /// Number of servers: 1, 3 or 5.
    #[serde(default = "one")]
    #[x_kube(validation = Rule::new("self in [1, 3, 5]").message("nats.managed.replicas must be 1, 3 or 5: a majority decides"))]
    pub replicas: i32,
    /// Volume of each server.
    #[x_kube(validation = Rule::new("self == oldSelf").message("nats.managed.storage cannot change after creation in this version. Nothing in NATS is precious: remove nats.managed, apply, and add it again with the new size"))]
    pub storage: Storage,
    /// Image of NATS, 2.15 or newer.
    #[serde(default = "nats_image")]
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// CPU and memory of each server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

/// Ways to the API, and its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiSpec {
    /// An Ingress for the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSpec>,
    /// An HTTPRoute of the Gateway API for the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<HttpRouteSpec>,
    /// Requests per minute. Not supported in this version: the built-in limits apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "opaque")]
    pub rate_limits: Option<BTreeMap<String, i64>>,
    /// Address ranges of proxies whose forwarding headers are believed. Not supported in this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shared::cidrs")]
    pub trusted_proxies: Option<Vec<String>>,
}

/// The Ingress of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct IngressSpec {
    /// Host name under which the API answers.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// IngressClass; without it the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// Annotations for the Ingress controller.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shared::string_map")]
    pub annotations: BTreeMap<String, String>,
    /// Secret with the certificate for the host. Without it the Ingress has no TLS section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub tls_secret_name: Option<String>,
}

/// The HTTPRoute of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteSpec {
    /// Gateways in the same namespace.
    #[schemars(length(min = 1, max = 8))]
    pub parent_refs: Vec<ParentRef>,
    /// Host names under which the API answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub hostnames: Vec<String>,
}

/// A Gateway in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// One of its listeners; without it all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// Sign-in of people by OpenID Connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OidcSpec {
    /// The provider's issuer URL.
    #[serde(rename = "issuerURL")]
    #[schemars(length(min = 1, max = 1024))]
    pub issuer_url: String,
    /// Client id at the provider.
    #[serde(rename = "clientID")]
    #[schemars(length(min = 1, max = 253))]
    pub client_id: String,
    /// Secret with the key `clientSecret`.
    #[schemars(length(min = 1, max = 253))]
    pub client_secret_name: String,
    /// Groups whose members are administrators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    pub admin_groups: Vec<String>,
}

/// Life cycle of API tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokensSpec {
    /// Days after which the signing key changes. Not supported in this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub rotation_days: Option<i32>,
}

/// A pause, with a reason and an end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceSpec {
    /// Why; shown in the Maintenance condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub reason: Option<String>,
    /// When the pause ends by itself, at most 30 days from when it begins. Without it, four hours after it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shared::date_time")]
    pub until: Option<String>,
}

/// Moving data when nodes come and go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RebalanceSpec {
    /// Whether data moves by itself to even out the nodes. Drains, and repair of lost copies, move data either way.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Upper bound on moves at a time in the whole cluster. Without it, 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_concurrent_moves: Option<i32>,
}

/// How metrics are offered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricsSpec {
    /// A PodMonitor for the Prometheus Operator, made once its CRD is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_monitor: Option<PodMonitorSpec>,
    /// Address ranges that may read /metrics. Without it, private ranges.
    #[serde(default, rename = "allowCIDRs", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shared::cidrs")]
    pub allow_cidrs: Option<Vec<String>>,
}

/// The PodMonitor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodMonitorSpec {
    /// Whether the PodMonitor is made.
    #[serde(default)]
    pub enabled: bool,
    /// How often metrics are read, such as `30s`. Without it, as the Prometheus is set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 16), regex(pattern = "^([0-9]+(ms|s|m|h))+$"))]
    pub interval: Option<String>,
    /// Labels that the Prometheus selects PodMonitors by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "shared::string_map")]
    pub labels: BTreeMap<String, String>,
}

/// What happens to volumes when what they belong to is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VolumeClaimDeletePolicy {
    /// Volumes stay until somebody deletes them.
    #[default]
    Retain,
    /// Volumes go with the PinNode, the database or the cluster.
    Delete,
}

/// What the operator last saw of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnchorageClusterStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Ready, Available, Progressing, Degraded, Maintenance, DatabaseReady and NatsReady.
    #[serde(default)]
    #[schemars(schema_with = "shared::conditions")]
    pub conditions: Vec<Condition>,
    /// PinNodes that exist.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub nodes: i32,
    /// PinNodes that are ready.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ready_nodes: i32,
    /// Selector of the pinners' pods, for /scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// Image that the pinners run, or are being brought to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// The pause that was asked for, under way or ended by itself; absent when none was asked for. Written before the
    /// pinners are told, so that what was asked for is known to be the operator's own and can be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceStatus>,
}

/// A pause that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceStatus {
    /// The reason or annotation value that asked for it.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub request_token: String,
    /// When the operator saw the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shared::date_time")]
    pub start_time: Option<String>,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shared::date_time")]
    pub until_time: Option<String>,
}

fn yes() -> bool {
    true
}

fn one() -> i32 {
    1
}

fn three() -> i32 {
    3
}

fn zone_label() -> String {
    "topology.kubernetes.io/zone".to_owned()
}

fn kubo_image() -> String {
    "ipfs/kubo:v0.43.0".to_owned()
}

fn postgres_image() -> String {
    "postgres:15".to_owned()
}

fn nats_image() -> String {
    "nats:2.15.2".to_owned()
}

/// Dotted Kubo keys to any JSON value.
fn config_patch(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "x-kubernetes-preserve-unknown-fields": true },
    })
}

/// Accepted by the schema so that the operator can say what to do instead.
fn opaque(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "nullable": true,
        "maxProperties": 64,
        "additionalProperties": { "type": "integer", "format": "int64" },
    })
}
