//! The cluster that scenes are about, and what it consists of.

use anchorage_operator::kind::Kind;
use serde_json::{Value, json};

use crate::scene::Scene;

/// A private cluster of so many nodes with everything managed.
pub(crate) fn spec(nodes: usize) -> Value {
    json!({
        "nodes": nodes,
        "kubo": { "network": "Private", "storage": { "size": "1Gi" }, "resources": { "limits": { "memory": "1024Mi" } } },
        "postgres": { "managed": { "storage": { "size": "1Gi" } } },
        "nats": { "managed": { "storage": { "size": "1Gi" } } },
        "api": { "ingress": { "host": "pins.anchorage.test", "className": "traefik" } },
    })
}

/// The spec with another value of a field.
pub(crate) fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

/// Names of the cluster's objects of one kind, in order.
pub(crate) async fn names_of(scene: &Scene, kind: Kind) -> Vec<String> {
    scene.names(kind).await.into_iter().filter(|name| name.starts_with("demo")).collect()
}
