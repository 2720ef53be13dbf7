//! A rebalance as a plan that can be shown, and applied if the fleet is still as it was shown.

use super::scheduler::{self, Settings};
use crate::db::{
    WorkerTx,
    fleet::{self, FleetRow, MapError},
    lead::{self, LeadError, Office, Role},
    nodes::{self, NodeRow},
};
use pinner_core::{
    map::{Move, PlacementMap},
    members::{self, Scheduling},
    placement::Candidate,
    plan::Unplannable,
};
use std::{collections::BTreeMap, fmt::Write as _};

/// What would be done.
pub struct Proposal {
    /// Names the plan: the same for the same map and the same nodes.
    pub id: String,
    /// The map that it was planned from.
    pub map_version: u64,
    /// Whether the fleet is paused, so that it cannot be applied now.
    pub is_paused: bool,
    /// What moves, in groups.
    pub groups: Vec<Group>,
    next: Option<PlacementMap>,
    last: PlacementMap,
    digest: [u8; 32],
}

/// Moves from one node to another for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The name of the node that they leave; none when copies are added.
    pub from: Option<String>,
    /// The name of the node that they come to; none when copies are given up.
    pub to: Option<String>,
    /// Why.
    pub why: &'static str,
    /// How many partitions.
    pub partitions: u64,
    /// How many contents those have now.
    pub contents: u64,
    /// Bytes of those.
    pub bytes: u64,
}

/// Why a plan was not made or not applied.
#[derive(Debug, thiserror::Error)]
pub enum RebalanceError {
    /// The fleet is another one than when the plan was made.
    #[error("the fleet has changed since this plan was made; look at the new one")]
    StalePlan,
    /// Moves wait.
    #[error("the fleet is paused for maintenance; end that first")]
    Paused,
    /// There is no plan for these nodes.
    #[error(transparent)]
    Unplannable(#[from] Unplannable),
    /// The database did not do it.
    #[error(transparent)]
    Lead(LeadError),
}

impl From<LeadError> for RebalanceError {
    fn from(error: LeadError) -> Self {
        match error {
            LeadError::Stale | LeadError::Superseded => Self::StalePlan,
            other => Self::Lead(other),
        }
    }
}

impl From<sqlx::Error> for RebalanceError {
    fn from(error: sqlx::Error) -> Self {
        LeadError::from(error).into()
    }
}

impl From<MapError> for RebalanceError {
    fn from(error: MapError) -> Self {
        Self::Lead(error.into())
    }
}

/// Plans for the fleet as it is, new nodes included.
pub async fn propose(tx: &mut WorkerTx, settings: Settings) -> Result<Proposal, RebalanceError> {
    let FleetRow { map_version, is_paused, .. } = fleet::read(tx).await?;
    let rows = nodes::fleet(tx).await?;
    let last = fleet::map(tx, map_version).await?.ok_or(RebalanceError::StalePlan)?;
    let settings = Settings { rebalances: true, ..settings };
    let members: Vec<_> = rows.iter().map(|row| row.member(std::time::Duration::MAX)).collect();
    let candidates = members::candidates(&members, &last, settings.policy());
    let digest = scheduler::digest(&candidates, settings.copies);
    let before = lead::map_planned_for(tx, &digest).await?;
    let next = scheduler::next_map(&last, &candidates, settings.copies, before)?;
    let groups = match &next {
        Some(next) => {
            let moves = last.moves(next, settings.copies.into(), &with_drained(candidates, &rows));
            let mut partitions: Vec<_> = moves.iter().map(|step| step.partition).collect();
            partitions.dedup();
            let sizes = lead::partition_sizes(tx, &partitions).await?;
            group(&moves, &rows, &sizes)
        }
        None => Vec::new(),
    };
    let mut id = format!("{}-", last.version());
    digest[..6].iter().try_for_each(|byte| write!(id, "{byte:02x}")).expect("writing to a text cannot fail");
    Ok(Proposal { id, map_version: last.version(), is_paused, groups, next, last, digest })
}

/// Applies the plan of this id. Gives it as it was applied.
pub async fn apply(tx: &mut WorkerTx, settings: Settings, id: &str) -> Result<Proposal, RebalanceError> {
    let proposal = propose(tx, settings).await?;
    if proposal.id != id {
        return Err(RebalanceError::StalePlan);
    }
    if proposal.is_paused {
        return Err(RebalanceError::Paused);
    }
    if let Some(next) = &proposal.next {
        // On behalf of whoever is scheduler: that the map is still the one planned from is checked by the commit.
        let office = Office { role: Role::Scheduler, epoch: lead::epoch(tx, Role::Scheduler).await? };
        lead::commit_map(tx, office, next, &proposal.digest, &next.differing(&proposal.last)).await?;
    }
    Ok(proposal)
}

/// Drained nodes are no candidates; as ones without capacity they are the reason of their moves.
fn with_drained(mut candidates: Vec<Candidate>, rows: &[NodeRow]) -> Vec<Candidate> {
    let drained = rows.iter().filter(|row| row.asked() == Scheduling::Drained);
    candidates.extend(drained.map(|row| {
        let member = row.member(std::time::Duration::ZERO);
        Candidate { id: member.id, zone: member.zone, capacity: 0, cordoned: false }
    }));
    candidates
}

fn group(moves: &[Move], rows: &[NodeRow], sizes: &BTreeMap<u16, (u64, u64)>) -> Vec<Group> {
    let name = |id: Option<pinner_core::id::NodeId>| {
        id.map(|id| rows.iter().find(|row| row.id == id.uuid()).map_or_else(|| id.to_string(), |row| row.name.clone()))
    };
    let mut groups: BTreeMap<_, Group> = BTreeMap::new();
    for step in moves {
        let (from, to, why) = (name(step.from), name(step.to), step.why.as_str());
        let (contents, bytes) = sizes.get(&step.partition).copied().unwrap_or_default();
        let group = groups.entry((from.clone(), to.clone(), why)).or_insert_with(|| Group {
            from,
            to,
            why,
            partitions: 0,
            contents: 0,
            bytes: 0,
        });
        group.partitions += 1;
        group.contents += contents;
        group.bytes += bytes;
    }
    groups.into_values().collect()
}
