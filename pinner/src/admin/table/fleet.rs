//! The pause, the plan and the presences as tables.

use super::{or_dash, render};
use crate::admin::byte_size;
use serde::Deserialize;

/// Whether moves are paused.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct Maintenance {
    paused: bool,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    start_time: Option<String>,
    #[serde(default)]
    until_time: Option<String>,
    /// The last pause, if nobody ended it in time.
    #[serde(default)]
    expired: Option<Expired>,
}

/// A pause that outlived its end.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expired {
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    start_time: Option<String>,
    #[serde(default)]
    until_time: Option<String>,
}

/// What moves so that nodes hold their shares.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::admin) struct Plan {
    pub(in crate::admin) id: String,
    pub(in crate::admin) moves: Vec<Move>,
    partitions: u64,
    contents: u64,
    bytes: u64,
    #[serde(default)]
    blocked_by: Vec<String>,
}

/// What one node gets of another, for one reason.
#[derive(Debug, Deserialize)]
pub(in crate::admin) struct Move {
    from: Option<String>,
    to: Option<String>,
    why: String,
    partitions: u64,
    contents: u64,
    bytes: u64,
}

/// Which pinners are there.
#[derive(Debug, Deserialize)]
pub(in crate::admin) struct Presences {
    presences: Vec<Presence>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Presence {
    id: String,
    name: String,
    live: bool,
    last_seen: String,
    map_version: u64,
    roles: Vec<String>,
    kubo_ready: bool,
}

impl Plan {
    /// What the table does not say: that there is nothing to move, or why it will not move.
    pub(in crate::admin) fn note(&self) -> Option<String> {
        if self.moves.is_empty() {
            return Some("nothing to move: every node holds its share".to_owned());
        }
        (!self.blocked_by.is_empty()).then(|| format!("blocked by: {}", self.blocked_by.join("; ")))
    }
}

/// One line for the pause that is, and one for the last one if nobody ended it.
pub(in crate::admin) fn maintenance(maintenance: &Maintenance) -> String {
    let row = |state: &str, since: Option<&str>, until: Option<&str>, reason: Option<&str>| {
        [state.to_owned(), or_dash(since), or_dash(until), or_dash(reason)]
    };
    let now = row(
        if maintenance.paused { "on" } else { "off" },
        maintenance.start_time.as_deref(),
        maintenance.until_time.as_deref(),
        maintenance.reason.as_deref(),
    );
    let expired = maintenance
        .expired
        .as_ref()
        .map(|last| row("expired", last.start_time.as_deref(), last.until_time.as_deref(), last.reason.as_deref()));
    render(["MAINTENANCE", "SINCE", "UNTIL", "REASON"], std::iter::once(now).chain(expired))
}

/// One line a move, and one for all.
pub(in crate::admin) fn plan(plan: &Plan) -> String {
    let moves = plan.moves.iter().map(|step| {
        [
            or_dash(step.from.as_deref()),
            or_dash(step.to.as_deref()),
            step.partitions.to_string(),
            step.contents.to_string(),
            byte_size::show(step.bytes),
            step.why.clone(),
        ]
    });
    let total = [
        "total".to_owned(),
        String::new(),
        plan.partitions.to_string(),
        plan.contents.to_string(),
        byte_size::show(plan.bytes),
        format!("plan {}", plan.id),
    ];
    render(["FROM", "TO", "PARTITIONS", "CONTENTS", "BYTES", "WHY"], moves.chain([total]))
}

/// One line a pinner.
pub(in crate::admin) fn presences(presences: &Presences) -> String {
    let rows = presences.presences.iter().map(|presence| {
        [
            presence.name.clone(),
            presence.id.clone(),
            if presence.live { "yes" } else { "no" }.to_owned(),
            presence.last_seen.clone(),
            presence.map_version.to_string(),
            if presence.kubo_ready { "ready" } else { "down" }.to_owned(),
            or_dash(Some(&presence.roles.join(","))),
        ]
    });
    render(["NAME", "ID", "LIVE", "LAST-SEEN", "MAP", "KUBO", "LEADS"], rows)
}
