//! Where a cluster's pause stands: what was asked for, what the pinners say, and what is to be told to them. Pure.
//!
//! The operator takes back only a pause of its own: one whose token it noted in the status before it asked for it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::maintenance::Maintenance;
use crate::admin_api::AdminError;
use crate::admin_api::pause::{PauseDetails, PauseReport, PauseRequest};
use crate::conditions::{Verdict, no, unknown, yes};
use crate::crd::anchorage_cluster::MaintenanceStatus;
use crate::names;

const MAINTENANCE: &str = "Maintenance";
/// Condition reason of a pause that ended by itself.
pub const EXPIRED: &str = "Expired";
/// Token of a request that has none: an empty one could be anybody's.
const NAMELESS: &str = "anchorage-operator";
/// Times that lie so close together are the same, however they are written.
const SAME: SignedDuration = SignedDuration::from_secs(1);

/// What to tell the pinners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// They have it as it should be.
    Nothing,
    /// Ask for a pause.
    Begin(PauseRequest),
    /// Take back what was asked for.
    End,
}

/// What was asked for and what came of it.
#[derive(Clone, Debug)]
pub struct Pause {
    /// The request.
    pub request: Maintenance,
    /// What the pinners say: nothing when none of them is ready to be asked.
    pub report: Option<Result<PauseReport, AdminError>>,
}

/// What to tell pinners that say `report`. `noted` is what the status says that was asked for.
#[must_use]
pub fn step(request: &Maintenance, noted: Option<&MaintenanceStatus>, report: &PauseReport) -> Step {
    match request {
        Maintenance::Paused(wanted) if has(report, wanted) || has_ended(report, wanted) => Step::Nothing,
        Maintenance::Paused(wanted) => Step::Begin(PauseRequest {
            until_time: wanted.until_time.clone().unwrap_or_default(),
            reason: wanted.request_token.clone(),
            request_token: token(wanted).to_owned(),
        }),
        // At its end the watchdog ends it; sooner, if the request names an earlier end now.
        Maintenance::Expired(was) if is_of(report, was) && !has(report, was) => Step::End,
        Maintenance::Expired(_) => Step::Nothing,
        Maintenance::None => match noted {
            Some(noted) if is_of(report, noted) || has_expired(report, noted) => Step::End,
            _ => Step::Nothing,
        },
    }
}

impl Pause {
    /// Whether moves stop now, as far as known: a request counts as soon as it is seen, unless the pinners refuse it.
    #[must_use]
    pub fn is_on(&self) -> bool {
        let is_coming = self.request.is_paused() && self.refusal().is_none();
        is_coming || matches!(&self.report, Some(Ok(report)) if report.paused)
    }

    /// What the pinners do not like about the request.
    fn refusal(&self) -> Option<&str> {
        match &self.report {
            Some(Err(AdminError::Refused { status: 400, details })) => Some(details),
            _ => None,
        }
    }

    /// Whether the pinners are yet to hear, or to do, what was asked for.
    #[must_use]
    pub fn is_pending(&self, noted: Option<&MaintenanceStatus>) -> bool {
        match (&self.request, &self.report) {
            (Maintenance::None, _) => self.status(noted).is_some(),
            (Maintenance::Paused(wanted), Some(Ok(report))) => !has(report, wanted) && !has_ended(report, wanted),
            (Maintenance::Paused(_), _) => self.refusal().is_none(),
            (Maintenance::Expired(was), Some(Ok(report))) => is_of(report, was),
            (Maintenance::Expired(_), _) => false,
        }
    }

    /// What goes into the cluster's status. A request that was taken back stays until the pinners have heard that.
    #[must_use]
    pub fn status(&self, noted: Option<&MaintenanceStatus>) -> Option<MaintenanceStatus> {
        self.request.status().or_else(|| {
            let is_over = |noted: &MaintenanceStatus| {
                matches!(&self.report, Some(Ok(report)) if !is_of(report, noted) && !has_expired(report, noted))
            };
            noted.filter(|noted| !is_over(noted)).cloned()
        })
    }

    /// The condition `Maintenance`: true once the pinners have the pause. `before` are the conditions written last.
    #[must_use]
    pub fn verdict(&self, noted: Option<&MaintenanceStatus>, before: &[Condition]) -> Verdict {
        match (&self.request, &self.report) {
            (Maintenance::Paused(wanted), Some(Ok(report))) if has(report, wanted) => on(wanted),
            (Maintenance::Paused(wanted), Some(Ok(report))) if has_ended(report, wanted) => ended(wanted),
            (Maintenance::Paused(_), _) if self.refusal().is_some() => {
                let details = self.refusal().unwrap_or_default();
                no(MAINTENANCE, "Refused", format!("nothing is paused, for the pinners refuse the pause: {details}"))
            }
            (Maintenance::Paused(_), report) => {
                let why = why(report.as_ref());
                no(MAINTENANCE, "WaitingForPinners", format!("the pause waits until it can be passed on: {why}"))
            }
            (Maintenance::Expired(was), Some(Ok(report))) if is_of(report, was) => on(was),
            (_, Some(Ok(report))) if report.paused => by_admin(&report.current),
            (Maintenance::Expired(was), _) => ended(was),
            (Maintenance::None, report) => match (self.status(noted), report) {
                (Some(_), report) => {
                    let why = why(report.as_ref());
                    let message = format!("the end of the pause waits until it can be passed on: {why}");
                    unknown(MAINTENANCE, "WaitingForPinners", message)
                }
                (None, Some(Ok(PauseReport { expired: Some(expired), .. }))) => ended_by_itself(expired),
                (None, Some(Ok(_))) => no(MAINTENANCE, "NotRequested", ""),
                (None, _) => last_known(before),
            },
        }
    }
}

/// Whether these conditions are the first to say that a pause ended by itself.
#[must_use]
pub fn has_just_expired(before: &[Condition], after: &[Condition]) -> bool {
    let says = |conditions: &[Condition]| {
        conditions.iter().any(|condition| condition.type_ == MAINTENANCE && condition.reason == EXPIRED)
    };
    says(after) && !says(before)
}

fn on(pause: &MaintenanceStatus) -> Verdict {
    let until = pause.until_time.as_deref().unwrap_or_default();
    let what = "No data moves, and no PinNode is removed by a smaller spec.nodes meanwhile";
    yes(MAINTENANCE, "Requested", format!("paused until {until}{}. {what}", colon(&pause.request_token)))
}

fn ended(pause: &MaintenanceStatus) -> Verdict {
    let until = pause.until_time.as_deref().unwrap_or_default();
    let message = format!(
        "the pause ended by itself at {until}. Remove spec.maintenance and the annotation {}, or ask again with a later end",
        names::MAINTENANCE
    );
    no(MAINTENANCE, EXPIRED, message)
}

fn by_admin(pause: &PauseDetails) -> Verdict {
    let until = pause.until_time.as_deref().unwrap_or_default();
    let reason = colon(pause.reason.as_deref().unwrap_or_default());
    yes(MAINTENANCE, "RequestedByAdmin", format!("paused by `anchorage admin` until {until}{reason}"))
}

fn ended_by_itself(pause: &PauseDetails) -> Verdict {
    let until = pause.until_time.as_deref().unwrap_or_default();
    let reason = colon(pause.reason.as_deref().unwrap_or_default());
    no(MAINTENANCE, EXPIRED, format!("the pause by `anchorage admin` ended by itself at {until}{reason}"))
}

/// What is said while nobody can be asked and nothing was asked for.
fn last_known(before: &[Condition]) -> Verdict {
    match before.iter().find(|condition| condition.type_ == MAINTENANCE && condition.reason == "RequestedByAdmin") {
        Some(was) => yes(MAINTENANCE, "RequestedByAdmin", was.message.clone()),
        None => no(MAINTENANCE, "NotRequested", ""),
    }
}

fn why(report: Option<&Result<PauseReport, AdminError>>) -> String {
    match report {
        None => "no pinner is ready".to_owned(),
        Some(Err(error)) => error.to_string(),
        Some(Ok(_)) => "the pinners still say something else".to_owned(),
    }
}

fn colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

fn token(pause: &MaintenanceStatus) -> &str {
    if pause.request_token.is_empty() { NAMELESS } else { &pause.request_token }
}

/// Whether the pause that is on was asked for by this request, with whatever end.
fn is_of(report: &PauseReport, pause: &MaintenanceStatus) -> bool {
    report.paused && report.current.request_token.as_deref() == Some(token(pause))
}

/// Whether the pause is on exactly as asked for.
fn has(report: &PauseReport, pause: &MaintenanceStatus) -> bool {
    is_of(report, pause) && is_same_time(&report.current, pause)
}

/// Whether a pause of this request, with whatever end, ended by itself.
fn has_expired(report: &PauseReport, pause: &MaintenanceStatus) -> bool {
    report.expired.as_ref().is_some_and(|expired| expired.request_token.as_deref() == Some(token(pause)))
}

/// Whether exactly this pause ended by itself: the pinners' clock is ahead of ours.
fn has_ended(report: &PauseReport, pause: &MaintenanceStatus) -> bool {
    has_expired(report, pause) && report.expired.as_ref().is_some_and(|expired| is_same_time(expired, pause))
}

fn is_same_time(details: &PauseDetails, pause: &MaintenanceStatus) -> bool {
    let parse = |time: Option<&str>| time.and_then(|time| time.parse::<Timestamp>().ok());
    match (parse(details.until_time.as_deref()), parse(pause.until_time.as_deref())) {
        (Some(theirs), Some(ours)) => theirs.duration_since(ours).abs() <= SAME,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(token: &str, until: &str) -> MaintenanceStatus {
        MaintenanceStatus {
            request_token: token.to_owned(),
            start_time: Some("2026-01-01T10:00:00Z".to_owned()),
            until_time: Some(until.to_owned()),
        }
    }

    fn says(report: serde_json::Value) -> PauseReport {
        serde_json::from_value(report).unwrap()
    }

    fn paused(token: &str, until: &str) -> PauseReport {
        says(json!({ "paused": true, "requestToken": token, "untilTime": until }))
    }

    const NOON: &str = "2026-01-01T12:00:00Z";
    const EVENING: &str = "2026-01-01T18:00:00Z";

    #[test]
    fn a_pause_is_asked_for_until_the_pinners_have_it_as_it_is_wanted() {
        let wanted = asked("disk", NOON);
        let request = Maintenance::Paused(wanted.clone());
        let begin = |report: PauseReport| matches!(step(&request, Some(&wanted), &report), Step::Begin(_));
        assert!(begin(says(json!({ "paused": false }))));
        assert!(begin(paused("disk", EVENING)), "another end");
        assert!(begin(paused("by hand", NOON)), "somebody else's");
        assert!(!begin(paused("disk", "2026-01-01T13:00:00.000+01:00")), "the same time, written otherwise");
    }

    #[test]
    fn only_a_pause_of_our_own_is_taken_back() {
        let noted = asked("disk", NOON);
        let ends = |noted, report: PauseReport| step(&Maintenance::None, noted, &report) == Step::End;
        assert!(ends(Some(&noted), paused("disk", NOON)));
        assert!(!ends(Some(&noted), paused("by hand", NOON)));
        assert!(!ends(None, paused("disk", NOON)));
        let by_hand = says(json!({ "paused": true, "untilTime": NOON }));
        let nameless = asked("", NOON);
        assert!(!ends(Some(&nameless), by_hand), "a request without a token does not own one without");
        let expired = says(json!({ "paused": false, "expired": { "requestToken": "disk", "untilTime": NOON } }));
        assert!(ends(Some(&noted), expired), "its trace is removed as well");
    }

    #[test]
    fn an_end_that_moves_into_the_past_ends_the_pause_and_a_reached_one_is_left_to_the_watchdog() {
        let request = Maintenance::Expired(asked("disk", NOON));
        assert_eq!(step(&request, None, &paused("disk", EVENING)), Step::End);
        assert_eq!(step(&request, None, &paused("disk", NOON)), Step::Nothing);
        assert_eq!(step(&request, None, &paused("by hand", EVENING)), Step::Nothing);
    }

    #[test]
    fn pinners_whose_clock_is_ahead_are_not_asked_again() {
        let wanted = asked("disk", NOON);
        let ended = says(json!({ "paused": false, "expired": { "requestToken": "disk", "untilTime": NOON } }));
        assert_eq!(step(&Maintenance::Paused(wanted.clone()), None, &ended), Step::Nothing);
        let pause = Pause { request: Maintenance::Paused(wanted), report: Some(Ok(ended)) };
        assert_eq!(pause.verdict(None, &[]).reason, "Expired");
    }

    #[test]
    fn what_was_asked_for_is_noted_until_the_pinners_have_let_it_go() {
        let noted = asked("disk", NOON);
        let status = |report| Pause { request: Maintenance::None, report }.status(Some(&noted));
        assert!(status(None).is_some());
        assert!(status(Some(Ok(paused("disk", NOON)))).is_some());
        assert!(status(Some(Ok(says(json!({ "paused": false }))))).is_none());
        assert!(status(Some(Ok(paused("by hand", NOON)))).is_none());
    }

    #[test]
    fn the_condition_is_true_only_when_the_pinners_have_the_pause() {
        let wanted = asked("disk", NOON);
        let verdict = |request, report| {
            let verdict = Pause { request, report }.verdict(Some(&wanted), &[]);
            (verdict.status, verdict.reason)
        };
        let request = || Maintenance::Paused(wanted.clone());
        assert_eq!(verdict(request(), None), ("False", "WaitingForPinners"));
        assert_eq!(verdict(request(), Some(Err(AdminError::NotRegistered))), ("False", "WaitingForPinners"));
        assert_eq!(verdict(request(), Some(Ok(paused("disk", NOON)))), ("True", "Requested"));
        let refused = AdminError::Refused { status: 400, details: "untilTime: is more than 30 days away".to_owned() };
        assert_eq!(verdict(request(), Some(Err(refused))), ("False", "Refused"));
        assert_eq!(verdict(Maintenance::None, None), ("Unknown", "WaitingForPinners"));
        assert_eq!(verdict(Maintenance::None, Some(Ok(paused("by hand", NOON)))), ("True", "RequestedByAdmin"));
        assert_eq!(verdict(Maintenance::Expired(wanted.clone()), None), ("False", "Expired"));
    }
}
