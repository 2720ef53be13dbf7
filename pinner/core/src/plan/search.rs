//! Finds the cheapest flow: the primal-dual method with blocking flows (Ford and Fulkerson; Dinic).
//!
//! Every place has a price, and no way that is open leads up by more than it costs. Copies are sent only along ways that
//! lead up by exactly their cost, so the flow is at each moment a cheapest one of its size. Where no such way is left,
//! the prices of all places that were not reached go up by one. When no copy waits, the flow is a cheapest one of all,
//! and the prices are the proof.
//!
//! A partition may come to any of a thousand nodes. These ways are never listed: they all cost 1, so nodes of one zone
//! and price are one bunch, and whoever looks through a bunch takes all of it but the few nodes that it holds already.
//! (Nodes that it had before cost nothing, so none of them is among those one price up.)

use super::{
    flow::{Network, Place, Places},
    round::Round,
};
use crate::map::{CLOSED, NOBODY};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
};

/// The level of a place that has not been reached.
pub(super) const UNREACHED: u32 = u32::MAX;

/// Nodes by what tells whether a way leads to them, then by zone.
pub(super) type Bunches<Key> = BTreeMap<Key, BTreeMap<u16, Vec<u16>>>;
/// For each node the partitions and slots that it is in.
pub(super) type Holdings = Vec<Vec<(u32, u8)>>;

impl Network {
    /// Places every copy, at the least cost. Whether there was a way to: without cordoned nodes there always is.
    pub(super) fn fill(&mut self) -> bool {
        self.keep();
        loop {
            let waiting = self.waiting();
            if waiting.is_empty() {
                return true;
            }
            let holdings = self.holdings();
            let levels = self.levels(&waiting, &holdings);
            if levels.of(Place::Sink) == UNREACHED {
                if self.cordoned.contains(&true) && !self.has_way(&waiting, &holdings) {
                    return false;
                }
                // No cheapest way takes one node twice, so none is dearer than there are nodes.
                assert!(self.prices.of(Place::Sink) as usize <= self.zones.len(), "a copy that waits has a way");
                self.prices.raise_where(&levels, UNREACHED);
                continue;
            }
            let mut round = Round::new(self, levels, holdings);
            for place in waiting {
                round.place_all(place);
            }
        }
    }

    /// Whether `place` has a copy to place.
    pub(super) fn waits(&self, place: Place) -> bool {
        match place {
            Place::Partition(partition) => self.lacks_extra(partition),
            Place::Cell(partition, cell) => self.lacks(partition, self.zone_of(partition, cell)),
            _ => false,
        }
    }

    /// All places that have a copy to place.
    fn waiting(&self) -> Vec<Place> {
        let mut waiting = Vec::new();
        for partition in (0..self.partitions).filter(|&partition| self.slots(partition).contains(&NOBODY)) {
            let cells = self.cells(partition).map_or(0, <[_]>::len);
            let places = (0..cells).map(|cell| Place::Cell(partition, cell)).chain([Place::Partition(partition)]);
            waiting.extend(places.filter(|&place| self.waits(place)));
        }
        waiting
    }

    fn holdings(&self) -> Holdings {
        let mut holdings: Vec<_> = self.load.iter().map(|&load| Vec::with_capacity(load as usize)).collect();
        for partition in 0..self.partitions {
            let may_go = |node: u16| node < CLOSED && !self.cordoned[usize::from(node)];
            for (slot, &node) in (0..).zip(self.slots(partition)).filter(|(_, node)| may_go(**node)) {
                let partition = u32::try_from(partition).expect("there are at most 65,536 partitions");
                holdings[usize::from(node)].push((partition, slot));
            }
        }
        holdings
    }

    /// The nodes that may be given copies, with their zones.
    pub(super) fn open(&self) -> impl Iterator<Item = (u16, u16)> {
        let open = |(node, zone): (u16, &u16)| (!self.cordoned[usize::from(node)]).then_some((node, *zone));
        (0..).zip(&self.zones).filter_map(open)
    }

    /// How many steps each place is from those in `waiting`. Stops at the sink's.
    fn levels(&self, waiting: &[Place], holdings: &Holdings) -> Places {
        let mut bunches: Bunches<u32> = BTreeMap::new();
        for (node, zone) in self.open() {
            let price = self.prices.of(Place::Node(node));
            bunches.entry(price).or_default().entry(zone).or_default().push(node);
        }
        let mut levels = Places::all(UNREACHED, self.partitions, self.copies, self.zones.len());
        waiting.iter().for_each(|&place| levels.set(place, 0));
        let mut queue = VecDeque::from(waiting.to_vec());
        let mut ahead = Vec::new();
        while let Some(place) = queue.pop_front() {
            self.ways(place, &mut ahead);
            match place {
                Place::Partition(partition) | Place::Cell(partition, _) => {
                    let price = self.prices.of(place) + 1;
                    if let (Some(zones), Some(bunch)) = (self.zones_ahead(place), bunches.get_mut(&price)) {
                        for (_, nodes) in bunch.range_mut(zones).filter(|(zone, _)| self.leads_to(place, **zone)) {
                            ahead.extend(nodes.extract_if(.., |node| !self.holds(partition, *node)).map(Place::Node));
                        }
                        bunch.retain(|_, nodes| !nodes.is_empty());
                    }
                }
                Place::Node(node) => {
                    let back = holdings[usize::from(node)].iter().filter_map(|&holding| self.way_back(node, holding));
                    ahead.extend(back);
                }
                Place::Spare => {
                    ahead.extend((0..self.zones.len() as u16).filter_map(|node| self.way_out_of_spare(node)))
                }
                Place::Sink => break,
            }
            let level = levels.of(place) + 1;
            for next in ahead.drain(..) {
                if levels.of(next) == UNREACHED {
                    levels.set(next, level);
                    queue.push_back(next);
                }
            }
        }
        levels
    }

    /// The ways out of `place` that lead up by their cost, but for those to new nodes and back from nodes.
    pub(super) fn ways(&self, place: Place, ahead: &mut Vec<Place>) {
        let price = self.prices.of(place);
        let level = |next: &Place| self.prices.of(*next) == price;
        match place {
            Place::Partition(partition) => match self.cells(partition) {
                Some(zones) => {
                    let open = (0..).zip(zones).filter(|(_, zone)| self.may_add(partition, **zone));
                    ahead.extend(open.map(|(cell, _)| Place::Cell(partition, cell)).filter(level));
                }
                None => {
                    let open = |node: &u16| self.may_add(partition, self.zones[usize::from(*node)]);
                    ahead.extend(self.lost(partition).filter(open).map(Place::Node).filter(level));
                }
            },
            Place::Cell(partition, cell) => {
                let zone = self.zone_of(partition, cell);
                let own = |node: &u16| self.zones[usize::from(*node)] == zone;
                ahead.extend(self.lost(partition).filter(own).map(Place::Node).filter(level));
                let up = self.has_extra(partition, zone).then_some(Place::Partition(partition));
                ahead.extend(up.filter(level));
            }
            Place::Node(node) => {
                let (load, bounds) = (self.load[usize::from(node)], self.bounds[usize::from(node)]);
                let next = match load {
                    load if load < bounds.least => Some(Place::Sink),
                    load if load < bounds.most => Some(Place::Spare),
                    _ => None,
                };
                ahead.extend(next.filter(level));
            }
            Place::Spare => ahead.extend((self.spare > 0).then_some(Place::Sink).filter(level)),
            Place::Sink => {}
        }
    }

    /// The nodes that `partition` had and does not hold: to have them back costs nothing.
    fn lost(&self, partition: usize) -> impl Iterator<Item = u16> {
        let lost =
            move |node: &u16| *node != NOBODY && !self.cordoned[usize::from(*node)] && !self.holds(partition, *node);
        self.old(partition).iter().copied().filter(lost)
    }

    /// The zones to whose nodes `place` may lead at once.
    pub(super) fn zones_ahead(&self, place: Place) -> Option<RangeInclusive<u16>> {
        match place {
            Place::Partition(partition) => self.cells(partition).is_none().then_some(0..=u16::MAX),
            Place::Cell(partition, cell) => Some(self.zone_of(partition, cell)).map(|zone| zone..=zone),
            _ => None,
        }
    }

    /// Whether `place` leads to nodes of `zone`, which is one of [`zones_ahead`](Self::zones_ahead).
    pub(super) fn leads_to(&self, place: Place, zone: u16) -> bool {
        match place {
            Place::Partition(partition) => self.may_add(partition, zone),
            _ => true,
        }
    }

    /// The way that takes a copy from `node`, if the node still has it and the way leads up by its cost.
    pub(super) fn way_back(&self, node: u16, (partition, slot): (u32, u8)) -> Option<Place> {
        let (partition, slot) = (partition as usize, usize::from(slot));
        if self.slots(partition)[slot] != node {
            return None;
        }
        let cell = Place::Cell(partition, self.cell(partition, slot));
        // To give up what is new earns 1, so such a way leads down by as much.
        let down = u32::from(!self.held_before(partition, node));
        (self.prices.of(Place::Node(node)) == self.prices.of(cell) + down).then_some(cell)
    }

    /// The way that takes from `node` what it has beyond its least.
    pub(super) fn way_out_of_spare(&self, node: u16) -> Option<Place> {
        let over = self.load[usize::from(node)] > self.bounds[usize::from(node)].least;
        let place = Place::Node(node);
        (over && self.prices.of(place) == self.prices.of(Place::Spare)).then_some(place)
    }
}
