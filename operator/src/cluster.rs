//! The controller of `AnchorageCluster`: observe, validate, plan, apply, status.

pub mod maintenance;
pub mod membership;
pub mod observe;
pub mod pause;
pub mod plan;
pub mod status;
pub mod validate;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use crate::admin_api::AdminError;
use crate::apply::{Applier, ApplyError, changes};
use crate::context::{Context, ReconcileError};
use crate::crd::anchorage_cluster::MaintenanceStatus;
use crate::crd::{AnchorageCluster, AnchorageClusterStatus};
use crate::credentials::Credentials;
use crate::kind::Kind;
use crate::metrics::Controller;
use crate::names;
use maintenance::Maintenance;
use observe::Observed;
use pause::{Pause, Step};
use plan::Plan;
use status::Outcome;
use validate::{Cluster, Refusal};

/// Field manager of everything that this controller writes.
const MANAGER: &str = "anchorage-operator/cluster";
/// How often a cluster is looked at when nothing tells of a change: neither Secrets nor pauses of `anchorage admin` are
/// watched.
const SLOW: Duration = Duration::from_secs(60);
/// How soon again when something is missing that is not watched.
const SOON: Duration = Duration::from_secs(5);
/// When to look again at an object that changed while it was looked at.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How old an answer about the pause may be at rest, and while a pause is asked for.
const PAUSE_AGE: Duration = Duration::from_secs(25);
const PAUSE_AGE_ASKED: Duration = Duration::from_secs(2);

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
    // A pause is passed on first: it must not wait for anything that is wrong with the spec.
    let pause = match bring_pause(&context, &object, &observed, now).await {
        Ok(pause) => pause,
        // It is another object by now, which is on its way to us.
        Err(kube::Error::Api(status)) if status.code == 409 => return Ok(Action::requeue(AT_ONCE)),
        Err(error) => return Err(error.into()),
    };
    let cluster = match validate::validate(&object, &observed.secrets, &context.default_image) {
        Ok(cluster) => cluster,
        Err(refusal) => return refuse(&context, &object, &observed, &refusal, &pause, now).await,
    };
    let credentials = Credentials::complete(&cluster, &observed.secrets, &mut crate::context::fresh_secret);
    let plan = plan::plan(&cluster, &observed, &credentials, pause.is_on());
    let failure = apply(&context, &cluster, &plan, &observed).await.err();
    let outcome = Outcome::Planned { cluster: &cluster, plan: &plan, failure: failure.as_ref() };
    write_status(&context, &object, status::status(&object, &observed, &outcome, &pause, now)).await?;
    match failure {
        Some(ApplyError::Leaving { .. }) => Ok(Action::requeue(SOON)),
        Some(failure) => Err(failure.into()),
        None => {
            let usual = if plan.leaving.is_empty() { SLOW } else { SOON };
            Ok(Action::requeue(usual.min(next_look_for_pause(&object, &pause, now))))
        }
    }
}

async fn refuse(
    context: &Context,
    object: &AnchorageCluster,
    observed: &Observed,
    refusal: &Refusal,
    pause: &Pause,
    now: Timestamp,
) -> Result<Action, ReconcileError> {
    let outcome = Outcome::Refused(refusal);
    write_status(context, object, status::status(object, observed, &outcome, pause, now)).await?;
    if refusal.is_outside() {
        for name in validate::referenced_secrets(object) {
            context.secrets.forget(&object.uid().unwrap_or_default(), &name);
        }
        return Ok(Action::requeue(SOON));
    }
    Ok(Action::requeue(next_look_for_pause(object, pause, now)))
}

/// Brings the pinners' pause to what is asked for. What is asked for is noted in the status before they are told, so that
/// it is known to be ours if that is the last thing that we do.
async fn bring_pause(
    context: &Context,
    object: &AnchorageCluster,
    observed: &Observed,
    now: Timestamp,
) -> kube::Result<Pause> {
    let annotation = object.annotations().get(names::MAINTENANCE).map(String::as_str);
    let noted = noted(object);
    let request = Maintenance::decide(annotation, object.spec.maintenance.as_ref(), noted, now);
    let access = context.access(&object.name_any(), &observed.secrets).filter(|_| observed.pinner_is_ready);
    let (Some(access), Some(before)) = (access, object.status.as_ref()) else {
        return Ok(Pause { request, report: None });
    };
    if request.is_paused() && request.status().as_ref() != noted {
        let status = AnchorageClusterStatus { maintenance: request.status(), ..before.clone() };
        let seen = object.metadata.resource_version.as_deref();
        context.write_status::<AnchorageCluster>(Controller::Cluster, &object.name_any(), seen, &status).await?;
    }
    let is_quiet = request == Maintenance::None && noted.is_none();
    let mut report = context.admin.pause(&access, if is_quiet { PAUSE_AGE } else { PAUSE_AGE_ASKED }).await;
    if let Ok(known) = &report {
        report = match pause::step(&request, noted, known) {
            Step::Nothing => report,
            Step::Begin(request) => context.admin.begin_pause(&access, &request).await,
            Step::End => context.admin.end_pause(&access).await,
        };
    }
    if matches!(report, Err(AdminError::Unauthorized { .. })) {
        context.secrets.forget(&object.uid().unwrap_or_default(), &access.secret);
    }
    Ok(Pause { request, report: Some(report) })
}

/// The pause that the status says was asked for.
fn noted(object: &AnchorageCluster) -> Option<&MaintenanceStatus> {
    object.status.as_ref().and_then(|status| status.maintenance.as_ref())
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
    status: AnchorageClusterStatus,
) -> Result<(), ReconcileError> {
    let before = object.status.clone().unwrap_or_default();
    if before == status {
        return Ok(());
    }
    let name = object.name_any();
    context.write_status::<AnchorageCluster>(Controller::Cluster, &name, None, &status).await?;
    context.tell(object, &before.conditions, &status.conditions).await;
    if pause::has_just_expired(&before.conditions, &status.conditions) {
        context.metrics.pause_expired();
    }
    Ok(())
}

/// At leisure, at its end, or soon while the pinners are yet to hear of it.
fn next_look_for_pause(object: &AnchorageCluster, pause: &Pause, now: Timestamp) -> Duration {
    let usual = if pause.is_pending(noted(object)) { SOON } else { SLOW };
    pause.request.end().map_or(usual, |end| usual.min(until(end, now)))
}

fn until(end: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(now)).unwrap_or_default() + Duration::from_secs(1)
}
