//! What changes from one placement map to the next, pair by pair: for moving data and for showing it beforehand.

use super::PlacementMap;
use crate::{id::NodeId, placement::Candidate};
use std::collections::HashMap;

/// Why a partition leaves a node or comes to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The node is no longer among those that can be had.
    Gone,
    /// The node is there and is to hold nothing: its capacity is 0.
    Drained,
    /// The copies of the partition were not spread over zones as they can be.
    Spread,
    /// The node had more than its share.
    Balance,
    /// The number of copies is another.
    Copies,
}

impl Why {
    /// The word for it, as people and programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Drained => "drained",
            Self::Spread => "spread",
            Self::Balance => "balance",
            Self::Copies => "copies",
        }
    }
}

/// One copy of a partition that changes its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The partition.
    pub partition: u16,
    /// The node that no longer holds it; none when a copy is added.
    pub from: Option<NodeId>,
    /// The node that comes to hold it; none when a copy is given up.
    pub to: Option<NodeId>,
    /// Why.
    pub why: Why,
}

impl PlacementMap {
    /// What moves from this map to `next` for contents with `copies` copies, in the order of partitions. `nodes` are
    /// those that `next` was planned for; they give the reasons. Moves that only change the order of a list are none.
    pub fn moves(&self, next: &Self, copies: usize, nodes: &[Candidate]) -> Vec<Move> {
        let known: HashMap<_, _> = nodes.iter().map(|node| (node.id.uuid(), node)).collect();
        let mut moves = Vec::new();
        for partition in 0..self.partitions.max(next.partitions) {
            let partition = u16::try_from(partition).expect("there are at most 65,536 partitions");
            let old: Vec<_> = self.holders(partition).take(copies).collect();
            let new: Vec<_> = next.holders(partition).take(copies).collect();
            if old == new {
                continue;
            }
            let crowded = crowding(&old, &known) > crowding(&new, &known);
            let mut gained = new.iter().filter(|node| !old.contains(node)).copied();
            for from in old.iter().filter(|node| !new.contains(node)).copied() {
                let to = gained.next();
                let why = match known.get(&from.uuid()) {
                    None => Why::Gone,
                    Some(node) if node.capacity == 0 => Why::Drained,
                    _ if to.is_none() => Why::Copies,
                    _ if crowded => Why::Spread,
                    _ => Why::Balance,
                };
                moves.push(Move { partition, from: Some(from), to, why });
            }
            moves.extend(gained.map(|to| Move { partition, from: None, to: Some(to), why: Why::Copies }));
        }
        moves
    }
}

/// How many pairs of `list` share a zone.
fn crowding(list: &[NodeId], known: &HashMap<uuid::Uuid, &Candidate>) -> usize {
    let zone = |id: &NodeId| known.get(&id.uuid()).map(|node| node.zone.as_str()).filter(|zone| !zone.is_empty());
    let zones: Vec<_> = list.iter().filter_map(zone).collect();
    zones.iter().enumerate().map(|(at, zone)| zones[..at].iter().filter(|other| *other == zone).count()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id(n: u128) -> NodeId {
        NodeId::from_uuid(Uuid::from_u128(n))
    }

    fn map(copies: u8, slots: &[u16]) -> PlacementMap {
        let partitions = u32::try_from(slots.len()).unwrap() / u32::from(copies);
        PlacementMap::new(1, partitions, copies, &[1, 2, 3, 4].map(id), slots)
    }

    /// Nodes 1 to 4 in the zones a, b, a and c.
    fn nodes(capacities: &[u64]) -> Vec<Candidate> {
        let all = capacities.iter().zip(["a", "b", "a", "c"]).zip(1..);
        all.map(|((&capacity, zone), n)| Candidate { id: id(n), zone: zone.into(), capacity, cordoned: false })
            .collect()
    }

    fn check(old: &PlacementMap, next: &PlacementMap, capacities: &[u64], expected: &[(u16, u128, u128, Why)]) {
        let named = |n: u128| (n > 0).then(|| id(n));
        let expected: Vec<_> = expected
            .iter()
            .map(|&(partition, from, to, why)| Move { partition, from: named(from), to: named(to), why })
            .collect();
        assert_eq!(old.moves(next, 9, &nodes(capacities)), expected);
    }

    #[test]
    fn every_move_has_its_reason() {
        let old = map(2, &[0, 1, 1, 2]);
        check(&old, &map(2, &[1, 0, 1, 2]), &[1, 1, 1, 1], &[]);
        check(&old, &map(2, &[0, 1, 1, 3]), &[1, 1, 1, 1], &[(1, 3, 4, Why::Balance)]);
        check(&old, &map(2, &[0, 1, 1, 0]), &[1, 1, 0, 1], &[(1, 3, 1, Why::Drained)]);
        check(&old, &map(2, &[0, 1, 1, 0]), &[1, 1], &[(1, 3, 1, Why::Gone)]);
        check(&old, &map(1, &[0, 1]), &[1, 1, 1], &[(0, 2, 0, Why::Copies), (1, 3, 0, Why::Copies)]);
        check(&map(1, &[0, 1]), &old, &[1, 1, 1], &[(0, 0, 2, Why::Copies), (1, 0, 3, Why::Copies)]);
        check(&map(2, &[0, 2]), &map(2, &[0, 1]), &[1, 1, 1], &[(0, 3, 2, Why::Spread)]);
        let two = [(0, 1, 3, Why::Balance), (0, 2, 4, Why::Balance)];
        check(&map(2, &[0, 1]), &map(2, &[2, 3]), &[1, 1, 1, 1], &two);
    }

    #[test]
    fn contents_with_fewer_copies_move_when_the_front_of_the_list_does() {
        let (old, next) = (map(2, &[0, 1]), map(2, &[1, 0]));
        let only = Move { partition: 0, from: Some(id(1)), to: Some(id(2)), why: Why::Balance };
        assert_eq!(old.moves(&next, 1, &nodes(&[1, 1])), [only]);
        assert_eq!(old.moves(&next, 2, &nodes(&[1, 1])), []);
    }
}
