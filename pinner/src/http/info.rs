//! `info` of a pin: what a user who waits wants to know. How far it is, why it is not done, when it goes on.
//!
//! Texts all of them, as the specification has it (HAZARDS 20). `status_details` is for people; `phase` and `reason`
//! are codes of closed sets, for programs.

use super::wire::timestamp;
use crate::db::pins::ProgressRow;
use pinner_core::attempt::Reason;
use std::collections::BTreeMap;

/// What becomes of a pin, finer than its status: `placing`, `queued`, `fetching`, `waiting`, `done`, `failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No node could be found that takes it.
    Placing,
    /// It waits for its turn on a node.
    Queued,
    /// A node fetches it.
    Fetching,
    /// An attempt came to nothing and another one follows.
    Waiting,
    /// It is pinned.
    Done,
    /// It was given up.
    Failed,
}

impl Phase {
    fn of(status: &str, progress: &ProgressRow) -> Self {
        match status {
            "pinned" => Self::Done,
            "failed" => Self::Failed,
            _ if progress.copies == 0 => Self::Placing,
            "queued" => Self::Queued,
            _ if progress.next_attempt.is_some() => Self::Waiting,
            _ => Self::Fetching,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Placing => "placing",
            Self::Queued => "queued",
            Self::Fetching => "fetching",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// Puts together what is known of a pin with this status.
pub(super) fn info(status: &str, progress: &ProgressRow) -> BTreeMap<String, String> {
    let phase = Phase::of(status, progress);
    let mut info = BTreeMap::from([
        ("phase".to_owned(), phase.as_str().to_owned()),
        ("status_details".to_owned(), details(phase, progress)),
    ]);
    let mut say = |key: &str, value: Option<String>| info.extend(value.map(|value| (key.to_owned(), value)));
    let placed = phase != Phase::Placing;
    let unfinished = phase != Phase::Done;
    say("copies", placed.then(|| format!("{} of {}", progress.pinned, progress.copies)));
    say("blocks", unfinished.then(|| progress.blocks.to_string()));
    say("bytes", unfinished.then(|| progress.bytes.to_string()));
    say("dag_size", (phase == Phase::Done && progress.bytes > 0).then(|| progress.bytes.to_string()));
    say("attempts", (unfinished && progress.attempts > 0).then(|| progress.attempts.to_string()));
    say("next_retry", progress.next_attempt.filter(|_| phase == Phase::Waiting).map(timestamp));
    say("reason", reason(phase, progress));
    say("pinned_until", progress.expires.map(timestamp));
    info
}

fn details(phase: Phase, progress: &ProgressRow) -> String {
    let copies = format!("{} of {} copies", progress.pinned, progress.copies);
    let why = progress.error.as_deref();
    match phase {
        Phase::Placing => "waiting for a node that can take it".to_owned(),
        Phase::Queued => "waiting for its turn on a node".to_owned(),
        Phase::Fetching if progress.blocks == 0 => format!("{copies}; looking for peers that have it"),
        Phase::Fetching => format!("{copies}; {} blocks have come", progress.blocks),
        Phase::Waiting => format!("{copies}; {}", why.unwrap_or("the last attempt failed")),
        Phase::Done => copies,
        Phase::Failed => progress.refused.as_deref().or(why).unwrap_or("no node could fetch it").to_owned(),
    }
}

/// Only of what waits or has failed: of what is under way again the last failure says nothing.
fn reason(phase: Phase, progress: &ProgressRow) -> Option<String> {
    match phase {
        Phase::Failed if progress.refused.is_some() => Some(Reason::Quota.as_str().to_owned()),
        Phase::Failed | Phase::Waiting => progress.reason.clone(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn progress() -> ProgressRow {
        ProgressRow {
            nodes: vec![],
            copies: 2,
            pinned: 0,
            attempts: 0,
            blocks: 0,
            bytes: 0,
            next_attempt: None,
            error: None,
            reason: None,
            expires: None,
            refused: None,
        }
    }

    /// All of it in one text, in the order of the keys.
    fn told(status: &str, progress: &ProgressRow) -> String {
        info(status, progress).iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }

    #[test]
    fn on_its_way_it_says_where_it_is() {
        insta::assert_snapshot!(told("queued", &ProgressRow { copies: 0, ..progress() }), @r"
        blocks=0
        bytes=0
        phase=placing
        status_details=waiting for a node that can take it
        ");
        insta::assert_snapshot!(told("queued", &progress()), @r"
        blocks=0
        bytes=0
        copies=0 of 2
        phase=queued
        status_details=waiting for its turn on a node
        ");
        insta::assert_snapshot!(told("pinning", &progress()), @r"
        blocks=0
        bytes=0
        copies=0 of 2
        phase=fetching
        status_details=0 of 2 copies; looking for peers that have it
        ");
        let half = ProgressRow { pinned: 1, blocks: 7, bytes: 900, ..progress() };
        insta::assert_snapshot!(told("pinning", &half), @r"
        blocks=7
        bytes=900
        copies=1 of 2
        phase=fetching
        status_details=1 of 2 copies; 7 blocks have come
        ");
    }

    #[test]
    fn waiting_it_says_why_and_until_when() {
        let waiting = ProgressRow {
            attempts: 3,
            next_attempt: Some(datetime!(2026-11-22 16:35:00 UTC)),
            error: Some("no block arrived for 120 s".into()),
            reason: Some("NO_PROVIDERS".into()),
            ..progress()
        };
        insta::assert_snapshot!(told("pinning", &waiting), @r"
        attempts=3
        blocks=0
        bytes=0
        copies=0 of 2
        next_retry=2026-11-22T16:35:00.000Z
        phase=waiting
        reason=NO_PROVIDERS
        status_details=0 of 2 copies; no block arrived for 120 s
        ");
    }

    #[test]
    fn pinned_it_says_how_large_it_is_and_until_when_it_stays() {
        let done = ProgressRow {
            pinned: 2,
            blocks: 13,
            bytes: 3_000_609,
            expires: Some(datetime!(2027-01-01 0:00 UTC)),
            ..progress()
        };
        insta::assert_snapshot!(told("pinned", &done), @r"
        copies=2 of 2
        dag_size=3000609
        phase=done
        pinned_until=2027-01-01T00:00:00.000Z
        status_details=2 of 2 copies
        ");
    }

    #[test]
    fn failed_it_says_why_and_over_its_limit_what_limit() {
        let failed = ProgressRow { error: Some("given up".into()), reason: Some("DEADLINE".into()), ..progress() };
        insta::assert_snapshot!(told("failed", &failed), @r"
        blocks=0
        bytes=0
        copies=0 of 2
        phase=failed
        reason=DEADLINE
        status_details=given up
        ");
        // What became of the content for others is no matter.
        let refused = ProgressRow { pinned: 2, refused: Some("over the limit of 10 bytes".into()), ..progress() };
        insta::assert_snapshot!(told("failed", &refused), @r"
        blocks=0
        bytes=0
        copies=2 of 2
        phase=failed
        reason=QUOTA
        status_details=over the limit of 10 bytes
        ");
    }
}
