//! What a cluster's reconciliation looks at. Only here are things read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use kube::core::DynamicObject;

use crate::admin_api::NodeReport;
use crate::apply::Live;
use crate::cluster::validate::referenced_secrets;
use crate::context::Context;
use crate::crd::{AnchorageCluster, PinNode};
use crate::kind::Kind;
use crate::names::{self, Component};
use crate::secrets::Secrets;
use crate::served::Served;
use crate::trouble::{self, Trouble};

/// How old an answer about placements may be when nodes are too many: a node is removed for what it says.
const REPORT_AGE: std::time::Duration = std::time::Duration::from_secs(2);

/// Everything that decisions about one cluster rest on.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The user's Secrets and ours.
    pub secrets: Secrets,
    /// Our objects that exist.
    pub live: Live,
    /// The PinNodes that exist.
    pub pin_nodes: BTreeMap<String, Arc<PinNode>>,
    /// Zones in which pods can be placed; empty where Kubernetes Nodes may not be read.
    pub zones: BTreeSet<String>,
    /// Optional kinds that the API server serves.
    pub served: Served,
    /// What the pinners say about their nodes; only asked for when nodes are too many, nothing when they do not answer.
    pub reports: Option<Arc<BTreeMap<String, NodeReport>>>,
    /// Whether a pinner is there to be asked.
    pub pinner_is_ready: bool,
    /// What is wrong with pods of the database, NATS and migration.
    pub troubles: Troubles,
}

/// The first trouble among the pods of each component.
#[derive(Clone, Debug, Default)]
pub struct Troubles {
    /// The managed Postgres.
    pub postgres: Option<Trouble>,
    /// The managed NATS.
    pub nats: Option<Trouble>,
    /// The migration.
    pub migrate: Option<Trouble>,
}

/// Reads. Only Secrets are asked of the API server, and those are remembered; the rest is in memory.
///
/// # Errors
/// When a Secret cannot be read.
pub async fn observe(context: &Context, object: &AnchorageCluster) -> kube::Result<Observed> {
    let world = &context.world;
    let name = object.name_any();
    let secrets = read_secrets(context, object).await?;
    let pin_nodes = world.pin_nodes_of(&name);
    let mut live = world.children_of(&name);
    for (node_name, node) in &pin_nodes {
        live.insert((Kind::PinNode, node_name.clone()), Arc::new(erased(node)));
    }
    let wanted = usize::try_from(object.spec.nodes).unwrap_or(0);
    let reports = match context.access(&name, &secrets) {
        Some(access) if pin_nodes.len() > wanted => context.admin.nodes(&access, REPORT_AGE).await.ok(),
        _ => None,
    };
    let first_trouble = |component| world.pods_of(&name, component).iter().find_map(|pod| trouble::of(pod));
    Ok(Observed {
        secrets,
        live,
        zones: zones(context, &object.spec.topology_key),
        served: context.served.now(),
        reports,
        pinner_is_ready: world.pods_of(&name, Component::Pinner).iter().any(|pod| pod.is_ready()),
        troubles: Troubles {
            postgres: first_trouble(Component::Postgres),
            nats: first_trouble(Component::Nats),
            migrate: first_trouble(Component::Migrate),
        },
        pin_nodes,
    })
}

/// Everything secret that a cluster is made of.
///
/// # Errors
/// When a Secret cannot be read.
pub async fn read_secrets(context: &Context, object: &AnchorageCluster) -> kube::Result<Secrets> {
    let uid = object.uid().unwrap_or_default();
    context.secrets.read(&uid, &referenced_secrets(object), &own_secrets(&object.name_any())).await
}

/// Names of the Secrets that the operator makes for a cluster.
fn own_secrets(cluster: &str) -> Vec<String> {
    [
        names::admin_secret,
        names::tokens_secret,
        names::database_secret,
        names::nats_secret,
        names::swarm_key_secret,
        names::postgres,
    ]
    .map(|name| name(cluster))
    .to_vec()
}

fn zones(context: &Context, topology_key: &str) -> BTreeSet<String> {
    let nodes = context.world.kubernetes_nodes.as_ref().map(|nodes| nodes.state()).unwrap_or_default();
    nodes.iter().filter(|node| node.takes_pods()).filter_map(|node| node.labels().get(topology_key).cloned()).collect()
}

/// A PinNode in the form in which all owned objects are compared.
fn erased(node: &PinNode) -> DynamicObject {
    let value = serde_json::to_value(node).expect("a PinNode that was read is valid JSON");
    serde_json::from_value(value).expect("a PinNode has metadata")
}
