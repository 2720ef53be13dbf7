//! The fleet as this pinner last saw it: who may take a content, and which addresses to give to clients.
//!
//! A view of the nodes and of the placement map that is a few seconds old at most. Being behind costs nothing but
//! freshness: the database leaves out a node that was cordoned meanwhile, notes what was placed by an older map, and the
//! leader sees to it.

use crate::{
    cache::{Asked, Cache, Tally},
    db::{batch::Choice, fleet::FleetRow, nodes::NodeRow},
};
use pinner_core::{
    address::AddressRule,
    content::{ContentKey, PARTITIONS},
    id::NodeId,
    map::PlacementMap,
    placement::{self, Candidate},
};
use std::{
    sync::{Arc, RwLock},
    time::Duration,
};
use uuid::Uuid;

/// How many more candidates are named than copies are wanted, in case some were cordoned just now.
const SPARE_CANDIDATES: usize = 4;
/// How many delegates an answer names. Clients dial them one after the other (HAZARDS 18).
const DELEGATES_MAX: usize = 3;

/// A view that is older, several beats were missed then, counts as none; it is gone by for want of another.
const MAX_AGE: Duration = Duration::from_secs(10);

/// What was seen of the fleet.
#[derive(Debug, Clone)]
pub struct View {
    /// Every node, by name.
    pub nodes: Arc<Vec<NodeRow>>,
    /// The fleet's own row.
    pub fleet: FleetRow,
    /// The map that places contents; of the version that the row names, or of an earlier one as long as that cannot be
    /// had.
    pub map: Arc<PlacementMap>,
}

impl Default for View {
    fn default() -> Self {
        let map = Arc::new(PlacementMap::empty(PARTITIONS));
        Self { nodes: Arc::default(), fleet: FleetRow::default(), map }
    }
}

/// A shared view of the fleet.
#[derive(Clone)]
pub struct Fleet {
    view: Arc<RwLock<View>>,
    nodes: Arc<Cache<(), Arc<Vec<NodeRow>>>>,
    map: Arc<Cache<(), Arc<PlacementMap>>>,
    rule: Arc<AddressRule>,
}

impl Fleet {
    /// A fleet of which nothing is known yet; looks at its nodes and at its map are counted.
    pub fn new(rule: AddressRule, nodes: Tally, map: Tally) -> Self {
        Self {
            view: Arc::default(),
            nodes: Arc::new(Cache::new(1, MAX_AGE, nodes)),
            map: Arc::new(Cache::new(1, MAX_AGE, map)),
            rule: Arc::new(rule),
        }
    }

    /// To be taken before the database is asked for what [`Self::update`] then takes.
    pub fn asked(&self) -> [Asked; 2] {
        [self.nodes.asked(), self.map.asked()]
    }

    /// Takes a new look.
    pub fn update(&self, [nodes, map]: [Asked; 2], view: View) {
        self.nodes.put(nodes, (), Arc::clone(&view.nodes));
        self.map.put(map, (), Arc::clone(&view.map));
        *self.view.write().expect("nobody panics while holding this lock") = view;
    }

    /// The last look.
    pub fn view(&self) -> View {
        self.view.read().expect("nobody panics while holding this lock").clone()
    }

    /// The nodes as of the last look.
    pub fn nodes(&self) -> Arc<Vec<NodeRow>> {
        self.view().nodes
    }

    /// As [`Self::nodes`], counted as a look.
    fn nodes_at_hand(&self) -> Arc<Vec<NodeRow>> {
        self.nodes.get(&()).unwrap_or_else(|| self.nodes())
    }

    /// How old a view may be.
    pub fn max_age(&self) -> Duration {
        self.nodes.max_age()
    }

    /// Which addresses are dialled and handed out.
    pub fn rule(&self) -> &AddressRule {
        &self.rule
    }

    /// Nodes for a content: those of its partition that live, and whoever else may take it. When nobody lives, whoever may
    /// take work once it is back.
    pub fn choose(&self, content: &ContentKey, copies: usize) -> Choice {
        let (nodes, map) = (self.nodes_at_hand(), self.map.get(&()).unwrap_or_else(|| self.view().map));
        let able = |node: &NodeRow| node.takes() && node.live && node.kubo_ready;
        let find = |id: NodeId| nodes.iter().find(|node| node.id == id.uuid());
        let partition = content.partition();
        let map_version = i64::try_from(map.version()).unwrap_or(i64::MAX);
        let homes: Vec<_> = map.holders(partition).take(copies).map(|id| id.uuid()).collect();
        let ready = homes.iter().filter(|&&id| find(NodeId::from_uuid(id)).is_some_and(able)).count();
        if ready > 0 && ready == homes.len() {
            let others = nodes.iter().cycle().skip(usize::from(partition) % nodes.len()).take(nodes.len());
            let others = others.filter(|node| able(node) && !homes.contains(&node.id)).map(|node| node.id);
            let spares = copies - ready + SPARE_CANDIDATES;
            let candidates = homes.iter().copied().chain(others.take(spares)).collect();
            return Choice { candidates, homes: i16::try_from(ready).ok(), map_version };
        }
        let eligible = |wanted: &dyn Fn(&NodeRow) -> bool| -> Vec<Candidate> {
            nodes.iter().filter(|node| node.scheduling == "Active" && wanted(node)).map(candidate).collect()
        };
        let mut eligible_now = eligible(&able);
        if eligible_now.is_empty() {
            eligible_now = eligible(&|_| true);
        }
        let ranked = placement::holders(partition, &eligible_now, copies + SPARE_CANDIDATES);
        let ranked: Vec<_> = ranked.into_iter().map(|id| id.uuid()).collect();
        // What can be put where it belongs need not move later.
        let (at_home, elsewhere): (Vec<_>, Vec<_>) = ranked.into_iter().partition(|id| homes.contains(id));
        Choice { candidates: at_home.into_iter().chain(elsewhere).collect(), homes: None, map_version }
    }

    /// One to three addresses of the nodes a pin is placed on, one per node first. When none of them has been heard
    /// of, of any node; empty only while no node of the fleet ever had an address.
    pub fn delegates(&self, placed_on: &[Uuid]) -> Vec<String> {
        let nodes = self.nodes_at_hand();
        let of = |wanted: &dyn Fn(&NodeRow) -> bool| -> Vec<String> {
            let per_node = nodes.iter().filter(|node| wanted(node));
            per_node
                .flat_map(|node| self.rule.delegates(node.addresses.iter().map(String::as_str), 1))
                .take(DELEGATES_MAX)
                .collect()
        };
        let placed = of(&|node| placed_on.contains(&node.id));
        if placed.is_empty() { of(&|_| true) } else { placed }
    }
}

fn candidate(node: &NodeRow) -> Candidate {
    Candidate {
        id: NodeId::from_uuid(node.id),
        zone: node.zone.clone(),
        capacity: node.capacity.unsigned_abs(),
        cordoned: node.scheduling != "Active",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cache::CacheName, metrics::Metrics};
    use pinner_core::content::SubmittedCid;
    use time::OffsetDateTime;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn node(n: u128) -> NodeRow {
        NodeRow {
            id: Uuid::from_u128(n),
            name: format!("node-{n}"),
            zone: String::new(),
            scheduling: "Active".into(),
            request_token: None,
            reason: None,
            scheduling_since: OffsetDateTime::UNIX_EPOCH,
            drain_total: None,
            peer_id: None,
            addresses: vec![format!("/ip4/10.0.0.{n}/tcp/4001/p2p/{PEER}")],
            kubo_ready: true,
            kubo_disk_full: false,
            capacity: 1,
            seen: OffsetDateTime::UNIX_EPOCH,
            live: true,
            silent_seconds: 0.0,
            map_version: 0,
            roles: vec![],
        }
    }

    fn fleet(nodes: Vec<NodeRow>) -> Fleet {
        let metrics = Metrics::default();
        let tally = |name| metrics.cache(name);
        let rule = AddressRule::private(vec!["10.0.0.0/8".parse().unwrap()]);
        let fleet = Fleet::new(rule, tally(CacheName::LiveNodes), tally(CacheName::PlacementMap));
        fleet.update(fleet.asked(), View { nodes: Arc::new(nodes), ..View::default() });
        fleet
    }

    fn content() -> ContentKey {
        SubmittedCid::parse("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG").unwrap().key().clone()
    }

    #[test]
    fn cordoned_and_silent_nodes_are_no_candidates() {
        let cordoned = NodeRow { scheduling: "Cordoned".into(), ..node(1) };
        let silent = NodeRow { live: false, ..node(2) };
        let without_kubo = NodeRow { kubo_ready: false, ..node(3) };
        let fleet = fleet(vec![cordoned, silent, without_kubo, node(4)]);
        assert_eq!(fleet.choose(&content(), 2).candidates, [Uuid::from_u128(4)]);
    }

    #[test]
    fn when_all_are_silent_work_waits_for_them() {
        let fleet = fleet(vec![NodeRow { live: false, ..node(1) }, NodeRow { kubo_ready: false, ..node(2) }]);
        assert_eq!(fleet.choose(&content(), 2).candidates.len(), 2);
    }

    #[test]
    fn a_content_is_put_where_the_map_says_while_those_live() {
        let nodes: Vec<_> = (1..=4).map(node).collect();
        let plan = pinner_core::plan::plan(
            &PlacementMap::empty(PARTITIONS),
            &nodes.iter().map(candidate).collect::<Vec<_>>(),
            2,
        )
        .unwrap();
        let homes: Vec<_> = plan.map.holders(content().partition()).map(|id| id.uuid()).collect();
        let look = |nodes: Vec<NodeRow>| {
            let fleet = fleet(nodes);
            fleet.update(fleet.asked(), View { map: Arc::new(plan.map.clone()), ..fleet.view() });
            fleet.choose(&content(), 2)
        };
        let choice = look(nodes.clone());
        assert_eq!((&choice.candidates[..2], choice.homes, choice.map_version), (&homes[..], Some(2), 1));
        assert_eq!(choice.candidates.len(), 4, "the others in reserve");
        assert_eq!(look(nodes.clone()).candidates[..2], homes, "the same every time");

        let one_silent = nodes.into_iter().map(|node| NodeRow { live: node.id != homes[0], ..node }).collect();
        let choice = look(one_silent);
        assert_eq!((choice.candidates[0], choice.homes), (homes[1], None));
        assert!(choice.candidates.len() == 3 && !choice.candidates.contains(&homes[0]));
    }

    #[test]
    fn a_look_at_what_was_never_seen_is_a_miss_and_answered_all_the_same() {
        let metrics = Metrics::default();
        let [nodes, map] = [CacheName::LiveNodes, CacheName::PlacementMap].map(|name| metrics.cache(name));
        let fleet = Fleet::new(AddressRule::private(vec![]), nodes.clone(), map.clone());
        let counts = || [&nodes, &map].map(|tally| (tally.hits(), tally.misses()));
        assert!(fleet.choose(&content(), 2).candidates.is_empty());
        assert_eq!(counts(), [(0, 1), (0, 1)]);
        fleet.update(fleet.asked(), View { nodes: Arc::new(vec![node(1)]), ..View::default() });
        assert_eq!(fleet.choose(&content(), 2).candidates.len(), 1);
        fleet.delegates(&[]);
        assert_eq!(counts(), [(2, 1), (1, 1)]);
    }

    #[test]
    fn delegates_are_of_the_holders_and_else_of_anyone() {
        let fleet = fleet(vec![node(1), node(2), NodeRow { addresses: vec![], ..node(3) }]);
        assert_eq!(fleet.delegates(&[Uuid::from_u128(2)]), [format!("/ip4/10.0.0.2/tcp/4001/p2p/{PEER}")]);
        assert_eq!(fleet.delegates(&[Uuid::from_u128(3)]).len(), 2);
    }
}
