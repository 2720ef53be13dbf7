//! The rules of a placement map, told from nodes and lists alone: a second opinion with floating numbers, for tests.

use super::{super::Plan, least};
use crate::{map::PlacementMap, placement::Candidate};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// What a fleet asks of the map that follows another.
pub(super) struct Judge {
    pub(super) partitions: u32,
    /// Nodes with capacity: zone, fewest and most partitions.
    pub(super) nodes: HashMap<Uuid, (usize, u32, u32)>,
    /// Those of them that are cordoned.
    cordoned: HashSet<Uuid>,
    /// For each partition what cordoned nodes keep of it, and the length of its list.
    kept: Vec<(Vec<Uuid>, usize)>,
    zone_count: usize,
    given: Vec<Candidate>,
    asked: u8,
}

impl Judge {
    pub(super) fn new(given: &[Candidate], asked: u8, last: &PlacementMap) -> Self {
        let able: Vec<_> = given.iter().filter(|node| node.capacity > 0).collect();
        let mut names: Vec<String> = Vec::new();
        let mut zone_of = |node: &Candidate| {
            let name = if node.zone.is_empty() { node.id.to_string() } else { format!("zone {}", node.zone) };
            names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            })
        };
        let nodes = able.iter().map(|node| (node.id.uuid(), (zone_of(node), 0, 0))).collect();
        let cordoned: HashSet<_> = able.iter().filter(|node| node.cordoned).map(|node| node.id.uuid()).collect();
        let free = able.len() - cordoned.len();
        let kept = |partition| {
            let list = last.holders(partition).map(|node| node.uuid());
            let kept: Vec<_> = list.filter(|node| cordoned.contains(node)).take(asked.into()).collect();
            let length = usize::from(asked).min(kept.len() + free);
            (kept, length)
        };
        let kept = (0..=(last.partitions() - 1) as u16).map(kept).collect();
        let (partitions, zone_count) = (last.partitions(), names.len());
        let mut judge = Self { partitions, nodes, cordoned, kept, zone_count, given: given.to_vec(), asked };
        judge.weigh();
        if !judge.cordoned.is_empty() && partitions < 20 {
            judge.widen(last);
        }
        judge
    }

    /// Finds how much each node is to have.
    fn weigh(&mut self) {
        let mut has: HashMap<Uuid, u32> = HashMap::new();
        self.kept.iter().flat_map(|(kept, _)| kept).for_each(|node| *has.entry(*node).or_default() += 1);
        let has = |node: &Uuid| has.get(node).copied().unwrap_or(0);
        let mut settled: HashSet<Uuid> = HashSet::new();
        loop {
            let taking = self.given.iter().filter(|node| node.capacity > 0 && !settled.contains(&node.id.uuid()));
            let taking: Vec<_> = taking.map(|node| (node.id.uuid(), node.capacity as f64)).collect();
            let mut zones = vec![(0.0, 0.0); self.zone_count];
            let mut all = 0;
            let sizes = self.sizes(|node| !settled.contains(node));
            for (kept, length) in &self.kept {
                let stays = kept.iter().filter(|node| settled.contains(node));
                let asked = self.dealt(&stays.copied().collect::<Vec<_>>(), *length, &sizes);
                for (sum, (stay, fewest, most)) in zones.iter_mut().zip(asked) {
                    *sum = (sum.0 + (fewest - stay) as f64, sum.1 + (most - stay) as f64);
                }
                all += length - kept.iter().filter(|node| settled.contains(node)).count();
            }
            let weighed: Vec<_> = taking.iter().map(|(id, capacity)| (self.nodes[id].0, *capacity)).collect();
            let ideal = ideal(&weighed, &zones, all as f64, self.partitions.into());
            let shares = ideal.iter().map(|ideal| ((ideal + 1e-6).floor() as u32, (ideal - 1e-6).ceil() as u32));
            let shares: Vec<_> = taking.iter().map(|(id, _)| *id).zip(shares).collect();
            let distance = |(id, (least, most)): &(Uuid, (u32, u32))| match self.cordoned.contains(id) {
                true => least.saturating_sub(has(id)).max(has(id).saturating_sub(*most)),
                false => 0,
            };
            let farthest = shares.iter().map(distance).max().unwrap_or(0);
            if farthest > 0 {
                settled.extend(shares.iter().filter(|it| distance(it) * 2 >= farthest).map(|(id, _)| *id));
                continue;
            }
            for (id, (least, most)) in shares {
                let node = self.nodes.get_mut(&id).unwrap();
                (node.1, node.2) = (least, most);
            }
            for id in &self.cordoned {
                let node = self.nodes.get_mut(id).unwrap();
                (node.1, node.2) = (has(id), has(id));
            }
            return;
        }
    }

    /// Gives all nodes as much more room as there must be for a map to be possible.
    fn widen(&mut self, last: &PlacementMap) {
        let shares = self.nodes.clone();
        let mut width = 0;
        while least::movement(last, self).is_none() {
            width = if width == 0 { 1 } else { width * 2 };
            for (id, (zone, least, most)) in shares.iter().filter(|(id, _)| !self.cordoned.contains(id)) {
                self.nodes.insert(*id, (*zone, least.saturating_sub(width), (most + width).min(self.partitions)));
            }
        }
    }

    /// What a partition may have in each zone, whatever stays there: how much stays, and the fewest and most copies.
    pub(super) fn zones(&self, partition: usize) -> Vec<(usize, usize, usize)> {
        let (kept, length) = &self.kept[partition];
        self.dealt(kept, *length, &self.sizes(|node| !self.cordoned.contains(node)))
    }

    /// How long a partition's list is.
    pub(super) fn length(&self, partition: usize) -> usize {
        self.kept[partition].1
    }

    /// Whether `node` may hold the partition.
    pub(super) fn may_hold(&self, partition: usize, node: &Uuid) -> bool {
        !self.cordoned.contains(node) || self.kept[partition].0.contains(node)
    }

    /// How many nodes that `takes` tells each zone has.
    fn sizes(&self, takes: impl Fn(&Uuid) -> bool) -> Vec<usize> {
        let mut sizes = vec![0; self.zone_count];
        self.nodes.iter().filter(|(id, _)| takes(id)).for_each(|(_, (zone, ..))| sizes[*zone] += 1);
        sizes
    }

    /// Deals a list's copies in rounds to zones that have nodes left to take one; the last round may not be enough for
    /// all. A zone in which as many stay is passed over.
    fn dealt(&self, stay: &[Uuid], length: usize, sizes: &[usize]) -> Vec<(usize, usize, usize)> {
        let of = |zone: usize, node: &Uuid| self.nodes[node].0 == zone;
        let zones = 0..self.zone_count;
        let stays: Vec<_> = zones.clone().map(|zone| stay.iter().filter(|node| of(zone, node)).count()).collect();
        let full: Vec<_> = sizes.iter().zip(&stays).map(|(size, stays)| size + stays).collect();
        let mut counts = stays.clone();
        let mut left = length - stay.len();
        for round in 1.. {
            let open: Vec<_> =
                zones.clone().filter(|&zone| counts[zone] < round && counts[zone] < full[zone]).collect();
            if left < open.len() || left == 0 {
                let more = |zone| usize::from(left > 0 && open.contains(&zone));
                return zones.map(|zone| (stays[zone], counts[zone], counts[zone] + more(zone))).collect();
            }
            left -= open.len();
            open.into_iter().for_each(|zone| counts[zone] += 1);
        }
        unreachable!("lists are no longer than there are nodes")
    }

    /// Panics on whatever is wrong with a plan but that it moves too much.
    pub(super) fn check(&self, last: &PlacementMap, plan: &Plan) {
        let map = &plan.map;
        let longest = self.kept.iter().map(|(_, length)| *length).max();
        assert_eq!((map.partitions(), Some(map.copies())), (self.partitions, longest));
        let mut loads: HashMap<Uuid, u32> = HashMap::new();
        let mut gained = 0;
        let takers = self.sizes(|node| !self.cordoned.contains(node));
        for partition in 0..=(self.partitions - 1) as u16 {
            let list: Vec<_> = map.holders(partition).map(|node| node.uuid()).collect();
            assert!(
                (1..list.len()).all(|at| !list[..at].contains(&list[at])),
                "{partition} has a node twice: {list:?}"
            );
            assert!(
                list.iter().all(|node| self.nodes.contains_key(node)),
                "{partition} is on a node that takes nothing"
            );
            let (kept, length) = &self.kept[usize::from(partition)];
            assert_eq!(list.len(), *length, "{partition} has another number of copies than it can have");
            let cordoned = list.iter().filter(|node| self.cordoned.contains(node));
            assert!(
                cordoned.clone().count() == kept.len() && cordoned.clone().all(|node| kept.contains(node)),
                "{partition} is on {list:?}, and of cordoned nodes was on {kept:?}"
            );
            self.check_spread(&list, &takers);
            list.iter().for_each(|node| *loads.entry(*node).or_default() += 1);
            let had: Vec<_> = last.holders(partition).map(|node| node.uuid()).collect();
            gained += list.iter().filter(|node| !had.contains(node)).count();
            self.check_order(&had, &list);
        }
        for (node, (_, least, most)) in &self.nodes {
            let load = loads.get(node).copied().unwrap_or(0);
            assert!((*least..=*most).contains(&load), "{node} has {load} of {least} to {most}");
        }
        assert_eq!(plan.moved as usize, gained);
        assert!(plan.shares.iter().all(|share| loads.get(&share.node.uuid()).copied().unwrap_or(0) == share.load));
        let moves = last.moves(map, usize::MAX, &self.given);
        assert_eq!(moves.iter().filter(|it| it.to.is_some()).count(), gained);

        assert_eq!(PlacementMap::decode(&map.encode()).as_ref(), Ok(map));
        let same = map.places_as(last);
        assert_eq!(map.version(), last.version() + u64::from(!same));
        let again = super::plan(map, &self.given, self.asked).unwrap();
        assert_eq!((&again.map, again.moved), (map, 0), "planning again changes something");
        let reversed: Vec<_> = self.given.iter().rev().cloned().collect();
        assert_eq!(super::plan(last, &reversed, self.asked).as_ref(), Ok(plan), "the order of nodes matters");
    }

    /// Zones of one partition's nodes: none has two more than one with a node left that takes something, but for copies
    /// that stay where they are. Every beginning of the list is as even as it can be.
    fn check_spread(&self, list: &[Uuid], takers: &[usize]) {
        let zones: Vec<_> = list.iter().map(|node| self.nodes[node].0).collect();
        let count = |zone, list: &[usize]| list.iter().filter(|other| **other == zone).count();
        let takes = |node: &&Uuid| !self.cordoned.contains(*node);
        let taken = |zone| list.iter().filter(takes).filter(|node| self.nodes[node].0 == zone).count();
        for here in list.iter().filter(takes) {
            for other in (0..self.zone_count).filter(|&other| taken(other) < takers[other]) {
                let (most, fewer) = (count(self.nodes[here].0, &zones), count(other, &zones));
                assert!(most < fewer + 2, "{zones:?} could be more even");
            }
        }
        for (at, zone) in zones.iter().enumerate() {
            let used = count(*zone, &zones[..at]);
            let later = zones[at..].iter().map(|later| count(*later, &zones[..at])).min();
            assert_eq!(Some(used), later, "{zones:?} begins less evenly than it could");
        }
    }

    /// Nodes that stay keep their order, and their places where they can: but for the spread of beginnings.
    fn check_order(&self, had: &[Uuid], list: &[Uuid]) {
        let was = |node: &Uuid| had.iter().position(|old| old == node);
        let used =
            |node: &Uuid, list: &[Uuid]| list.iter().filter(|used| self.nodes[used].0 == self.nodes[node].0).count();
        for (at, first) in list.iter().enumerate() {
            for later in &list[at..] {
                let open = used(later, &list[..at]) <= used(first, &list[..at]);
                match (was(first), was(later)) {
                    (Some(first), Some(later)) => assert!(first <= later || !open, "{had:?} became {list:?}"),
                    (None, Some(later)) => assert!(at < later || !open, "{had:?} became {list:?}"),
                    _ => {}
                }
            }
        }
    }

    /// What any map moves at least, added up zone by zone: nodes gain what they lack of their least, and a zone places
    /// what its nodes cannot keep. For fleets where each zone has a fixed number of copies.
    pub(super) fn bound(&self, last: &PlacementMap) -> u32 {
        let had: HashMap<_, _> = last.nodes().iter().map(|node| node.uuid()).zip(last.loads(usize::MAX)).collect();
        let zone_bound = |(zone, (_, fewest, most)): (usize, &(usize, usize, usize))| {
            assert_eq!(fewest, most);
            let nodes = self.nodes.iter().filter(|(_, (of, ..))| *of == zone);
            let (mut lacking, mut kept) = (0, 0);
            for (node, (_, least, most)) in nodes {
                let had = had.get(node).copied().unwrap_or(0);
                lacking += least.saturating_sub(had);
                kept += had.min(*most);
            }
            lacking.max((*fewest as u32 * self.partitions).saturating_sub(kept))
        };
        assert!(self.cordoned.is_empty());
        self.zones(0).iter().enumerate().map(zone_bound).sum()
    }
}

/// Each node's share, given as its zone and capacity: the level at which all is placed, by bisection.
fn ideal(nodes: &[(usize, f64)], zones: &[(f64, f64)], all: f64, partitions: f64) -> Vec<f64> {
    let zone_load = |zone: usize, level: f64| -> f64 {
        let of_zone = nodes.iter().filter(|(of, _)| *of == zone);
        of_zone.map(|(_, capacity)| partitions.min(level * capacity)).sum()
    };
    let bisect = |load: &dyn Fn(f64) -> f64, total: f64| {
        // On a scale of exponents, as capacities differ by orders of magnitude.
        let (mut low, mut high) = (-40.0_f64, 40.0_f64);
        for _ in 0..100 {
            let middle = (low + high) / 2.0;
            if load(middle.exp2()) < total { low = middle } else { high = middle }
        }
        high.exp2()
    };
    let clamped = |level: f64| -> f64 {
        zones.iter().enumerate().map(|(zone, &(least, most))| zone_load(zone, level).clamp(least, most)).sum()
    };
    let common = bisect(&clamped, all);
    let level = |(zone, &(least, most)): (usize, &(f64, f64))| {
        let load = zone_load(zone, common).clamp(least, most);
        bisect(&|level| zone_load(zone, level), load)
    };
    let levels: Vec<_> = zones.iter().enumerate().map(level).collect();
    nodes.iter().map(|(zone, capacity)| partitions.min(levels[*zone] * capacity)).collect()
}
