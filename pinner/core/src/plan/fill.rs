//! How much each node is to hold: the even spread over zones, and within it each node's share by capacity.
//!
//! The shares are the fairest there are: of all fills that keep the spread and put no partition on a node twice, the one
//! whose loads by capacity are lexicographically smallest, heaviest first. It is found exactly, in whole numbers: the
//! rule that lays out a row of flexible boxes, with zones for boxes. Loads are whole, so a node's is its share rounded
//! down or up; which, the flow decides by what moves least.

/// How the copies of a partition are spread over zones: each has `level`, and `extras` zones one more, as far as nodes
/// that can be given copies, and those that stay, allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spread {
    /// How many copies stay where they are, by zone; zones without one are left out.
    fixed: Vec<(u16, u32)>,
    level: u32,
    /// In how many zones a partition has one more.
    pub(super) extras: u32,
    /// The zones where copies are to be placed, where each has some of its own to place.
    zones: Vec<u16>,
}

impl Spread {
    /// The most even spread of `copies` distinct nodes over zones with so many nodes, `fixed` apart, which stay. There
    /// are at least `copies` nodes.
    pub(super) fn new(sizes: &[u32], fixed: &[(u16, u32)], copies: u32) -> Self {
        let mut spread = Self { fixed: fixed.to_vec(), level: 0, extras: 0, zones: Vec::new() };
        let stays: Vec<_> = (0..sizes.len() as u16).map(|zone| spread.fixed(zone)).collect();
        let to_place = copies - stays.iter().sum::<u32>();
        let placed = |level: u32| -> u32 {
            sizes.iter().zip(&stays).map(|(&nodes, &stay)| nodes.min(level.saturating_sub(stay))).sum()
        };
        let most = sizes.iter().zip(&stays).map(|(nodes, stay)| nodes + stay).max().unwrap_or(0);
        spread.level = (0..=most).take_while(|&level| placed(level) <= to_place).last().unwrap_or(0);
        spread.extras = to_place - placed(spread.level);
        if spread.level > 0 {
            let zones = (0..sizes.len() as u16).zip(sizes);
            let is_wanted = |zone: u16, size| spread.least(zone, size) > spread.fixed(zone) || spread.extra(zone, size);
            spread.zones = zones.filter(|&(zone, &size)| is_wanted(zone, size)).map(|(zone, _)| zone).collect();
        }
        spread
    }

    /// How many copies stay in `zone`.
    fn fixed(&self, zone: u16) -> u32 {
        self.fixed.iter().find(|(of, _)| *of == zone).map_or(0, |(_, count)| *count)
    }

    /// How many copies of every partition are in `zone`, which has `size` nodes that can be given some.
    pub(super) fn least(&self, zone: u16, size: u32) -> u32 {
        let fixed = self.fixed(zone);
        fixed.max(self.level.min(fixed + size))
    }

    /// Whether `zone` may have one more of a partition.
    pub(super) fn extra(&self, zone: u16, size: u32) -> bool {
        let fixed = self.fixed(zone);
        self.extras > 0 && fixed <= self.level && fixed + size > self.level
    }

    /// The zones where copies are to be placed, if zones have copies of their own to place; at most one for each copy.
    pub(super) fn zones(&self) -> Option<&[u16]> {
        (self.level > 0).then_some(&self.zones)
    }
}

/// What is to be placed in all, and the least and most of it in each zone.
#[derive(Debug, Clone)]
pub(super) struct Totals {
    least: Vec<u128>,
    most: Vec<u128>,
    all: u128,
}

impl Totals {
    pub(super) fn new(zones: usize) -> Self {
        Self { least: vec![0; zones], most: vec![0; zones], all: 0 }
    }

    /// Adds `count` partitions with this spread, over zones with so many nodes.
    pub(super) fn add(&mut self, spread: &Spread, count: u32, sizes: &[u32]) {
        let count = u128::from(count);
        self.all += u128::from(spread.extras) * count;
        for (zone, &size) in sizes.iter().enumerate() {
            let number = u16::try_from(zone).expect("zones are counted in 16 bits");
            let least = u128::from(spread.least(number, size) - spread.fixed(number)) * count;
            self.all += least;
            self.least[zone] += least;
            self.most[zone] += least + u128::from(spread.extra(number, size)) * count;
        }
    }
}

/// The loads that a node may have, in partitions: its share rounded down and up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) least: u32,
    pub(super) most: u32,
}

impl Bounds {
    /// The same with room for `room` more or fewer, as far as there are partitions.
    pub(super) fn widened(self, room: u32, partitions: u32) -> Self {
        Self { least: self.least.saturating_sub(room), most: self.most.saturating_add(room).min(partitions) }
    }
}

/// The bounds of each node, given as its zone and capacity, for what is to be placed of so many partitions.
pub(super) fn bounds(nodes: &[(u16, u64)], totals: &Totals, partitions: u32) -> Vec<Bounds> {
    let zones = totals.least.len();
    let (least, most) = (|zone: usize| totals.least[zone], |zone: usize| totals.most[zone]);
    let mut total = totals.all;
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
        let mut totals = Totals::new(zones.len());
        totals.add(&Spread::new(&zones, &[], copies), partitions, &zones);
        bounds(nodes, &totals, partitions).iter().map(|b| (b.least, b.most)).collect()
    }

    #[test]
    fn copies_are_spread_as_evenly_as_zones_have_nodes() {
        let check = |zones: &[u32], fixed: &[(u16, u32)], copies, least: &[u32], extra: &[bool], extras| {
            let spread = Spread::new(zones, fixed, copies);
            let each = || (0..).zip(zones.iter().copied());
            let found = each().map(|(zone, size)| spread.least(zone, size)).collect::<Vec<_>>();
            let more = each().map(|(zone, size)| spread.extra(zone, size)).collect::<Vec<_>>();
            assert_eq!((&found[..], &more[..], spread.extras), (least, extra, extras), "{zones:?} {fixed:?} {copies}");
        };
        check(&[], &[], 0, &[], &[], 0);
        check(&[2, 2, 2], &[], 2, &[0, 0, 0], &[true, true, true], 2);
        check(&[2, 2, 2], &[], 3, &[1, 1, 1], &[false, false, false], 0);
        check(&[2, 1], &[], 3, &[2, 1], &[false, false], 0);
        check(&[1, 5], &[], 4, &[1, 3], &[false, false], 0);
        check(&[4, 4], &[], 3, &[1, 1], &[true, true], 1);
        // What stays counts, also where there are more of it than are even.
        check(&[2, 2, 2], &[(0, 1)], 2, &[1, 0, 0], &[false, true, true], 1);
        check(&[2, 2, 2], &[(0, 1)], 3, &[1, 1, 1], &[false, false, false], 0);
        check(&[2, 2, 2], &[(0, 2)], 3, &[2, 0, 0], &[false, true, true], 1);
        check(&[0, 2], &[(0, 1)], 3, &[1, 2], &[false, false], 0);
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
