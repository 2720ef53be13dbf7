//! Postgres, as far as pinners and leaders see it. Each function is one transaction and does what the one in SQL does.

use crate::Bug;
use pinner_core::{
    arrange::{self, Arrangement, Copy, Need, Status, Step, arrange},
    id::NodeId,
    map::PlacementMap,
    placement::Candidate,
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// After so long without a sign of life a node is away, and after so long it is taken out of the map.
pub(crate) const PRESENCE: u64 = 2_000;
pub(crate) const GRACE: u64 = 8_000;
/// How long a claim holds.
pub(crate) const LEASE: u64 = 3_000;
/// How long a copy that failed rests.
pub(crate) const REST: u64 = 5_000;
pub(crate) const PARTITIONS: u32 = 16;

pub(crate) type Key = u16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheduling {
    Active,
    Cordoned,
    Drained,
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) zone: &'static str,
    pub(crate) capacity: u64,
    pub(crate) scheduling: Scheduling,
    pub(crate) seen: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Placement {
    pub(crate) status: Status,
    /// No other placement ever has it, not one of the same content on the same node either.
    job: u64,
    pub(crate) generation: u32,
    pub(crate) unpin_begun: bool,
    moved: bool,
    attempts: u32,
    lease_until: Option<u64>,
    next_attempt: u64,
}

impl Placement {
    fn new(job: u64, status: Status, moved: bool, now: u64) -> Self {
        let (generation, unpin_begun, attempts, lease_until) = (0, false, 0, None);
        Self { status, job, generation, unpin_begun, moved, attempts, lease_until, next_attempt: now }
    }

    /// Another job from now on.
    fn becomes(&mut self, status: Status, now: u64) {
        self.generation += 1;
        (self.status, self.lease_until, self.next_attempt, self.attempts) = (status, None, now, 0);
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Content {
    pub(crate) partition: u16,
    pub(crate) pins: BTreeMap<u32, Need>,
    pub(crate) astray: bool,
    pub(crate) placements: BTreeMap<usize, Placement>,
}

impl Content {
    /// What its pins ask for; nothing when there are none.
    pub(crate) fn need(&self) -> Option<Need> {
        let least = self.pins.values().map(|need| need.least).max()?;
        Some(Need { least, most: self.pins.values().map(|need| need.most).max()? })
    }

    pub(crate) fn is_at(&self, node: usize, status: Status) -> bool {
        self.placements.get(&node).is_some_and(|placement| placement.status == status)
    }
}

/// A job as a pinner gets it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) key: Key,
    pub(crate) id: u64,
    pub(crate) generation: u32,
    pub(crate) is_unpin: bool,
    pub(crate) unpin_begun: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MayUnpin {
    Yes,
    Superseded,
    Needed,
}

/// A leader's transaction that was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Fenced,
    Stale,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Row>,
    pub(crate) map: PlacementMap,
    pub(crate) contents: BTreeMap<Key, Content>,
    pub(crate) paused_until: u64,
    jobs: u64,
    epoch: u64,
    /// Epoch of the last write that was let through.
    wrote: u64,
    bug: Option<Bug>,
    /// What must never be, once it was.
    pub(crate) broken: Option<String>,
    pub(crate) fenced: u64,
    pub(crate) stale: u64,
}

pub(crate) fn id(node: usize) -> NodeId {
    NodeId::from_uuid(Uuid::from_u128(node as u128 + 1))
}

pub(crate) fn index(id: NodeId) -> usize {
    id.uuid().as_u128() as usize - 1
}

impl Store {
    pub(crate) fn new(nodes: Vec<Row>, bug: Option<Bug>) -> Self {
        let map = PlacementMap::empty(PARTITIONS);
        let contents = BTreeMap::new();
        let (now, paused_until, jobs, epoch, wrote, fenced, stale) = (0, 0, 0, 0, 0, 0, 0);
        Self { now, nodes, map, contents, paused_until, jobs, epoch, wrote, bug, broken: None, fenced, stale }
    }

    pub(crate) fn is_live(&self, node: usize) -> bool {
        self.nodes[node].seen + PRESENCE > self.now
    }

    pub(crate) fn homes(&self, content: &Content) -> Vec<NodeId> {
        self.map.holders(content.partition).collect()
    }

    // What clients do.

    /// A pin of `key`, placed on the best of `candidates`, which are the homes as the accepting pinner knew them at
    /// `version` of the map, then others.
    pub(crate) fn accept(&mut self, pin: u32, key: Key, need: Need, candidates: &[usize], homes: usize, version: u64) {
        let (now, current) = (self.now, self.map.version());
        let content = self.contents.entry(key).or_insert_with(|| Content {
            partition: key % PARTITIONS as u16,
            pins: BTreeMap::new(),
            astray: false,
            placements: BTreeMap::new(),
        });
        content.pins.insert(pin, need);
        let before = content.placements.len();
        let homes = &candidates[..homes.min(need.most)];
        let is_roused = content.placements.values().any(|placement| placement.status == Status::Unpinning);
        for placement in content.placements.values_mut() {
            if matches!(placement.status, Status::Failed | Status::Unpinning) {
                placement.becomes(Status::Queued, now);
            }
        }
        let open = candidates.iter().copied().filter(|node| {
            self.nodes[*node].scheduling == Scheduling::Active && !content.placements.contains_key(node)
        });
        let chosen: Vec<_> = open.take(need.most.saturating_sub(before)).collect();
        let was_short = before < homes.len().max(1);
        for node in &chosen {
            self.jobs += 1;
            content.placements.insert(*node, Placement::new(self.jobs, Status::Queued, false, now));
        }
        content.astray |= match before {
            0 => version != current || chosen.is_empty() || chosen != homes,
            _ => !chosen.is_empty() || is_roused || was_short,
        };
    }

    pub(crate) fn delete(&mut self, pin: u32, key: Key) {
        let now = self.now;
        let Some(content) = self.contents.get_mut(&key) else { return };
        content.pins.remove(&pin);
        if content.pins.is_empty() {
            let held = content.placements.values_mut().filter(|placement| placement.status != Status::Unpinning);
            held.for_each(|placement| placement.becomes(Status::Unpinning, now));
            if content.placements.is_empty() {
                self.contents.remove(&key);
            }
        } else {
            content.astray |= self.bug != Some(Bug::Fewer);
        }
    }

    // What pinners do.

    pub(crate) fn claim(&mut self, node: usize, most: usize) -> Vec<Job> {
        let (now, paused) = (self.now, self.paused_until > self.now);
        let mut jobs = Vec::new();
        for (&key, content) in &mut self.contents {
            let Some(row) = content.placements.get_mut(&node) else { continue };
            let is_unpin = row.status == Status::Unpinning;
            let may = is_unpin || (row.status == Status::Queued && !(paused && row.moved));
            if !may || row.next_attempt > now || jobs.len() == most {
                continue;
            }
            row.generation += 1;
            row.lease_until = Some(now + LEASE);
            if is_unpin {
                (row.next_attempt, row.unpin_begun) = (now + LEASE, true);
            } else {
                row.status = Status::Pinning;
            }
            jobs.push(Job { key, id: row.job, generation: row.generation, is_unpin, unpin_begun: row.unpin_begun });
        }
        jobs
    }

    /// A pinner starts: what the one before it had taken is open again.
    pub(crate) fn hand_back(&mut self, node: usize) {
        let now = self.now;
        for row in self.contents.values_mut().filter_map(|content| content.placements.get_mut(&node)) {
            if row.lease_until.is_some() && matches!(row.status, Status::Pinning | Status::Unpinning) {
                row.generation += 1;
                (row.lease_until, row.next_attempt) = (None, now);
                row.status = if row.status == Status::Pinning { Status::Queued } else { row.status };
            }
        }
    }

    /// The placement that a job is of, if the job is still the caller's.
    fn job(&mut self, node: usize, job: Job, status: Status) -> Option<&mut Placement> {
        let bug = self.bug;
        let row = self.contents.get_mut(&job.key)?.placements.get_mut(&node)?;
        let is_same = row.status == status && row.job == job.id;
        (is_same && row.generation == job.generation || bug == Some(Bug::Generation)).then_some(row)
    }

    pub(crate) fn finish_pin(&mut self, node: usize, job: Job) {
        if let Some(row) = self.job(node, job, Status::Pinning) {
            (row.status, row.lease_until, row.attempts) = (Status::Pinned, None, 0);
            (row.moved, row.unpin_begun) = (false, false);
            self.note_failed(job.key);
        }
    }

    pub(crate) fn fail_pin(&mut self, node: usize, job: Job) {
        let now = self.now;
        let Some(row) = self.job(node, job, Status::Pinning) else { return };
        row.generation += 1;
        row.attempts += 1;
        row.lease_until = None;
        (row.status, row.next_attempt) =
            if row.attempts < 3 { (Status::Queued, now + 200) } else { (Status::Failed, now) };
        self.note_failed(job.key);
    }

    /// A copy that failed is for the leader to look after once there is somebody to have it from.
    fn note_failed(&mut self, key: Key) {
        let Some(content) = self.contents.get_mut(&key) else { return };
        let has = |status| content.placements.values().any(|placement| placement.status == status);
        content.astray |= has(Status::Failed) && has(Status::Pinned);
    }

    pub(crate) fn may_unpin(&mut self, node: usize, job: Job) -> MayUnpin {
        if self.bug == Some(Bug::Ask) {
            return MayUnpin::Yes;
        }
        let Some(content) = self.contents.get(&job.key) else { return MayUnpin::Superseded };
        let row = content.placements.get(&node);
        if row.is_none_or(|row| row.generation != job.generation || row.status != Status::Unpinning) {
            return MayUnpin::Superseded;
        }
        let held = content.placements.keys().filter(|other| **other != node && self.is_live(**other));
        let held = held.filter(|other| content.is_at(**other, Status::Pinned)).count();
        if content.need().is_none_or(|need| held >= need.least) { MayUnpin::Yes } else { MayUnpin::Needed }
    }

    /// An unpin that must not be, of what is held: it is pinned after all, and the leader is to look again.
    pub(crate) fn keep_needed(&mut self, node: usize, job: Job) {
        let Some(row) = self.job(node, job, Status::Unpinning) else { return };
        row.generation += 1;
        (row.status, row.lease_until, row.attempts) = (Status::Pinned, None, 0);
        (row.moved, row.unpin_begun) = (false, false);
        if let Some(content) = self.contents.get_mut(&job.key) {
            content.astray = true;
        }
    }

    pub(crate) fn finish_unpin(&mut self, node: usize, job: Job) {
        if self.job(node, job, Status::Unpinning).is_some() {
            self.strike_out(node, job.key);
        }
    }

    fn strike_out(&mut self, node: usize, key: Key) {
        let Some(content) = self.contents.get_mut(&key) else { return };
        content.placements.remove(&node);
        if content.placements.is_empty() && content.pins.is_empty() {
            self.contents.remove(&key);
        }
    }

    /// A node's Kubo does not hold what it should.
    pub(crate) fn miss(&mut self, node: usize, key: Key) {
        let now = self.now;
        if let Some(row) = self.contents.get_mut(&key).and_then(|content| content.placements.get_mut(&node)) {
            row.becomes(Status::Queued, now);
        }
    }

    // What leaders do.

    pub(crate) fn mint(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch
    }

    fn fence(&mut self, epoch: u64) -> Result<(), Refused> {
        if epoch != self.epoch && self.bug != Some(Bug::Fence) {
            self.fenced += 1;
            return Err(Refused::Fenced);
        }
        if epoch < self.wrote {
            self.broken = Some(format!("epoch {epoch} wrote after {}", self.wrote));
        }
        self.wrote = self.wrote.max(epoch);
        Ok(())
    }

    /// The nodes as a plan sees them.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let there = self.nodes.iter().enumerate().filter(|(_, row)| row.seen + GRACE > self.now);
        let candidate = |(node, row): (usize, &Row)| Candidate {
            id: id(node),
            zone: row.zone.into(),
            capacity: if row.scheduling == Scheduling::Drained { 0 } else { row.capacity },
            cordoned: row.scheduling == Scheduling::Cordoned,
        };
        there.map(candidate).collect()
    }

    pub(crate) fn commit_map(&mut self, epoch: u64, map: PlacementMap) -> Result<(), Refused> {
        self.fence(epoch)?;
        if map.version() != self.map.version() + 1 {
            self.stale += 1;
            return Err(Refused::Stale);
        }
        for content in self.contents.values_mut() {
            content.astray |= !self.map.holders(content.partition).eq(map.holders(content.partition));
        }
        self.map = map;
        Ok(())
    }

    /// What is to be done about a content. Nothing when nobody asks for it.
    pub(crate) fn look(&self, key: Key) -> Option<Arrangement> {
        let content = self.contents.get(&key)?;
        let copy = |(&node, row): (&usize, &Placement)| Copy {
            node: id(node),
            status: row.status,
            may_retry: row.status == Status::Failed && row.next_attempt + REST < self.now,
        };
        let copies: Vec<_> = content.placements.iter().map(copy).collect();
        let state = |node: NodeId| {
            let (is_live, row) = (self.is_live(index(node)), &self.nodes[index(node)]);
            let takes = row.scheduling == Scheduling::Active;
            arrange::Node { is_live, takes, leaves: row.scheduling == Scheduling::Drained }
        };
        let spares = || (0..self.nodes.len()).map(id).collect();
        Some(arrange(&self.homes(content), content.need()?, &copies, state, spares))
    }

    /// Looks at a content and does what is to be done, or what was to be done at an earlier look if the check is missing.
    pub(crate) fn arrange(&mut self, epoch: u64, version: u64, key: Key, earlier: &Arrangement) -> Result<(), Refused> {
        self.fence(epoch)?;
        let check = self.bug != Some(Bug::Recheck);
        if version != self.map.version() && check {
            self.stale += 1;
            return Err(Refused::Stale);
        }
        let Some(arrangement) = (if check { self.look(key) } else { Some(earlier.clone()) }) else { return Ok(()) };
        let held = self.held(key);
        let now = self.now;
        for step in &arrangement.steps {
            let Some(content) = self.contents.get_mut(&key) else { break };
            let is_held = content.placements.values().any(|row| row.status == Status::Pinned);
            match *step {
                Step::Add { node, failed } => {
                    self.jobs += 1;
                    let status = if failed { Status::Failed } else { Status::Queued };
                    content
                        .placements
                        .entry(index(node))
                        .or_insert_with(|| Placement::new(self.jobs, status, is_held, now));
                }
                Step::Release(node) => {
                    let row = content.placements.get_mut(&index(node));
                    if let Some(row) = row.filter(|row| row.status != Status::Unpinning) {
                        (row.moved, _) = (false, row.becomes(Status::Unpinning, now));
                    }
                }
                Step::Restore(node) => {
                    let row = content.placements.get_mut(&index(node));
                    if let Some(row) = row.filter(|row| matches!(row.status, Status::Unpinning | Status::Failed)) {
                        (row.moved, _) = (true, row.becomes(Status::Queued, now));
                    }
                }
                Step::Forget(node) if content.is_at(index(node), Status::Unpinning) => {
                    self.strike_out(index(node), key)
                }
                Step::Forget(_) => {}
            }
        }
        let Some(content) = self.contents.get_mut(&key) else { return Ok(()) };
        content.astray &= !arrangement.is_settled;
        let need = content.need();
        if let Some(need) = need
            && held >= need.least
            && self.held(key) < need.least
        {
            self.broken = Some(format!("{key}: the leader left {} of {} copies", self.held(key), need.least));
        }
        Ok(())
    }

    /// How many live nodes hold a content.
    fn held(&self, key: Key) -> usize {
        let content = self.contents.get(&key);
        let of = |content: &Content| {
            content
                .placements
                .keys()
                .filter(|node| content.is_at(**node, Status::Pinned) && self.is_live(**node))
                .count()
        };
        content.map_or(0, of)
    }

    /// Claims that ran out are open again; what a node is to let go that is to be emptied and is away is struck out.
    pub(crate) fn sweep(&mut self, epoch: u64) -> Result<(), Refused> {
        self.fence(epoch)?;
        let now = self.now;
        let mut gone = BTreeSet::new();
        for (&key, content) in &mut self.contents {
            for (&node, row) in &mut content.placements {
                if row.status == Status::Pinning && row.lease_until.is_some_and(|until| until < now) {
                    row.generation += 1;
                    (row.status, row.lease_until, row.next_attempt) = (Status::Queued, None, now);
                }
                let is_away = self.nodes[node].seen + PRESENCE <= now;
                if row.status == Status::Unpinning && is_away && self.nodes[node].scheduling == Scheduling::Drained {
                    gone.insert((node, key));
                }
            }
        }
        gone.into_iter().for_each(|(node, key)| self.strike_out(node, key));
        Ok(())
    }
}
