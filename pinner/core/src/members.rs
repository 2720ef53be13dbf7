//! Which nodes the next placement map is made of.
//!
//! A node is a member until it is drained or has been silent for longer than its grace: a restart moves nothing. What is
//! cordoned or in maintenance keeps its place, and in maintenance however long it is silent.

use crate::{id::NodeId, map::PlacementMap, placement::Candidate};
use std::{fmt, str::FromStr, time::Duration};

/// What was asked of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheduling {
    /// It takes part.
    Active,
    /// It takes nothing new and keeps what it has.
    Cordoned,
    /// It gives away what it has.
    Drained,
    /// It takes nothing new, keeps what it has and may be silent for as long as it likes.
    Maintenance,
}

impl Scheduling {
    /// The word for it in the database and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Cordoned => "Cordoned",
            Self::Drained => "Drained",
            Self::Maintenance => "Maintenance",
        }
    }
}

impl fmt::Display for Scheduling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no scheduling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not Active, Cordoned, Drained or Maintenance")]
pub struct NoScheduling;

impl FromStr for Scheduling {
    type Err = NoScheduling;

    fn from_str(word: &str) -> Result<Self, NoScheduling> {
        [Self::Active, Self::Cordoned, Self::Drained, Self::Maintenance]
            .into_iter()
            .find(|scheduling| scheduling.as_str() == word)
            .ok_or(NoScheduling)
    }
}

/// A node as the leader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The node.
    pub id: NodeId,
    /// Its zone; empty when unknown.
    pub zone: String,
    /// Its share of the whole, in any unit.
    pub capacity: u64,
    /// What was asked of it.
    pub scheduling: Scheduling,
    /// For how long nothing was heard of its Kubo, as far as whoever asks can tell: nobody is silent for longer than one has
    /// listened.
    pub silent_for: Duration,
}

/// How membership is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// A node that is silent for longer is given up.
    pub grace: Duration,
    /// Whether nodes that are not in the map get a place by themselves. Where they do not, they still get one when there
    /// are fewer nodes than copies.
    pub welcomes: bool,
    /// How many nodes hold a content.
    pub copies: u8,
}

/// A capacity that small changes leave as it is: of its binary digits the first four, rounded down.
pub fn coarse(capacity: u64) -> u64 {
    let dropped = (u64::BITS - capacity.leading_zeros()).saturating_sub(4);
    capacity >> dropped << dropped
}

/// The nodes to plan the map after `last` for.
pub fn candidates(members: &[Member], last: &PlacementMap, policy: Policy) -> Vec<Candidate> {
    let stays = |member: &&Member| match member.scheduling {
        Scheduling::Drained => false,
        Scheduling::Maintenance => true,
        Scheduling::Active | Scheduling::Cordoned => member.silent_for <= policy.grace,
    };
    let (old, new): (Vec<_>, Vec<_>) =
        members.iter().filter(stays).partition(|member| last.nodes().contains(&member.id));
    let is_short = old.len() < usize::from(policy.copies);
    let new = new.into_iter().filter(|member| member.scheduling == Scheduling::Active && (policy.welcomes || is_short));
    old.into_iter()
        .chain(new)
        .map(|member| Candidate {
            id: member.id,
            zone: member.zone.clone(),
            capacity: member.capacity,
            cordoned: member.scheduling != Scheduling::Active,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;
    use uuid::Uuid;

    const GRACE: Duration = Duration::from_secs(600);
    const POLICY: Policy = Policy { grace: GRACE, welcomes: true, copies: 2 };

    fn member(n: u128, scheduling: Scheduling, silent: u64) -> Member {
        let id = NodeId::from_uuid(Uuid::from_u128(n));
        Member { id, zone: String::new(), capacity: 1, scheduling, silent_for: Duration::from_secs(silent) }
    }

    fn numbers(candidates: &[Candidate]) -> Vec<u128> {
        candidates.iter().map(|candidate| candidate.id.uuid().as_u128()).collect()
    }

    fn map_of(members: &[Member]) -> PlacementMap {
        let empty = PlacementMap::empty(16);
        plan(&empty, &candidates(members, &empty, POLICY), 2).unwrap().map
    }

    #[test]
    fn who_is_drained_or_silent_for_longer_than_its_grace_is_no_member() {
        use Scheduling::{Active, Cordoned, Drained, Maintenance};
        let map = map_of(&(1..=6).map(|n| member(n, Active, 0)).collect::<Vec<_>>());
        let members = [
            member(1, Active, 600),
            member(2, Active, 601),
            member(3, Cordoned, 0),
            member(4, Cordoned, 601),
            member(5, Drained, 0),
            member(6, Maintenance, 9_999_999),
        ];
        let candidates = candidates(&members, &map, POLICY);
        assert_eq!(numbers(&candidates), [1, 3, 6]);
        assert_eq!([0, 1, 2].map(|at: usize| candidates[at].cordoned), [false, true, true]);
    }

    #[test]
    fn a_node_that_takes_nothing_new_gets_no_first_place() {
        let members = [member(1, Scheduling::Active, 0), member(2, Scheduling::Cordoned, 0)];
        assert_eq!(numbers(&candidates(&members, &PlacementMap::empty(16), POLICY)), [1]);
    }

    #[test]
    fn without_a_welcome_new_nodes_only_make_up_for_missing_ones() {
        let active = |n| member(n, Scheduling::Active, 0);
        let map = map_of(&[active(1), active(2)]);
        let policy = Policy { welcomes: false, ..POLICY };
        assert_eq!(numbers(&candidates(&[active(1), active(2), active(3)], &map, policy)), [1, 2]);
        let lost = [active(1), member(2, Scheduling::Active, 601), active(3)];
        assert_eq!(numbers(&candidates(&lost, &map, policy)), [1, 3]);
    }

    #[test]
    fn small_differences_of_capacity_are_none() {
        assert_eq!([0, 1, 7, 15, 16, 17, 18, 255].map(coarse), [0, 1, 7, 15, 16, 16, 18, 240]);
        assert_eq!(coarse(10_000_000_000), coarse(10_100_000_000));
        assert_eq!(coarse(u64::MAX), 0xf000_0000_0000_0000);
    }

    #[test]
    fn a_scheduling_is_read_as_it_is_written() {
        for word in ["Active", "Cordoned", "Drained", "Maintenance"] {
            assert_eq!(word.parse::<Scheduling>().unwrap().to_string(), word);
        }
        assert_eq!("active".parse::<Scheduling>(), Err(NoScheduling));
    }
}
