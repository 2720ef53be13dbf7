//! Times plans at full size: `cargo run --release -p pinner-core --example plan [-- NODES EVENTS]`.
//!
//! Prints one line for the first plan and one for the median, the slowest and the movement of events.

use pinner_core::{
    content::PARTITIONS,
    id::NodeId,
    map::PlacementMap,
    placement::Candidate,
    plan::{Plan, plan},
};
use std::time::{Duration, Instant};
use uuid::Uuid;

fn timed(last: &PlacementMap, nodes: &[Candidate]) -> (Plan, Duration) {
    let start = Instant::now();
    let plan = plan(last, nodes, 3).expect("nodes are named once");
    (plan, start.elapsed())
}

/// The greatest load by capacity, as a ratio to the mean.
fn fullest(plan: &Plan, nodes: &[Candidate]) -> f64 {
    let capacity = |id: NodeId| nodes.iter().find(|node| node.id == id).map_or(0, |node| node.capacity) as f64;
    let fill = plan.shares.iter().map(|share| f64::from(share.load) / capacity(share.node)).fold(0.0, f64::max);
    let total: f64 = nodes.iter().map(|node| node.capacity as f64).sum();
    fill * total / (3.0 * f64::from(PARTITIONS))
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let count: usize = arguments.next().unwrap_or(1_000);
    let events: usize = arguments.next().unwrap_or(200);
    let node = |n: usize| Candidate {
        id: NodeId::from_uuid(Uuid::from_u128(n as u128 + 1)),
        zone: ["a", "b", "c"][n % 3].into(),
        capacity: 1,
        cordoned: false,
    };
    let mut nodes: Vec<_> = (0..count).map(node).collect();
    let (mut last, first) = timed(&PlacementMap::empty(PARTITIONS), &nodes);
    println!("first plan: {first:?}, max ÷ mean fill {:.4}, {} bytes", fullest(&last, &nodes), last.map.encode().len());

    let (mut times, mut moved) = (Vec::new(), 0);
    for event in 0..events {
        match event % 3 {
            0 => nodes.push(node(count + event)),
            1 => _ = nodes.remove(event * 7 % nodes.len()),
            _ => {
                let at = event * 13 % nodes.len();
                nodes[at].capacity = 1 - nodes[at].capacity;
            }
        }
        let (next, time) = timed(&last.map, &nodes);
        times.push(time);
        moved += next.moved;
        last = next;
    }
    times.sort();
    if let (Some(middle), Some(slowest)) = (times.get(events / 2), times.last()) {
        println!("{events} events: median {middle:?}, slowest {slowest:?}, {moved} moves");
    }

    nodes.retain(|node| node.zone != "c");
    let (lost, time) = timed(&last.map, &nodes);
    println!("a zone lost: {time:?}, {} moves", lost.moved);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("peak memory: not told here"));
}
