//! The placement map: for each partition the nodes that hold its contents, in order.
//!
//! A content with `k` copies belongs on the first `k` nodes of its partition. The map is plain data with a version;
//! [`crate::plan`] makes the next one from the last, [`PlacementMap::moves`] says what that moves, and
//! [`PlacementMap::encode`] writes it down. It knows nothing of zones and capacities: those are the plan's reasons.

mod codec;
mod moves;

pub use codec::Unreadable;
pub use moves::{Move, Why};

use crate::{content::PARTITIONS, id::NodeId};

/// Marks a slot that no node has: lists that are shorter than others end with it.
pub(crate) const NOBODY: u16 = u16::MAX;
/// While a map is planned, marks a slot that no node is to have.
pub(crate) const CLOSED: u16 = NOBODY - 1;
/// The most nodes that a map can name: one short of what 16 bits can, so that they can be counted in 16 bits.
pub const NODES_MAX: usize = NOBODY as usize - 1;

/// For each partition as many distinct nodes as [`copies`](Self::copies) says, or fewer where there were no more to be had.
///
/// Two maps that place alike are equal: nodes are in ascending order and every node has a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementMap {
    version: u64,
    partitions: u32,
    copies: u8,
    nodes: Vec<NodeId>,
    /// `copies` indices into `nodes` for each partition; those of a shorter list end with [`NOBODY`].
    slots: Vec<u16>,
}

impl PlacementMap {
    /// The map of version 0, in which no partition has a node. `partitions` is 1 to [`PARTITIONS`], which is what the
    /// service uses; fewer are for tests. Numbers beyond are taken for the nearest.
    pub fn empty(partitions: u32) -> Self {
        Self {
            version: 0,
            partitions: partitions.clamp(1, PARTITIONS),
            copies: 0,
            nodes: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// A map from slots that index `table`, which is in ascending order, or are [`NOBODY`] at the end of lists of which
    /// not all are shorter than `copies`. Nodes without a slot are left out.
    pub(crate) fn new(version: u64, partitions: u32, copies: u8, table: &[NodeId], slots: &[u16]) -> Self {
        let mut used = vec![false; table.len()];
        for &node in slots.iter().filter(|node| **node != NOBODY) {
            used[usize::from(node)] = true;
        }
        let mut index = vec![NOBODY; table.len()];
        let mut nodes = Vec::new();
        for (old, _) in used.iter().enumerate().filter(|(_, used)| **used) {
            index[old] = u16::try_from(nodes.len()).expect("tables have at most NODES_MAX nodes");
            nodes.push(table[old]);
        }
        let slots = slots.iter().map(|&node| index.get(usize::from(node)).copied().unwrap_or(NOBODY)).collect();
        Self { version, partitions, copies, nodes, slots }
    }

    /// Counts the maps of a deployment: each that differs from the one before has the next number.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many partitions there are: 1 to [`PARTITIONS`].
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// How many nodes a partition has, or the longest list where some have fewer; 0 when there are none to be had.
    pub fn copies(&self) -> usize {
        usize::from(self.copies)
    }

    /// The nodes that have a place, in ascending order.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// The nodes of `partition`, best first; none for a partition that is not there.
    pub fn holders(&self, partition: u16) -> impl ExactSizeIterator<Item = NodeId> {
        self.slots_of(usize::from(partition)).iter().map(|&node| self.nodes[usize::from(node)])
    }

    /// How many partitions each of [`nodes`](Self::nodes) has among their first `copies`.
    pub fn loads(&self, copies: usize) -> Vec<u32> {
        let mut loads = vec![0; self.nodes.len()];
        for list in self.slots.chunks(self.copies().max(1)) {
            for &node in list.iter().take(copies).filter(|node| **node != NOBODY) {
                loads[usize::from(node)] += 1;
            }
        }
        loads
    }

    /// The same places under another version: what a fleet that is as it was before comes back to.
    pub fn under_version(mut self, version: u64) -> Self {
        self.version = version;
        self
    }

    /// The partitions whose nodes or their order differ from `other`'s; all when the two do not have as many.
    pub fn differing(&self, other: &Self) -> Vec<u16> {
        let all = 0..u16::try_from(self.partitions - 1).expect("at most 65,536 partitions");
        let differs = |&partition: &u16| {
            self.partitions != other.partitions || !self.holders(partition).eq(other.holders(partition))
        };
        (all.start..=all.end).filter(differs).collect()
    }

    /// Whether both place every partition alike, whatever their versions.
    pub fn places_as(&self, other: &Self) -> bool {
        (self.partitions, self.copies, &self.nodes, &self.slots)
            == (other.partitions, other.copies, &other.nodes, &other.slots)
    }

    pub(crate) fn slots(&self) -> &[u16] {
        &self.slots
    }

    fn slots_of(&self, partition: usize) -> &[u16] {
        let from = partition * self.copies();
        let list = self.slots.get(from..from + self.copies()).unwrap_or_default();
        let end = list.iter().position(|slot| *slot == NOBODY).unwrap_or(list.len());
        &list[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_map_names_the_nodes_that_have_a_place_and_no_other() {
        let table = [1, 2, 3].map(|n| NodeId::from_uuid(Uuid::from_u128(n)));
        let map = PlacementMap::new(7, 2, 2, &table, &[2, 0, 0, 2]);
        assert_eq!(map.nodes(), [table[0], table[2]]);
        assert_eq!(map.holders(0).collect::<Vec<_>>(), [table[2], table[0]]);
        assert_eq!(map.holders(2).len(), 0);
        assert_eq!(map.loads(1), [1, 1]);
        assert_eq!(PlacementMap::empty(9).holders(0).len(), 0);
    }

    #[test]
    fn a_list_may_be_shorter_than_others() {
        let table = [1, 2].map(|n| NodeId::from_uuid(Uuid::from_u128(n)));
        let map = PlacementMap::new(7, 3, 2, &table, &[1, 0, 1, NOBODY, NOBODY, NOBODY]);
        assert_eq!([0, 1, 2].map(|partition| map.holders(partition).len()), [2, 1, 0]);
        assert_eq!((map.loads(1), map.loads(2)), (vec![0, 2], vec![1, 2]));
    }
}
