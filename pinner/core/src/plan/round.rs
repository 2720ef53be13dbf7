//! One round of the search: sends as many copies as there are shortest ways for, each place one level further.

use super::{
    flow::{Network, Place, Places},
    search::{Bunches, Holdings},
};
use std::collections::BTreeMap;

/// The level of a place from which nothing more leads to the sink in this round.
const SPENT: u32 = u32::MAX - 1;
/// How often a node is drawn by its room before all are looked through in turn.
const DRAWS: usize = 8;

/// A price and a level.
type Key = (u32, u32);

/// A round under way.
pub(super) struct Round<'a> {
    network: &'a mut Network,
    levels: Places,
    holdings: Holdings,
    /// How much of each node's holdings has been looked through.
    cursors: Vec<usize>,
    spare_cursor: u16,
    bunches: Bunches<Key>,
    /// Nodes, each as often as it has room: of a zone, or of all.
    decks: BTreeMap<(Key, Option<u16>), Vec<u16>>,
    draws: u64,
    ahead: Vec<Place>,
}

impl<'a> Round<'a> {
    pub(super) fn new(network: &'a mut Network, levels: Places, holdings: Holdings) -> Self {
        let mut bunches: Bunches<Key> = BTreeMap::new();
        let mut decks: BTreeMap<_, Vec<u16>> = BTreeMap::new();
        for (node, zone) in network.open() {
            let key = (network.prices.of(Place::Node(node)), levels.of(Place::Node(node)));
            bunches.entry(key).or_default().entry(zone).or_default().push(node);
            let room = network.bounds[usize::from(node)].most - network.load[usize::from(node)];
            for of in [None, Some(zone)] {
                decks.entry((key, of)).or_default().extend((0..room).map(|_| node));
            }
        }
        Self {
            cursors: vec![0; network.zones.len()],
            network,
            levels,
            holdings,
            spare_cursor: 0,
            bunches,
            decks,
            draws: 0,
            ahead: Vec::new(),
        }
    }

    /// Sends what waits at `place`, as far as there are ways.
    pub(super) fn place_all(&mut self, place: Place) {
        while self.network.waits(place) {
            let Some(path) = self.path(place) else { return };
            for (partition, slot) in self.network.send(&path) {
                if self.network.cells(partition).is_some() {
                    continue;
                }
                // The slot is another zone's cell now. It came to be at its partition's price.
                let price = self.network.prices.of(Place::Partition(partition));
                self.network.prices.set(Place::Cell(partition, slot), price);
            }
        }
    }

    /// A way from `place` to the sink, level by level.
    fn path(&mut self, place: Place) -> Option<Vec<Place>> {
        let mut path = vec![place];
        while let Some(&last) = path.last() {
            match self.step(last) {
                Some(Place::Sink) => {
                    path.push(Place::Sink);
                    return Some(path);
                }
                Some(next) => path.push(next),
                None => {
                    self.levels.set(last, SPENT);
                    path.pop();
                }
            }
        }
        None
    }

    /// A place one level beyond `place` that a way leads to.
    fn step(&mut self, place: Place) -> Option<Place> {
        let level = self.levels.of(place) + 1;
        let mut ahead = std::mem::take(&mut self.ahead);
        ahead.clear();
        self.network.ways(place, &mut ahead);
        let near = ahead.iter().copied().find(|&next| self.is_at(next, level));
        self.ahead = ahead;
        near.or_else(|| match place {
            Place::Partition(partition) | Place::Cell(partition, _) => {
                self.draw(place, partition, level).or_else(|| self.look(place, partition, level)).map(Place::Node)
            }
            Place::Node(node) => self.way_back(node, level),
            Place::Spare => self.way_out_of_spare(level),
            Place::Sink => None,
        })
    }

    /// Whether `next` is at `level` and may lead on.
    fn is_at(&self, next: Place, level: u32) -> bool {
        self.levels.of(next) == level && (next == Place::Sink || level < self.levels.of(Place::Sink))
    }

    /// A new node for `partition`, by chance in proportion to room, so that the partitions of one node have their other
    /// copies all over the fleet: when it is lost, many help to replace it. Chance comes from the number of the draw, so
    /// the same plan is made each time.
    fn draw(&mut self, place: Place, partition: usize, level: u32) -> Option<u16> {
        let key = (self.network.prices.of(place) + 1, level);
        let of = match place {
            Place::Partition(_) => None,
            _ => self.network.zones_ahead(place).map(|zones| *zones.start()),
        };
        self.network.zones_ahead(place)?;
        let mut draws = 0;
        while draws < DRAWS {
            let deck = self.decks.get_mut(&(key, of)).filter(|deck| !deck.is_empty())?;
            self.draws += 1;
            let at = (mix(self.draws) % deck.len() as u64) as usize;
            let node = deck[at];
            if self.levels.of(Place::Node(node)) != level {
                deck.swap_remove(at);
                continue;
            }
            let zone = self.network.zones[usize::from(node)];
            if self.is_at(Place::Node(node), level)
                && self.network.leads_to(place, zone)
                && !self.network.holds(partition, node)
            {
                return Some(node);
            }
            draws += 1;
        }
        None
    }

    /// A new node for `partition`, wherever there is one.
    fn look(&mut self, place: Place, partition: usize, level: u32) -> Option<u16> {
        let (network, levels) = (&*self.network, &self.levels);
        if level >= levels.of(Place::Sink) {
            return None;
        }
        let bunch = self.bunches.get_mut(&(network.prices.of(place) + 1, level))?;
        for (_, nodes) in
            bunch.range_mut(network.zones_ahead(place)?).filter(|(zone, _)| network.leads_to(place, **zone))
        {
            let mut at = 0;
            while let Some(&node) = nodes.get(at) {
                if levels.of(Place::Node(node)) != level {
                    nodes.swap_remove(at);
                } else if !network.holds(partition, node) {
                    return Some(node);
                } else {
                    at += 1;
                }
            }
        }
        None
    }

    fn way_back(&mut self, node: u16, level: u32) -> Option<Place> {
        let cursor = usize::from(node);
        while let Some(&holding) = self.holdings[usize::from(node)].get(self.cursors[cursor]) {
            match self.network.way_back(node, holding).filter(|&cell| self.is_at(cell, level)) {
                Some(cell) => return Some(cell),
                None => self.cursors[cursor] += 1,
            }
        }
        None
    }

    fn way_out_of_spare(&mut self, level: u32) -> Option<Place> {
        while usize::from(self.spare_cursor) < self.network.zones.len() {
            match self.network.way_out_of_spare(self.spare_cursor).filter(|&node| self.is_at(node, level)) {
                Some(node) => return Some(node),
                None => self.spare_cursor += 1,
            }
        }
        None
    }
}

/// A number that looks like chance (SplitMix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
