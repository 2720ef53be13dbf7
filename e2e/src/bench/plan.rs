//! Rows 4 and 5: planning placement maps at full size, and how much the plans move.
//!
//! A plan knows partitions and nodes, never contents: so it costs the same for 100 M placements as for none. It is timed in
//! this process, which holds nothing else at that time. What it may move at least is reckoned here, from the shares alone: a
//! node that is to have more than it had must get the rest, one that had more than it is to have must give it.

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use pinner_core::{
    content::PARTITIONS,
    id::NodeId,
    map::PlacementMap,
    placement::Candidate,
    plan::{self, Plan},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

use super::{
    figures::{Goal, Spread, as_float},
    scale::Sizes,
    table::{Line, Report, millis},
};

/// Copies of each partition.
const COPIES: u8 = 3;
/// Nodes at the beginning, in three zones.
const NODES: usize = 1_000;
/// Of each node, in any unit.
const CAPACITY: u64 = 8;
/// The longest that a plan may take, in milliseconds.
const PLAN_MAX: f64 = 1_000.0;
/// The most that planning may take of memory, in MiB.
const MEMORY_MAX: f64 = 64.0;

/// Row 4: the first plan for 1,000 nodes in 3 zones, and its memory.
///
/// # Errors
/// When the kernel does not tell how much memory there was.
pub(super) fn measure_size(sizes: &Sizes) -> Result<Report> {
    let nodes: Vec<_> = (0..NODES).map(node).collect();
    let (mut times, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..sizes.rounds {
        let before = forget_peak()?;
        let (_, time) = timed(&PlacementMap::empty(PARTITIONS), &nodes);
        times.push(time.as_secs_f64() * 1e3);
        memory.push((peak()? - before).max(0.0));
    }
    let line = |what: &str, values: &[f64], limit: f64, show: fn(f64) -> String| {
        let ratios: Vec<_> = values.iter().map(|value| value / limit).collect();
        Line {
            row: 4,
            what: what.to_owned(),
            ours: show(Spread::of(values).median),
            anchor: show(limit),
            ratio: Spread::of(&ratios),
            goal: Goal::AtMost(1.0),
        }
    };
    Ok(Report {
        lines: vec![
            line("plan for 1,000 nodes in 3 zones, 3 copies", &times, PLAN_MAX, millis),
            line("memory of that", &memory, MEMORY_MAX, mebibytes),
        ],
        notes: vec!["row 4: a plan reads no contents, so 100 M placements are planned as none are".to_owned()],
    })
}

/// Row 5: what random events move, by the least that they must move, and how even the nodes are filled.
///
/// # Errors
/// None; as the other rows.
pub(super) fn measure_movement(sizes: &Sizes) -> Result<Report> {
    let mut random = StdRng::seed_from_u64(5);
    let mut nodes: Vec<_> = (0..NODES).map(node).collect();
    let (mut last, _) = timed(&PlacementMap::empty(PARTITIONS), &nodes);
    let (mut moved, mut least, mut times, mut ratios, mut fills) = (0, 0, Vec::new(), Vec::new(), Vec::new());
    let mut next_node = NODES;
    for _ in 0..sizes.events {
        event(&mut nodes, &mut next_node, &mut random);
        let (plan, time) = timed(&last.map, &nodes);
        let bound = least_moved(&last.map, &plan);
        moved += u64::from(plan.moved);
        least += bound;
        if bound > 0 {
            ratios.push(f64::from(plan.moved) / number(bound));
        }
        fills.push(fullest(&plan, &nodes));
        times.push(time.as_secs_f64() * 1e3);
        last = plan;
    }
    let line = |what: &str, ours: String, anchor: String, ratio, goal| Line {
        row: 5,
        what: what.to_owned(),
        ours,
        anchor,
        ratio,
        goal: Goal::AtMost(goal),
    };
    let total = number(moved) / number(least.max(1));
    let spread = Spread { median: total, ..Spread::of(&ratios) };
    let (fill, time) = (Spread::of(&fills), Spread::of(&times));
    Ok(Report {
        lines: vec![
            line(
                &format!("moved by {} events ÷ the least", sizes.events),
                moved.to_string(),
                least.to_string(),
                spread,
                1.0,
            ),
            line("fullest node ÷ its share", format!("{:.4}", fill.max), "1".to_owned(), fill, 1.005),
        ],
        notes: vec![format!(
            "row 5: a plan after an event takes {} (at most {})",
            millis(time.median),
            millis(time.max)
        )],
    })
}

fn node(n: usize) -> Candidate {
    let id = NodeId::from_uuid(Uuid::from_u128(n as u128 + 1));
    Candidate { id, zone: ["a", "b", "c"][n % 3].into(), capacity: 8, cordoned: false }
}

fn timed(last: &PlacementMap, nodes: &[Candidate]) -> (Plan, Duration) {
    let began = Instant::now();
    let plan = plan::plan(last, nodes, COPIES).expect("each node is named once");
    (plan, began.elapsed())
}

/// A node comes, goes, or is emptied or filled again.
fn event(nodes: &mut Vec<Candidate>, next_node: &mut usize, random: &mut StdRng) {
    match random.random_range(0..3) {
        0 => {
            nodes.push(node(*next_node));
            *next_node += 1;
        }
        1 => _ = nodes.swap_remove(random.random_range(0..nodes.len())),
        _ => {
            let at = random.random_range(0..nodes.len());
            nodes[at].capacity = CAPACITY - nodes[at].capacity;
        }
    }
}

/// What cannot but move: whatever nodes must get to have their least, or must give to have no more than their most.
fn least_moved(last: &PlacementMap, plan: &Plan) -> u64 {
    let loads = last.loads(last.copies());
    let old = |node: NodeId| {
        let at = last.nodes().binary_search_by_key(&node.uuid(), |other| other.uuid());
        at.map_or(0, |at| loads[at])
    };
    let gained: u64 = plan.shares.iter().map(|share| u64::from(share.least.saturating_sub(old(share.node)))).sum();
    let kept: u64 = plan.shares.iter().map(|share| u64::from(share.most.min(old(share.node)))).sum();
    let all = u64::from(last.partitions()) * plan.map.copies() as u64;
    gained.max(all - kept)
}

/// The fullest node by its exact share. There are as many zones as copies, so each zone holds each partition once, and a
/// node's share is that of its capacity in its zone.
fn fullest(plan: &Plan, nodes: &[Candidate]) -> f64 {
    let filled = || nodes.iter().filter(|node| node.capacity > 0);
    let exact = |node: &Candidate| {
        let peers = filled().filter(|peer| peer.zone == node.zone).count();
        f64::from(plan.map.partitions()) / as_float(peers)
    };
    let zones: BTreeMap<_, _> = filled().map(|node| (node.zone.clone(), exact(node))).collect();
    let zone_of: BTreeMap<_, _> = filled().map(|node| (node.id.uuid(), &node.zone)).collect();
    let fill = plan.shares.iter().map(|share| f64::from(share.load) / zones[zone_of[&share.node.uuid()]]);
    fill.fold(0.0, f64::max)
}

fn number(count: u64) -> f64 {
    as_float(usize::try_from(count).unwrap_or(usize::MAX))
}

fn mebibytes(value: f64) -> String {
    format!("{value:.1} MiB")
}

/// Has the kernel forget the most memory that this process ever had. Gives what it has now, in MiB.
fn forget_peak() -> Result<f64> {
    fs::write("/proc/self/clear_refs", "5").context("have the kernel forget the peak of memory")?;
    status("VmRSS:")
}

/// The most memory that this process had since then, in MiB.
fn peak() -> Result<f64> {
    status("VmHWM:")
}

fn status(key: &str) -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("read the state of this process")?;
    let line = status.lines().find_map(|line| line.strip_prefix(key)).context("the kernel does not tell it")?;
    let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse().context("a number of kB")?;
    Ok(kibibytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_what_a_node_that_comes_or_goes_has() {
        let nodes: Vec<_> = (0..6).map(node).collect();
        let (first, _) = timed(&PlacementMap::empty(600), &nodes[..5]);
        assert_eq!(least_moved(&PlacementMap::empty(600), &first), 1_800);
        let (same, _) = timed(&first.map, &nodes[..5]);
        assert_eq!((least_moved(&first.map, &same), same.moved), (0, 0));
        let (more, _) = timed(&first.map, &nodes);
        let of_new = more.shares.last().unwrap().least;
        assert!(least_moved(&first.map, &more) >= u64::from(of_new));
        assert!((1.0..1.01).contains(&fullest(&more, &nodes)), "{}", fullest(&more, &nodes));
    }
}
