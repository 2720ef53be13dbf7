//! The network in which copies of partitions flow to nodes, and what flows in it now.
//!
//! ```text
//! partition --extras--> cell (partition, zone) --1--> node --least--> sink
//!                         ^ base                       \--most-least--> spare --the rest--> sink
//! ```
//!
//! A cell is one partition's part of a zone. Each cell has `base` copies to place by itself; each partition has `extras`
//! more, for different zones. A copy placed on a node that the partition had before costs nothing, any other costs 1.
//! When every copy is placed the sink is full, so every node has `least` to `most`. Copies on cordoned nodes are there
//! from the beginning, and no way leads to such a node or from it.
//!
//! Nothing of this is stored as a graph. Flow is [`Network::held`], for each partition the nodes in its slots. Where each
//! zone is to have a copy of a partition, a cell is one of the zones where copies are to be placed; elsewhere it is the
//! slot of its node, and cells without one are nowhere.
//! Prices are what makes the flow a cheapest one, see [`super::search`].

use super::{
    fill::Bounds,
    keep::{Classes, Given},
};
use crate::map::{CLOSED, NOBODY};

/// Where a copy can be on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Partition(usize),
    /// Of a partition, by [`Network::cell`].
    Cell(usize, usize),
    Node(u16),
    Spare,
    Sink,
}

/// One number for each place.
#[derive(Debug, Clone)]
pub(super) struct Places {
    partition: Vec<u32>,
    cell: Vec<u32>,
    node: Vec<u32>,
    spare: u32,
    sink: u32,
    copies: usize,
}

impl Places {
    pub(super) fn all(number: u32, partitions: usize, copies: usize, nodes: usize) -> Self {
        Self {
            partition: vec![number; partitions],
            cell: vec![number; partitions * copies],
            node: vec![number; nodes],
            spare: number,
            sink: number,
            copies,
        }
    }

    pub(super) fn of(&self, place: Place) -> u32 {
        match place {
            Place::Partition(partition) => self.partition[partition],
            Place::Cell(partition, cell) => self.cell[partition * self.copies + cell],
            Place::Node(node) => self.node[usize::from(node)],
            Place::Spare => self.spare,
            Place::Sink => self.sink,
        }
    }

    pub(super) fn set(&mut self, place: Place, number: u32) {
        *match place {
            Place::Partition(partition) => &mut self.partition[partition],
            Place::Cell(partition, cell) => &mut self.cell[partition * self.copies + cell],
            Place::Node(node) => &mut self.node[usize::from(node)],
            Place::Spare => &mut self.spare,
            Place::Sink => &mut self.sink,
        } = number;
    }

    /// Adds one wherever `other` has `number`.
    pub(super) fn raise_where(&mut self, other: &Self, number: u32) {
        let raise = |to: &mut [u32], by: &[u32]| {
            for (to, by) in to.iter_mut().zip(by) {
                *to += u32::from(*by == number);
            }
        };
        raise(&mut self.partition, &other.partition);
        raise(&mut self.cell, &other.cell);
        raise(&mut self.node, &other.node);
        raise(std::slice::from_mut(&mut self.spare), &[other.spare]);
        raise(std::slice::from_mut(&mut self.sink), &[other.sink]);
    }
}

/// The network and its flow.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) partitions: usize,
    /// Slots of each partition.
    pub(super) copies: usize,
    /// Zone of each node.
    pub(super) zones: Vec<u16>,
    pub(super) bounds: Vec<Bounds>,
    /// Which nodes keep what they have and get nothing.
    pub(super) cordoned: Vec<bool>,
    classes: Classes,
    /// The nodes that each partition had, [`NOBODY`] for those that cannot be had any more.
    old: Vec<u16>,
    old_copies: usize,
    /// The nodes in each partition's slots, [`NOBODY`] where a copy waits, [`CLOSED`] where none is to be.
    pub(super) held: Vec<u16>,
    /// How many partitions each node holds.
    pub(super) load: Vec<u32>,
    /// How many more may hold one beyond their least.
    pub(super) spare: u32,
    pub(super) prices: Places,
}

impl Network {
    /// A network in which only what cordoned nodes keep is placed. None if the least of all nodes is more than there is.
    pub(super) fn new(given: &Given, bounds: Vec<Bounds>) -> Option<Self> {
        let least: u64 = bounds.iter().map(|bounds| u64::from(bounds.least)).sum();
        let shared = given.slots.iter().filter(|slot| **slot != CLOSED).count() as u64;
        let spare = shared.checked_sub(least)?;
        let given = given.clone();
        Some(Self {
            load: given.loads(),
            spare: u32::try_from(spare).expect("a map has fewer slots"),
            prices: Places::all(0, given.partitions, given.copies, given.zones.len()),
            bounds,
            classes: Classes::new(&given, &given.cordoned),
            partitions: given.partitions,
            copies: given.copies,
            held: given.slots,
            zones: given.zones,
            cordoned: given.cordoned,
            old: given.old,
            old_copies: given.old_copies,
        })
    }

    /// Leaves copies where they were, as far as bounds and spread allow. The search would find these ways too, more slowly.
    pub(super) fn keep(&mut self) {
        for partition in 0..self.partitions {
            for at in 0..self.old_copies {
                let node = self.old(partition)[at];
                if node == NOBODY || self.cordoned[usize::from(node)] || !self.fits(partition, node) {
                    continue;
                }
                let slot = self.slots(partition).iter().position(|slot| *slot == NOBODY);
                let slot = slot.expect("a copy that fits waits in a slot");
                let least = self.bounds[usize::from(node)].least;
                let load = &mut self.load[usize::from(node)];
                self.spare -= u32::from(*load >= least);
                *load += 1;
                self.held[partition * self.copies + slot] = node;
            }
        }
    }

    /// How many copies are on nodes that did not have them.
    pub(super) fn moved(&self) -> u32 {
        let new = |partition| {
            self.slots(partition).iter().filter(move |node| **node < CLOSED && !self.held_before(partition, **node))
        };
        (0..self.partitions).map(|partition| new(partition).count() as u32).sum()
    }

    /// Whether a copy of `partition` waits that `node` has room for.
    fn fits(&self, partition: usize, node: u16) -> bool {
        let zone = self.zones[usize::from(node)];
        let (load, bounds) = (self.load[usize::from(node)], self.bounds[usize::from(node)]);
        let room = load < bounds.least || (load < bounds.most && self.spare > 0);
        let waits = self.lacks(partition, zone) || (self.lacks_extra(partition) && self.may_add(partition, zone));
        room && waits
    }

    pub(super) fn slots(&self, partition: usize) -> &[u16] {
        &self.held[partition * self.copies..][..self.copies]
    }

    /// The nodes that `partition` had.
    pub(super) fn old(&self, partition: usize) -> &[u16] {
        &self.old[partition * self.old_copies..][..self.old_copies]
    }

    pub(super) fn holds(&self, partition: usize, node: u16) -> bool {
        self.slots(partition).contains(&node)
    }

    pub(super) fn held_before(&self, partition: usize, node: u16) -> bool {
        self.old(partition).contains(&node)
    }

    /// The zones that are the partition's cells, because every zone has a copy to place. None where cells are slots.
    pub(super) fn cells(&self, partition: usize) -> Option<&[u16]> {
        self.classes.spread(partition).zones()
    }

    /// The cell of a node in `slot`.
    pub(super) fn cell(&self, partition: usize, slot: usize) -> usize {
        let zone = self.zones[usize::from(self.slots(partition)[slot])];
        match self.cells(partition) {
            Some(zones) => zones.binary_search(&zone).expect("copies are placed where they are wanted"),
            None => slot,
        }
    }

    /// The zone of a cell that there is.
    pub(super) fn zone_of(&self, partition: usize, cell: usize) -> u16 {
        match self.cells(partition) {
            Some(zones) => zones[cell],
            None => self.zones[usize::from(self.slots(partition)[cell])],
        }
    }

    /// How many copies of `partition` are placed in `zone`.
    pub(super) fn count(&self, partition: usize, zone: u16) -> u32 {
        let of_zone = |node: &&u16| self.zones.get(usize::from(**node)) == Some(&zone);
        self.slots(partition).iter().filter(of_zone).count() as u32
    }

    /// How many copies of `partition` are to be in `zone` whatever else is.
    fn base(&self, partition: usize, zone: u16) -> u32 {
        self.classes.spread(partition).least(zone, self.classes.sizes[usize::from(zone)])
    }

    /// Whether the cell has a copy of its own to place.
    pub(super) fn lacks(&self, partition: usize, zone: u16) -> bool {
        self.count(partition, zone) < self.base(partition, zone)
    }

    /// Whether the partition has a copy to place that may go to several zones.
    pub(super) fn lacks_extra(&self, partition: usize) -> bool {
        let over = |&zone: &u16| self.count(partition, zone).saturating_sub(self.base(partition, zone));
        match self.cells(partition) {
            Some(zones) => zones.iter().map(over).sum::<u32>() < self.classes.spread(partition).extras,
            None => self.slots(partition).contains(&NOBODY),
        }
    }

    /// Whether one of the partition's extras may go to `zone`.
    pub(super) fn may_add(&self, partition: usize, zone: u16) -> bool {
        let may = self.classes.spread(partition).extra(zone, self.classes.sizes[usize::from(zone)]);
        may && self.count(partition, zone) <= self.base(partition, zone)
    }

    /// Whether one of the partition's extras is in `zone`.
    pub(super) fn has_extra(&self, partition: usize, zone: u16) -> bool {
        self.count(partition, zone) > self.base(partition, zone)
    }

    /// Sends one copy along `path`: from a place that has one to place, over nodes that take one for another, to the
    /// sink. Gives the slots whose copies went to another zone or came to one.
    pub(super) fn send(&mut self, path: &[Place]) -> Vec<(usize, usize)> {
        let mut moved = Vec::new();
        let mut free = None;
        let mut before = None;
        for &place in path {
            match (place, before) {
                (Place::Partition(partition) | Place::Cell(partition, _), None) => {
                    free = self.slots(partition).iter().position(|slot| *slot == NOBODY).map(|slot| (partition, slot));
                }
                (Place::Cell(partition, _), Some(Place::Node(node))) => {
                    free = self.slots(partition).iter().position(|slot| *slot == node).map(|slot| (partition, slot));
                    self.load[usize::from(node)] -= 1;
                }
                (Place::Node(node), Some(Place::Partition(_) | Place::Cell(..))) => {
                    let (partition, slot) = free.expect("a copy on its way has left a slot free");
                    self.held[partition * self.copies + slot] = node;
                    self.load[usize::from(node)] += 1;
                    moved.extend(matches!(before, Some(Place::Partition(_))).then_some((partition, slot)));
                }
                (Place::Node(_), Some(Place::Spare)) | (Place::Spare | Place::Partition(_) | Place::Cell(..), _) => {}
                (Place::Sink, _) => self.spare -= u32::from(before == Some(Place::Spare)),
                (Place::Node(_), _) => unreachable!("nodes follow cells, partitions and the spare"),
            }
            before = Some(place);
        }
        moved
    }
}
