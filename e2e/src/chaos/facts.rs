//! What is seen of a service from outside the service: in its tables and in its Kubos. Plain data, for [`super::kept`],
//! [`super::held`] and [`super::watched`] to judge.

use std::collections::{BTreeMap, BTreeSet};

/// The key of a content, in hexadecimal.
pub type Content = String;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise is broken.
    pub promise: &'static str,
    /// How.
    pub what: String,
}

impl Violation {
    /// One of them.
    pub fn new(promise: &'static str, what: impl Into<String>) -> Self {
        Self { promise, what: what.into() }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.promise, self.what)
    }
}

/// A row of `pins`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// Its UUID.
    pub id: String,
    /// The name of its org.
    pub org: String,
    /// The name that its client gave it.
    pub name: String,
    /// As its client spelled it.
    pub cid: String,
    /// What that names.
    pub content: Content,
    /// As the API has it.
    pub status: String,
    /// On how many nodes it must be.
    pub copies_min: usize,
}

/// A row of `placements`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Placement {
    /// What.
    pub content: Content,
    /// Where.
    pub node: String,
    /// How far.
    pub status: String,
}

/// All of it at one moment.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Every pin.
    pub pins: Vec<Pin>,
    /// Every placement.
    pub placements: Vec<Placement>,
    /// What each node's Kubo has pinned recursively, as it says itself.
    pub held: BTreeMap<String, BTreeSet<Content>>,
    /// Contents that may be elsewhere than at home.
    pub astray: i64,
    /// Partitions whose contents the leader has not noted yet.
    pub changed_partitions: i64,
    /// Where counters and tables differ.
    pub contradictions: Vec<String>,
}

/// A holder of an office.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// The office.
    pub role: String,
    /// Its number.
    pub epoch: i64,
    /// When it was minted, to tell two of one number from each other.
    pub since: String,
}

/// A content that a pin calls pinned, on fewer nodes than it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Low {
    /// Which.
    pub content: Content,
    /// On how many nodes it is.
    pub nodes: i64,
    /// On how many it must be.
    pub least: i64,
}

/// One look at the tables, in one snapshot.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// When, in milliseconds.
    pub at: u64,
    /// Contents that are short of copies.
    pub low: Vec<Low>,
    /// Who leads.
    pub terms: Vec<Term>,
    /// The map that holds.
    pub map_version: i64,
    /// The newest one that is there.
    pub newest_map: i64,
}

/// A disk that the harness emptied.
#[derive(Debug, Clone, Default)]
pub struct Loss {
    /// When it began, in milliseconds.
    pub from: u64,
    /// What was on it, or was to come to it.
    pub contents: BTreeSet<Content>,
}
