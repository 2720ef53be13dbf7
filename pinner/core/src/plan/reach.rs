//! Whether a copy that waits can be placed at all, at whatever cost.

use super::{
    flow::{Network, Place},
    search::Holdings,
};
use std::collections::{BTreeMap, BTreeSet};

impl Network {
    /// Whether any way leads from those in `waiting` to the sink.
    pub(super) fn has_way(&self, waiting: &[Place], holdings: &Holdings) -> bool {
        // Nodes that were not reached, by zone.
        let mut rest: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
        self.open().for_each(|(node, zone)| rest.entry(zone).or_default().push(node));
        let mut places = BTreeSet::new();
        let (mut queue, mut nodes) = (waiting.to_vec(), Vec::new());
        loop {
            while let Some(place) = queue.pop() {
                let (partition, zones): (_, Vec<_>) = match place {
                    Place::Partition(partition) if !places.insert((partition, None)) => continue,
                    Place::Cell(partition, cell) if !places.insert((partition, Some(cell))) => continue,
                    Place::Partition(partition) => match self.cells(partition) {
                        Some(zones) => {
                            let open = (0..).zip(zones).filter(|(_, zone)| self.may_add(partition, **zone));
                            queue.extend(open.map(|(cell, _)| Place::Cell(partition, cell)));
                            continue;
                        }
                        None => {
                            let zones = rest.keys().copied();
                            (partition, zones.filter(|&zone| self.may_add(partition, zone)).collect())
                        }
                    },
                    Place::Cell(partition, cell) => {
                        let zone = self.zone_of(partition, cell);
                        queue.extend(self.has_extra(partition, zone).then_some(Place::Partition(partition)));
                        (partition, vec![zone])
                    }
                    Place::Node(_) | Place::Spare | Place::Sink => continue,
                };
                for zone in zones {
                    let Some(of_zone) = rest.get_mut(&zone) else { continue };
                    nodes.extend(of_zone.extract_if(.., |node| !self.holds(partition, *node)));
                    if of_zone.is_empty() {
                        rest.remove(&zone);
                    }
                }
            }
            let Some(node) = nodes.pop() else { return false };
            let (load, bounds) = (self.load[usize::from(node)], self.bounds[usize::from(node)]);
            if load < bounds.least || (load < bounds.most && self.spare > 0) {
                return true;
            }
            if load < bounds.most {
                // It can take over what others have beyond their least.
                let over = |node: &mut u16| self.load[usize::from(*node)] > self.bounds[usize::from(*node)].least;
                rest.values_mut().for_each(|of_zone| nodes.extend(of_zone.extract_if(.., over)));
            }
            let of_node = holdings[usize::from(node)].iter();
            queue.extend(of_node.map(|&(partition, slot)| {
                let partition = partition as usize;
                Place::Cell(partition, self.cell(partition, slot.into()))
            }));
        }
    }
}
