//! What a cluster's status should say. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use super::observe::Observed;
use super::pause::Pause;
use super::plan::Plan;
use super::validate::{Cluster, Database, Nats, Refusal};
use crate::apply::ApplyError;
use crate::conditions::{self, Verdict, no, unknown, yes};
use crate::crd::{AnchorageCluster, AnchorageClusterStatus, PinNode};
use crate::kind::Kind;
use crate::names;
use crate::pin_node::status::{DISK_FULL, NO_ROOM};
use crate::resources::migrate_job;
use crate::workload::{JobState, StatefulSetState};

/// What became of the spec in this reconciliation.
pub enum Outcome<'a> {
    /// It was refused; nothing was changed.
    Refused(&'a Refusal),
    /// It was planned and applied, as far as `failure` allows.
    Planned {
        /// The valid cluster.
        cluster: &'a Cluster,
        /// What was planned.
        plan: &'a Plan,
        /// What stopped applying.
        failure: Option<&'a ApplyError>,
    },
}

/// The PinNodes of a cluster in numbers and words.
#[derive(Default)]
struct Nodes {
    total: usize,
    ready: usize,
    /// Those that are ready with a pod that the spec does not ask for any more.
    outdated: usize,
    /// The first PinNode that is not ready, with its reason and message.
    first_not_ready: Option<(String, String, String)>,
    /// The first PinNode whose Kubo has no room left.
    first_full: Option<String>,
}

/// The status that `object` should have.
#[must_use]
pub fn status(
    object: &AnchorageCluster,
    observed: &Observed,
    outcome: &Outcome,
    pause: &Pause,
    now: Timestamp,
) -> AnchorageClusterStatus {
    let before = object.status.clone().unwrap_or_default();
    let nodes = nodes(&observed.pin_nodes);
    let verdicts = verdicts(object, observed, outcome, pause, &nodes, &before);
    let image = match outcome {
        Outcome::Planned { cluster, .. } => Some(cluster.image.clone()),
        Outcome::Refused(_) => before.image.clone(),
    };
    AnchorageClusterStatus {
        observed_generation: object.metadata.generation,
        conditions: conditions::merge(&before.conditions, &verdicts, object.metadata.generation, now),
        nodes: i32::try_from(nodes.total).unwrap_or(i32::MAX),
        ready_nodes: i32::try_from(nodes.ready).unwrap_or(i32::MAX),
        selector: object.metadata.name.as_deref().map(names::selector_text),
        image,
        maintenance: pause.status(before.maintenance.as_ref()),
    }
}

fn verdicts(
    object: &AnchorageCluster,
    observed: &Observed,
    outcome: &Outcome,
    pause: &Pause,
    nodes: &Nodes,
    before: &AnchorageClusterStatus,
) -> Vec<Verdict> {
    let wanted = usize::try_from(object.spec.nodes).unwrap_or(0);
    let (database, nats) = match outcome {
        Outcome::Planned { cluster, .. } => (database(cluster, observed), self::nats(cluster, observed)),
        Outcome::Refused(refusal) => (
            refused(refusal, "DatabaseReady", "postgres", &before.conditions),
            refused(refusal, "NatsReady", "nats", &before.conditions),
        ),
    };
    vec![
        ready(outcome, &database, &nats, nodes, wanted),
        available(nodes),
        progressing(outcome, &database, nodes, wanted, observed),
        degraded(outcome, &database, &nats, nodes, wanted),
        pause.verdict(before.maintenance.as_ref(), &before.conditions),
        database,
        nats,
    ]
}

fn ready(outcome: &Outcome, database: &Verdict, nats: &Verdict, nodes: &Nodes, wanted: usize) -> Verdict {
    const READY: &str = "Ready";
    match outcome {
        Outcome::Refused(refusal) => {
            return no(READY, refusal.reason(), format!("{refusal}. What runs already keeps running as it was"));
        }
        Outcome::Planned { failure: Some(failure), .. } => {
            return no(READY, failure.reason(), crate::health::describe(failure));
        }
        Outcome::Planned { .. } => {}
    }
    if !database.is_true() {
        return no(READY, database.reason, database.message.clone());
    }
    if nats.status == "False" {
        return no(READY, nats.reason, nats.message.clone());
    }
    if nodes.ready < wanted {
        let why = match &nodes.first_not_ready {
            Some((name, _, message)) => format!(". {name}: {message}"),
            None => String::new(),
        };
        return no(READY, "PinNodesNotReady", format!("{} of {wanted} PinNodes are ready{why}", nodes.ready));
    }
    if nodes.outdated > 0 {
        return no(READY, "RollingOut", rolling_out(nodes));
    }
    yes(READY, "Ready", format!("all {wanted} PinNodes are ready"))
}

fn rolling_out(nodes: &Nodes) -> String {
    format!("{} of {} PinNodes are yet to be brought up to date, one at a time", nodes.outdated, nodes.total)
}

fn available(nodes: &Nodes) -> Verdict {
    if nodes.ready > 0 {
        yes("Available", "PinnerReady", "the API is served")
    } else {
        no("Available", "NoPinnerReady", "no pinner is ready, so the API is not served")
    }
}

fn progressing(outcome: &Outcome, database: &Verdict, nodes: &Nodes, wanted: usize, observed: &Observed) -> Verdict {
    const PROGRESSING: &str = "Progressing";
    let Outcome::Planned { plan, failure: None, .. } = outcome else {
        return no(PROGRESSING, "Stopped", "see the condition Ready");
    };
    if let Some(verdict) = scaling_down(plan, observed) {
        return verdict;
    }
    if !database.is_true() {
        return yes(PROGRESSING, "PreparingDatabase", database.message.clone());
    }
    if nodes.ready < wanted || nodes.total < wanted {
        return yes(PROGRESSING, "StartingPinNodes", format!("{} of {wanted} PinNodes are ready", nodes.ready));
    }
    if nodes.outdated > 0 {
        return yes(PROGRESSING, "RollingOut", rolling_out(nodes));
    }
    no(PROGRESSING, "Complete", "everything is as the spec says")
}

/// What is said while there are more PinNodes than wanted.
fn scaling_down(plan: &Plan, observed: &Observed) -> Option<Verdict> {
    const PROGRESSING: &str = "Progressing";
    let obstacle = |name: &String| {
        let why = observed.pin_nodes.get(name).and_then(|node| obstacle(node))?;
        Some(format!("{name}: {why}"))
    };
    let leaving = plan.leaving.join(", ");
    if let Some(why) = plan.leaving.iter().find_map(obstacle) {
        let message = format!("to be drained and removed: {leaving}. {why}");
        return Some(yes(PROGRESSING, "ScaleDownBlocked", message));
    }
    if !plan.leaving.is_empty() {
        let message = format!("drained first, then removed: {leaving}");
        return Some(yes(PROGRESSING, "ScalingDown", message));
    }
    (!plan.waiting.is_empty()).then(|| {
        let message = format!("stay until the maintenance ends, then drained and removed: {}", plan.waiting.join(", "));
        yes(PROGRESSING, "WaitingForMaintenance", message)
    })
}

fn degraded(outcome: &Outcome, database: &Verdict, nats: &Verdict, nodes: &Nodes, wanted: usize) -> Verdict {
    const DEGRADED: &str = "Degraded";
    // Reasons of things that pass by themselves.
    const NORMAL: [&str; 7] = [
        "Starting",
        "Migrating",
        "WaitingForCluster",
        "WaitingForDatabase",
        "WaitingForTurn",
        "WaitingForRemoval",
        "Unknown",
    ];
    match outcome {
        Outcome::Refused(refusal) => return yes(DEGRADED, refusal.reason(), refusal.to_string()),
        Outcome::Planned { failure: Some(failure), .. } if !NORMAL.contains(&failure.reason()) => {
            return yes(DEGRADED, failure.reason(), crate::health::describe(failure));
        }
        Outcome::Planned { plan, .. } => {
            if plan.unserved.contains(&Kind::HttpRoute) {
                let message = "api.httpRoute is set but the API server does not serve gateway.networking.k8s.io/v1. Install the Gateway API's CRDs; the route follows by itself";
                return yes(DEGRADED, "GatewayApiMissing", message);
            }
        }
    }
    for verdict in [database, nats] {
        if verdict.status == "False" && !NORMAL.contains(&verdict.reason) {
            return yes(DEGRADED, verdict.reason, verdict.message.clone());
        }
    }
    match &nodes.first_not_ready {
        Some((name, reason, message)) if !NORMAL.contains(&reason.as_str()) => yes(
            DEGRADED,
            "PinNodeInTrouble",
            format!("{} of {wanted} PinNodes are ready. {name}: {message}", nodes.ready),
        ),
        _ if let Some(name) = &nodes.first_full => yes(DEGRADED, DISK_FULL, format!("PinNode {name}: {NO_ROOM}")),
        _ => no(DEGRADED, "AsExpected", ""),
    }
}

fn database(cluster: &Cluster, observed: &Observed) -> Verdict {
    const DATABASE: &str = "DatabaseReady";
    if let Database::Managed(_) = &cluster.database {
        let name = names::postgres(&cluster.name);
        let server = observed.live.get(&(Kind::StatefulSet, name.clone()));
        if server.is_none_or(|server| StatefulSetState::of(server).ready == 0) {
            return match &observed.troubles.postgres {
                Some(trouble) => no(DATABASE, trouble.reason, trouble.message.clone()),
                None => no(DATABASE, "Starting", format!("waiting for the managed Postgres, StatefulSet {name}")),
            };
        }
    }
    let name = migrate_job::name(cluster);
    let job = observed.live.get(&(Kind::Job, name.clone()));
    match (JobState::of(job.map(Arc::as_ref)), &observed.troubles.migrate) {
        (JobState::Complete, _) => yes(DATABASE, "Migrated", format!("the schema of {} is in place", cluster.image)),
        (_, Some(trouble)) => {
            no(DATABASE, "MigrationFailed", format!("Job {name} tries again until it succeeds. {}", trouble.message))
        }
        _ => no(DATABASE, "Migrating", format!("waiting for Job {name} to bring the schema of {}", cluster.image)),
    }
}

fn nats(cluster: &Cluster, observed: &Observed) -> Verdict {
    const NATS: &str = "NatsReady";
    let Nats::Managed(managed) = &cluster.nats else {
        let message = "NATS is outside of this cluster; pinners tell at /readyz?verbose and in metrics whether they reach it, and work without it, slower";
        return unknown(NATS, "External", message);
    };
    let name = names::nats(&cluster.name);
    let servers = observed.live.get(&(Kind::StatefulSet, name.clone())).map(|servers| StatefulSetState::of(servers));
    let ready = servers.map_or(0, |servers| servers.ready);
    if ready >= i64::from(managed.replicas) {
        return yes(NATS, "Ready", format!("all {ready} servers are ready"));
    }
    match &observed.troubles.nats {
        Some(trouble) => no(NATS, trouble.reason, trouble.message.clone()),
        None => {
            no(NATS, "Starting", format!("{ready} of {} servers of StatefulSet {name} are ready", managed.replicas))
        }
    }
}

/// The verdict on a dependency while the spec is refused: the refusal itself when it is about that dependency, else what
/// was known before.
fn refused(refusal: &Refusal, type_: &'static str, field: &str, before: &[Condition]) -> Verdict {
    if refusal.field().is_some_and(|of| of.starts_with(field)) {
        return no(type_, refusal.reason(), refusal.to_string());
    }
    let was = before.iter().find(|condition| condition.type_ == type_);
    match was.map(|was| was.status.as_str()) {
        Some("True") => yes(type_, "LastKnown", "as it was before the spec was refused"),
        Some("False") => no(type_, "LastKnown", "as it was before the spec was refused"),
        _ => unknown(type_, "NotChecked", "the spec was refused before this was looked at"),
    }
}

fn nodes(pin_nodes: &BTreeMap<String, Arc<PinNode>>) -> Nodes {
    let mut nodes = Nodes { total: pin_nodes.len(), ..Nodes::default() };
    for (name, node) in pin_nodes {
        let condition = |type_| node.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_);
        if condition("Schedulable").is_some_and(|schedulable| schedulable.reason == DISK_FULL) {
            nodes.first_full.get_or_insert_with(|| name.clone());
        }
        match condition("Ready") {
            Some(ready) if ready.status == "True" => {
                nodes.ready += 1;
                nodes.outdated += usize::from(ready.reason == "RollingOut");
            }
            other => {
                let (reason, message) = other.map_or(("Unknown", "not looked at yet"), |c| (&c.reason, &c.message));
                nodes.first_not_ready.get_or_insert_with(|| (name.clone(), reason.to_owned(), message.to_owned()));
            }
        }
    }
    nodes
}

/// Why a PinNode that is to leave does not get on.
fn obstacle(node: &PinNode) -> Option<String> {
    let conditions = &node.status.as_ref()?.conditions;
    let find = |type_: &str, reason: &str| {
        conditions.iter().find(|condition| condition.type_ == type_ && condition.reason == reason)
    };
    let draining = find("Draining", "Blocked").or_else(|| find("Draining", "WaitingForPinners"));
    let kept = find("Schedulable", "Maintenance");
    draining
        .map(|condition| condition.message.clone())
        .or_else(|| kept.map(|_| format!("it is kept as it is by its annotation {}", names::MAINTENANCE)))
}
