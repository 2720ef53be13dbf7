//! A node as the admin API tells it.

use crate::{
    db::{
        fleet::FleetRow,
        lead::Role,
        nodes::{NodeRow, PlacementCounts},
    },
    http::wire::timestamp,
};
use pinner_core::{
    drain::{self, Surroundings},
    id::NodeId,
    members::Scheduling,
};
use serde::Serialize;
use std::time::Duration;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// All nodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nodes {
    /// By name.
    pub nodes: Vec<Node>,
}

/// A pinner with its Kubo.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its id.
    #[schema(example = "node_01h455vb4pex5vsknk084sn02q")]
    pub id: String,
    /// Its name: the PinNode's.
    pub name: String,
    /// Its zone, empty when unknown.
    pub zone: String,
    /// Whether it was seen within the presence TTL.
    pub live: bool,
    /// `up`, `cordoned`, `draining`, `drained`, `maintenance` or `down`.
    pub state: String,
    /// What was asked for: `Active`, `Cordoned`, `Drained` or `Maintenance`.
    pub scheduling: String,
    /// Which request asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_token: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Kubo's peer id, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<String>,
    /// Whether Kubo answered when the pinner last asked.
    pub kubo_ready: bool,
    /// Whether the disk of its Kubo is full: nothing is fetched to it until there is room.
    pub kubo_disk_full: bool,
    /// How a drain gets on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// What is on the node.
    pub placements: Placements,
}

/// How a drain gets on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Which request asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_token: Option<String>,
    /// When it was asked for.
    pub start_time: String,
    /// When the node was last looked at: now.
    pub heartbeat_time: String,
    /// When it should be done if it goes on as it went; nothing before it has moved anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_completion_time: Option<String>,
    /// Placements when it began.
    pub placements_total: i64,
    /// Placements still there.
    pub placements_remaining: i64,
    /// Bytes of them, as far as known.
    pub bytes_remaining: i64,
    /// What it waits for.
    pub blocked_by: Vec<String>,
}

/// Placements on a node by status.
#[derive(Debug, Serialize, ToSchema)]
pub struct Placements {
    /// Waiting for the node.
    pub queued: i64,
    /// Being fetched.
    pub pinning: i64,
    /// Held.
    pub pinned: i64,
    /// Given up.
    pub failed: i64,
    /// Being let go.
    pub unpinning: i64,
}

/// What a node's answer depends on beside the node.
pub(super) struct Around<'a> {
    /// Every node.
    pub(super) nodes: &'a [NodeRow],
    /// The fleet's own row.
    pub(super) fleet: &'a FleetRow,
    /// On so many nodes a content must be.
    pub(super) least: usize,
    /// A node that is silent for longer is given up.
    pub(super) grace: Duration,
    /// Now.
    pub(super) now: OffsetDateTime,
}

impl Around<'_> {
    fn of(&self, node: &NodeRow, counts: &PlacementCounts) -> Surroundings {
        let others = || self.nodes.iter().filter(|other| other.id != node.id);
        let keeps = |other: &&NodeRow| match other.asked() {
            Scheduling::Drained => false,
            Scheduling::Maintenance => true,
            Scheduling::Active | Scheduling::Cordoned => other.silent_seconds <= self.grace.as_secs_f64(),
        };
        let leads = |node: &NodeRow| node.live && node.roles.iter().any(|role| role == Role::Scheduler.as_str());
        Surroundings {
            is_paused: self.fleet.is_paused,
            is_led: self.nodes.iter().any(leads),
            takers: others().filter(|other| other.live && other.takes()).count(),
            keepers: others().filter(keeps).count(),
            least: self.least,
            answers: node.live && node.kubo_ready,
            uploads: u64::try_from(counts.uploads).unwrap_or(0),
        }
    }
}

impl Node {
    pub(super) fn new(row: &NodeRow, counts: &PlacementCounts, around: &Around) -> Self {
        let remaining = counts.total();
        let asked = row.asked();
        let state = match asked {
            Scheduling::Drained if remaining == 0 && counts.uploads == 0 => "drained",
            Scheduling::Drained => "draining",
            Scheduling::Maintenance => "maintenance",
            _ if !row.live => "down",
            Scheduling::Cordoned => "cordoned",
            Scheduling::Active => "up",
        };
        Self {
            id: NodeId::from_uuid(row.id).to_string(),
            name: row.name.clone(),
            zone: row.zone.clone(),
            live: row.live,
            state: state.to_owned(),
            scheduling: row.scheduling.clone(),
            request_token: row.request_token.clone(),
            reason: row.reason.clone(),
            peer_id: row.peer_id.clone(),
            kubo_ready: row.kubo_ready && row.live,
            kubo_disk_full: row.kubo_disk_full,
            drain: (asked == Scheduling::Drained).then(|| Drain::new(row, counts, around)),
            placements: Placements {
                queued: counts.queued,
                pinning: counts.pinning,
                pinned: counts.pinned,
                failed: counts.failed,
                unpinning: counts.unpinning,
            },
        }
    }
}

impl Drain {
    fn new(row: &NodeRow, counts: &PlacementCounts, around: &Around) -> Self {
        let remaining = counts.total();
        let total = row.drain_total.unwrap_or(remaining).max(remaining);
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        let elapsed = Duration::try_from(around.now - row.scheduling_since).unwrap_or_default();
        let left = drain::time_left(number(total), number(remaining), elapsed).filter(|_| remaining > 0);
        Self {
            request_token: row.request_token.clone(),
            start_time: timestamp(row.scheduling_since),
            heartbeat_time: timestamp(around.now),
            expected_completion_time: left
                .and_then(|left| around.now.checked_add(left.try_into().ok()?))
                .map(timestamp),
            placements_total: total,
            placements_remaining: remaining,
            bytes_remaining: counts.bytes,
            blocked_by: drain::blocked_by(number(remaining), around.of(row, counts)),
        }
    }
}
