//! What a PinNode's status should say. Pure.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::observe::Observed;
use super::plan::Wait;
use super::scheduling::{Intent, Source};
use crate::admin_api::{AdminError, DrainReport, NodeReport};
use crate::apply::ApplyError;
use crate::conditions::{self, Verdict, no, unknown, yes};
use crate::crd::pin_node::DrainStatus;
use crate::crd::{PinNode, PinNodeStatus, Scheduling};
use crate::trouble;
use crate::views::PodView;
use crate::workload::StatefulSetState;

/// How often a heartbeat alone is worth a write.
const HEARTBEAT: SignedDuration = SignedDuration::from_secs(60);

/// What became of a PinNode in this reconciliation.
pub struct Outcome<'a> {
    /// What is asked of it.
    pub intent: &'a Intent,
    /// What the pinners say about it: nothing when they could not be asked yet.
    pub report: Option<Result<&'a NodeReport, &'a AdminError>>,
    /// What its StatefulSet waits for.
    pub wait: Option<&'a Wait>,
    /// What stopped applying.
    pub failure: Option<&'a ApplyError>,
}

/// The status that `node` should have.
#[must_use]
pub fn status(node: &PinNode, observed: &Observed, outcome: &Outcome, now: Timestamp) -> PinNodeStatus {
    let before = node.status.clone().unwrap_or_default();
    let report = outcome.report.and_then(Result::ok);
    let pod = observed.pod.as_deref();
    let drain = drain(outcome.intent, report, before.drain.as_ref(), now);
    let draining = Draining::of(outcome, drain.as_ref());
    let verdicts = [
        ready(pod, report, outcome, is_outdated(observed, outcome)),
        schedulable(outcome, report),
        draining.verdict(outcome),
        draining.drained(),
        kubo_ready(pod, report),
    ];
    let delivered = report.is_some_and(|report| outcome.intent.scheduling.as_str() == report.scheduling);
    let text = |new: Option<&String>, old: Option<String>| new.filter(|new| !new.is_empty()).cloned().or(old);
    PinNodeStatus {
        observed_generation: node.metadata.generation,
        conditions: conditions::merge(&before.conditions, &verdicts, node.metadata.generation, now),
        // Until the pinners have heard, the status keeps what they heard last.
        scheduling: if delivered { Some(outcome.intent.scheduling) } else { before.scheduling },
        request_token: outcome.intent.token.clone(),
        node_id: text(report.map(|report| &report.id), before.node_id),
        peer_id: text(report.and_then(|report| report.peer_id.as_ref()), before.peer_id),
        kubernetes_node: pod.and_then(|pod| pod.spec.node_name.clone()),
        drain,
    }
}

/// Whether the pod that runs is not the one that the spec asks for.
fn is_outdated(observed: &Observed, outcome: &Outcome) -> bool {
    let waits = outcome.wait.is_some_and(|wait| wait.reason == "WaitingForTurn");
    waits || observed.stateful_set.as_ref().is_some_and(|live| !StatefulSetState::of(live).is_updated)
}

fn ready(pod: Option<&PodView>, report: Option<&NodeReport>, outcome: &Outcome, is_outdated: bool) -> Verdict {
    const READY: &str = "Ready";
    if let Some(failure) = outcome.failure {
        return no(READY, failure.reason(), crate::health::describe(failure));
    }
    let Some(pod) = pod else {
        return match outcome.wait {
            Some(wait) => no(READY, wait.reason, wait.message.clone()),
            None => no(READY, "Starting", "the pod is being made"),
        };
    };
    if let Some(trouble) = trouble::of(pod) {
        return no(READY, trouble.reason, trouble.message);
    }
    if !pod.is_ready() {
        return no(READY, "Starting", starting(pod));
    }
    match (outcome.report, report) {
        (_, Some(report)) if report.state == "down" => {
            no(READY, "NotHeardOf", "the pod is ready but the other pinners do not hear of it; look at NATS")
        }
        (Some(Err(AdminError::NotRegistered)), _) => no(READY, "Starting", "the pinner has not registered yet"),
        _ if is_outdated => yes(READY, "RollingOut", "the pod is well and will be replaced when its turn comes"),
        // What cannot be asked now does not make a ready pod unready.
        _ => yes(READY, "Ready", ""),
    }
}

fn starting(pod: &PodView) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let waits: Vec<&str> =
        pod.containers().filter(|container| !container.ready).map(|container| container.name.as_str()).collect();
    match waits.first() {
        Some(first) => format!("waiting for container {first} of pod {name}"),
        None => format!("waiting for pod {name}"),
    }
}

fn schedulable(outcome: &Outcome, report: Option<&NodeReport>) -> Verdict {
    const SCHEDULABLE: &str = "Schedulable";
    let intent = outcome.intent;
    if intent.scheduling != Scheduling::Active {
        let asked = match (&intent.token, intent.source) {
            (Some(token), _) if !token.is_empty() => format!("{}: {token}", intent.scheduling.as_str()),
            (_, Source::KubernetesNodeCordon) => "the Kubernetes Node is cordoned; data stays".to_owned(),
            _ => intent.scheduling.as_str().to_owned(),
        };
        return no(SCHEDULABLE, intent.source.reason(), asked);
    }
    match report {
        Some(report) if report.scheduling == Scheduling::Active.as_str() && report.state != "maintenance" => {
            yes(SCHEDULABLE, "Active", "")
        }
        Some(report) => {
            let why = report.reason_text();
            no(SCHEDULABLE, "RequestedByAdmin", format!("{} by `anchorage admin`{why}", report.scheduling))
        }
        None => unknown(SCHEDULABLE, "NotKnown", unheard(outcome)),
    }
}

fn unheard(outcome: &Outcome) -> String {
    match outcome.report {
        Some(Err(error)) => error.to_string(),
        _ => "the pinners could not be asked yet".to_owned(),
    }
}

fn kubo_ready(pod: Option<&PodView>, report: Option<&NodeReport>) -> Verdict {
    const KUBO: &str = "KuboReady";
    let Some(kubo) = pod.and_then(|pod| pod.container("kubo")) else {
        return no(KUBO, "NotRunning", "Kubo's container does not run yet");
    };
    if kubo.started != Some(true) || kubo.state.running.is_none() {
        return no(KUBO, "Starting", "Kubo has not answered yet");
    }
    match report {
        Some(report) if !report.kubo_ready && report.live => {
            no(KUBO, "NotAnswering", "the pinner does not reach its Kubo; see `kubectl logs` of container kubo")
        }
        _ => yes(KUBO, "Answering", ""),
    }
}

/// Where a drain stands.
enum Draining {
    NotRequested,
    /// The pinners could not be told yet.
    Undelivered(String),
    UnderWay(String),
    Blocked(String),
    Done(&'static str),
}

impl Draining {
    fn of(outcome: &Outcome, drain: Option<&DrainStatus>) -> Self {
        if outcome.intent.scheduling != Scheduling::Drained {
            return Draining::NotRequested;
        }
        match outcome.report {
            // A node that never took part cannot hold anything.
            Some(Err(AdminError::NotRegistered)) => Draining::Done("NeverRegistered"),
            Some(Ok(report)) if report.state == "drained" => Draining::Done("Drained"),
            Some(Ok(_)) => {
                let blocked = drain.map(|drain| drain.blocked_by.join("; ")).unwrap_or_default();
                let remaining = drain.and_then(|drain| drain.placements_remaining);
                if !blocked.is_empty() {
                    return Draining::Blocked(blocked);
                }
                Draining::UnderWay(match remaining {
                    Some(remaining) => format!("{remaining} placements are on the node still"),
                    None => "the pinners have taken up the drain".to_owned(),
                })
            }
            Some(Err(error)) => Draining::Undelivered(error.to_string()),
            None => Draining::Undelivered("the cluster's admin token does not exist yet".to_owned()),
        }
    }

    fn verdict(&self, outcome: &Outcome) -> Verdict {
        const DRAINING: &str = "Draining";
        match self {
            Draining::NotRequested => no(DRAINING, "NotRequested", ""),
            Draining::Undelivered(why) => yes(
                DRAINING,
                "WaitingForPinners",
                format!("the drain was seen and waits until it can be passed on: {why}"),
            ),
            Draining::UnderWay(progress) => yes(DRAINING, outcome.intent.source.reason(), progress.clone()),
            Draining::Blocked(why) => yes(DRAINING, "Blocked", why.clone()),
            Draining::Done(reason) => no(DRAINING, reason, ""),
        }
    }

    fn drained(&self) -> Verdict {
        const DRAINED: &str = "Drained";
        match self {
            Draining::NotRequested => no(DRAINED, "NotRequested", ""),
            Draining::Undelivered(why) => no(DRAINED, "WaitingForPinners", why.clone()),
            Draining::UnderWay(progress) => no(DRAINED, "Draining", progress.clone()),
            Draining::Blocked(why) => no(DRAINED, "Blocked", why.clone()),
            Draining::Done(reason) => yes(DRAINED, reason, "no placement is on the node"),
        }
    }
}

/// The drain in the status. Its token is there as soon as the request was seen; figures come from the pinners.
fn drain(
    intent: &Intent,
    report: Option<&NodeReport>,
    before: Option<&DrainStatus>,
    now: Timestamp,
) -> Option<DrainStatus> {
    if intent.scheduling != Scheduling::Drained {
        return None;
    }
    let same = before.filter(|before| before.request_token == intent.token);
    let Some(report) = report.and_then(|report| report.drain.as_ref()) else {
        let fresh = DrainStatus { request_token: intent.token.clone(), ..DrainStatus::default() };
        return Some(same.cloned().unwrap_or(fresh));
    };
    let new = from_report(intent, report);
    Some(match same {
        Some(old) if is_only_a_heartbeat(old, &new, now) => old.clone(),
        _ => new,
    })
}

fn from_report(intent: &Intent, report: &DrainReport) -> DrainStatus {
    DrainStatus {
        request_token: intent.token.clone(),
        start_time: report.start_time.clone(),
        heartbeat_time: report.heartbeat_time.clone(),
        expected_completion_time: report.expected_completion_time.clone(),
        placements_total: report.placements_total,
        placements_remaining: report.placements_remaining,
        bytes_remaining: report.bytes_remaining,
        blocked_by: report.blocked_by.iter().take(16).map(|why| why.chars().take(1024).collect()).collect(),
    }
}

/// Whether `new` differs from `old` by a heartbeat that is too fresh to be worth a write.
fn is_only_a_heartbeat(old: &DrainStatus, new: &DrainStatus, now: Timestamp) -> bool {
    let rest_is_same = DrainStatus { heartbeat_time: old.heartbeat_time.clone(), ..new.clone() } == *old;
    let last: Option<Timestamp> = old.heartbeat_time.as_deref().and_then(|time| time.parse().ok());
    rest_is_same && last.is_some_and(|last| now.duration_since(last) < HEARTBEAT)
}
