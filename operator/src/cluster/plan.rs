//! What should exist for a cluster, in the order of making it, and what should not any more. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use kube::core::DynamicObject;

use super::membership::{self, Member};
use super::observe::Observed;
use super::validate::{Cluster, Database, Nats};
use crate::crd::{PinNode, Scheduling};
use crate::credentials::Credentials;
use crate::desired::Desired;
use crate::kind::Kind;
use crate::names;
use crate::pin_node::scheduling;
use crate::resources::{
    disruption_budget, http_route, ingress, kubo_config, migrate_job, nats, pin_node, pod_monitor, postgres, secret,
    service,
};
use crate::workload::StatefulSetState;

/// What to do for a cluster.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Objects that should exist, in the order in which they are made. Secrets are listed only when they change.
    pub objects: Vec<Desired>,
    /// Objects that should not exist any more.
    pub remove: Vec<(Kind, Arc<DynamicObject>)>,
    /// PinNodes that are too many and give their data away.
    pub leaving: Vec<String>,
    /// PinNodes that are too many and stay as they are until the pause ends.
    pub waiting: Vec<String>,
    /// Optional kinds that are wanted but not served.
    pub unserved: Vec<Kind>,
}

/// Value of the mark on PinNodes that are to leave, which is also the token of their drain.
pub const SURPLUS: &str = "more PinNodes than spec.nodes";

/// Plans for a valid cluster. While `paused`, no PinNode leaves that was not leaving already.
#[must_use]
pub fn plan(cluster: &Cluster, observed: &Observed, credentials: &Credentials, paused: bool) -> Plan {
    let mut plan = Plan::default();
    plan.objects.extend(changed_secrets(cluster, observed, credentials));
    plan.objects.push(kubo_config::desired(cluster));
    plan.objects.push(service::api(cluster));
    plan.objects.push(service::nodes(cluster));
    plan.objects.push(disruption_budget::pinners(cluster));
    plan_database(cluster, observed, &mut plan);
    plan_nats(cluster, &mut plan);
    plan_nodes(cluster, observed, paused, &mut plan);
    plan_entrances(cluster, observed, &mut plan);
    plan.remove.extend(orphans(cluster, observed, &plan.objects));
    plan
}

fn changed_secrets(cluster: &Cluster, observed: &Observed, credentials: &Credentials) -> Vec<Desired> {
    credentials
        .secrets()
        .filter(|(name, content)| observed.secrets.get(name) != Some(*content))
        .map(|(name, content)| secret::desired(cluster, name, content))
        .collect()
}

fn plan_database(cluster: &Cluster, observed: &Observed, plan: &mut Plan) {
    let is_reachable = match &cluster.database {
        Database::External { .. } => true,
        Database::Managed(managed) => {
            plan.objects.push(postgres::service(cluster));
            plan.objects.push(postgres::stateful_set(cluster, managed));
            let server = observed.live.get(&(Kind::StatefulSet, names::postgres(&cluster.name)));
            server.is_some_and(|server| StatefulSetState::of(server).ready > 0)
        }
    };
    // A Job that exists stays wanted when its database is away for a while.
    if is_reachable || observed.live.contains_key(&(Kind::Job, migrate_job::name(cluster))) {
        plan.objects.push(migrate_job::desired(cluster));
    }
}

fn plan_nats(cluster: &Cluster, plan: &mut Plan) {
    if let Nats::Managed(managed) = &cluster.nats {
        plan.objects.push(nats::service(cluster));
        plan.objects.push(nats::stateful_set(cluster, managed));
        if managed.replicas > 1 {
            plan.objects.push(disruption_budget::nats(cluster));
        }
    }
}

fn plan_nodes(cluster: &Cluster, observed: &Observed, paused: bool, plan: &mut Plan) {
    let members: BTreeMap<String, Member> =
        observed.pin_nodes.iter().map(|(name, node)| (name.clone(), member(name, node, observed))).collect();
    let membership = membership::decide(&cluster.name, cluster.nodes, &members, &observed.zones);
    let surplus: BTreeSet<&str> = membership.surplus.iter().map(String::as_str).collect();
    for (name, node) in &observed.pin_nodes {
        let was_leaving = node.annotations().contains_key(names::SURPLUS);
        let leaves = surplus.contains(name.as_str()) && (!paused || was_leaving);
        if leaves && !paused && is_empty(name, node, observed) {
            if let Some(object) = observed.live.get(&(Kind::PinNode, name.clone())) {
                plan.remove.push((Kind::PinNode, object.clone()));
            }
            continue;
        }
        if leaves {
            plan.leaving.push(name.clone());
        } else if surplus.contains(name.as_str()) {
            plan.waiting.push(name.clone());
        }
        let why = leaves.then_some(SURPLUS);
        let (zone, storage) = (node.spec.zone.as_deref(), node.spec.storage.as_ref());
        plan.objects.push(pin_node::desired(cluster, name, zone, storage, why));
    }
    for new in membership.join {
        let storage = Some(&cluster.kubo.storage);
        plan.objects.push(pin_node::desired(cluster, &new.name, new.zone.as_deref(), storage, None));
    }
}

fn member(name: &str, node: &PinNode, observed: &Observed) -> Member {
    let asked = scheduling::intent(node.annotations(), node.spec.scheduling, None).scheduling;
    let noted = node.status.as_ref().and_then(|status| status.scheduling).unwrap_or_default();
    let report = observed.reports.as_ref().and_then(|reports| reports.get(name));
    Member {
        zone: node.spec.zone.clone(),
        keeps_its_place: asked == Scheduling::Maintenance,
        is_drained: says_drained(node),
        is_leaving: node.annotations().contains_key(names::SURPLUS),
        is_marked: asked != Scheduling::Active || noted != Scheduling::Active,
        placements: report.map_or(0, |report| report.placements.values().sum()),
    }
}

fn says_drained(node: &PinNode) -> bool {
    let conditions = node.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == "Drained" && condition.status == "True")
}

/// Whether a surplus PinNode may be removed. Its mark must be there already, for without it somebody could make the node
/// take part again in this moment; the drain that is done must be the one that is asked for now, and not one that was
/// taken back meanwhile; and the pinners must say now that nothing is on it.
fn is_empty(name: &str, node: &PinNode, observed: &Observed) -> bool {
    let intent = scheduling::intent(node.annotations(), node.spec.scheduling, None);
    let is_marked = node.annotations().contains_key(names::SURPLUS) && intent.scheduling == Scheduling::Drained;
    let is_this_drain = node.status.as_ref().is_some_and(|status| !intent.is_news(status));
    let never_registered_or_drained = observed
        .reports
        .as_ref()
        .is_some_and(|reports| reports.get(name).is_none_or(|report| report.state == "drained"));
    is_marked && is_this_drain && says_drained(node) && never_registered_or_drained
}

fn plan_entrances(cluster: &Cluster, observed: &Observed, plan: &mut Plan) {
    if let Some(wanted) = &cluster.ingress {
        plan.objects.push(ingress::desired(cluster, wanted));
    }
    let optional = [
        cluster.http_route.as_ref().map(|wanted| http_route::desired(cluster, wanted)),
        cluster.pod_monitor.as_ref().map(|wanted| pod_monitor::desired(cluster, wanted)),
    ];
    for object in optional.into_iter().flatten() {
        if observed.served.has(object.kind) {
            plan.objects.push(object);
        } else {
            plan.unserved.push(object.kind);
        }
    }
}

/// Objects that the cluster owns and does not want. PinNodes leave in their own way; what belongs to a PinNode goes with it.
fn orphans(cluster: &Cluster, observed: &Observed, wanted: &[Desired]) -> Vec<(Kind, Arc<DynamicObject>)> {
    let wanted: BTreeSet<(Kind, &str)> = wanted.iter().map(|object| (object.kind, object.name.as_str())).collect();
    let is_ours = |object: &DynamicObject| object.owner_references().iter().any(|owner| owner.uid == cluster.owner.uid);
    let migration = migrate_job::name(cluster);
    observed
        .live
        .iter()
        .filter(|((kind, name), object)| {
            *kind != Kind::PinNode && !wanted.contains(&(*kind, name.as_str())) && is_ours(object) && *name != migration
        })
        .map(|((kind, _), object)| (*kind, object.clone()))
        .collect()
}
