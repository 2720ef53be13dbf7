//! `PinNode`: one pinner and its Kubo, the unit that is cordoned, drained and replaced.

#![expect(unreachable_pub, reason = "the schema derive repeats each type inside a function")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shared::{self, Storage};

/// What this PinNode should be. `AnchorageCluster` objects create theirs; nobody needs to write one by hand.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "anchorage.dev",
    version = "v1alpha1",
    kind = "PinNode",
    plural = "pinnodes",
    singular = "pinnode",
    shortname = "pn",
    category = "anchorage",
    namespaced,
    status = "PinNodeStatus",
    derive = "PartialEq",
    selectable = ".spec.clusterName",
    doc = "One pinner and its Kubo: the unit that is cordoned, drained and replaced. Annotate it with anchorage.dev/drain=<reason> to move its data away.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason"),
    printcolumn(name = "Schedulable", type_ = "string", json_path = ".status.conditions[?(@.type=='Schedulable')].status"),
    printcolumn(name = "Drain", type_ = "string", json_path = ".status.conditions[?(@.type=='Drained')].reason"),
    printcolumn(name = "Remaining", type_ = "integer", json_path = ".status.drain.placementsRemaining"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.zone"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.kubernetesNode", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].message", priority = "1"),
    validation = Rule::new("self.metadata.name.startsWith(self.spec.clusterName + '-')").message("a PinNode's name begins with its cluster's name and a dash, such as demo-0 for the cluster demo"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 48").message("a PinNode's name is at most 48 lower-case letters, digits and dashes, and begins with a letter")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.zone) == has(oldSelf.zone) && (!has(self.zone) || self.zone == oldSelf.zone)").message("zone cannot change: the volume lies there. Drain and delete this PinNode, a new one takes its place"))]
#[x_kube(validation = Rule::new("has(self.storage) == has(oldSelf.storage)").message("storage cannot change once the PinNode exists. Drain and delete this PinNode, the new one gets the size in the cluster's spec.kubo.storage"))]
pub struct PinNodeSpec {
    /// Name of the AnchorageCluster in the same namespace that this PinNode belongs to. It cannot change.
    #[schemars(length(min = 1, max = 40))]
    #[x_kube(validation = Rule::new("self == oldSelf").message("clusterName cannot change"))]
    pub cluster_name: String,
    /// Whether new placements come here (Active), do not (Cordoned), or all data moves away as well (Drained). A node in
    /// Maintenance takes no new placements and keeps its place: nothing moves off it, however long it is away.
    /// The annotations anchorage.dev/drain, anchorage.dev/maintenance and anchorage.dev/cordon win over it while they are there.
    #[serde(default)]
    pub scheduling: Scheduling,
    /// Zone that the pod is tied to: the value of the cluster's topologyKey label on Kubernetes Nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub zone: Option<String>,
    /// Volume of this PinNode's Kubo. The operator copies the cluster's spec.kubo.storage here when it creates the PinNode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("storage cannot change once the PinNode exists. Drain and delete this PinNode, the new one gets the size in the cluster's spec.kubo.storage"))]
    pub storage: Option<Storage>,
}

/// Whether placements may be on a PinNode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Scheduling {
    /// Takes part: new placements come here.
    #[default]
    Active,
    /// No new placements; what is here stays.
    Cordoned,
    /// No new placements, and everything moves away.
    Drained,
    /// No new placements, and nothing moves away, however long the node is gone.
    Maintenance,
}

impl Scheduling {
    /// The word that specs, the admin API and conditions use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scheduling::Active => "Active",
            Scheduling::Cordoned => "Cordoned",
            Scheduling::Drained => "Drained",
            Scheduling::Maintenance => "Maintenance",
        }
    }
}

/// What the operator last saw of this PinNode.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PinNodeStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// Ready, Schedulable, Draining, Drained and KuboReady.
    #[serde(default)]
    #[schemars(schema_with = "shared::conditions")]
    pub conditions: Vec<Condition>,
    /// The scheduling that is asked of the pinners: the annotation's, else the spec's. Written before they are told, so
    /// that what was asked for is known to be the operator's own and can be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
    /// Value of the annotation that asked for it, echoed as soon as the operator has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub request_token: Option<String>,
    /// The pinner's own id, `node_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub node_id: Option<String>,
    /// The Kubo's libp2p identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub peer_id: Option<String>,
    /// The Kubernetes Node that the pod runs on; while there is no pod, the one that it ran on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub kubernetes_node: Option<String>,
    /// The drain under way or done; absent when none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
}

/// How far a drain has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainStatus {
    /// Value of the annotation that asked for the drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub request_token: Option<String>,
    /// When the pinner took up the drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shared::date_time")]
    pub start_time: Option<String>,
    /// When the pinners last said how far it is. Written at most once a minute when nothing else changes, and not any more
    /// once the drain is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shared::date_time")]
    pub heartbeat_time: Option<String>,
    /// When the drain is expected to be done, if that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "shared::date_time")]
    pub expected_completion_time: Option<String>,
    /// Placements that were on the node when the drain began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub placements_total: Option<i64>,
    /// Placements that are on the node still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub placements_remaining: Option<i64>,
    /// Bytes of those placements, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub bytes_remaining: Option<i64>,
    /// Why the drain cannot go on, one sentence per reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 1024)))]
    pub blocked_by: Vec<String>,
}
