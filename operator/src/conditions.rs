//! Conditions: what is true of an object, since when, and for which generation of its spec.
//!
//! Every condition of a kind is written from the first status on. `lastTransitionTime` moves only when the status word
//! changes, so the same facts give the same conditions and nothing is written.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Longest message of a condition.
const MESSAGE: usize = 2048;

/// What is to be said about one condition type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The condition type, such as `Ready`.
    pub type_: &'static str,
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// One CamelCase word.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
}

/// It is so.
#[must_use]
pub fn yes(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Verdict {
    Verdict { type_, status: "True", reason, message: message.into() }
}

/// It is not so.
#[must_use]
pub fn no(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Verdict {
    Verdict { type_, status: "False", reason, message: message.into() }
}

/// It cannot be told.
#[must_use]
pub fn unknown(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Verdict {
    Verdict { type_, status: "Unknown", reason, message: message.into() }
}

impl Verdict {
    /// Whether the condition is true.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// The conditions that say `verdicts` at `now` about `generation`, given those that were written before.
#[must_use]
pub fn merge(before: &[Condition], verdicts: &[Verdict], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    verdicts
        .iter()
        .map(|verdict| {
            let same = before.iter().find(|old| old.type_ == verdict.type_ && old.status == verdict.status);
            Condition {
                type_: verdict.type_.to_owned(),
                status: verdict.status.to_owned(),
                reason: verdict.reason.to_owned(),
                message: verdict.message.chars().take(MESSAGE).collect(),
                observed_generation: generation,
                last_transition_time: same
                    .map_or_else(|| Time(whole_seconds(now)), |old| old.last_transition_time.clone()),
            }
        })
        .collect()
}

/// A time as a status has it. Kubernetes keeps conditions' times to the second; more digits would differ from what is read
/// back.
pub(crate) fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// What changed from `before` to `after` and is worth an Event: a new reason of a condition that was written before, or
/// bad news from the start.
#[must_use]
pub fn news<'a>(before: &[Condition], after: &'a [Condition]) -> Vec<&'a Condition> {
    after
        .iter()
        .filter(|new| {
            let old = before.iter().find(|old| old.type_ == new.type_);
            old.is_some_and(|old| old.reason != new.reason || old.status != new.status)
        })
        .collect()
}

/// Whether a condition says something good. `Degraded` is the one that is good when false; neither a drain nor a pause nor
/// progress is bad, but a pause that nobody ended, or that was refused, is.
#[must_use]
pub fn is_good(condition: &Condition) -> bool {
    match condition.type_.as_str() {
        "Degraded" => condition.status != "True",
        "Maintenance" => !matches!(condition.reason.as_str(), crate::cluster::pause::EXPIRED | "Refused"),
        "Progressing" | "Draining" | "Drained" | "Schedulable" => true,
        _ => condition.status == "True",
    }
}

/// The text of an Event about a condition; Events allow one kilobyte.
#[must_use]
pub fn note(condition: &Condition) -> String {
    let text = format!("{}={}: {}", condition.type_, condition.status, condition.message);
    let end = text.char_indices().map(|(index, c)| index + c.len_utf8()).take_while(|end| *end <= 1000).last();
    text[..end.unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_same_verdict_later_changes_nothing() {
        let first = merge(&[], &[no("Ready", "Starting", "wait")], Some(1), at(10));
        assert_eq!(merge(&first, &[no("Ready", "Starting", "wait")], Some(1), at(99)), first);
    }

    #[test]
    fn only_a_new_status_moves_the_transition_time() {
        let first = merge(&[], &[no("Ready", "Starting", "wait")], Some(1), at(10));
        let other_reason = merge(&first, &[no("Ready", "Crashing", "look")], Some(2), at(20));
        assert_eq!(other_reason[0].last_transition_time, first[0].last_transition_time);
        assert_eq!(other_reason[0].observed_generation, Some(2));
        let ready = merge(&other_reason, &[yes("Ready", "Ready", "")], Some(2), at(30));
        assert_eq!(ready[0].last_transition_time, Time(at(30)));
    }

    #[test]
    fn a_new_reason_is_news_once() {
        let first = merge(&[], &[no("Ready", "Starting", "wait")], Some(1), at(10));
        let second = merge(&first, &[no("Ready", "Crashing", "look")], Some(1), at(20));
        assert_eq!(news(&first, &second).len(), 1);
        assert!(news(&second, &second).is_empty());
        assert!(news(&[], &first).is_empty());
    }
}
