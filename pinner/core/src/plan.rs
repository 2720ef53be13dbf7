//! Makes the next placement map from the last one, moving as little as can be.
//!
//! **What holds of every map**, as far as there are nodes:
//!
//! - A partition has `copies` distinct nodes, or all nodes when there are fewer. Nodes of capacity 0 have none.
//! - A cordoned node has the partitions that it had and no others, whatever else changes. A partition has fewer copies
//!   where there are too few other nodes: to name a cordoned node that has it not would be in the way of one that comes.
//! - Copies are spread over zones as evenly as zones have nodes: no two in one zone while there are as many zones as
//!   copies, else in no zone two more than in another that has a node left. This comes before capacity.
//! - A node's load is its share rounded down or up. Shares follow capacity as far as spread and distinctness allow. Where
//!   what cordoned nodes keep leaves no such map, all others may have as much more or less as one needs: 1, 2, 4 and so on.
//!
//! **What is least**: of all maps of which this holds, [`plan`] gives one with the fewest pairs of partition and node
//! that the last map has not. It is found as a flow of least cost: there is no map that moves less.
//!
//! The plan depends on what it is given and nothing else, not on the order of the nodes either; and planning again from
//! a plan's map gives the same map. Its cost depends on partitions and nodes, not on what is stored: 1,000 nodes take a
//! tenth of a second and 20 MiB.
//!
//! A map remembers only where things are. What is taken out of it, be it every node, comes back to any place: whoever
//! expects a node back soon leaves it in.

mod fill;
mod flow;
mod keep;
mod order;
mod reach;
mod round;
mod search;
#[cfg(test)]
mod tests;

use crate::{
    id::NodeId,
    map::{CLOSED, NOBODY, NODES_MAX, PlacementMap},
    placement::Candidate,
};
use flow::Network;
use keep::Given;
use std::collections::BTreeMap;

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unplannable {
    /// More nodes with capacity than a map can name.
    #[error("{0} nodes to place on; a placement map names at most {NODES_MAX}")]
    TooManyNodes(usize),
    /// One node is given twice.
    #[error("{0} is named twice")]
    NamedTwice(NodeId),
}

/// The next map, and what it was to come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The map. It is the last one when nothing changes, else its version is the next.
    pub map: PlacementMap,
    /// What each node with capacity may hold, in ascending order of nodes. A cordoned one holds what it has.
    pub shares: Vec<Share>,
    /// How many pairs of partition and node the map has that the last one has not. No fewer are possible.
    pub moved: u32,
}

/// A node's part of the whole, in partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The node.
    pub node: NodeId,
    /// Its share by zones and capacity, rounded down.
    pub least: u32,
    /// The same, rounded up.
    pub most: u32,
    /// What the map gives it.
    pub load: u32,
}

/// Plans the map that follows `last` for these nodes, with `copies` nodes for each partition. Nodes whose zone is not
/// known (empty) have a zone of their own each.
pub fn plan(last: &PlacementMap, nodes: &[Candidate], copies: u8) -> Result<Plan, Unplannable> {
    let nodes = eligible(nodes)?;
    let table: Vec<_> = nodes.iter().map(|node| node.id).collect();
    let places = zones(&nodes).into_iter().zip(&nodes).map(|(zone, node)| (zone, node.cordoned)).collect();
    let given = Given::new((translated(last, &table), last.copies()), last.partitions(), places, copies);
    let capacities: Vec<_> = nodes.iter().map(|node| node.capacity).collect();
    let shares = keep::bounds(&given, &capacities);
    let widths = std::iter::once(0).chain((0..=16).map(|power| 1 << power));
    let filled = |width: u32| {
        let widened = shares.iter().zip(&given.cordoned).map(|(share, cordoned)| match cordoned {
            true => *share,
            false => share.widened(width, last.partitions()),
        });
        Network::new(&given, widened.collect()).and_then(|mut network| network.fill().then_some(network))
    };
    let mut network = widths.into_iter().find_map(filled).expect("nodes that may have everything have room for it");
    order::order(&mut network);

    let slot = |slot: &u16| if *slot == CLOSED { NOBODY } else { *slot };
    let slots: Vec<_> = network.held.iter().map(slot).collect();
    let copies = u8::try_from(network.copies).expect("no list is longer than was asked");
    let mut map = PlacementMap::new(last.version().saturating_add(1), last.partitions(), copies, &table, &slots);
    if map.places_as(last) {
        map = last.clone();
    }
    let share = |(at, &node): (usize, &NodeId)| {
        let bounds = network.bounds[at];
        Share { node, least: bounds.least, most: bounds.most, load: network.load[at] }
    };
    Ok(Plan { map, shares: table.iter().enumerate().map(share).collect(), moved: network.moved() })
}

/// The nodes that may hold something, in ascending order.
fn eligible(nodes: &[Candidate]) -> Result<Vec<&Candidate>, Unplannable> {
    let mut sorted: Vec<_> = nodes.iter().collect();
    sorted.sort_by_key(|node| node.id.uuid());
    if let Some(twice) = sorted.windows(2).find(|pair| pair[0].id == pair[1].id) {
        return Err(Unplannable::NamedTwice(twice[0].id));
    }
    sorted.retain(|node| node.capacity > 0);
    if sorted.len() > NODES_MAX { Err(Unplannable::TooManyNodes(sorted.len())) } else { Ok(sorted) }
}

/// The number of each node's zone.
fn zones(nodes: &[&Candidate]) -> Vec<u16> {
    let key = |node: &Candidate| (node.zone.clone(), node.zone.is_empty().then(|| node.id.uuid()));
    let mut numbers: BTreeMap<_, u16> = nodes.iter().map(|node| (key(node), 0)).collect();
    (0..).zip(numbers.values_mut()).for_each(|(number, zone)| *zone = number);
    nodes.iter().map(|node| numbers[&key(node)]).collect()
}

/// The slots of `map` as indices into `table`.
fn translated(map: &PlacementMap, table: &[NodeId]) -> Vec<u16> {
    let index = |node: &NodeId| {
        let found = table.binary_search_by_key(&node.uuid(), |other| other.uuid());
        found.map_or(NOBODY, |at| u16::try_from(at).expect("tables have at most NODES_MAX nodes"))
    };
    let indices: Vec<_> = map.nodes().iter().map(index).collect();
    map.slots().iter().map(|&node| indices.get(usize::from(node)).copied().unwrap_or(NOBODY)).collect()
}
