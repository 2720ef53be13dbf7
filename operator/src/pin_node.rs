//! The controller of `PinNode`: its StatefulSet, what is asked of its pinner, and what its status says.

pub mod observe;
pub mod plan;
pub mod rollout;
pub mod scheduling;
pub mod status;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};

use crate::admin_api::{AdminError, NodeReport};
use crate::apply::{Applier, ApplyError};
use crate::context::{Context, ReconcileError};
use crate::crd::{PinNode, Scheduling};
use crate::kind::Kind;
use crate::metrics::Controller;
use crate::workload::StatefulSetState;
use observe::Observed;
use plan::{Step, Wait};
use scheduling::Intent;
use status::Outcome;

/// Field manager of everything that this controller writes.
const MANAGER: &str = "anchorage-operator/pin-node";
/// When to look again at an object that changed while it was looked at.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How often the pinners are asked about a node at rest, and how old an answer may be then.
const SLOW: Duration = Duration::from_secs(30);
const SLOW_AGE: Duration = Duration::from_secs(25);
/// The same while something is under way.
const FAST: Duration = Duration::from_secs(3);
const FAST_AGE: Duration = Duration::from_secs(2);

/// Brings one PinNode's StatefulSet and scheduling to what is asked and its status to what is so.
///
/// # Errors
/// When something could not be read or written; the status says what, as far as it could be written.
pub async fn reconcile(node: Arc<PinNode>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let name = node.name_any();
    if node.metadata.deletion_timestamp.is_some() {
        context.rollouts.forget(&node.spec.cluster_name, &name);
        return Ok(Action::await_change());
    }
    let observed = observe::observe(&context, &node).await?;
    let intent = scheduling::intent(node.annotations(), node.spec.scheduling, observed.kubernetes_node.as_deref());
    // A request is acknowledged and passed on first: it must not wait for anything else that is wrong with the node.
    let is_news = intent.is_news(&node.status.clone().unwrap_or_default());
    let node = match is_news {
        true => match acknowledge(&context, &node, &name, &observed, &intent).await {
            Ok(node) => node,
            // It is another object by now, which is on its way to us.
            Err(kube::Error::Api(status)) if status.code == 409 => return Ok(Action::requeue(AT_ONCE)),
            Err(error) => return Err(error.into()),
        },
        false => node,
    };
    let report = ask_pinners(&context, &node, &name, &observed, &intent, is_news).await;
    let (wait, failure) = match bring_stateful_set(&context, &node, &name, &observed).await {
        Ok(wait) => (wait, None),
        Err(failure) => (None, Some(failure)),
    };
    let outcome = Outcome {
        intent: &intent,
        report: report.as_ref().map(Result::as_ref),
        wait: wait.as_ref(),
        failure: failure.as_ref(),
    };
    let status = status::status(&node, &observed, &outcome, Timestamp::now());
    let pod_is_ready = observed.pod.as_ref().is_some_and(|pod| pod.is_ready());
    let is_asking = intent.scheduling != Scheduling::Active || intent.takes_back(&status);
    let waits_for_pinners = (pod_is_ready || is_asking) && !matches!(report, Some(Ok(_)));
    let next = pause_before_next_look(&status, wait.as_ref(), waits_for_pinners);
    write_status(&context, &node, &name, status).await?;
    match failure {
        Some(ApplyError::Leaving { .. }) => Ok(Action::requeue(FAST)),
        Some(failure) => Err(failure.into()),
        None => Ok(Action::requeue(next)),
    }
}

/// Writes that the request was seen, so that whoever asked knows, and so that it is known to be ours if this is the last
/// thing that we do. Gives the node with that status.
async fn acknowledge(
    context: &Context,
    node: &PinNode,
    name: &str,
    observed: &Observed,
    intent: &Intent,
) -> kube::Result<Arc<PinNode>> {
    let status = match &node.status {
        Some(before) => status::acknowledgement(before, intent),
        // All conditions are there from the first write on.
        None => {
            let outcome = Outcome { intent, report: None, wait: None, failure: None };
            status::status(node, observed, &outcome, Timestamp::now())
        }
    };
    // What this status says beside the request is from the object that was seen.
    let seen = node.metadata.resource_version.as_deref();
    context.write_status::<PinNode>(Controller::PinNode, name, seen, &status).await?;
    Ok(Arc::new(PinNode { status: Some(status), ..node.clone() }))
}

/// Tells the pinners what is asked of the node, if they have not heard, and returns what they say about it. Nothing
/// when the cluster has no admin token yet.
async fn ask_pinners(
    context: &Context,
    node: &PinNode,
    name: &str,
    observed: &Observed,
    intent: &Intent,
    is_news: bool,
) -> Option<Result<NodeReport, AdminError>> {
    let access = context.access(&node.spec.cluster_name, &observed.secrets)?;
    let noted = node.status.clone().unwrap_or_default();
    let request = intent.request();
    let tell = || context.admin.schedule(&access, name, &request);
    let result = if is_news || intent.takes_back(&noted) {
        tell().await
    } else {
        let is_quiet = (intent.scheduling != Scheduling::Drained || is_true(node, "Drained")) && is_true(node, "Ready");
        let age = if is_quiet { SLOW_AGE } else { FAST_AGE };
        match context.admin.nodes(&access, age).await {
            Ok(nodes) => match nodes.get(name) {
                Some(report) if intent.contradicts(&noted, report) => tell().await,
                Some(report) => Ok(report.clone()),
                None => Err(AdminError::NotRegistered),
            },
            Err(error) => Err(error),
        }
    };
    if matches!(result, Err(AdminError::Unauthorized { .. })) {
        context.secrets.forget(&observed.cluster_uid, &access.secret);
    }
    Some(result)
}

fn is_true(node: &PinNode, type_: &str) -> bool {
    let conditions = node.status.iter().flat_map(|status| &status.conditions);
    conditions.into_iter().any(|condition| condition.type_ == type_ && condition.status == "True")
}

/// Applies the StatefulSet if it may be; what it waits for otherwise.
async fn bring_stateful_set(
    context: &Context,
    node: &PinNode,
    name: &str,
    observed: &Observed,
) -> Result<Option<Wait>, ApplyError> {
    let Some(owner) = node.controller_owner_ref(&()) else { return Ok(None) };
    let desired = match plan::plan(node, name, &owner, observed) {
        Step::Wait(wait) => return Ok(Some(wait)),
        Step::Keep => return Ok(None),
        Step::Create(desired) => desired,
        Step::Replace(desired) if may_replace(context, node, name, observed) => desired,
        Step::Replace(_) => {
            let message = "the pod is replaced when all other PinNodes of the cluster are ready".to_owned();
            return Ok(Some(Wait { reason: "WaitingForTurn", message }));
        }
    };
    let applier = Applier::new(context.client.clone(), &context.world.namespace, MANAGER, context.metrics.clone());
    let cluster = &node.spec.cluster_name;
    match applier.apply(&desired, observed.stateful_set.as_deref()).await {
        Ok(applied) => context.rollouts.applied(cluster, name, applied.metadata.generation.unwrap_or(0)),
        Err(error) => {
            context.rollouts.forget(cluster, name);
            return Err(error);
        }
    }
    Ok(None)
}

/// A pod that is not ready may be replaced at any time; one that is ready, when its turn has come.
fn may_replace(context: &Context, node: &PinNode, name: &str, observed: &Observed) -> bool {
    if !observed.pod.as_ref().is_some_and(|pod| pod.is_ready()) {
        return true;
    }
    let cluster = &node.spec.cluster_name;
    let siblings = context.world.pin_nodes_of(cluster);
    let is_settled = |sibling: &str, generation: i64| {
        let stateful_set = context.world.child(Kind::StatefulSet, sibling);
        stateful_set.is_none_or(|live| {
            live.metadata.generation.unwrap_or(0) >= generation && StatefulSetState::of(&live).is_settled()
        })
    };
    context.rollouts.may_begin(cluster, name, siblings.keys().map(String::as_str), is_settled)
}

async fn write_status(
    context: &Context,
    node: &PinNode,
    name: &str,
    status: crate::crd::PinNodeStatus,
) -> Result<(), ReconcileError> {
    let before = node.status.clone().unwrap_or_default();
    if before == status {
        return Ok(());
    }
    context.write_status::<PinNode>(Controller::PinNode, name, None, &status).await?;
    context.tell(node, &before.conditions, &status.conditions).await;
    Ok(())
}

/// Soon while something is under way that no watch tells of, else at leisure.
fn pause_before_next_look(
    status: &crate::crd::PinNodeStatus,
    wait: Option<&Wait>,
    waits_for_pinners: bool,
) -> Duration {
    let is_draining = status.conditions.iter().any(|c| c.type_ == "Draining" && c.status == "True");
    // For Secrets, or for another PinNode to be settled.
    let waits = wait.is_some_and(|wait| matches!(wait.reason, "WaitingForCluster" | "WaitingForTurn"));
    if is_draining || waits_for_pinners || waits { FAST } else { SLOW }
}
