//! What one client did and was told, and what must therefore be stored.

use super::wire::Answer;
use pinner_core::id::PinId;
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Something a client asks for.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Create { name: String, cid: String },
    Replace { old: PinId, name: String, cid: String },
    Delete { old: PinId },
    List,
}

impl Operation {
    /// Method, path and body.
    pub(super) fn parts(&self) -> (&'static str, String, Option<Value>) {
        match self {
            Self::Create { name, cid } => ("POST", "/pins".into(), Some(json!({"cid": cid, "name": name}))),
            Self::Replace { old, name, cid } => {
                ("POST", format!("/pins/{old}"), Some(json!({"cid": cid, "name": name})))
            }
            Self::Delete { old } => ("DELETE", format!("/pins/{old}"), None),
            Self::List => ("GET", "/pins?limit=10&status=queued,pinning,pinned,failed".into(), None),
        }
    }
}

/// One client's own pins.
#[derive(Default)]
pub(super) struct History {
    /// Begins the names of this client's pins and of no other's.
    pub(super) who: String,
    /// Names of its org's pins begin so.
    org: String,
    /// Acknowledged, and nothing was asked of them since.
    pub(super) held: BTreeSet<PinId>,
    /// A delete or replace was sent of them, and no answer came.
    unsure: BTreeSet<PinId>,
    /// Acknowledged to be gone.
    gone: BTreeSet<PinId>,
    /// Names that were sent at all.
    names: BTreeSet<String>,
    next: u64,
    /// How many answers came.
    pub(super) answered: u64,
}

impl History {
    /// The client `n`, of the org of that number.
    pub(super) fn new(org: usize, n: usize) -> Self {
        let org = format!("org-{org}-");
        Self { who: format!("{org}client-{n}"), org, ..Self::default() }
    }

    /// What to ask next. What it is about counts as unsure from now on.
    pub(super) fn choose(&mut self, contents: &[String], random: &mut StdRng) -> Operation {
        let cid = match random.random_bool(0.8) {
            true => contents.choose(random).expect("not empty").clone(),
            false => crate::stage::cids::fresh(),
        };
        self.next += 1;
        let name = format!("{}-{}", self.who, self.next);
        let any =
            |of: &BTreeSet<PinId>, random: &mut StdRng| of.iter().nth(random.random_range(0..of.len().max(1))).copied();
        match random.random_range(0..20) {
            0..5 => {
                if let Some(old) = any(&self.held, random) {
                    self.held.remove(&old);
                    self.unsure.insert(old);
                    return Operation::Delete { old };
                }
            }
            5..8 => {
                if let Some(old) = any(&self.held, random) {
                    self.held.remove(&old);
                    self.unsure.insert(old);
                    self.names.insert(name.clone());
                    return Operation::Replace { old, name, cid };
                }
            }
            // Once more, of what may be gone or not.
            8..10 => {
                if let Some(old) = any(&self.unsure, random) {
                    return Operation::Delete { old };
                }
            }
            10..12 => return Operation::List,
            _ => {}
        }
        self.names.insert(name.clone());
        Operation::Create { name, cid }
    }

    /// Takes note of an answer.
    pub(super) fn learn(&mut self, operation: &Operation, answer: &Answer) {
        self.answered += 1;
        let Answer { status, body } = answer;
        match (operation, status) {
            (Operation::Create { .. }, 202) => {
                self.held.insert(id(body));
            }
            (Operation::Replace { old, .. }, 202) => {
                self.held.insert(id(body));
                self.lost(*old);
            }
            // 404: the same was asked before, on a connection that was cut.
            (Operation::Delete { old }, 202 | 404) | (Operation::Replace { old, .. }, 404) => self.lost(*old),
            (Operation::List, 200) => {
                let pins = body["results"].as_array().expect("a list");
                let foreign = pins
                    .iter()
                    .find(|pin| !pin["pin"]["name"].as_str().is_some_and(|name| name.starts_with(&self.org)));
                assert!(foreign.is_none(), "{} is shown what is not its own: {foreign:?}", self.org);
            }
            _ => panic!("{operation:?} was answered {answer:?}"),
        }
    }

    fn lost(&mut self, old: PinId) {
        self.unsure.remove(&old);
        self.gone.insert(old);
    }

    /// Compares with what is stored: ids and names of this client's pins.
    pub(super) fn check(&self, stored: &BTreeMap<Uuid, String>) {
        for pin in &self.held {
            assert!(stored.contains_key(&pin.uuid()), "{pin} was acknowledged and is not there");
        }
        for pin in &self.gone {
            assert!(!stored.contains_key(&pin.uuid()), "{pin} was acknowledged to be gone and is there");
        }
        let names: BTreeSet<_> = stored.values().collect();
        assert_eq!(names.len(), stored.len(), "a request was carried out twice");
        assert!(names.iter().all(|name| self.names.contains(*name)), "nobody asked for this");
    }
}

fn id(body: &Value) -> PinId {
    body["requestid"].as_str().and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no requestid: {body}"))
}
