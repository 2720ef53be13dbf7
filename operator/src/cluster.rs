//! The controller of `AnchorageCluster`: observe, validate, plan, apply, status.

pub mod maintenance;
pub mod membership;
pub mod observe;
pub mod plan;
pub mod status;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use crate::apply::{Applier, ApplyError, changes};
use crate::context::{Context, ReconcileError};
use crate::crd::AnchorageCluster;
use crate::credentials::Credentials;
use crate::kind::Kind;
use crate::metrics::Controller;
use crate::names;
use maintenance::Maintenance;
use observe::Observed;
use plan::Plan;
use status::Outcome;
use validate::{Cluster, Refusal};

/// Field manager of everything that this controller writes.
const MANAGER: &str = "anchorage-operator/cluster";
/// How often a cluster is looked at when nothing tells of a change: Secrets are not watched.
const SLOW: Duration = Duration::from_secs(300);
/// How soon again when something is missing that is not watched.
const SOON: Duration = Duration::from_secs(5);

/// Brings the objects of one cluster to what its spec says and its status to what is so.
///
/// # Errors
/// When something could not be read or written; the status says what, as far as it could be written.
pub async fn reconcile(object: Arc<AnchorageCluster>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    if object.metadata.deletion_timestamp.is_some() {
        // Owner references do the rest: there is nothing outside of Kubernetes to undo.
        return Ok(Action::await_change());
    }
    let now = Timestamp::now();
    let observed = observe::observe(&context, &object).await?;
    let maintenance = maintenance(&object, now);
    let cluster = match validate::validate(&object, &observed.secrets, &context.default_image) {
        Ok(cluster) => cluster,
        Err(refusal) => return refuse(&context, &object, &observed, &refusal, &maintenance, now).await,
    };
    let credentials = Credentials::complete(&cluster, &observed.secrets, &mut crate::context::fresh_secret);
    let plan = plan::plan(&cluster, &observed, &credentials, maintenance.is_paused());
    let failure = apply(&context, &cluster, &plan, &observed).await.err();
    let outcome = Outcome::Planned { cluster: &cluster, plan: &plan, failure: failure.as_ref() };
    write_status(&context, &object, status::status(&object, &observed, &outcome, &maintenance, now)).await?;
    match failure {
        Some(ApplyError::Leaving { .. }) => Ok(Action::requeue(SOON)),
        Some(failure) => Err(failure.into()),
        None => Ok(Action::requeue(pause_before_next_look(&plan, &maintenance, now))),
    }
}

async fn refuse(
    context: &Context,
    object: &AnchorageCluster,
    observed: &Observed,
    refusal: &Refusal,
    maintenance: &Maintenance,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let outcome = Outcome::Refused(refusal);
    write_status(context, object, status::status(object, observed, &outcome, maintenance, now)).await?;
    if refusal.is_outside() {
        for name in validate::referenced_secrets(object) {
            context.secrets.forget(&object.uid().unwrap_or_default(), &name);
        }
        return Ok(Action::requeue(SOON));
    }
    Ok(maintenance.end().map_or_else(Action::await_change, |end| Action::requeue(until(end, now))))
}

fn maintenance(object: &AnchorageCluster, now: Timestamp) -> Maintenance {
    let before = object.status.as_ref().and_then(|status| status.maintenance.as_ref());
    let annotation = object.annotations().get(names::MAINTENANCE).map(String::as_str);
    Maintenance::decide(annotation, object.spec.maintenance.as_ref(), before, now)
}

async fn apply(context: &Context, cluster: &Cluster, plan: &Plan, observed: &Observed) -> Result<(), ApplyError> {
    let applier = Applier::new(context.client.clone(), &cluster.namespace, MANAGER, context.metrics.clone());
    for object in changes(&plan.objects, &observed.live) {
        let live = observed.live.get(&(object.kind, object.name.clone()));
        applier.apply(object, live.map(Arc::as_ref)).await?;
        if object.kind == Kind::Secret {
            context.secrets.forget(&cluster.owner.uid, &object.name);
        }
    }
    for (kind, object) in &plan.remove {
        applier.delete(*kind, object).await?;
    }
    Ok(())
}

async fn write_status(
    context: &Context,
    object: &AnchorageCluster,
    status: crate::crd::AnchorageClusterStatus,
) -> Result<(), ReconcileError> {
    let before = object.status.clone().unwrap_or_default();
    if before == status {
        return Ok(());
    }
    let name = object.name_any();
    context.write_status::<AnchorageCluster>(Controller::Cluster, &name, None, &status).await?;
    context.tell(object, &before.conditions, &status.conditions).await;
    Ok(())
}

fn pause_before_next_look(plan: &Plan, maintenance: &Maintenance, now: Timestamp) -> Duration {
    let usual = if plan.leaving.is_empty() { SLOW } else { SOON };
    maintenance.end().map_or(usual, |end| usual.min(until(end, now)))
}

fn until(end: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(now)).unwrap_or_default() + Duration::from_secs(1)
}
