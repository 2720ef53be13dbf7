//! Which nodes hold a content.
//!
//! Each content belongs to one of 65,536 partitions. For a partition the nodes are ranked by weighted rendezvous
//! hashing, then taken in that order so that no zone is used a second time before every zone was used once. The
//! choice depends on nothing but the partition and the nodes, so every pinner makes the same one.

use crate::id::NodeId;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A node as placement sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The node.
    pub id: NodeId,
    /// Its zone; empty when unknown, and then a zone of its own.
    pub zone: String,
    /// Its share of the whole, in any unit, for example bytes. 0 takes nothing.
    pub capacity: u64,
    /// Whether it keeps what it has and is given nothing more.
    pub cordoned: bool,
}

/// Ranks those of `candidates` that are not cordoned for `partition` and gives the first `copies`, distinct, best first. Fewer when there are fewer.
pub fn holders(partition: u16, candidates: &[Candidate], copies: usize) -> Vec<NodeId> {
    let mut ranked: Vec<_> = candidates
        .iter()
        .filter(|candidate| candidate.capacity > 0 && !candidate.cordoned)
        .map(|candidate| (score(partition, candidate), candidate))
        .collect();
    ranked.sort_by(|(a, x), (b, y)| a.total_cmp(b).then_with(|| x.id.uuid().cmp(&y.id.uuid())));

    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    let mut chosen = Vec::with_capacity(copies.min(ranked.len()));
    while chosen.len() < copies && !ranked.is_empty() {
        let uses = |candidate: &Candidate| match candidate.zone.as_str() {
            "" => 0,
            zone => used.get(zone).copied().unwrap_or(0),
        };
        let fewest = ranked.iter().map(|(_, candidate)| uses(candidate)).min().unwrap_or(0);
        let next = ranked.iter().position(|(_, candidate)| uses(candidate) == fewest).unwrap_or(0);
        let (_, candidate) = ranked.remove(next);
        *used.entry(&candidate.zone).or_default() += 1;
        chosen.push(candidate.id);
    }
    chosen
}

/// Lower is better: an exponential draw whose rate is the capacity (Schindelhauer and Schomaker's weighted rendezvous).
fn score(partition: u16, candidate: &Candidate) -> f64 {
    let mut hash = Sha256::new();
    hash.update(partition.to_be_bytes());
    hash.update(candidate.id.uuid().as_bytes());
    let digest = hash.finalize();
    let draw = u64::from_be_bytes(digest[..8].try_into().expect("SHA-256 has 32 bytes"));
    // In (0, 1]: the logarithm of 0 never comes up.
    let uniform = (draw as f64 + 1.0) / (u64::MAX as f64 + 1.0);
    -uniform.ln() / candidate.capacity as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn node(n: u128, zone: &str, capacity: u64) -> Candidate {
        Candidate { id: NodeId::from_uuid(Uuid::from_u128(n)), zone: zone.into(), capacity, cordoned: false }
    }

    #[test]
    fn copies_go_to_different_zones_while_there_are_any() {
        let nodes = [node(1, "a", 1), node(2, "a", 1), node(3, "a", 1), node(4, "b", 1)];
        for partition in 0..1_000 {
            let two = holders(partition, &nodes, 2);
            assert!(two.contains(&nodes[3].id), "{partition}: {two:?}");
            assert_eq!(holders(partition, &nodes, 9).len(), 4);
        }
    }

    #[test]
    fn a_node_gets_its_capacitys_share() {
        let nodes = [node(1, "", 1), node(2, "", 3)];
        let second = (0..=u16::MAX).filter(|p| holders(*p, &nodes, 1) == [nodes[1].id]).count();
        let share = second as f64 / 65_536.0;
        assert!((share - 0.75).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_node_without_capacity_or_cordoned_takes_nothing() {
        let cordoned = Candidate { cordoned: true, ..node(2, "", 1) };
        assert_eq!(holders(7, &[node(1, "", 0), cordoned], 1), []);
    }

    proptest! {
        #[test]
        fn holders_are_distinct_the_same_in_any_order_and_only_lose_a_node_that_left(
            partition: u16,
            specs in prop::collection::vec((0u8..4, 1u64..5), 1..12),
            copies in 1usize..5,
        ) {
            let nodes: Vec<_> = specs.iter().enumerate().map(|(i, (_, c))| node(i as u128 + 1, "", *c)).collect();
            let chosen = holders(partition, &nodes, copies);
            let mut unique = chosen.clone();
            unique.sort_by_key(|id| id.uuid());
            unique.dedup();
            prop_assert_eq!(unique.len(), chosen.len());
            prop_assert_eq!(chosen.len(), copies.min(nodes.len()));

            let reversed: Vec<_> = nodes.iter().rev().cloned().collect();
            prop_assert_eq!(&holders(partition, &reversed, copies), &chosen);

            let without: Vec<_> = nodes.iter().filter(|n| n.id != chosen[0]).cloned().collect();
            let after = holders(partition, &without, copies);
            prop_assert!(chosen[1..].iter().all(|id| after.contains(id)));
        }
    }
}
