//! How much each node is to hold: the even spread over zones, and within it each node's share by capacity.
//!
//! The shares are the fairest there are: of all fills that keep the spread and put no partition on a node twice, the one
//! whose loads by capacity are lexicographically smallest, heaviest first. It is found exactly, in whole numbers: the
//! rule that lays out a row of flexible boxes, with zones for boxes. Loads are whole, so a node's is its share rounded
//! down or up; which, the flow decides by what moves least.

/// How many copies of one partition each zone holds: `base`, and one more where `extra` and as `extras` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spread {
    /// Copies of every partition in each zone.
    pub(super) base: Vec<u32>,
    /// Zones that may hold one more of a partition.
    pub(super) extra: Vec<bool>,
    /// In how many zones a partition has one more.
    pub(super) extras: u32,
}

impl Spread {
    /// The most even spread of `copies` distinct nodes over zones with so many nodes. There are at least `copies` nodes.
    pub(super) fn new(zones: &[u32], copies: u32) -> Self {
        let placed = |level: u32| zones.iter().map(|&nodes| nodes.min(level)).sum::<u32>();
        let most = zones.iter().copied().max().unwrap_or(0);
        let level = (0..=most).take_while(|&level| placed(level) <= copies).last().unwrap_or(0);
        let extras = copies - placed(level);
        Self {
            base: zones.iter().map(|&nodes| nodes.min(level)).collect(),
            extra: zones.iter().map(|&nodes| extras > 0 && nodes > level).collect(),
            extras,
        }
    }
}

/// The loads that a node may have, in partitions: its share rounded down and up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) least: u32,
    pub(super) most: u32,
}

/// The bounds of each node, given as its zone and capacity, for so many partitions under `spread`.
pub(super) fn bounds(nodes: &[(u16, u64)], spread: &Spread, partitions: u32) -> Vec<Bounds> {
    let zones = spread.base.len();
    let least = |zone: usize| u128::from(spread.base[zone]) * u128::from(partitions);
    let most = |zone: usize| least(zone) + u128::from(spread.extra[zone]) * u128::from(partitions);
    let copies = spread.base.iter().sum::<u32>() + spread.extras;
    let mut total = u128::from(copies) * u128::from(partitions);
    let mut fixed: Vec<Option<u128>> = vec![None; zones];
    loop {
        let level = Level::new(total, &weights(nodes, |zone| fixed[zone].is_none()), partitions);
        let mut wanted = vec![0; zones];
        for &(zone, capacity) in nodes {
            wanted[usize::from(zone)] += level.share(capacity);
        }
        // A zone that is beyond its bounds stays there in the fairest fill, if what all such zones are held back by, or
        // given, together moves the rest the same way.
        let unit = level.parts;
        let held = |zone: usize| wanted[zone].clamp(least(zone) * unit, most(zone) * unit);
        let free: Vec<_> = (0..zones).filter(|&zone| fixed[zone].is_none() && held(zone) != wanted[zone]).collect();
        let given: u128 = free.iter().map(|&zone| held(zone).saturating_sub(wanted[zone])).sum();
        let taken: u128 = free.iter().map(|&zone| wanted[zone].saturating_sub(held(zone))).sum();
        if free.is_empty() {
            break;
        }
        for zone in free {
            let raised = held(zone) > wanted[zone];
            if (raised && given >= taken) || (!raised && taken >= given) {
                let load = if raised { least(zone) } else { most(zone) };
                fixed[zone] = Some(load);
                total -= load;
            }
        }
    }
    let free = Level::new(total, &weights(nodes, |zone| fixed[zone].is_none()), partitions);
    let of_zone = |(zone, load): (usize, &Option<u128>)| match load {
        Some(load) => Level::new(*load, &weights(nodes, |other| other == zone), partitions),
        None => free,
    };
    let levels: Vec<_> = fixed.iter().enumerate().map(of_zone).collect();
    nodes.iter().map(|&(zone, capacity)| levels[usize::from(zone)].bounds(capacity)).collect()
}

/// The capacities of the nodes in the zones that `counts`, greatest first.
fn weights(nodes: &[(u16, u64)], counts: impl Fn(usize) -> bool) -> Vec<u64> {
    let mut weights: Vec<_> =
        nodes.iter().filter(|(zone, _)| counts(usize::from(*zone))).map(|(_, capacity)| *capacity).collect();
    weights.sort_unstable_by(|a, b| b.cmp(a));
    weights
}

/// How high a common load fills nodes that hold each partition at most once: `load / parts` for each unit of capacity.
/// Numbers stay below 2^105: loads below 2^24, capacities below 2^64, nodes at most 2^16.
#[derive(Debug, Clone, Copy)]
struct Level {
    load: u128,
    parts: u128,
    partitions: u128,
}

impl Level {
    /// Spreads `total` over `weights`, greatest first. Nodes that would hold more than everything hold everything.
    fn new(total: u128, weights: &[u64], partitions: u32) -> Self {
        let partitions = u128::from(partitions);
        let (mut load, mut parts) = (total, weights.iter().map(|&weight| u128::from(weight)).sum::<u128>());
        for &weight in weights {
            if u128::from(weight) * load < partitions * parts {
                break;
            }
            load -= partitions;
            parts -= u128::from(weight);
        }
        // When all are full, any level that is high enough says so.
        if parts == 0 { Self { load: partitions, parts: 1, partitions } } else { Self { load, parts, partitions } }
    }

    /// A node's share, in `parts` of a partition.
    fn share(&self, capacity: u64) -> u128 {
        (u128::from(capacity) * self.load).min(self.partitions * self.parts)
    }

    fn bounds(&self, capacity: u64) -> Bounds {
        let share = self.share(capacity);
        let whole = |load: u128| u32::try_from(load).expect("no node holds more than all partitions");
        Bounds { least: whole(share / self.parts), most: whole(share.div_ceil(self.parts)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(nodes: &[(u16, u64)], copies: u32, partitions: u32) -> Vec<(u32, u32)> {
        let mut zones = vec![0; nodes.iter().map(|(zone, _)| usize::from(*zone) + 1).max().unwrap_or(0)];
        for (zone, _) in nodes {
            zones[usize::from(*zone)] += 1;
        }
        bounds(nodes, &Spread::new(&zones, copies), partitions).iter().map(|b| (b.least, b.most)).collect()
    }

    #[test]
    fn copies_are_spread_as_evenly_as_zones_have_nodes() {
        let check = |zones: &[u32], copies, base: &[u32], extra: &[bool], extras| {
            let expected = Spread { base: base.into(), extra: extra.into(), extras };
            assert_eq!(Spread::new(zones, copies), expected, "{zones:?} {copies}");
        };
        check(&[], 0, &[], &[], 0);
        check(&[2, 2, 2], 2, &[0, 0, 0], &[true, true, true], 2);
        check(&[2, 2, 2], 3, &[1, 1, 1], &[false, false, false], 0);
        check(&[2, 1], 3, &[2, 1], &[false, false], 0);
        check(&[1, 5], 4, &[1, 3], &[false, false], 0);
        check(&[4, 4], 3, &[1, 1], &[true, true], 1);
    }

    #[test]
    fn shares_follow_capacity_as_far_as_zones_and_distinctness_allow() {
        assert_eq!(fill(&[(0, 1), (1, 3)], 1, 100), [(25, 25), (75, 75)]);
        assert_eq!(fill(&[(0, 1), (1, 2)], 1, 100), [(33, 34), (66, 67)]);
        // No node holds a partition twice.
        assert_eq!(fill(&[(0, 1), (0, 1), (0, 9)], 2, 100), [(50, 50), (50, 50), (100, 100)]);
        // No zone holds one twice while there are as many zones as copies.
        assert_eq!(fill(&[(0, 1), (0, 3), (1, 9), (1, 1)], 2, 100), [(25, 25), (75, 75), (90, 90), (10, 10)]);
        // One zone is full, and the others share what is left of it.
        assert_eq!(fill(&[(0, 80), (1, 10), (2, 10)], 2, 100), [(100, 100), (50, 50), (50, 50)]);
        // Each zone has one, and the second of three goes by capacity.
        assert_eq!(fill(&[(0, 3), (0, 3), (1, 1), (1, 1)], 3, 100), [(100, 100), (100, 100), (50, 50), (50, 50)]);
    }

    #[test]
    fn the_greatest_numbers_do_not_overflow() {
        let nodes: Vec<_> = (0..65_535).map(|n| (n % 3, u64::MAX - u64::from(n))).collect();
        let fill = fill(&nodes, 255, 65_536);
        assert!(fill.iter().all(|&(least, most)| least >= 254 && most <= 257), "{:?}", fill[0]);
    }
}
