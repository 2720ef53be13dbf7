//! Budgets for voluntary disruptions: Kubernetes takes one pod of a kind at a time.
//!
//! `maxUnavailable` works over several StatefulSets because each of them can be scaled. Every pod is under exactly one
//! budget, selected by labels that never change, and pods that are broken anyway may always be evicted.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::validate::Cluster;
use crate::desired::Desired;
use crate::kind::Kind;
use crate::names::{self, Component};

/// The budget of the pinners.
#[must_use]
pub fn pinners(cluster: &Cluster) -> Desired {
    one_at_a_time(cluster, cluster.name.clone(), Component::Pinner)
}

/// The budget of the managed NATS servers.
#[must_use]
pub fn nats(cluster: &Cluster) -> Desired {
    one_at_a_time(cluster, names::nats(&cluster.name), Component::Nats)
}

fn one_at_a_time(cluster: &Cluster, name: String, component: Component) -> Desired {
    let budget = PodDisruptionBudget {
        metadata: ObjectMeta { name: Some(name), labels: Some(cluster.labels(component)), ..Default::default() },
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(names::selector(&cluster.name, component)),
                ..Default::default()
            }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    };
    Desired::new(Kind::PodDisruptionBudget, &cluster.owner, budget)
}
