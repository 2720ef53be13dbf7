//! What a PinNode's reconciliation looks at. Only here are things read.

use std::sync::Arc;

use kube::ResourceExt;
use kube::core::DynamicObject;

use crate::cluster::observe::read_secrets;
use crate::cluster::validate::{Cluster, Refusal, validate};
use crate::context::Context;
use crate::crd::PinNode;
use crate::kind::Kind;
use crate::names;
use crate::resources::migrate_job;
use crate::secrets::Secrets;
use crate::views::{KubernetesNode, PodView};
use crate::workload::JobState;

/// Everything that decisions about one PinNode rest on.
pub struct Observed {
    /// Its cluster as the spec has it, if that exists.
    pub cluster: Option<Result<Cluster, Refusal>>,
    /// The cluster's uid; empty while it does not exist.
    pub cluster_uid: String,
    /// The cluster's Secrets.
    pub secrets: Secrets,
    /// The PinNode's StatefulSet.
    pub stateful_set: Option<Arc<DynamicObject>>,
    /// The cluster's Kubo configuration.
    pub kubo_config: Option<Arc<DynamicObject>>,
    /// Where the migration stands that the cluster's image needs.
    pub migration: JobState,
    /// The PinNode's pod.
    pub pod: Option<Arc<PodView>>,
    /// The Kubernetes Node that it runs on, or ran on last while it is on none: a pod that was evicted from a cordoned Node
    /// does not make the PinNode schedulable.
    pub kubernetes_node: Option<Arc<KubernetesNode>>,
}

/// Reads. Only Secrets are asked of the API server, and those are remembered; the rest is in memory.
///
/// # Errors
/// When a Secret cannot be read.
pub async fn observe(context: &Context, node: &PinNode) -> kube::Result<Observed> {
    let world = &context.world;
    let name = node.name_any();
    let cluster_name = &node.spec.cluster_name;
    let object = world.cluster(cluster_name);
    let secrets = match &object {
        Some(object) => read_secrets(context, object).await?,
        None => Secrets::default(),
    };
    let cluster_uid = object.as_ref().and_then(|object| object.uid()).unwrap_or_default();
    let cluster = object.map(|object| validate(&object, &secrets, &context.default_image));
    let migration = match &cluster {
        Some(Ok(cluster)) => JobState::of(world.child(Kind::Job, &migrate_job::name(cluster)).as_deref()),
        _ => JobState::Missing,
    };
    let pod = world.pod_of(&name);
    let last_on = node.status.as_ref().and_then(|status| status.kubernetes_node.as_deref());
    let on = pod.as_ref().and_then(|pod| pod.spec.node_name.as_deref()).or(last_on);
    Ok(Observed {
        cluster,
        cluster_uid,
        secrets,
        stateful_set: world.child(Kind::StatefulSet, &name),
        kubo_config: world.child(Kind::ConfigMap, &names::kubo_config(cluster_name)),
        migration,
        kubernetes_node: on.and_then(|name| world.kubernetes_node(name)),
        pod,
    })
}
