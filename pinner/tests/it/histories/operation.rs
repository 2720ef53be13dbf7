//! What the orgs of a history ask for, and the pins that each must have.

use crate::stage::client::{ALL, Client, id};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What one org asks for. Names are given once, so that a pin tells which request made it.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Create { pin: Held },
    Replace { old: String, pin: Held },
    Delete { old: String },
    DeleteMany { old: Vec<String> },
}

/// A pin of the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) cid: String,
    pub(super) name: String,
    /// Whether it is to delete itself one day.
    pub(super) expires: bool,
}

impl Held {
    fn body(&self) -> Value {
        // Far away: time passes when the history says so.
        let meta = if self.expires { json!({"anchorage_expires": "1h"}) } else { json!({}) };
        json!({"cid": self.cid, "name": self.name, "meta": meta})
    }
}

impl Operation {
    pub(super) async fn send(&self, org: &Client) -> reqwest::Result<Value> {
        let request = match self {
            Self::Create { pin } => org.request(reqwest::Method::POST, "/pins").json(&pin.body()),
            Self::Replace { old, pin } => org.request(reqwest::Method::POST, &format!("/pins/{old}")).json(&pin.body()),
            Self::Delete { old } => org.request(reqwest::Method::DELETE, &format!("/pins/{old}")),
            Self::DeleteMany { old } => {
                org.request(reqwest::Method::POST, "/api/v1/pins/delete").json(&json!({"requestids": old}))
            }
        };
        let status = if matches!(self, Self::DeleteMany { .. }) { 200 } else { 202 };
        Ok(org.try_send(request).await?.expect(status))
    }

    /// The pins that it ends.
    pub(super) fn old(&self) -> &[String] {
        match self {
            Self::Create { .. } => &[],
            Self::Replace { old, .. } | Self::Delete { old } => std::slice::from_ref(old),
            Self::DeleteMany { old } => old,
        }
    }

    /// What the model makes of it once it was acknowledged.
    pub(super) fn apply(&self, pins: &mut BTreeMap<String, Held>, answer: &Value) {
        self.old().iter().for_each(|old| drop(pins.remove(old)));
        if let Self::Create { pin } | Self::Replace { pin, .. } = self {
            pins.insert(id(answer), pin.clone());
        }
    }
}

/// What an org has, as the service lists it.
pub(super) async fn listed(org: &Client) -> BTreeMap<String, Held> {
    let page = org.get(&format!("/pins?limit=1000&status={ALL}")).await.expect(200);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let pins = page["results"].as_array().expect("a list");
    assert_eq!(page["count"].as_u64(), Some(pins.len() as u64), "the count and the page");
    let held = |pin: &Value| Held {
        cid: text(&pin["pin"]["cid"]),
        name: text(&pin["pin"]["name"]),
        expires: pin["info"]["pinned_until"].is_string(),
    };
    pins.iter().map(|pin| (id(pin), held(pin))).collect()
}

/// Takes over what became of a request that was not answered.
pub(super) fn adopt(operation: &Operation, pins: &mut BTreeMap<String, Held>, stored: &BTreeMap<String, Held>) {
    let new = match operation {
        Operation::Create { pin } | Operation::Replace { pin, .. } => {
            stored.iter().find(|(_, stored)| stored.name == pin.name)
        }
        Operation::Delete { .. } | Operation::DeleteMany { .. } => None,
    };
    if let Operation::Replace { old, .. } = operation {
        assert_ne!(stored.contains_key(old), new.is_some(), "half of {operation:?} was done");
    }
    let left = operation.old().iter().filter(|old| stored.contains_key(*old)).count();
    assert!(left == 0 || left == operation.old().len(), "half of {operation:?} was done");
    if left == 0 {
        operation.old().iter().for_each(|old| drop(pins.remove(old)));
    }
    if let Some((id, pin)) = new {
        pins.insert(id.clone(), pin.clone());
    }
}
