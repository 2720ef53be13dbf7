//! The fleet as this pinner last saw it: who may take a content, and which addresses to give to clients.
//!
//! A view of the table of nodes that is a few seconds old at most. Being behind costs nothing but freshness: the
//! database leaves out a node that was cordoned meanwhile, and a sweep fills up what found too few.

use crate::db::nodes::NodeRow;
use pinner_core::{
    address::AddressRule,
    content::ContentKey,
    id::NodeId,
    placement::{self, Candidate},
};
use std::sync::{Arc, RwLock};
use uuid::Uuid;

/// How many more candidates are named than copies are wanted, in case some were cordoned just now.
const SPARE_CANDIDATES: usize = 4;
/// How many delegates an answer names. Clients dial them one after the other (HAZARDS 18).
const DELEGATES_MAX: usize = 3;

/// A shared view of the nodes.
#[derive(Clone)]
pub struct Fleet {
    nodes: Arc<RwLock<Arc<Vec<NodeRow>>>>,
    rule: Arc<AddressRule>,
}

impl Fleet {
    /// A fleet of which nothing is known yet.
    pub fn new(rule: AddressRule) -> Self {
        Self { nodes: Arc::default(), rule: Arc::new(rule) }
    }

    /// Takes a new look.
    pub fn update(&self, nodes: Vec<NodeRow>) {
        *self.nodes.write().expect("nobody panics while holding this lock") = Arc::new(nodes);
    }

    /// The nodes as of the last look.
    pub fn nodes(&self) -> Arc<Vec<NodeRow>> {
        Arc::clone(&self.nodes.read().expect("nobody panics while holding this lock"))
    }

    /// Which addresses are dialled and handed out.
    pub fn rule(&self) -> &AddressRule {
        &self.rule
    }

    /// Nodes for a content, best first: those that live, or, when none does, whoever may take work once it is back.
    pub fn candidates(&self, content: &ContentKey, copies: usize) -> Vec<Uuid> {
        let nodes = self.nodes();
        let eligible = |wanted: fn(&NodeRow) -> bool| -> Vec<Candidate> {
            nodes.iter().filter(|node| node.scheduling == "Active" && wanted(node)).map(candidate).collect()
        };
        let mut candidates = eligible(|node| node.live && node.kubo_ready);
        if candidates.is_empty() {
            candidates = eligible(|_| true);
        }
        let holders = placement::holders(content.partition(), &candidates, copies + SPARE_CANDIDATES);
        holders.into_iter().map(|id| id.uuid()).collect()
    }

    /// One to three addresses of the nodes a pin is placed on, one per node first. When none of them has been heard
    /// of, of any node; empty only while no node of the fleet ever had an address.
    pub fn delegates(&self, placed_on: &[Uuid]) -> Vec<String> {
        let nodes = self.nodes();
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
    Candidate { id: NodeId::from_uuid(node.id), zone: node.zone.clone(), capacity: node.capacity.unsigned_abs() }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            capacity: 1,
            seen: OffsetDateTime::UNIX_EPOCH,
            live: true,
        }
    }

    fn fleet(nodes: Vec<NodeRow>) -> Fleet {
        let fleet = Fleet::new(AddressRule::private(vec!["10.0.0.0/8".parse().unwrap()]));
        fleet.update(nodes);
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
        assert_eq!(fleet.candidates(&content(), 2), [Uuid::from_u128(4)]);
    }

    #[test]
    fn when_all_are_silent_work_waits_for_them() {
        let fleet = fleet(vec![NodeRow { live: false, ..node(1) }, NodeRow { kubo_ready: false, ..node(2) }]);
        assert_eq!(fleet.candidates(&content(), 2).len(), 2);
    }

    #[test]
    fn delegates_are_of_the_holders_and_else_of_anyone() {
        let fleet = fleet(vec![node(1), node(2), NodeRow { addresses: vec![], ..node(3) }]);
        assert_eq!(fleet.delegates(&[Uuid::from_u128(2)]), [format!("/ip4/10.0.0.2/tcp/4001/p2p/{PEER}")]);
        assert_eq!(fleet.delegates(&[Uuid::from_u128(3)]).len(), 2);
    }
}
