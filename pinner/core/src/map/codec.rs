//! A placement map as bytes, as Postgres keeps it: 12 bytes of numbers, 16 for each node, 2 for each slot, a checksum.
//!
//! ```text
//! "APM" 1 | version u64 | partitions u32 | copies u8 | nodes u16 | node ids 16 each | slots u16 each | sha-256, 8 bytes
//! ```
//!
//! A slot that no node has is 65,535; only at the end of a list. Numbers are big-endian. Bytes from anywhere are read without a panic; what is read is a map that keeps its rules.

use super::{NOBODY, NODES_MAX, PlacementMap};
use crate::{content::PARTITIONS, id::NodeId};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Names the format and its version.
const MAGIC: [u8; 4] = *b"APM\x01";
const CHECKSUM_BYTES: usize = 8;

/// Why bytes are not a placement map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Another format, or a later version of this one.
    #[error("placement map: unknown format")]
    Format,
    /// Fewer or more bytes than the numbers at the front say.
    #[error("placement map: {got} bytes where {expected} belong")]
    Length {
        /// Bytes that belong there, as far as could be read.
        expected: usize,
        /// Bytes that are there.
        got: usize,
    },
    /// Bytes were changed on the way.
    #[error("placement map: the checksum is wrong")]
    Checksum,
    /// The checksum is right and a rule is broken: whoever wrote it was wrong.
    #[error("placement map: {0}")]
    Rule(&'static str),
}

impl PlacementMap {
    /// The map as bytes: about 393 KB for three copies, and 16 bytes for each node.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length(self.nodes.len(), self.slots.len()));
        bytes.extend(MAGIC);
        bytes.extend(self.version.to_be_bytes());
        bytes.extend(self.partitions.to_be_bytes());
        bytes.push(self.copies);
        bytes.extend(u16::try_from(self.nodes.len()).expect("at most NODES_MAX nodes").to_be_bytes());
        for node in &self.nodes {
            bytes.extend(node.uuid().as_bytes());
        }
        for slot in &self.slots {
            bytes.extend(slot.to_be_bytes());
        }
        let sum = checksum(&bytes);
        bytes.extend(sum);
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote, all of it and nothing else.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut rest = bytes;
        let short = || Unreadable::Length { expected: length(0, 0), got: bytes.len() };
        if take(&mut rest).ok_or_else(short)? != MAGIC {
            return Err(Unreadable::Format);
        }
        let version = u64::from_be_bytes(take(&mut rest).ok_or_else(short)?);
        let partitions = u32::from_be_bytes(take(&mut rest).ok_or_else(short)?);
        let [copies] = take(&mut rest).ok_or_else(short)?;
        let count = usize::from(u16::from_be_bytes(take(&mut rest).ok_or_else(short)?));
        if !(1..=PARTITIONS).contains(&partitions) || count > NODES_MAX {
            return Err(Unreadable::Rule("a number is out of its bounds"));
        }
        let slots = partitions as usize * usize::from(copies);
        if bytes.len() != length(count, slots) {
            return Err(Unreadable::Length { expected: length(count, slots), got: bytes.len() });
        }
        let (content, sum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
        if checksum(content) != sum {
            return Err(Unreadable::Checksum);
        }
        let (nodes, rest) = rest.split_at(count * 16);
        let nodes = nodes.as_chunks().0.iter().map(|id| NodeId::from_uuid(Uuid::from_bytes(*id))).collect();
        let slots = rest[..slots * 2].as_chunks().0.iter().map(|slot| u16::from_be_bytes(*slot)).collect();
        let map = Self { version, partitions, copies, nodes, slots };
        map.check().map_err(Unreadable::Rule)?;
        Ok(map)
    }

    /// The rules of a map that its type does not hold.
    fn check(&self) -> Result<(), &'static str> {
        if !self.nodes.is_sorted_by(|a, b| a.uuid() < b.uuid()) {
            return Err("nodes are not in ascending order");
        }
        let mut placed = vec![false; self.nodes.len()];
        let mut longest = 0;
        for list in self.slots.chunks(self.copies().max(1)) {
            let end = list.iter().position(|slot| *slot == NOBODY).unwrap_or(list.len());
            longest = longest.max(end);
            if list[end..].iter().any(|slot| *slot != NOBODY) {
                return Err("a list has a gap");
            }
            for (at, &node) in list[..end].iter().enumerate() {
                *placed.get_mut(usize::from(node)).ok_or("a slot names a node that is not there")? = true;
                if list[..at].contains(&node) {
                    return Err("a partition names a node twice");
                }
            }
        }
        if longest < self.copies() {
            return Err("every list is shorter than it says");
        }
        if placed.contains(&false) { Err("a node has no place") } else { Ok(()) }
    }
}

/// Bytes of a map with so many nodes and slots.
fn length(nodes: usize, slots: usize) -> usize {
    MAGIC.len() + 8 + 4 + 1 + 2 + nodes * 16 + slots * 2 + CHECKSUM_BYTES
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    *Sha256::digest(content).first_chunk().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(n: u128) -> NodeId {
        NodeId::from_uuid(Uuid::from_u128(n))
    }

    fn sample() -> PlacementMap {
        PlacementMap::new(3, 3, 2, &[1, 2, 3].map(node), &[0, 1, 1, 2, 2, 0])
    }

    /// `map` with its rules broken by `change`, under a checksum that is right.
    fn broken(change: impl FnOnce(&mut PlacementMap)) -> Result<PlacementMap, Unreadable> {
        let mut map = sample();
        change(&mut map);
        PlacementMap::decode(&map.encode())
    }

    #[test]
    fn a_map_comes_back_as_it_was() {
        let short = PlacementMap::new(3, 2, 2, &[1, 2].map(node), &[0, NOBODY, 1, 0]);
        for map in [sample(), short, PlacementMap::empty(PARTITIONS)] {
            assert_eq!(PlacementMap::decode(&map.encode()), Ok(map));
        }
    }

    #[test]
    fn bytes_that_were_cut_grown_or_changed_are_refused() {
        let bytes = sample().encode();
        for end in 0..bytes.len() {
            assert!(matches!(PlacementMap::decode(&bytes[..end]), Err(Unreadable::Length { .. })), "{end}");
        }
        assert!(matches!(PlacementMap::decode(&[&bytes[..], &[0]].concat()), Err(Unreadable::Length { .. })));
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert!(PlacementMap::decode(&bytes).is_err(), "{at}");
        }
        assert_eq!(PlacementMap::decode(b"APM\x02 and so on"), Err(Unreadable::Format));
    }

    #[test]
    fn a_map_that_breaks_a_rule_is_refused_though_its_checksum_is_right() {
        let rule = |text| Err(Unreadable::Rule(text));
        assert_eq!(broken(|map| map.nodes.swap(0, 1)), rule("nodes are not in ascending order"));
        assert_eq!(broken(|map| map.slots[0] = 3), rule("a slot names a node that is not there"));
        assert_eq!(broken(|map| map.slots[0] = 1), rule("a partition names a node twice"));
        assert_eq!(broken(|map| map.nodes.push(node(4))), rule("a node has no place"));
        assert_eq!(broken(|map| map.slots[0] = NOBODY), rule("a list has a gap"));
        let short = |map: &mut PlacementMap| [1, 3, 5].into_iter().for_each(|at| map.slots[at] = NOBODY);
        assert_eq!(broken(short), rule("every list is shorter than it says"));
        assert_eq!(broken(|map| map.partitions = PARTITIONS + 1), rule("a number is out of its bounds"));
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_panic(front in 0usize..24, bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            let mut bytes = [&sample().encode()[..front], &bytes[..]].concat();
            _ = PlacementMap::decode(&bytes);
            let sum = checksum(&bytes);
            bytes.extend(sum);
            _ = PlacementMap::decode(&bytes);
        }
    }
}
