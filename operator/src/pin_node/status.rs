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

/// Why nothing is placed on a node whose Kubo has no room left.
pub const DISK_FULL: &str = "DiskFull";
/// What to do about that.
pub const NO_ROOM: &str = "the disk of its Kubo is full: nothing is placed on the node until there is room, and what was waits. \
    Give it a larger volume, drain the node, or have pins deleted";

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
    let draining = Draining::of(outcome, drain.as_ref(), pod.is_some_and(PodView::is_ready));
    let verdicts = [
        ready(pod, report, outcome, is_outdated(observed, outcome)),
        schedulable(outcome, report),
        draining.verdict(outcome),
        draining.drained(),
        kubo_ready(pod, report),
    ];
    let (scheduling, request_token) = noted(outcome.intent, report, &before);
    let text = |new: Option<&String>, old: Option<String>| new.filter(|new| !new.is_empty()).cloned().or(old);
    PinNodeStatus {
        observed_generation: node.metadata.generation,
        conditions: conditions::merge(&before.conditions, &verdicts, node.metadata.generation, now),
        scheduling,
        request_token,
        node_id: text(report.map(|report| &report.id), before.node_id),
        peer_id: text(report.and_then(|report| report.peer_id.as_ref()), before.peer_id),
        kubernetes_node: pod.and_then(|pod| pod.spec.node_name.clone()).or(before.kubernetes_node),
        drain,
    }
}

/// The status that says no more than that the request was seen, for writing before the pinners are told of it. What it
/// says beside that was so already.
#[must_use]
pub fn acknowledgement(before: &PinNodeStatus, intent: &Intent) -> PinNodeStatus {
    PinNodeStatus {
        scheduling: Some(intent.scheduling),
        request_token: intent.token.clone(),
        drain: drain(intent, None, before.drain.as_ref(), Timestamp::UNIX_EPOCH),
        ..before.clone()
    }
}

/// What the operator asks of the pinners, with its token. A request that is to be taken back stays noted until they have
/// heard that.
fn noted(intent: &Intent, report: Option<&NodeReport>, before: &PinNodeStatus) -> (Option<Scheduling>, Option<String>) {
    let is_active = report.is_some_and(|report| report.scheduling == Scheduling::Active.as_str());
    if intent.scheduling != Scheduling::Active || is_active {
        (Some(intent.scheduling), intent.token.clone())
    } else {
        (before.scheduling, before.request_token.clone())
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
            if report.kubo_disk_full {
                return no(SCHEDULABLE, DISK_FULL, NO_ROOM);
            }
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
    fn of(outcome: &Outcome, drain: Option<&DrainStatus>, pod_is_ready: bool) -> Self {
        if outcome.intent.scheduling != Scheduling::Drained {
            return Draining::NotRequested;
        }
        match outcome.report {
            // A node that never took part cannot hold anything. One that is ready is about to take part.
            Some(Err(AdminError::NotRegistered)) if !pod_is_ready => Draining::Done("NeverRegistered"),
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

/// The drain in the status. Its token and start are there as soon as the request was seen; figures come from the pinners.
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
        let fresh = || DrainStatus {
            request_token: intent.token.clone(),
            start_time: Some(conditions::whole_seconds(now).to_string()),
            ..DrainStatus::default()
        };
        return Some(same.cloned().unwrap_or_else(fresh));
    };
    let mut new = from_report(intent, report);
    // One request has one start, whichever of us saw it first.
    new.start_time = same.and_then(|old| old.start_time.clone()).or(new.start_time);
    Some(match same {
        Some(old) if is_no_news(old, &new, now) => old.clone(),
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

/// Whether `new` says nothing that is worth a write. Times alone are, once a minute, as long as there is something left to
/// move.
fn is_no_news(old: &DrainStatus, new: &DrainStatus, now: Timestamp) -> bool {
    let timeless =
        |drain: &DrainStatus| DrainStatus { heartbeat_time: None, expected_completion_time: None, ..drain.clone() };
    let last: Option<Timestamp> = old.heartbeat_time.as_deref().and_then(|time| time.parse().ok());
    let is_fresh = last.is_some_and(|last| now.duration_since(last) < HEARTBEAT);
    timeless(old) == timeless(new) && (is_fresh || new.placements_remaining == Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(remaining: i64, heartbeat: &str, expected: Option<&str>) -> DrainStatus {
        DrainStatus {
            placements_remaining: Some(remaining),
            heartbeat_time: Some(heartbeat.to_owned()),
            expected_completion_time: expected.map(str::to_owned),
            ..DrainStatus::default()
        }
    }

    #[test]
    fn a_request_starts_when_it_is_seen_and_keeps_its_start() {
        let intent = Intent {
            scheduling: Scheduling::Drained,
            token: Some("kernel-update".to_owned()),
            source: Source::DrainAnnotation,
        };
        let now: Timestamp = "2026-01-01T10:00:00.25Z".parse().unwrap();
        let seen = super::drain(&intent, None, None, now).unwrap();
        assert_eq!(seen.start_time.as_deref(), Some("2026-01-01T10:00:00Z"));
        assert_eq!(super::drain(&intent, None, Some(&seen), now + HEARTBEAT), Some(seen.clone()));
        let report = NodeReport {
            drain: Some(DrainReport {
                start_time: Some("2026-01-01T10:00:01Z".to_owned()),
                placements_remaining: Some(9),
                ..DrainReport::default()
            }),
            ..NodeReport::default()
        };
        let reported = super::drain(&intent, Some(&report), Some(&seen), now).unwrap();
        assert_eq!((reported.start_time, reported.placements_remaining), (seen.start_time, Some(9)));
        let restarted = super::drain(&intent, Some(&report), None, now).unwrap();
        assert_eq!(restarted.start_time.as_deref(), Some("2026-01-01T10:00:01Z"));
    }

    #[test]
    fn progress_is_news_and_times_alone_are_once_a_minute_until_the_end() {
        let old = drain(9, "2026-01-01T10:00:00Z", Some("2026-01-01T10:05:00Z"));
        let at = |time: &str| time.parse().unwrap();
        let soon = drain(9, "2026-01-01T10:00:03Z", Some("2026-01-01T10:05:01Z"));
        assert!(is_no_news(&old, &soon, at("2026-01-01T10:00:03Z")));
        assert!(!is_no_news(&old, &drain(8, "2026-01-01T10:00:03Z", None), at("2026-01-01T10:00:03Z")));
        assert!(!is_no_news(&old, &soon, at("2026-01-01T10:01:00Z")));
        let done = drain(0, "2026-01-01T10:04:00Z", None);
        assert!(is_no_news(&done, &drain(0, "2026-01-01T12:00:00Z", None), at("2026-01-01T12:00:00Z")));
    }
}
