//! The rules of a placement map, told from nodes and lists alone: a second opinion with floating numbers, for tests.

use super::super::Plan;
use crate::{map::PlacementMap, placement::Candidate};
use std::collections::HashMap;
use uuid::Uuid;

/// What a fleet asks of its maps.
pub(super) struct Judge {
    pub(super) partitions: u32,
    pub(super) copies: usize,
    /// Nodes with capacity: zone, fewest and most partitions.
    pub(super) nodes: HashMap<Uuid, (usize, u32, u32)>,
    /// For each zone its nodes, and the fewest and most copies of one partition.
    pub(super) zones: Vec<(usize, usize, usize)>,
    given: Vec<Candidate>,
    asked: u8,
}

impl Judge {
    pub(super) fn new(given: &[Candidate], asked: u8, partitions: u32) -> Self {
        let able: Vec<_> = given.iter().filter(|node| node.capacity > 0).collect();
        let copies = able.len().min(asked.into());
        let mut names: Vec<String> = Vec::new();
        let mut zone_of = |node: &Candidate| {
            let name = if node.zone.is_empty() { node.id.to_string() } else { format!("zone {}", node.zone) };
            names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            })
        };
        let zoned: Vec<_> = able.iter().map(|node| (zone_of(node), *node)).collect();
        let sizes: Vec<_> = (0..names.len()).map(|zone| zoned.iter().filter(|(z, _)| *z == zone).count()).collect();
        let zones = rounds(&sizes, copies);
        let ideal = ideal(&zoned, &zones, copies, partitions.into());
        let bounds = |(&(zone, node), ideal): (&(usize, &Candidate), f64)| {
            (node.id.uuid(), (zone, (ideal + 1e-6).floor() as u32, (ideal - 1e-6).ceil() as u32))
        };
        let nodes = zoned.iter().zip(ideal).map(bounds).collect();
        Self { partitions, copies, nodes, zones, given: given.to_vec(), asked }
    }

    /// Panics on whatever is wrong with a plan but that it moves too much.
    pub(super) fn check(&self, last: &PlacementMap, plan: &Plan) {
        let map = &plan.map;
        assert_eq!((map.partitions(), map.copies()), (self.partitions, self.copies));
        let mut loads: HashMap<Uuid, u32> = HashMap::new();
        let mut gained = 0;
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
            let zones: Vec<_> = list.iter().map(|node| self.nodes[node].0).collect();
            self.check_spread(&zones);
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

    /// Zones of one partition's nodes: none has two more than one with a node left, in no beginning of the list either.
    fn check_spread(&self, zones: &[usize]) {
        let count = |zone, list: &[usize]| list.iter().filter(|other| **other == zone).count();
        for (more, less) in (0..self.zones.len()).flat_map(|a| (0..self.zones.len()).map(move |b| (a, b))) {
            let (most, fewer) = (count(more, zones), count(less, zones));
            assert!(most < fewer + 2 || fewer == self.zones[less].0, "{zones:?} could be more even");
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
        self.zones.iter().enumerate().map(zone_bound).sum()
    }
}

/// Deals copies in rounds to zones that have nodes left; the last round may not be enough for all.
fn rounds(sizes: &[usize], copies: usize) -> Vec<(usize, usize, usize)> {
    let (mut round, mut left) = (0, copies);
    loop {
        let open = sizes.iter().filter(|size| **size > round).count();
        if open == 0 || left < open {
            let more = |size: usize| usize::from(left > 0 && size > round);
            return sizes.iter().map(|&size| (size, size.min(round), size.min(round) + more(size))).collect();
        }
        left -= open;
        round += 1;
    }
}

/// Each node's share: the level at which all is placed, by bisection.
fn ideal(nodes: &[(usize, &Candidate)], zones: &[(usize, usize, usize)], copies: usize, partitions: f64) -> Vec<f64> {
    let zone_load = |zone: usize, level: f64| -> f64 {
        let of_zone = nodes.iter().filter(|(of, _)| *of == zone);
        of_zone.map(|(_, node)| partitions.min(level * node.capacity as f64)).sum()
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
        let each = zones.iter().enumerate().map(|(zone, &(_, fewest, most))| {
            zone_load(zone, level).clamp(fewest as f64 * partitions, most as f64 * partitions)
        });
        each.sum()
    };
    let common = bisect(&clamped, copies as f64 * partitions);
    let level = |(zone, &(_, fewest, most)): (usize, &(usize, usize, usize))| {
        let load = zone_load(zone, common).clamp(fewest as f64 * partitions, most as f64 * partitions);
        bisect(&|level| zone_load(zone, level), load)
    };
    let levels: Vec<_> = zones.iter().enumerate().map(level).collect();
    nodes.iter().map(|(zone, node)| partitions.min(levels[*zone] * node.capacity as f64)).collect()
}
