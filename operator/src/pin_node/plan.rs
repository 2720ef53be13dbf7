//! Which StatefulSet a PinNode should have, or what it waits for. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::observe::Observed;
use crate::cluster::validate::Cluster;
use crate::crd::PinNode;
use crate::credentials::Credentials;
use crate::desired::Desired;
use crate::resources::kubo_config;
use crate::resources::pinner::{self, Placement};
use crate::workload::{JobState, applied_digest};

/// What to do about the StatefulSet.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing yet: something else must be there first.
    Wait(Wait),
    /// It is as it should be.
    Keep,
    /// It does not exist yet.
    Create(Box<Desired>),
    /// It exists and differs; its pod is replaced when its turn has come.
    Replace(Box<Desired>),
}

/// What a PinNode waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Condition reason.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Plans for one PinNode. `name` and `owner` are its own.
#[must_use]
pub fn plan(node: &PinNode, name: &str, owner: &OwnerReference, observed: &Observed) -> Step {
    let cluster = match &observed.cluster {
        None => {
            let message = format!("AnchorageCluster {} does not exist in this namespace", node.spec.cluster_name);
            return wait("ClusterNotFound", message);
        }
        Some(Err(refusal)) => return wait(refusal.reason(), format!("cluster {}: {refusal}", node.spec.cluster_name)),
        Some(Ok(cluster)) => cluster,
    };
    if let Some(wait) = prerequisites(cluster, observed) {
        return Step::Wait(wait);
    }
    let mut missing = false;
    let credentials = Credentials::complete(cluster, &observed.secrets, &mut || {
        missing = true;
        String::new()
    });
    if missing {
        return wait("WaitingForCluster", "the cluster's Secrets are being made".to_owned());
    }
    let inputs = credentials.inputs(cluster, &observed.secrets);
    // The script runs at the start of a pod, so a new script replaces the pod.
    let inputs = crate::desired::digest(&[inputs.as_bytes(), kubo_config::script(cluster).as_bytes()]);
    let storage = node.spec.storage.as_ref().unwrap_or(&cluster.kubo.storage);
    let placement = Placement { name, owner, zone: node.spec.zone.as_deref(), storage, inputs: &inputs };
    let desired = pinner::desired(cluster, &placement);
    match &observed.stateful_set {
        Some(live) if desired.is_met_by(live) => Step::Keep,
        Some(_) => Step::Replace(Box::new(desired)),
        None => Step::Create(Box::new(desired)),
    }
}

/// What must be there before a pod can start with the cluster's image.
fn prerequisites(cluster: &Cluster, observed: &Observed) -> Option<Wait> {
    if observed.migration != JobState::Complete {
        let message = format!(
            "the database gets the schema of {} first; see the cluster's condition DatabaseReady",
            cluster.image
        );
        return Some(Wait { reason: "WaitingForDatabase", message });
    }
    let wanted = kubo_config::desired(cluster);
    let digest = wanted.body["metadata"]["annotations"][crate::names::APPLIED].as_str();
    let is_current = observed.kubo_config.as_deref().is_some_and(|live| applied_digest(live) == digest);
    (!is_current).then(|| Wait {
        reason: "WaitingForCluster",
        message: "the cluster's Kubo configuration is being written".to_owned(),
    })
}

fn wait(reason: &'static str, message: String) -> Step {
    Step::Wait(Wait { reason, message })
}
