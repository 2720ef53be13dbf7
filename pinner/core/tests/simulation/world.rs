//! Everything together, one step of somebody at a time, in an order and with faults that the seed gives.

use crate::{
    Bug,
    node::{Lead, Message, Node, Phase, Removal, Rng, Task},
    store::{Key, MayUnpin, Refused, Row, Scheduling, Store, index},
};
use pinner_core::{
    arrange::{Need, Status},
    plan::plan,
};
use std::collections::{BTreeMap, BTreeSet};

/// Lists of the map are so long.
const COPIES: u8 = 3;
/// The lease of leaders.
const OFFICE: u64 = 2_500;
const KEYS: u64 = 48;

/// How likely what goes wrong is, of a thousand.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chances {
    loss: u64,
    twice: u64,
    crash: u64,
    pause: u64,
    wipe: u64,
    lose: u64,
    failure: u64,
    forget: u64,
    admin: u64,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) nodes: Vec<Node>,
    rng: Rng,
    chances: Chances,
    messages: Vec<(u64, usize, u32, Message)>,
    /// The lease, as its store has it: holder, revision, end.
    lease: Option<(usize, u64, u64)>,
    revision: u64,
    /// Pins that were answered for.
    pub(crate) pins: BTreeMap<u32, Key>,
    /// Pins that were on a node once; from then on they are.
    placed: BTreeSet<u32>,
    pin: u32,
    /// What a fault took that Postgres still counts on.
    pub(crate) damaged: BTreeSet<(usize, Key)>,
    pub(crate) wins: u64,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>) -> Self {
        let mut rng = Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
        let count = 3 + rng.below(5) as usize;
        let zones = 1 + rng.below(4) as usize;
        let row = |node: usize, rng: &mut Rng| Row {
            zone: ["a", "b", "c", ""][node % zones],
            capacity: 1 + rng.below(2),
            scheduling: Scheduling::Active,
            seen: 0,
        };
        let rows = (0..count).map(|node| row(node, &mut rng)).collect();
        let chances = Chances {
            loss: 1 + rng.below(300),
            twice: rng.below(500),
            crash: rng.below(6),
            pause: rng.below(15),
            wipe: rng.below(2),
            lose: u64::from(rng.chance(300)),
            failure: rng.below(400),
            forget: rng.below(3),
            admin: rng.below(12),
        };
        Self {
            store: Store::new(rows, bug),
            nodes: (0..count).map(|_| Node::default()).collect(),
            rng,
            chances,
            messages: Vec::new(),
            lease: None,
            revision: 0,
            pins: BTreeMap::new(),
            placed: BTreeSet::new(),
            pin: 0,
            damaged: BTreeSet::new(),
            wins: 0,
        }
    }

    /// From now on nothing goes wrong, what is away comes back, what is gone for good is to be emptied, and nobody asks
    /// for anything.
    pub(crate) fn quiet(&mut self) {
        self.chances = Chances::default();
        self.store.paused_until = 0;
        for (node, row) in self.nodes.iter_mut().zip(&mut self.store.nodes) {
            if node.is_lost {
                row.scheduling = Scheduling::Drained;
            } else if row.scheduling == Scheduling::Cordoned {
                row.scheduling = Scheduling::Active;
            }
            node.paused_until = 0;
        }
        // A drain that leaves too few nodes waits for more, and says so. Here somebody takes it back.
        let mut short = usize::from(COPIES);
        for (node, row) in self.nodes.iter().zip(&self.store.nodes) {
            short -= usize::from(!node.is_lost && row.scheduling == Scheduling::Active).min(short);
        }
        let rows = self.nodes.iter().zip(&mut self.store.nodes).filter(|(node, _)| !node.is_lost);
        let drained = rows.map(|(_, row)| row).filter(|row| row.scheduling == Scheduling::Drained);
        drained.take(short).for_each(|row| row.scheduling = Scheduling::Active);
    }

    pub(crate) fn step(&mut self) {
        self.store.now += 1 + self.rng.below(20);
        self.remove_due();
        let node = self.rng.below(self.nodes.len() as u64) as usize;
        match self.rng.below(100) {
            0..40 => (0..6).for_each(|_| self.deliver()),
            40..75 => self.work(node),
            75..88 => self.lead(node),
            88..91 => self.compare(node),
            _ if self.chances.loss == 0 => {}
            91..98 => self.ask(node),
            _ => self.fault(node),
        }
    }

    /// What Kubos were told to let go is let go.
    fn remove_due(&mut self) {
        let now = self.store.now;
        for node in 0..self.nodes.len() {
            let kubo = &mut self.nodes[node].kubo;
            let due: Vec<_> = kubo.removals.extract_if(.., |removal| removal.due <= now).collect();
            for Removal { key, least, .. } in due {
                self.nodes[node].kubo.held.remove(&key);
                let Some(content) = self.store.contents.get(&key) else { continue };
                let Some(need) = content.need() else { continue };
                let believed =
                    |other: usize| self.nodes[other].kubo.held.contains(&key) || self.damaged.contains(&(other, key));
                let left = (0..self.nodes.len()).filter(|&other| other != node && believed(other)).count();
                if left < least.min(need.least) {
                    self.store.broken = Some(format!("{key}: let go by {node}, {left} of {} copies left", need.least));
                }
            }
        }
    }

    fn send(&mut self, node: usize, message: Message) {
        let process = self.nodes[node].process;
        if self.rng.chance(self.chances.loss) {
            return;
        }
        let times = 1 + u64::from(self.rng.chance(self.chances.twice));
        for _ in 0..times {
            let late = if self.rng.chance(self.chances.loss / 6) { 6_000 } else { 100 };
            let due = self.store.now + self.rng.below(late);
            self.messages.push((due, node, process, message.clone()));
        }
    }

    fn deliver(&mut self) {
        let now = self.store.now;
        let due: Vec<_> = (0..self.messages.len()).filter(|&at| self.messages[at].0 <= now).collect();
        if due.is_empty() {
            return;
        }
        let at = due[self.rng.below(due.len() as u64) as usize];
        let (_, node, process, message) = self.messages.swap_remove(at);
        let is_same = self.nodes[node].process == process;
        match message {
            Message::Claim => {
                let most = 1 + self.rng.below(4) as usize;
                let jobs = self.store.claim(node, most);
                self.damage_is_known(node);
                self.send(node, Message::Claimed(jobs));
            }
            Message::Claimed(jobs) if is_same => {
                for job in jobs {
                    self.nodes[node].tasks.entry(job.key).or_insert(Task { job, phase: Phase::Begun });
                }
            }
            Message::Done(job) => {
                match job.is_unpin {
                    true => self.store.finish_unpin(node, job),
                    false => self.store.finish_pin(node, job),
                }
                self.send(node, Message::Noted(job));
            }
            Message::Failed(job) => {
                self.store.fail_pin(node, job);
                self.send(node, Message::Noted(job));
            }
            Message::Noted(job) if is_same => {
                let tasks = &mut self.nodes[node].tasks;
                if tasks.get(&job.key).is_some_and(|task| task.job.generation == job.generation) {
                    tasks.remove(&job.key);
                }
            }
            Message::Claimed(_) | Message::Noted(_) => {}
        }
    }

    /// A turn of a node's pinner.
    fn work(&mut self, node: usize) {
        let now = self.store.now;
        let of = &mut self.nodes[node];
        if of.down_until > 0 && of.down_until <= now && !of.is_lost {
            of.down_until = 0;
            self.store.hand_back(node);
        }
        if !self.nodes[node].runs(now) {
            return;
        }
        self.store.nodes[node].seen = now;
        if self.rng.chance(500) {
            self.nodes[node].map = Some(self.store.map.clone());
        }
        let keys: Vec<_> = self.nodes[node].tasks.keys().copied().collect();
        for key in keys {
            let task = self.nodes[node].tasks[&key];
            match self.advance(node, task) {
                Some(phase) => self.nodes[node].tasks.entry(key).and_modify(|task| task.phase = phase).or_insert(task),
                None => {
                    self.nodes[node].tasks.remove(&key);
                    continue;
                }
            };
        }
        if self.nodes[node].tasks.len() < 6 && self.rng.chance(400) {
            self.send(node, Message::Claim);
        }
    }

    /// One step of a task. None when it is of no use any more.
    fn advance(&mut self, node: usize, task: Task) -> Option<Phase> {
        let (now, job) = (self.store.now, task.job);
        match task.phase {
            Phase::Begun if job.is_unpin => match self.store.may_unpin(node, job) {
                MayUnpin::Yes => {
                    let need = self.store.contents.get(&job.key).and_then(|content| content.need());
                    let due = now + 1 + self.rng.below(1_000);
                    let least = need.map_or(0, |need| need.least);
                    self.nodes[node].kubo.removals.push(Removal { key: job.key, due, least });
                    Some(Phase::Busy(due))
                }
                MayUnpin::Superseded => None,
                MayUnpin::Needed => {
                    let kubo = &self.nodes[node].kubo;
                    if kubo.removals.iter().any(|removal| removal.key == job.key) {
                        return Some(Phase::Begun);
                    }
                    if !kubo.held.contains(&job.key) {
                        return Some(Phase::Tell(now));
                    }
                    self.store.keep_needed(node, job);
                    None
                }
            },
            Phase::Begun => {
                let kubo = &self.nodes[node].kubo;
                // Kubo may still be about to let it go.
                if job.unpin_begun && kubo.removals.iter().any(|removal| removal.key == job.key) {
                    return Some(Phase::Begun);
                }
                let wait = if kubo.held.contains(&job.key) { 0 } else { self.rng.below(1_500) };
                Some(Phase::Busy(now + wait))
            }
            Phase::Busy(until) if until > now => Some(task.phase),
            Phase::Busy(_) if job.is_unpin => Some(Phase::Tell(now)),
            Phase::Busy(_) => {
                let held = &mut self.nodes[node].kubo.held;
                if !held.contains(&job.key) && self.rng.chance(self.chances.failure) {
                    return Some(Phase::Failed(now));
                }
                held.insert(job.key);
                self.damaged.remove(&(node, job.key));
                Some(Phase::Tell(now))
            }
            Phase::Tell(at) if at <= now => {
                self.send(node, Message::Done(job));
                Some(Phase::Tell(now + 400))
            }
            Phase::Failed(at) if at <= now => {
                self.send(node, Message::Failed(job));
                Some(Phase::Failed(now + 400))
            }
            Phase::Tell(_) | Phase::Failed(_) => Some(task.phase),
        }
    }

    /// What Kubo holds against what Postgres says.
    fn compare(&mut self, node: usize) {
        if !self.nodes[node].runs(self.store.now) {
            return;
        }
        let should: BTreeMap<_, _> = (self.store.contents.iter())
            .filter_map(|(key, content)| content.placements.get(&node).map(|row| (*key, row.status)))
            .collect();
        let held = self.nodes[node].kubo.held.clone();
        for (&key, _) in should.iter().filter(|(key, status)| **status == Status::Pinned && !held.contains(key)) {
            self.store.miss(node, key);
        }
        self.damage_is_known(node);
        let tasks = &self.nodes[node].tasks;
        let extra: BTreeSet<_> =
            held.into_iter().filter(|key| !should.contains_key(key) && !tasks.contains_key(key)).collect();
        let of = &mut self.nodes[node];
        let twice: Vec<_> = extra.intersection(&of.extra).copied().collect();
        twice.iter().for_each(|key| _ = of.kubo.held.remove(key));
        of.extra = extra;
    }

    fn damage_is_known(&mut self, node: usize) {
        // What was allowed before the damage was known is not to blame for it.
        let removals = self.nodes.iter().flat_map(|node| &node.kubo.removals);
        let pending: BTreeSet<_> = removals.map(|removal| removal.key).collect();
        let contents = &self.store.contents;
        self.damaged.retain(|(of, key)| {
            *of != node
                || pending.contains(key)
                || contents
                    .get(key)
                    .is_some_and(|content| content.is_at(node, Status::Pinned) || content.is_at(node, Status::Pinning))
        });
    }

    /// A turn of whoever leads or would.
    fn lead(&mut self, node: usize) {
        let now = self.store.now;
        if !self.nodes[node].runs(now) {
            return;
        }
        self.lease = self.lease.filter(|(.., end)| *end > now);
        let is_told = !self.rng.chance(self.chances.loss);
        let Some(mut lead) = self.nodes[node].lead.take() else {
            if self.lease.is_none() {
                self.revision += 1;
                self.lease = Some((node, self.revision, now + OFFICE));
                if is_told {
                    let (revision, epoch) = (self.revision, self.store.mint());
                    self.wins += 1;
                    self.nodes[node].lead =
                        Some(Lead { revision, epoch, planned: None, right_for: None, looked: Vec::new() });
                }
            }
            return;
        };
        if is_told {
            match &mut self.lease {
                Some((holder, revision, end)) if (*holder, *revision) == (node, lead.revision) => *end = now + OFFICE,
                _ => return,
            }
        }
        if self.leads_on(&mut lead) != Err(Refused::Fenced) {
            self.nodes[node].lead = Some(lead);
        }
    }

    fn leads_on(&mut self, lead: &mut Lead) -> Result<(), Refused> {
        if self.rng.chance(300) {
            self.store.sweep(lead.epoch)?;
        }
        if self.store.paused_until > self.store.now {
            return Ok(());
        }
        if let Some(map) = lead.planned.take() {
            return self.store.commit_map(lead.epoch, map);
        }
        if let Some((key, version, arrangement)) = lead.looked.pop() {
            return self.store.arrange(lead.epoch, version, key, &arrangement);
        }
        let (version, candidates) = (self.store.map.version(), self.store.candidates());
        if lead.right_for.as_ref() != Some(&(version, candidates.clone())) {
            let next = plan(&self.store.map, &candidates, COPIES).expect("nodes are named once").map;
            if next.version() != version {
                lead.planned = Some(next);
                return Ok(());
            }
            lead.right_for = Some((version, candidates));
        }
        let astray = self.store.contents.iter().filter(|(_, content)| content.astray).map(|(key, _)| *key);
        let looked = astray.filter_map(|key| self.store.look(key).map(|arrangement| (key, version, arrangement)));
        lead.looked = looked.take(8).collect();
        let by = self.rng.below(8) as usize;
        let length = lead.looked.len().max(1);
        lead.looked.rotate_left(by % length);
        Ok(())
    }

    /// A client asks a node's pinner.
    fn ask(&mut self, node: usize) {
        if !self.nodes[node].runs(self.store.now) {
            return;
        }
        if self.rng.chance(400) && !self.pins.is_empty() {
            let at = self.rng.below(self.pins.len() as u64) as usize;
            let (&pin, &key) = self.pins.iter().nth(at).expect("there are so many");
            self.pins.remove(&pin);
            self.store.delete(pin, key);
            // What nobody holds may go from everywhere, also from where it is pinned anew before it has gone.
            if !self.pins.values().any(|held| *held == key) {
                let removals = self.nodes.iter_mut().flat_map(|node| &mut node.kubo.removals);
                removals.filter(|removal| removal.key == key).for_each(|removal| removal.least = 0);
            }
            return;
        }
        let Some(map) = self.nodes[node].map.clone() else { return };
        let key = self.rng.below(KEYS) as Key;
        let least = 1 + self.rng.below(2) as usize;
        let need = Need { least, most: least + self.rng.below(u64::from(COPIES) + 1 - least as u64) as usize };
        let mut candidates: Vec<_> = map.holders(key % crate::store::PARTITIONS as u16).map(index).collect();
        let homes = candidates.len();
        candidates.extend((0..self.nodes.len()).filter(|&other| self.store.is_live(other)));
        let mut seen = BTreeSet::new();
        candidates.retain(|node| seen.insert(*node));
        if candidates.is_empty() {
            return;
        }
        self.pin += 1;
        self.store.accept(self.pin, key, need, &candidates, homes, map.version());
        self.pins.insert(self.pin, key);
    }

    fn fault(&mut self, node: usize) {
        let now = self.store.now;
        let chances = self.chances;
        let longest = if self.rng.chance(200) { 20_000 } else { 3_000 };
        let lasts = self.rng.below(longest);
        if self.rng.chance(chances.crash * 10) {
            self.nodes[node].crash(now + lasts);
        }
        if self.rng.chance(chances.pause * 10) {
            self.nodes[node].paused_until = now + lasts;
        }
        let lost = self.nodes.iter().filter(|node| node.is_lost).count();
        let is_lost = self.rng.chance(chances.lose * 10) && lost + 3 < self.nodes.len();
        if is_lost || self.rng.chance(chances.wipe * 10) {
            let pinned = |(key, content): (&Key, &crate::store::Content)| {
                let counts = content.is_at(node, Status::Pinned) || content.is_at(node, Status::Pinning);
                counts.then_some((node, *key))
            };
            let damaged: Vec<_> = self.store.contents.iter().filter_map(pinned).collect();
            self.damaged.extend(damaged);
            self.nodes[node].crash(now + lasts);
            self.nodes[node].kubo = Default::default();
            self.nodes[node].is_lost |= is_lost;
        }
        if self.rng.chance(chances.forget * 10) {
            (self.lease, self.revision) = (None, 0);
        }
        if self.rng.chance(chances.admin * 10) {
            let left = self.store.nodes.iter().zip(&self.nodes);
            let left = left.filter(|(row, node)| row.scheduling == Scheduling::Active && !node.is_lost).count();
            self.store.nodes[node].scheduling = match self.rng.below(4) {
                0 if left > 2 => Scheduling::Cordoned,
                1 if left > 2 => Scheduling::Drained,
                _ => Scheduling::Active,
            };
            if self.rng.chance(100) {
                self.store.paused_until = now + self.rng.below(10_000);
            }
        }
    }

    /// What there is to know about a content, for following one with `TRACE`.
    pub(crate) fn trace(&self, key: Key) -> String {
        let mut text = format!("{:?}", self.store.contents.get(&key));
        for (at, node) in self.nodes.iter().enumerate() {
            let removals = node.kubo.removals.iter().filter(|removal| removal.key == key).count();
            let held = node.kubo.held.contains(&key);
            let task = node.tasks.get(&key).map(|task| (task.job.is_unpin, task.job.generation, task.phase));
            let is_damaged = self.damaged.contains(&(at, key));
            text += &format!(
                "\n  {at}: process {}, held {held}, removals {removals}, damaged {is_damaged}, {task:?}",
                node.process
            );
        }
        text
    }

    /// What has to hold at every moment.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        if let Some(broken) = &self.store.broken {
            return Err(broken.clone());
        }
        for (pin, key) in &self.pins {
            let content = self.store.contents.get(key);
            let is_placed = content.is_some_and(|content| !content.placements.is_empty());
            // Where no node takes anything new a pin begins on none: then the leader must know that it has to look.
            let may_wait = !self.placed.contains(pin) && content.is_some_and(|content| content.astray);
            let kept = content.is_some_and(|content| content.pins.contains_key(pin)) && (is_placed || may_wait);
            self.placed.extend(is_placed.then_some(*pin));
            kept.then_some(()).ok_or_else(|| format!("{key}: the pin {pin} was answered for and is on no node"))?;
        }
        for (key, content) in &self.store.contents {
            for &node in content.placements.keys().filter(|node| content.is_at(**node, Status::Pinned)) {
                if !self.nodes[node].kubo.held.contains(key) && !self.damaged.contains(&(node, *key)) {
                    return Err(format!("{key}: pinned on {node}, says Postgres, and Kubo has it not"));
                }
            }
        }
        Ok(())
    }

    /// What has to come about once nothing goes wrong any more.
    pub(crate) fn is_at_rest(&self) -> Result<(), String> {
        let next = plan(&self.store.map, &self.store.candidates(), COPIES).expect("nodes are named once");
        if next.map != self.store.map {
            return Err("the map is not the one that would be planned".into());
        }
        for (key, content) in &self.store.contents {
            let Some(need) = content.need() else { return Err(format!("{key}: nobody asks for it: {content:?}")) };
            let homes: BTreeSet<_> = self.store.homes(content).into_iter().take(need.most).map(index).collect();
            let on: BTreeSet<_> = content.placements.keys().copied().collect();
            let all = |status| on.iter().all(|node| content.is_at(*node, status));
            if on != homes || !(all(Status::Pinned) || all(Status::Failed)) {
                return Err(format!("{key}: belongs on {homes:?}, and is {content:?}"));
            }
            if content.astray && self.store.look(*key).is_some_and(|it| !it.steps.is_empty()) {
                return Err(format!("{key}: is to be arranged"));
            }
        }
        for (at, node) in self.nodes.iter().enumerate() {
            // What was given up may have been fetched all the same, unseen; it goes with its pins.
            let should = |key: &Key| {
                let content = self.store.contents.get(key);
                content.is_some_and(|content| content.is_at(at, Status::Pinned) || content.is_at(at, Status::Failed))
            };
            if !node.kubo.held.iter().all(should) {
                let more: Vec<_> = node.kubo.held.iter().filter(|key| !should(key)).collect();
                return Err(format!("node {at} holds {more:?}, which it should not; it is at {:?}", node.tasks));
            }
            let is_drained = self.store.nodes[at].scheduling == Scheduling::Drained;
            if is_drained && self.store.contents.values().any(|content| content.placements.contains_key(&at)) {
                return Err(format!("node {at} is drained and has placements"));
            }
        }
        Ok(())
    }
}
