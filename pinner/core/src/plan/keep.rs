//! What cordoned nodes keep, and what room they leave to the others.
//!
//! A cordoned node keeps every partition that it had and gets no other, so its part of a list is settled before anything
//! is planned. The rest of each list is planned around it, and partitions of which cordoned nodes keep the same number
//! in the same zones are of one [`Class`](super::fill::Spread): the same spread is asked of them.
//!
//! Shares are made as though cordoned nodes took part, as long as what they keep is their share, so that to cordon a node
//! of a map that is even changes nothing. One that keeps more or less counts with what it keeps.

use super::fill::{self, Bounds, Spread, Totals};
use crate::map::{CLOSED, NOBODY};
use std::collections::BTreeMap;

/// What is planned around.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) partitions: usize,
    /// The nodes that each partition had, [`NOBODY`] for those that cannot be had any more.
    pub(super) old: Vec<u16>,
    pub(super) old_copies: usize,
    /// Zone of each node.
    pub(super) zones: Vec<u16>,
    /// Which nodes keep what they have and get nothing.
    pub(super) cordoned: Vec<bool>,
    /// The slots of each partition: nodes that stay, then [`NOBODY`] for each copy to place, then [`CLOSED`] where there
    /// is no node for one.
    pub(super) slots: Vec<u16>,
    /// Slots of each partition: of the one that has most.
    pub(super) copies: usize,
}

impl Given {
    /// What follows from the nodes of the last map. A partition gets `asked` copies, or as many as there are nodes for it.
    pub(super) fn new(
        (old, old_copies): (Vec<u16>, usize),
        partitions: u32,
        nodes: Vec<(u16, bool)>,
        asked: u8,
    ) -> Self {
        let (zones, cordoned): (Vec<_>, Vec<_>) = nodes.into_iter().unzip();
        let (asked, open) = (usize::from(asked), cordoned.iter().filter(|cordoned| !**cordoned).count());
        let mut given =
            Self { partitions: partitions as usize, old, old_copies, zones, cordoned, slots: Vec::new(), copies: 0 };
        let length = |kept: usize| asked.min(kept + open);
        given.copies =
            (0..given.partitions).map(|partition| length(given.kept(partition, asked).count())).max().unwrap_or(0);
        for partition in 0..given.partitions {
            let before = given.slots.len();
            let kept: Vec<_> = given.kept(partition, asked).collect();
            let filled = before + length(kept.len());
            given.slots.extend(kept);
            given.slots.resize(filled, NOBODY);
            given.slots.resize(before + given.copies, CLOSED);
        }
        given
    }

    /// What cordoned nodes keep of a partition.
    fn kept(&self, partition: usize, asked: usize) -> impl Iterator<Item = u16> {
        let list = self.old[partition * self.old_copies..][..self.old_copies].iter().copied();
        list.filter(|&node| node != NOBODY && self.cordoned[usize::from(node)]).take(asked)
    }

    /// How many partitions each node has in its slots.
    pub(super) fn loads(&self) -> Vec<u32> {
        let mut loads = vec![0; self.zones.len()];
        self.slots.iter().filter(|slot| **slot < CLOSED).for_each(|&node| loads[usize::from(node)] += 1);
        loads
    }
}

/// Partitions by what stays of them.
#[derive(Debug)]
pub(super) struct Classes {
    /// How many nodes that can be given copies each zone has.
    pub(super) sizes: Vec<u32>,
    spreads: Vec<Spread>,
    /// How many partitions are of each class.
    counts: Vec<u32>,
    of: Vec<u32>,
}

impl Classes {
    /// The classes when the copies on nodes that `stays` tells stay, and all others are to be placed.
    pub(super) fn new(given: &Given, stays: &[bool]) -> Self {
        let mut sizes = vec![0; given.zones.iter().max().map_or(0, |&last| usize::from(last) + 1)];
        for (&zone, _) in given.zones.iter().zip(stays).filter(|(_, stays)| !**stays) {
            sizes[usize::from(zone)] += 1;
        }
        let mut numbers = BTreeMap::new();
        let (mut spreads, mut counts, mut of) = (Vec::new(), Vec::new(), Vec::with_capacity(given.partitions));
        for partition in 0..given.partitions {
            let list = &given.slots[partition * given.copies..][..given.copies];
            let mut fixed: Vec<(u16, u32)> = Vec::new();
            for &node in list.iter().filter(|node| stays.get(usize::from(**node)) == Some(&true)) {
                let zone = given.zones[usize::from(node)];
                match fixed.iter_mut().find(|(of, _)| *of == zone) {
                    Some((_, count)) => *count += 1,
                    None => fixed.push((zone, 1)),
                }
            }
            fixed.sort_unstable();
            let length = list.iter().filter(|slot| **slot != CLOSED).count() as u32;
            let class = *numbers.entry((fixed, length)).or_insert_with_key(|(fixed, length)| {
                spreads.push(Spread::new(&sizes, fixed, *length));
                counts.push(0);
                spreads.len() - 1
            });
            counts[class] += 1;
            of.push(u32::try_from(class).expect("there are no more classes than partitions"));
        }
        Self { sizes, spreads, counts, of }
    }

    /// What is asked of a partition.
    pub(super) fn spread(&self, partition: usize) -> &Spread {
        &self.spreads[self.of[partition] as usize]
    }

    /// What is to be placed in each zone.
    fn totals(&self) -> Totals {
        let mut totals = Totals::new(self.sizes.len());
        for (spread, &count) in self.spreads.iter().zip(&self.counts) {
            totals.add(spread, count, &self.sizes);
        }
        totals
    }
}

/// How much each node may hold, by its capacity; cordoned ones what they keep.
pub(super) fn bounds(given: &Given, capacities: &[u64]) -> Vec<Bounds> {
    let partitions = u32::try_from(given.partitions).expect("there are at most 65,536 partitions");
    let kept = given.loads();
    let mut settled = vec![false; kept.len()];
    loop {
        let totals = Classes::new(given, &settled).totals();
        let taking: Vec<_> = (0..kept.len()).filter(|&node| !settled[node]).collect();
        let weighed: Vec<_> = taking.iter().map(|&node| (given.zones[node], capacities[node])).collect();
        let shares = fill::bounds(&weighed, &totals, partitions);
        let off: Vec<_> = taking
            .iter()
            .zip(&shares)
            .map(|(&node, share)| match given.cordoned[node] {
                true => (node, share.least.saturating_sub(kept[node]).max(kept[node].saturating_sub(share.most))),
                false => (node, 0),
            })
            .collect();
        // The farthest first: they may be why others are off.
        let farthest = off.iter().map(|(_, distance)| *distance).max().unwrap_or(0);
        if farthest == 0 {
            let mut bounds: Vec<_> = kept.iter().map(|&kept| Bounds { least: kept, most: kept }).collect();
            for (node, share) in taking.into_iter().zip(shares).filter(|(node, _)| !given.cordoned[*node]) {
                bounds[node] = share;
            }
            return bounds;
        }
        let far = off.into_iter().filter(|(_, distance)| distance * 2 >= farthest);
        far.for_each(|(node, _)| settled[node] = true);
    }
}
