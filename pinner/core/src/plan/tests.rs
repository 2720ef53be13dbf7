//! Plans for random fleets and their histories, each judged by rules and by a least movement that know nothing of how
//! plans are made.
//!
//! `TOPOLOGIES=n` tries n histories of each kind, of a thousand by default; `EVENTS=n` takes the large fleet through n
//! events at full size.

mod judge;
mod least;

use super::*;
use crate::{
    content::PARTITIONS,
    map::{Move, Why},
};
use judge::Judge;
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use uuid::Uuid;

/// A number from the environment.
fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn topologies() -> ProptestConfig {
    let persistence = Some(Box::new(FileFailurePersistence::Off) as _);
    ProptestConfig { cases: number("TOPOLOGIES", 1_000), failure_persistence: persistence, ..Default::default() }
}

fn node(n: u128, zone: &str, capacity: u64) -> Candidate {
    Candidate { id: NodeId::from_uuid(Uuid::from_u128(n)), zone: zone.into(), capacity, cordoned: false }
}

/// What can happen to a fleet. Nodes are meant by their place, modulo their number.
#[derive(Debug, Clone)]
enum Event {
    Add(u8, u64),
    Remove(usize),
    Weigh(usize, u64),
    Rezone(usize, u8),
    Cordon(usize, bool),
    LoseZone(u8),
    Copies(u8),
    Nothing,
}

#[derive(Debug, Clone)]
struct Fleet {
    nodes: Vec<Candidate>,
    copies: u8,
    added: u128,
}

impl Fleet {
    fn new(nodes: &[(u8, u64)], copies: u8) -> Self {
        let mut fleet = Self { nodes: Vec::new(), copies, added: 0 };
        nodes.iter().for_each(|&(zone, capacity)| fleet.apply(&Event::Add(zone, capacity)));
        fleet
    }

    fn apply(&mut self, event: &Event) {
        let count = self.nodes.len();
        match *event {
            Event::Add(zone, capacity) => {
                self.added += 1;
                // Neither older nor younger nodes come first.
                let id = u128::from(self.added.rotate_left(127) as u64) << 64 | self.added.reverse_bits() >> 64;
                self.nodes.push(node(id ^ self.added, ZONES[usize::from(zone)], capacity));
            }
            Event::Remove(at) if count > 0 => _ = self.nodes.remove(at % count),
            Event::Weigh(at, capacity) if count > 0 => self.nodes[at % count].capacity = capacity,
            Event::Rezone(at, zone) if count > 0 => self.nodes[at % count].zone = ZONES[usize::from(zone)].into(),
            Event::Cordon(at, cordoned) if count > 0 => self.nodes[at % count].cordoned = cordoned,
            Event::LoseZone(zone) => self.nodes.retain(|node| node.zone != ZONES[usize::from(zone)]),
            Event::Copies(copies) => self.copies = copies,
            _ => {}
        }
    }
}

/// The first is no zone.
const ZONES: [&str; 6] = ["", "a", "b", "c", "d", "e"];

/// At most 1 to 1,000: the judge's floating numbers tell shares apart down to a millionth of a partition.
fn capacity() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 6 => 1u64..4, 1 => Just(1_000)]
}

fn zone() -> impl Strategy<Value = u8> {
    prop_oneof![1 => Just(0u8), 5 => 1u8..4, 1 => 4u8..6]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (zone(), capacity()).prop_map(|(zone, capacity)| Event::Add(zone, capacity)),
        3 => any::<usize>().prop_map(Event::Remove),
        3 => (any::<usize>(), capacity()).prop_map(|(at, capacity)| Event::Weigh(at, capacity)),
        1 => (any::<usize>(), zone()).prop_map(|(at, zone)| Event::Rezone(at, zone)),
        3 => (any::<usize>(), prop::bool::weighted(0.7)).prop_map(|(at, cordoned)| Event::Cordon(at, cordoned)),
        1 => zone().prop_map(Event::LoseZone),
        1 => (0u8..7).prop_map(Event::Copies),
        1 => Just(Event::Nothing),
    ]
}

fn fleet() -> impl Strategy<Value = Fleet> {
    (prop::collection::vec((zone(), capacity()), 0..9), 0u8..6).prop_map(|(nodes, copies)| Fleet::new(&nodes, copies))
}

/// A map that no planner made: any distinct nodes of a fleet in any partition.
fn disorder(partitions: u32, nodes: &[Candidate], copies: u8, seed: u64) -> PlacementMap {
    let mut table: Vec<_> = nodes.iter().map(|node| node.id).collect();
    table.sort_by_key(|id| id.uuid());
    let copies = usize::from(copies).min(table.len());
    let mut draw = seed;
    let mut slots = Vec::new();
    for _ in 0..partitions {
        let mut rest: Vec<_> = (0..table.len() as u16).collect();
        for _ in 0..copies {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Mostly the first: some nodes have far too much.
            let at = if draw >> 63 == 0 { 0 } else { (draw >> 33) as usize % rest.len() };
            slots.push(rest.remove(at));
        }
    }
    PlacementMap::new(1, partitions, copies as u8, &table, &slots)
}

/// Plans, and judges the plan by everything that can be said about it.
fn planned(last: &PlacementMap, fleet: &Fleet) -> Plan {
    let plan = plan(last, &fleet.nodes, fleet.copies).unwrap();
    Judge::new(&fleet.nodes, fleet.copies, last).check(last, &plan);
    plan
}

/// The same, and that no map moves less.
fn least_planned(last: &PlacementMap, fleet: &Fleet) -> Plan {
    let plan = planned(last, fleet);
    let judge = Judge::new(&fleet.nodes, fleet.copies, last);
    assert_eq!(Some(plan.moved), least::movement(last, &judge), "more moves than need be");
    plan
}

proptest! {
    #![proptest_config(topologies())]

    #[test]
    fn fleets_with_a_history_are_planned_by_the_rules_with_the_least_movement(
        mut fleet in fleet(),
        partitions in 1u32..14,
        events in prop::collection::vec(event(), 1..6),
    ) {
        let mut plan = least_planned(&PlacementMap::empty(partitions), &fleet);
        for event in events {
            fleet.apply(&event);
            plan = least_planned(&plan.map, &fleet);
        }
    }

    #[test]
    fn maps_in_any_disorder_are_put_right_with_the_least_movement(
        before in fleet(),
        events in prop::collection::vec(event(), 0..3),
        partitions in 1u32..14,
        copies in 0u8..6,
        seed: u64,
    ) {
        let last = disorder(partitions, &before.nodes, copies, seed);
        let mut fleet = before;
        events.iter().for_each(|event| fleet.apply(event));
        least_planned(&last, &fleet);
    }
}

proptest! {
    #![proptest_config(topologies())]

    #[test]
    fn to_cordon_nodes_moves_nothing_and_to_uncordon_them_neither(
        mut fleet in fleet(),
        partitions in 1u32..14,
        events in prop::collection::vec(event(), 0..4),
        cordoned in prop::collection::vec(any::<usize>(), 1..4),
    ) {
        events.iter().for_each(|event| fleet.apply(event));
        fleet.nodes.iter_mut().for_each(|node| node.cordoned = false);
        let before = planned(&PlacementMap::empty(partitions), &fleet);
        let plain = fleet.clone();
        cordoned.into_iter().for_each(|at| fleet.apply(&Event::Cordon(at, true)));
        prop_assert_eq!(&planned(&before.map, &fleet).map, &before.map);
        prop_assert_eq!(&planned(&before.map, &plain).map, &before.map);
    }
}

#[test]
fn a_cordoned_node_keeps_what_it_has_while_others_come_and_go() {
    let mut fleet = Fleet::new(&[(1, 1), (2, 1), (3, 1), (1, 1), (2, 1), (3, 1)], 3);
    let before = planned(&PlacementMap::empty(1_000), &fleet).map;
    fleet.apply(&Event::Cordon(0, true));
    fleet.apply(&Event::Add(1, 1));
    let grown = planned(&before, &fleet).map;
    // Two of three share what the cordoned one leaves of their zone.
    let loads = |map: &PlacementMap, fleet: &Fleet| {
        let of = |node: &Candidate| map.nodes().iter().position(|id| *id == node.id).map(|at| map.loads(3)[at]);
        fleet.nodes.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(loads(&grown, &fleet), [500, 500, 500, 250, 500, 500, 250].map(Some));
    fleet.apply(&Event::Remove(3));
    let shrunk = planned(&grown, &fleet).map;
    assert_eq!(loads(&shrunk, &fleet)[0], Some(500));
}

#[test]
fn a_list_is_shorter_where_all_others_are_cordoned_and_whole_again_when_one_comes() {
    let mut fleet = Fleet::new(&[(1, 1), (2, 1), (3, 1)], 2);
    let before = planned(&PlacementMap::empty(30), &fleet).map;
    fleet.apply(&Event::Cordon(0, true));
    fleet.apply(&Event::Cordon(1, true));
    fleet.apply(&Event::Remove(2));
    let short = planned(&before, &fleet).map;
    let lengths = |map: &PlacementMap| {
        let count = |length| (0..30).filter(|partition| map.holders(*partition).len() == length).count();
        [0, 1, 2].map(count)
    };
    assert_eq!(lengths(&short), [0, 20, 10]);
    fleet.apply(&Event::Add(3, 1));
    assert_eq!(lengths(&planned(&short, &fleet).map), [0, 0, 30]);
}

#[test]
fn a_partition_goes_to_the_nodes_there_are() {
    let empty = PlacementMap::empty(8);
    for copies in [0, 1, 3] {
        assert_eq!(planned(&empty, &Fleet::new(&[], copies)).map, empty);
        assert_eq!(planned(&empty, &Fleet::new(&[(1, 0), (2, 0)], copies)).map, empty);
        let one = planned(&empty, &Fleet::new(&[(1, 0), (2, 5)], copies));
        assert_eq!(one.map.copies(), usize::from(copies.min(1)));
    }
}

#[test]
fn a_node_that_is_named_twice_is_refused() {
    let nodes = [node(1, "a", 1), node(1, "b", 0)];
    assert_eq!(plan(&PlacementMap::empty(4), &nodes, 1), Err(Unplannable::NamedTwice(nodes[0].id)));
}

#[test]
fn more_nodes_than_a_map_can_name_are_refused() {
    let mut nodes: Vec<_> = (0..65_535).map(|n| node(n, "", 1)).collect();
    assert_eq!(plan(&PlacementMap::empty(4), &nodes, 1), Err(Unplannable::TooManyNodes(65_535)));
    nodes[7].capacity = 0;
    assert_eq!(plan(&PlacementMap::empty(4), &nodes, 1).unwrap().map.nodes().len(), 4);
}

#[test]
fn a_node_that_comes_takes_its_share_and_nobody_else_moves() {
    let mut fleet = Fleet::new(&[(1, 1), (2, 1), (3, 1), (1, 1), (2, 1), (3, 1)], 3);
    let before = planned(&PlacementMap::empty(1_000), &fleet).map;
    fleet.apply(&Event::Add(1, 1));
    let after = planned(&before, &fleet);
    let new = fleet.nodes[6].id;
    let moves = before.moves(&after.map, 3, &fleet.nodes);
    assert_eq!(moves.len(), 333);
    assert!(moves.iter().all(|Move { to, why, .. }| *to == Some(new) && *why == Why::Balance), "{moves:?}");
    for partition in 0..1_000 {
        let places = before.holders(partition).zip(after.map.holders(partition));
        assert!(places.into_iter().all(|(old, next)| next == old || next == new), "{partition}: others change places");
    }
}

#[test]
fn a_drained_node_gives_up_what_it_has_and_nobody_else_moves() {
    let mut fleet = Fleet::new(&[(1, 1), (2, 1), (3, 1), (1, 1), (2, 1), (3, 1)], 3);
    let before = planned(&PlacementMap::empty(1_000), &fleet).map;
    fleet.apply(&Event::Weigh(4, 0));
    let after = planned(&before, &fleet);
    let moves = before.moves(&after.map, 3, &fleet.nodes);
    assert_eq!(moves.len(), 500);
    let drained = Some(fleet.nodes[4].id);
    assert!(moves.iter().all(|Move { from, why, .. }| *from == drained && *why == Why::Drained), "{moves:?}");
}

#[test]
fn what_a_node_holds_has_its_other_copies_all_over_the_other_zones() {
    let fleet = Fleet::new(&(0..30).map(|at| (1 + at % 3, 1)).collect::<Vec<_>>(), 3);
    let map = planned(&PlacementMap::empty(1_024), &fleet).map;
    for node in map.nodes() {
        let lists = (0..1_024).map(|partition| map.holders(partition).collect::<Vec<_>>());
        let mut peers: Vec<_> = lists.filter(|list| list.contains(node)).flatten().map(|peer| peer.uuid()).collect();
        peers.sort();
        peers.dedup();
        assert_eq!(peers.len(), 1 + 20);
    }
}

/// The greatest difference between what nodes have among the first `copies` and what they should, in partitions.
fn unevenness(plan: &Plan, copies: usize) -> f64 {
    let share = copies as f64 / plan.map.copies() as f64;
    let loads = plan.map.loads(copies).into_iter().zip(plan.map.loads(usize::MAX));
    loads.map(|(first, all)| (f64::from(first) - f64::from(all) * share).abs()).fold(0.0, f64::max)
}

#[test]
fn the_first_copies_are_as_even_as_all_are() {
    let mut fleet = Fleet::new(&(0..30).map(|at| (1 + at % 3, 1 + u64::from(at % 2))).collect::<Vec<_>>(), 3);
    let mut plan = planned(&PlacementMap::empty(1_024), &fleet);
    for copies in [1, 2] {
        assert!(unevenness(&plan, copies) <= 2.0, "{copies}: {}", unevenness(&plan, copies));
    }
    // What comes later finds places as others leave them.
    for at in 0..20 {
        fleet.apply(&Event::Weigh(at * 7, 1 + at as u64 % 3));
        plan = planned(&plan.map, &fleet);
    }
    for copies in [1, 2] {
        assert!(unevenness(&plan, copies) <= 20.0, "{copies}: {}", unevenness(&plan, copies));
    }
}

/// A fleet of `count` nodes in three zones through as many `events`, each of which moves what it must by a bound that
/// can be added up. Gives what moved.
fn long_history(partitions: u32, count: usize, events: u32) -> u32 {
    let mut draw = 7_u64;
    let mut chance = |below: usize| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (draw >> 33) as usize % below
    };
    let nodes: Vec<_> = (0..count).map(|at| (1 + (at % 3) as u8, 4)).collect();
    let mut fleet = Fleet::new(&nodes, 3);
    let mut map = planned(&PlacementMap::empty(partitions), &fleet).map;
    let mut moved = 0;
    for number in 0..events {
        let event = match chance(4) {
            0 if fleet.nodes.len() < count + count / 10 => Event::Add(1 + chance(3) as u8, 4),
            1 if fleet.nodes.len() > count - count / 10 => Event::Remove(chance(count)),
            2 => Event::Weigh(chance(count), 0),
            _ => Event::Weigh(chance(count), 3 + chance(3) as u64),
        };
        fleet.apply(&event);
        let plan = planned(&map, &fleet);
        let judge = Judge::new(&fleet.nodes, 3, &map);
        assert_eq!(plan.moved, judge.bound(&map), "event {number}: {event:?}");
        moved += plan.moved;
        map = plan.map;
    }
    moved
}

#[test]
fn a_thousand_events_move_what_they_must() {
    assert!(long_history(256, 30, 1_000) > 1_000);
}

#[test]
fn a_large_fleet_moves_what_it_must_at_full_size() {
    assert!(long_history(PARTITIONS, 1_000, number("EVENTS", 1)) > 0);
}
