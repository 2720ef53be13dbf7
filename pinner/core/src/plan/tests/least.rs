//! The least movement that there is, from the textbook: every way is listed, and the cheapest is looked for again and
//! again (Busacker and Gowen; Bellman and Ford). For a few partitions and nodes.

use super::judge::Judge;
use crate::map::PlacementMap;

/// What must be is worth so much that no movement outweighs it.
const MUST: i64 = -1_000_000;

struct Way {
    to: usize,
    room: u32,
    cost: i64,
}

/// Ways in pairs: each and its way back.
#[derive(Default)]
struct Graph {
    ways: Vec<Way>,
    from: Vec<Vec<usize>>,
}

impl Graph {
    fn place(&mut self) -> usize {
        self.from.push(Vec::new());
        self.from.len() - 1
    }

    fn way(&mut self, from: usize, to: usize, room: usize, cost: i64) {
        for (from, to, room, cost) in [(from, to, room as u32, cost), (to, from, 0, -cost)] {
            self.from[from].push(self.ways.len());
            self.ways.push(Way { to, room, cost });
        }
    }

    /// Sends one more from `source` to `sink` at the least cost.
    fn send(&mut self, source: usize, sink: usize) -> Option<i64> {
        let mut cost = vec![i64::MAX; self.from.len()];
        let mut by = vec![usize::MAX; self.from.len()];
        cost[source] = 0;
        let mut changed = vec![source];
        while !changed.is_empty() {
            for place in std::mem::take(&mut changed) {
                for &number in &self.from[place] {
                    let way = &self.ways[number];
                    if way.room > 0 && cost[place] + way.cost < cost[way.to] {
                        cost[way.to] = cost[place] + way.cost;
                        by[way.to] = number;
                        changed.push(way.to);
                    }
                }
            }
        }
        let mut place = sink;
        while place != source {
            let number = *by.get(place).filter(|number| **number != usize::MAX)?;
            self.ways[number].room -= 1;
            self.ways[number ^ 1].room += 1;
            place = self.ways[number ^ 1].to;
        }
        Some(cost[sink])
    }
}

/// The fewest pairs new to `last` that a map by the rules of `judge` can have. None if no map is by them.
pub(super) fn movement(last: &PlacementMap, judge: &Judge) -> Option<u32> {
    let mut graph = Graph::default();
    let (source, sink) = (graph.place(), graph.place());
    let (mut must, mut total) = (0, 0);
    let nodes: Vec<_> = judge.nodes.iter().map(|(id, &(zone, least, most))| (*id, zone, least, most)).collect();
    let places: Vec<_> = nodes.iter().map(|_| graph.place()).collect();
    for (&(_, _, least, most), &place) in nodes.iter().zip(&places) {
        graph.way(place, sink, least as usize, MUST);
        graph.way(place, sink, (most - least) as usize, 0);
        must += i64::from(least);
    }
    for partition in 0..=(judge.partitions - 1) as u16 {
        let had: Vec<_> = last.holders(partition).map(|node| node.uuid()).collect();
        let own = graph.place();
        let at = usize::from(partition);
        graph.way(source, own, judge.length(at), 0);
        total += judge.length(at);
        for (zone, (_, fewest, most)) in judge.zones(at).into_iter().enumerate() {
            let part = graph.place();
            graph.way(own, part, fewest, MUST);
            graph.way(own, part, most - fewest, 0);
            must += fewest as i64;
            for ((id, of, ..), &place) in nodes.iter().zip(&places) {
                if *of == zone && judge.may_hold(at, id) {
                    graph.way(part, place, 1, i64::from(!had.contains(id)));
                }
            }
        }
    }
    let mut cost = -must * MUST;
    for _ in 0..total {
        cost += graph.send(source, sink)?;
    }
    // What must be and is not weighs more than all that can move.
    u32::try_from(cost).ok().filter(|moved| i64::from(*moved) < -MUST)
}
