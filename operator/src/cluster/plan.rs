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
    /// PinNodes that are too many and still hold data.
    pub leaving: Vec<String>,
    /// Optional kinds that are wanted but not served.
    pub unserved: Vec<Kind>,
}

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
        if leaves && !paused && members[name].is_drained {
            if let Some(object) = observed.live.get(&(Kind::PinNode, name.clone())) {
                plan.remove.push((Kind::PinNode, object.clone()));
            }
            continue;
        }
        if leaves {
            plan.leaving.push(name.clone());
        }
        let why = leaves.then_some("more PinNodes than spec.nodes");
        let (zone, storage) = (node.spec.zone.as_deref(), node.spec.storage.as_ref());
        plan.objects.push(pin_node::desired(cluster, name, zone, storage, why));
    }
    for new in membership.join {
        let storage = Some(&cluster.kubo.storage);
        plan.objects.push(pin_node::desired(cluster, &new.name, new.zone.as_deref(), storage, None));
    }
}

fn member(name: &str, node: &PinNode, observed: &Observed) -> Member {
    let status = node.status.as_ref();
    let is_true = |type_: &str| {
        status.is_some_and(|status| status.conditions.iter().any(|c| c.type_ == type_ && c.status == "True"))
    };
    let asked = status.and_then(|status| status.scheduling);
    Member {
        zone: node.spec.zone.clone(),
        is_drained: is_true("Drained"),
        is_marked: node.annotations().contains_key(names::SURPLUS)
            || asked.is_some_and(|asked| asked != Scheduling::Active),
        placements: observed.reports.get(name).map_or(0, |report| report.placements.values().sum()),
    }
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
