//! The order of each partition's nodes. A content with fewer copies is held by the first ones, so these too are spread
//! over zones, and new nodes come into the places that they have too rarely.
//!
//! Nodes that stay keep their order and, where they can, their place; a new one comes into a place that was left. So
//! contents with fewer copies move no more than the first nodes of their lists do.

use super::flow::Network;
use crate::map::CLOSED;

/// How often the places of new nodes are chosen, from the second time on knowing all other choices.
const PASSES: usize = 3;

/// Orders the slots of every partition.
pub(super) fn order(network: &mut Network) {
    let copies = network.copies;
    // How often each node is in each place.
    let mut taken = vec![0; network.load.len() * copies];
    let mut lists = network.held.clone();
    for pass in 0..PASSES {
        for (partition, slots) in lists.chunks_mut(copies.max(1)).enumerate() {
            let end = slots.iter().position(|slot| *slot == CLOSED).unwrap_or(copies);
            let list = &mut slots[..end];
            let fixed = list.iter().all(|&node| network.held_before(partition, node));
            if pass > 0 && fixed {
                continue;
            }
            let at = |(place, node): (usize, &u16)| usize::from(*node) * copies + place;
            if pass > 0 {
                list.iter().enumerate().map(at).for_each(|at| taken[at] -= 1);
            }
            arrange(network, partition, &taken, list);
            list.iter().enumerate().map(at).for_each(|at| taken[at] += 1);
        }
    }
    network.held = lists;
}

/// Orders one partition's nodes. Every beginning of the list is as even over zones as it can be; in the choice that this
/// leaves, nodes that stay come as early as they were, then the new one that has this place least often for its load.
fn arrange(network: &Network, partition: usize, taken: &[u32], list: &mut [u16]) {
    let slots = &network.slots(partition)[..list.len()];
    list.copy_from_slice(slots);
    let zone = |node: u16| network.zones[usize::from(node)];
    for place in 0..list.len() {
        let (before, rest) = list.split_at(place);
        let uses = |node: u16| before.iter().filter(|used| zone(**used) == zone(node)).count();
        let fewest = rest.iter().map(|&node| uses(node)).min();
        let rank = |node: u16| match network.old(partition).iter().position(|old| *old == node) {
            Some(was) if was <= place => (0, was as u64, 0),
            Some(was) => (2, was as u64, 0),
            None => {
                let often = u64::from(taken[usize::from(node) * network.copies + place]) << 32;
                let slot = slots.iter().position(|slot| *slot == node);
                (1, often / u64::from(network.load[usize::from(node)]), slot.unwrap_or(0))
            }
        };
        let next = rest.iter().copied().filter(|&node| Some(uses(node)) == fewest).min_by_key(|&node| rank(node));
        if let Some(at) = next.and_then(|next| list.iter().position(|node| *node == next)) {
            list.swap(place, at);
        }
    }
}
