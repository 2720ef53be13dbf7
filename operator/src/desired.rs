//! An object as it should be, and the question whether a live object already is so.
//!
//! "Already so" has two halves. The digest of the desired object, kept in an annotation, tells that *we* want something
//! else than at the last apply, fields that we no longer want included. [`covers`] tells that *somebody else* changed a
//! field that we want. Fields that we never set are nobody's business here, so labels and annotations that users add stay.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::DynamicObject;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::kind::Kind;
use crate::names;
use crate::quantity::same_quantity;

/// An object that should exist, complete with labels, owner and digest.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// What kind of object.
    pub kind: Kind,
    /// Its name in the cluster's namespace.
    pub name: String,
    /// All fields that we want to own.
    pub body: Value,
}

impl Desired {
    /// Completes what a builder made: kind, owner and the digest annotation.
    #[must_use]
    pub fn new(kind: Kind, owner: &OwnerReference, object: impl Serialize) -> Self {
        let mut body = serde_json::to_value(object).expect("objects that builders make are valid JSON");
        prune(&mut body);
        let api = kind.api();
        body["apiVersion"] = json!(api.api_version);
        body["kind"] = json!(api.kind);
        body["metadata"]["ownerReferences"] = json!([owner]);
        let digest = digest(&[body.to_string().as_bytes()]);
        body["metadata"]["annotations"][names::APPLIED] = json!(digest);
        let name = body["metadata"]["name"].as_str().expect("builders name their objects").to_owned();
        Self { kind, name, body }
    }

    /// Whether `live` is as this object wants it, so that nothing needs to be written.
    #[must_use]
    pub fn is_met_by(&self, live: &DynamicObject) -> bool {
        // A DynamicObject is parsed from JSON, so it can be written as JSON.
        let Ok(mut live) = serde_json::to_value(live) else { return false };
        // The items of a list do not repeat what they are.
        for field in ["apiVersion", "kind"] {
            live[field] = self.body[field].clone();
        }
        covers(&live, &self.body)
    }
}

/// Sixteen hexadecimal digits of SHA-256 over the parts, each with its length, so that parts cannot run together.
#[must_use]
pub fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether every field of `wanted` is in `live`. Lists must contain each wanted element, in any order, so that elements
/// which others add under server-side apply do not count as changes; quantities are compared by value.
#[must_use]
pub fn covers(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| live.get(key).is_some_and(|live| covers(live, wanted)))
        }
        (Value::Array(live), Value::Array(wanted)) if wanted.iter().all(Value::is_object) => {
            wanted.iter().all(|wanted| live.iter().any(|live| covers(live, wanted)))
        }
        (Value::String(live), Value::String(wanted)) => live == wanted || same_quantity(live, wanted),
        (live, wanted) => live == wanted,
    }
}

/// Takes out nulls, which the API server would drop.
fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let kept: Map<String, Value> =
                std::mem::take(fields).into_iter().filter(|(_, field)| !field.is_null()).collect();
            *fields = kept;
            fields.values_mut().for_each(prune);
        }
        Value::Array(elements) => elements.iter_mut().for_each(prune),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_we_do_not_set_are_not_our_business() {
        let live =
            json!({"metadata": {"labels": {"ours": "1", "theirs": "2"}}, "spec": {"replicas": 1, "defaulted": true}});
        assert!(covers(&live, &json!({"metadata": {"labels": {"ours": "1"}}, "spec": {"replicas": 1}})));
    }

    #[test]
    fn a_changed_or_missing_field_counts() {
        let wanted = json!({"spec": {"replicas": 1, "containers": [{"name": "a", "image": "x"}]}});
        assert!(!covers(&json!({"spec": {"replicas": 0, "containers": [{"name": "a", "image": "x"}]}}), &wanted));
        assert!(!covers(&json!({"spec": {"containers": [{"name": "a", "image": "x"}]}}), &wanted));
        assert!(!covers(&json!({"spec": {"replicas": 1, "containers": [{"name": "a", "image": "y"}]}}), &wanted));
        assert!(covers(
            &json!({"spec": {"replicas": 1, "containers": [{"name": "mesh"}, {"name": "a", "image": "x"}]}}),
            &wanted
        ));
    }

    #[test]
    fn lists_of_plain_values_are_compared_as_they_are() {
        assert!(!covers(&json!({"args": ["serve", "more"]}), &json!({"args": ["serve"]})));
        assert!(covers(&json!({"args": ["serve"]}), &json!({"args": ["serve"]})));
    }

    #[test]
    fn quantities_are_compared_by_value() {
        assert!(covers(&json!({"storage": "1Gi"}), &json!({"storage": "1024Mi"})));
        assert!(!covers(&json!({"storage": "1Gi"}), &json!({"storage": "1G"})));
    }

    #[test]
    fn digests_do_not_run_parts_together() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }
}
