//! A node: a Kubo that holds contents and is slow to let go, and a pinner that works, may stop, and may begin anew.

use crate::store::{Job, Key};
use pinner_core::map::PlacementMap;
use std::collections::{BTreeMap, BTreeSet};

/// Something that Kubo was told to let go and will, whatever becomes of whoever told it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Removal {
    pub(crate) key: Key,
    pub(crate) due: u64,
    /// How many others were to hold it when that was allowed.
    pub(crate) least: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Kubo {
    pub(crate) held: BTreeSet<Key>,
    pub(crate) removals: Vec<Removal>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing was done yet.
    Begun,
    /// Kubo is at it until then.
    Busy(u64),
    /// It is done, and told at that time unless an answer comes before.
    Tell(u64),
    /// It came to nothing, and that is told.
    Failed(u64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Task {
    pub(crate) job: Job,
    pub(crate) phase: Phase,
}

/// What a leader believes.
#[derive(Debug, Clone)]
pub(crate) struct Lead {
    pub(crate) revision: u64,
    pub(crate) epoch: u64,
    pub(crate) planned: Option<PlacementMap>,
    /// The version of a map that is as it should be, and for whom.
    pub(crate) right_for: Option<(u64, Vec<pinner_core::placement::Candidate>)>,
    /// Contents that it looked at and has not arranged yet.
    pub(crate) looked: Vec<(Key, u64, pinner_core::arrange::Arrangement)>,
}

#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) kubo: Kubo,
    /// Gone for good, disk and all.
    pub(crate) is_lost: bool,
    /// Runs again at that time; 0 while it runs.
    pub(crate) down_until: u64,
    /// Goes on at that time, in the belief that none has passed.
    pub(crate) paused_until: u64,
    /// Counts the processes.
    pub(crate) process: u32,
    pub(crate) map: Option<PlacementMap>,
    /// One for each content.
    pub(crate) tasks: BTreeMap<Key, Task>,
    /// Held for no reason, as of the last look.
    pub(crate) extra: BTreeSet<Key>,
    pub(crate) lead: Option<Lead>,
}

impl Node {
    pub(crate) fn runs(&self, now: u64) -> bool {
        !self.is_lost && self.down_until == 0 && self.paused_until <= now
    }

    /// The process ends, with all that it knows. What Kubo was told it does.
    pub(crate) fn crash(&mut self, until: u64) {
        let kubo = std::mem::take(&mut self.kubo);
        let (is_lost, process) = (self.is_lost, self.process + 1);
        *self = Self { kubo, is_lost, process, down_until: until, ..Self::default() };
    }
}

/// What goes between a pinner and Postgres, and may come late, twice or never.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Claim,
    Claimed(Vec<Job>),
    Done(Job),
    Failed(Job),
    /// The answer to either.
    Noted(Job),
}

/// Chance, the same for the same seed (SplitMix64).
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Whether something comes about that does in so many of a thousand cases.
    pub(crate) fn chance(&mut self, of_thousand: u64) -> bool {
        self.below(1_000) < of_thousand
    }
}
