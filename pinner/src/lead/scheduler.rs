//! The scheduler: keeps the placement map as the fleet is, and has contents moved to where it wants them.
//!
//! It looks at the fleet every second. When nodes, zones, capacities or copies are others than the map was planned for, it
//! plans the next map with the least movement, or takes up the one that it had for the very same fleet before: a drain
//! that is cancelled costs what it has moved so far. The commit names the partitions that change; their contents are noted
//! as astray, and the [`mover`](super::mover) sees to those.

use super::{Leader, Trouble, mover::Mover};
use crate::{
    changed::Changed,
    db::{
        fleet, lead as statements,
        lead::{LeadError, Office},
        nodes::{self, NodeRow},
    },
};
use pinner_core::{
    map::PlacementMap,
    members::{self, Policy},
    placement::Candidate,
    plan::{self, Unplannable},
};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Time between two looks at a fleet in which nothing moves.
const LOOK: Duration = Duration::from_secs(1);
/// The shortest time between two looks, while something moves.
const HURRY: Duration = Duration::from_millis(100);
/// How long news of nodes wait for others.
const TOGETHER: Duration = Duration::from_millis(500);
/// Nobody has been listened to for longer than since the last gap of this length between two looks.
const GAP: Duration = Duration::from_secs(10);
/// Contents of changed partitions that one transaction notes as astray, about.
const NOTE_CONTENTS: i64 = 2_000;

/// What the scheduler goes by.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// A node that is silent for longer is given up, and what it held is copied from elsewhere.
    pub grace: Duration,
    /// Whether new nodes get their share by themselves.
    pub rebalances: bool,
    /// How many contents may be on the way at once.
    pub moves_max: usize,
    /// How many nodes hold a content.
    pub copies: u8,
}

impl Settings {
    /// How membership is decided.
    pub fn policy(&self) -> Policy {
        Policy { grace: self.grace, welcomes: self.rebalances, copies: self.copies }
    }
}

/// What a map is planned for, in 32 bytes: the same for the same nodes, zones, capacities and copies.
pub fn digest(candidates: &[Candidate], copies: u8) -> [u8; 32] {
    let mut sorted: Vec<_> = candidates.iter().collect();
    sorted.sort_by_key(|candidate| candidate.id.uuid());
    let mut hash = Sha256::new();
    hash.update([copies]);
    for candidate in sorted {
        hash.update(format!("{candidate:?}\n"));
    }
    hash.finalize().into()
}

/// The map that should follow `last`, or nothing when that is as it should be. `before` is the latest map that was planned
/// for the same candidates; it is of no use where a node is cordoned, which keeps what it has and not what it once had.
pub fn next_map(
    last: &PlacementMap,
    candidates: &[Candidate],
    copies: u8,
    before: Option<PlacementMap>,
) -> Result<Option<PlacementMap>, Unplannable> {
    let before = before.filter(|_| !candidates.iter().any(|candidate| candidate.cordoned));
    let base = before.as_ref().unwrap_or(last);
    let planned = plan::plan(base, candidates, copies)?.map;
    Ok((!planned.places_as(last)).then(|| planned.under_version(last.version() + 1)))
}

struct Scheduler<'a> {
    leader: &'a Leader,
    office: Office,
    map: PlacementMap,
    /// Digest of the candidates for which the map is known to be as it should be.
    right_for: Option<[u8; 32]>,
    /// Since when we have looked without a gap.
    listening_since: Instant,
    last_look: Instant,
    note_partitions: i32,
    mover: Mover,
}

pub(super) async fn run(leader: &Leader, office: Office) {
    let now = Instant::now();
    let mut scheduler = Scheduler {
        leader,
        office,
        map: PlacementMap::empty(pinner_core::content::PARTITIONS),
        right_for: None,
        listening_since: now,
        last_look: now,
        note_partitions: 16,
        mover: Mover::new(leader.settings.moves_max),
    };
    let mut trouble = Trouble::default();
    let mut news = [Changed::Nodes, Changed::Map, Changed::Maintenance].map(|what| leader.changes.watch(what));
    loop {
        let wait = match scheduler.look().await {
            Ok(is_moving) => {
                trouble = Trouble::default();
                if is_moving { HURRY } else { LOOK }
            }
            Err(LeadError::Superseded) => return,
            Err(LeadError::Stale) => {
                tracing::info!("the placement map was another one than planned from; planning again");
                HURRY
            }
            Err(error) => {
                tracing::warn!(%error, "cannot look after the fleet; tries again");
                if trouble.is_lasting() {
                    return;
                }
                LOOK
            }
        };
        let [nodes, map, maintenance] = &mut news;
        tokio::select! {
            () = sleep(wait) => {}
            // What is asked for at the same time is planned for together: else one drained node would fill the next.
            () = nodes.changed() => sleep(TOGETHER).await,
            () = map.changed() => {}
            () = maintenance.changed() => {}
        }
    }
}

impl Scheduler<'_> {
    /// One look. Gives whether there is more to do at once.
    async fn look(&mut self) -> Result<bool, LeadError> {
        let mut tx = statements::begin(&self.leader.db, self.office).await?;
        let fleet = fleet::read(&mut tx).await?;
        let nodes = nodes::fleet(&mut tx).await?;
        if fleet.map_version != i64::try_from(self.map.version()).unwrap_or(i64::MAX) {
            let map = fleet::map(&mut tx, fleet.map_version).await?;
            self.map = map.ok_or(LeadError::Stale)?;
            self.right_for = None;
        }
        tx.commit().await?;
        self.listen();
        if fleet.is_paused {
            return Ok(false);
        }
        self.plan(&nodes).await?;
        let noted = self.note_changed().await?;
        let moved = self.mover.step(self.leader, self.office, &self.map).await?;
        Ok(noted || moved)
    }

    /// Whoever was not heard of while we did not listen may have spoken.
    fn listen(&mut self) {
        let now = Instant::now();
        if now - self.last_look > GAP {
            self.listening_since = now;
        }
        self.last_look = now;
    }

    /// The nodes that are in the map, or ought to be.
    fn candidates(&self, nodes: &[NodeRow]) -> Vec<Candidate> {
        let listened = self.listening_since.elapsed();
        let members: Vec<_> = nodes.iter().map(|node| node.member(listened)).collect();
        members::candidates(&members, &self.map, self.leader.settings.policy())
    }

    async fn plan(&mut self, nodes: &[NodeRow]) -> Result<(), LeadError> {
        let settings = &self.leader.settings;
        let candidates = self.candidates(nodes);
        let digest = digest(&candidates, settings.copies);
        if self.right_for == Some(digest) {
            return Ok(());
        }
        let mut tx = statements::begin(&self.leader.db, self.office).await?;
        let before = statements::map_planned_for(&mut tx, &digest).await?;
        let next = match next_map(&self.map, &candidates, settings.copies, before) {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, "cannot plan the placement map; it stays as it is");
                None
            }
        };
        if let Some(next) = next {
            let changed = next.differing(&self.map);
            statements::commit_map(&mut tx, self.office, &next, &digest, &changed).await?;
            // From here to the commit nobody is cordoned or drained; while the map was planned somebody may have been.
            let candidates = self.candidates(&nodes::fleet(&mut tx).await?);
            if self::digest(&candidates, settings.copies) != digest {
                return Err(LeadError::Stale);
            }
            tx.commit().await?;
            tracing::info!(
                version = next.version(),
                nodes = next.nodes().len(),
                partitions = changed.len(),
                "committed a placement map"
            );
            self.leader.metrics.maps_committed.inc();
            self.leader.changes.announce(Changed::Map);
            self.map = next;
        }
        self.right_for = Some(digest);
        Ok(())
    }

    /// Notes contents of changed partitions as astray, some at a time. Gives whether there were any.
    async fn note_changed(&mut self) -> Result<bool, LeadError> {
        let mut any = false;
        loop {
            let (partitions, contents) =
                statements::note_changed(&self.leader.db, self.office, self.note_partitions).await?;
            any |= partitions > 0;
            self.note_partitions = match contents {
                c if c > 2 * NOTE_CONTENTS => (self.note_partitions / 2).max(1),
                c if c < NOTE_CONTENTS / 2 => (self.note_partitions * 2).min(16_384),
                _ => self.note_partitions,
            };
            if partitions == 0 || contents > 0 {
                return Ok(any);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinner_core::id::NodeId;
    use uuid::Uuid;

    fn candidates(of: impl IntoIterator<Item = u128>) -> Vec<Candidate> {
        let id = |n| NodeId::from_uuid(Uuid::from_u128(n));
        of.into_iter().map(|n| Candidate { id: id(n), zone: String::new(), capacity: 1, cordoned: false }).collect()
    }

    #[test]
    fn a_map_that_is_as_it_should_be_has_no_successor() {
        let all = candidates(1..=4);
        let first = next_map(&PlacementMap::empty(64), &all, 2, None).unwrap().unwrap();
        assert_eq!((first.version(), next_map(&first, &all, 2, None).unwrap()), (1, None));
    }

    #[test]
    fn a_node_that_comes_back_soon_gets_the_places_it_had() {
        let (all, three) = (candidates(1..=4), candidates(1..=3));
        let first = next_map(&PlacementMap::empty(64), &all, 2, None).unwrap().unwrap();
        let drained = next_map(&first, &three, 2, None).unwrap().unwrap();
        assert_eq!((drained.version(), drained.nodes().len()), (2, 3));
        let again = next_map(&drained, &all, 2, Some(first.clone())).unwrap().unwrap();
        assert!(again.version() == 3 && again.places_as(&first));
    }

    #[test]
    fn a_cordoned_node_does_not_get_back_what_it_once_had() {
        let (all, three) = (candidates(1..=4), candidates(1..=3));
        let cordoned = |mut of: Vec<Candidate>| {
            of[0].cordoned = true;
            of
        };
        let first = next_map(&PlacementMap::empty(64), &three, 2, None).unwrap().unwrap();
        let grown = next_map(&first, &all, 2, None).unwrap().unwrap();
        let shrunk = next_map(&grown, &cordoned(three), 2, Some(first)).unwrap().unwrap();
        let of = |map: &PlacementMap, partition: u16| map.holders(partition).any(|node| node == all[0].id);
        assert!((0..64).all(|partition| of(&grown, partition) == of(&shrunk, partition)));
    }

    #[test]
    fn a_digest_is_of_the_nodes_and_copies_and_not_of_their_order() {
        let (mut reversed, all) = (candidates(1..=4), candidates(1..=4));
        reversed.reverse();
        assert_eq!(digest(&all, 2), digest(&reversed, 2));
        assert_ne!(digest(&all, 2), digest(&all, 3));
        assert_ne!(digest(&all, 2), digest(&candidates(1..=3), 2));
    }
}
