//! Which PinNodes a cluster should have: new ones with a zone each, surplus ones in the order of leaving.

use std::collections::{BTreeMap, BTreeSet};

use crate::names;

/// A PinNode that exists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its zone.
    pub zone: Option<String>,
    /// It is in maintenance: nothing moves off it.
    pub keeps_its_place: bool,
    /// The pinners say that no placement is on it.
    pub is_drained: bool,
    /// It is on its way out already.
    pub is_leaving: bool,
    /// It takes no placements.
    pub is_marked: bool,
    /// Placements on it, as far as known.
    pub placements: i64,
}

/// A PinNode to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember {
    /// Its name.
    pub name: String,
    /// Its zone, where zones are known.
    pub zone: Option<String>,
}

/// What to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// PinNodes to make.
    pub join: Vec<NewMember>,
    /// PinNodes that are too many, first the one that should go first.
    pub surplus: Vec<String>,
}

/// Decides for a cluster of `wanted` nodes. `zones` are those in which pods can be placed now.
#[must_use]
pub fn decide(
    cluster: &str,
    wanted: usize,
    members: &BTreeMap<String, Member>,
    zones: &BTreeSet<String>,
) -> Membership {
    if members.len() > wanted {
        return Membership { join: Vec::new(), surplus: leaving(cluster, members, members.len() - wanted) };
    }
    let mut nodes_in: BTreeMap<&str, usize> = zones.iter().map(|zone| (zone.as_str(), 0)).collect();
    for zone in members.values().filter_map(|member| member.zone.as_deref()) {
        nodes_in.entry(zone).and_modify(|nodes| *nodes += 1);
    }
    let free = (0..).map(|index| names::pin_node(cluster, index)).filter(|name| !members.contains_key(name));
    let join = free
        .take(wanted - members.len())
        .map(|name| {
            // Fewest nodes first, ties by name: the map is ordered and min_by_key takes the first.
            let zone = nodes_in.iter().min_by_key(|(_, nodes)| **nodes).map(|(zone, _)| (*zone).to_owned());
            if let Some(nodes) = zone.as_deref().and_then(|zone| nodes_in.get_mut(zone)) {
                *nodes += 1;
            }
            NewMember { name, zone }
        })
        .collect();
    Membership { join, surplus: Vec::new() }
}

/// The drained ones, then those that are leaving or marked, then those with the least to move; the youngest among equals.
/// Those in maintenance only when there are no others.
fn leaving(cluster: &str, members: &BTreeMap<String, Member>, count: usize) -> Vec<String> {
    let mut order: Vec<(&String, &Member)> = members.iter().collect();
    order.sort_by_key(|(name, member)| {
        let index = names::pin_node_index(cluster, name).unwrap_or(usize::MAX);
        let first = (member.keeps_its_place, !member.is_drained, !member.is_leaving, !member.is_marked);
        (first, member.placements, std::cmp::Reverse(index))
    });
    order.into_iter().take(count).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(of: &[(&str, Member)]) -> BTreeMap<String, Member> {
        of.iter().map(|(name, member)| ((*name).to_owned(), member.clone())).collect()
    }

    fn zones(of: &[&str]) -> BTreeSet<String> {
        of.iter().map(|zone| (*zone).to_owned()).collect()
    }

    fn in_zone(zone: &str) -> Member {
        Member { zone: Some(zone.to_owned()), ..Member::default() }
    }

    #[test]
    fn new_nodes_are_spread_over_zones() {
        let membership = decide("demo", 4, &BTreeMap::new(), &zones(&["a", "b", "c"]));
        let placed: Vec<(&str, Option<&str>)> =
            membership.join.iter().map(|new| (new.name.as_str(), new.zone.as_deref())).collect();
        assert_eq!(
            placed,
            [("demo-0", Some("a")), ("demo-1", Some("b")), ("demo-2", Some("c")), ("demo-3", Some("a"))]
        );
    }

    #[test]
    fn a_replaced_node_goes_where_nodes_are_fewest() {
        let existing = members(&[("demo-0", in_zone("a")), ("demo-2", in_zone("b"))]);
        let membership = decide("demo", 3, &existing, &zones(&["a", "b", "c"]));
        assert_eq!(membership.join, [NewMember { name: "demo-1".to_owned(), zone: Some("c".to_owned()) }]);
    }

    #[test]
    fn without_zones_nodes_get_none() {
        assert_eq!(decide("demo", 1, &BTreeMap::new(), &zones(&[])).join[0].zone, None);
    }

    #[test]
    fn drained_nodes_leave_first_then_marked_ones_then_those_with_least_to_move() {
        let existing = members(&[
            ("demo-0", Member { is_drained: true, ..Member::default() }),
            ("demo-1", Member { placements: 9, ..Member::default() }),
            ("demo-2", Member { is_marked: true, placements: 50, ..Member::default() }),
            ("demo-3", Member { placements: 1, ..Member::default() }),
            ("demo-10", Member { placements: 9, ..Member::default() }),
        ]);
        let surplus = decide("demo", 1, &existing, &zones(&[])).surplus;
        assert_eq!(surplus, ["demo-0", "demo-2", "demo-3", "demo-10"]);
    }

    #[test]
    fn who_is_leaving_goes_on_leaving_and_who_is_in_maintenance_comes_last() {
        let existing = members(&[
            ("demo-0", Member { keeps_its_place: true, is_marked: true, ..Member::default() }),
            ("demo-1", Member { is_marked: true, placements: 1, ..Member::default() }),
            ("demo-2", Member { is_leaving: true, is_marked: true, placements: 50, ..Member::default() }),
            ("demo-3", Member { placements: 70, ..Member::default() }),
        ]);
        let surplus = |wanted| decide("demo", wanted, &existing, &zones(&[])).surplus;
        assert_eq!(surplus(3), ["demo-2"]);
        assert_eq!(surplus(1), ["demo-2", "demo-1", "demo-3"]);
    }

    #[test]
    fn as_many_as_wanted_is_no_change() {
        let existing = members(&[("demo-0", Member::default()), ("demo-7", Member::default())]);
        assert_eq!(decide("demo", 2, &existing, &zones(&[])), Membership::default());
    }
}
