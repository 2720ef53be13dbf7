//! Pods and Kubernetes Nodes, cut down to the few fields that decisions need: thousands of them are kept in memory.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde::Deserialize;

/// A pod of ours.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = Pod)]
pub struct PodView {
    /// Name, labels, deletion.
    pub metadata: ObjectMeta,
    /// Where it runs.
    #[serde(default)]
    pub spec: PodSpecView,
    /// How it is.
    #[serde(default)]
    pub status: PodStatusView,
}

/// Where a pod runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpecView {
    /// The Kubernetes Node, once chosen.
    pub node_name: Option<String>,
}

/// How a pod is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatusView {
    /// `Succeeded` and `Failed` for pods that are done.
    pub phase: String,
    /// PodScheduled, Ready and the others.
    pub conditions: Vec<PodConditionView>,
    /// Init containers, sidecars among them.
    pub init_container_statuses: Vec<ContainerView>,
    /// Main containers.
    pub container_statuses: Vec<ContainerView>,
}

/// A condition of a pod or Kubernetes Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodConditionView {
    /// Which.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// In one word.
    pub reason: Option<String>,
    /// In a sentence.
    pub message: Option<String>,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerView {
    /// Its name.
    pub name: String,
    /// Its image, as the kubelet names it.
    pub image: String,
    /// Whether its probes are content.
    pub ready: bool,
    /// Whether its start-up probe has succeeded.
    pub started: Option<bool>,
    /// How often it was started again.
    pub restart_count: i32,
    /// What it does now.
    pub state: ContainerStateView,
    /// What it did before.
    pub last_state: ContainerStateView,
}

/// What a container does or did; at most one is there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ContainerStateView {
    /// Not running yet, or not any more.
    pub waiting: Option<WaitingView>,
    /// At work. Nothing of it is of interest.
    pub running: Option<BTreeMap<String, serde_json::Value>>,
    /// Ended.
    pub terminated: Option<TerminatedView>,
}

/// Why a container does not run.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WaitingView {
    /// In one word, such as `ImagePullBackOff`.
    pub reason: Option<String>,
    /// In a sentence.
    pub message: Option<String>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TerminatedView {
    /// Its exit code.
    pub exit_code: i32,
    /// In one word, such as `OOMKilled`.
    pub reason: Option<String>,
    /// What it wrote last.
    pub message: Option<String>,
}

impl PodView {
    /// Whether the pod is ready and not on its way out.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.metadata.deletion_timestamp.is_none()
            && self.condition("Ready").is_some_and(|ready| ready.status == "True")
    }

    /// One of its conditions.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&PodConditionView> {
        self.status.conditions.iter().find(|condition| condition.type_ == type_)
    }

    /// The container `name`, sidecars included.
    #[must_use]
    pub fn container(&self, name: &str) -> Option<&ContainerView> {
        self.containers().find(|container| container.name == name)
    }

    /// All containers in the order in which they start.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerView> {
        self.status.init_container_statuses.iter().chain(&self.status.container_statuses)
    }

    /// A label's value.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}

/// A Kubernetes Node.
#[derive(Clone, Debug, Default, Deserialize, Resource)]
#[resource(inherit = Node)]
pub struct KubernetesNode {
    /// Name, labels, annotations.
    pub metadata: ObjectMeta,
    /// Whether pods may come.
    #[serde(default)]
    pub spec: KubernetesNodeSpec,
    /// How it is.
    #[serde(default)]
    pub status: KubernetesNodeStatus,
}

/// Whether pods may come to a Kubernetes Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct KubernetesNodeSpec {
    /// Set by `kubectl cordon`.
    pub unschedulable: bool,
    /// Marks that keep pods away.
    pub taints: Vec<TaintView>,
}

/// A mark that keeps pods away.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TaintView {
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// How a Kubernetes Node is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct KubernetesNodeStatus {
    /// Ready and the others.
    pub conditions: Vec<PodConditionView>,
}

impl KubernetesNode {
    /// Whether an ordinary pod can come here now.
    #[must_use]
    pub fn takes_pods(&self) -> bool {
        let ready =
            self.status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        let tainted = self.spec.taints.iter().any(|taint| taint.effect != "PreferNoSchedule");
        ready && !self.spec.unschedulable && !tainted
    }

    /// Value of the annotation that asks to drain all PinNodes here.
    #[must_use]
    pub fn drain_request(&self) -> Option<&str> {
        self.annotations().get(crate::names::DRAIN).map(String::as_str)
    }
}
