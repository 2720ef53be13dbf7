//! Specs that cannot be: refused at once where the object alone tells, named in conditions where it does not.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::namespace::Namespace;
use e2e::wait;
use serde_json::{Value, json};

use crate::message;

/// A cluster that is right but for what the tests change in it.
fn sample(name: &str) -> Value {
    json!({
        "apiVersion": "anchorage.dev/v1alpha1",
        "kind": "AnchorageCluster",
        "metadata": { "name": name },
        "spec": {
            "nodes": 1,
            "kubo": { "network": "Private", "storage": { "size": "1Gi" } },
            "postgres": { "managed": { "storage": { "size": "1Gi" } } },
            "nats": { "managed": { "storage": { "size": "1Gi" } } },
        },
    })
}

pub(crate) fn bad_specs(namespace: &Namespace) -> Result<()> {
    let cases = [
        ("/spec/nodes", json!(0), "spec.nodes"),
        (
            "/spec/replication",
            json!({ "min": 3, "max": 2 }),
            "replication.min must not be greater than replication.max",
        ),
        ("/spec/replication", json!({ "min": 2, "max": 2 }), "Raise nodes or lower replication.max"),
        ("/spec/kubo/network", json!("Intranet"), "spec.kubo.network"),
        ("/spec/postgres", json!({}), "exactly one of postgres.secretName"),
        ("/spec/nats", json!({ "url": "http://nats:4222" }), "nats://"),
    ];
    for (place, value, expected) in cases {
        let mut object = sample("bad");
        set(&mut object, place, value);
        let refusal = namespace.kubectl(["apply", "-f", "-"]).input(object.to_string()).fails()?;
        ensure!(refusal.contains(expected), "{place}: the refusal does not say '{expected}': {refusal}");
    }
    Ok(())
}

pub(crate) fn missing_secret(namespace: &Namespace) -> Result<()> {
    let mut object = sample("no-secret");
    set(&mut object, "/spec/postgres", json!({ "secretName": "our-postgres" }));
    namespace.apply(object.to_string())?;
    wait::until("a condition that names the Secret", Duration::from_mins(1), || {
        let found = namespace.get("anchoragecluster/no-secret")?;
        let said = message(&found, "DatabaseReady", "False")?;
        ensure!(said.contains("our-postgres"), "DatabaseReady says: {said}");
        message(&found, "Ready", "False").map(drop)
    })?;
    namespace.kubectl(["delete", "anchoragecluster", "no-secret", "--timeout=60s"]).run()?;
    namespace.gone(e2e::anchorage::KINDS, "anchorage.dev/cluster=no-secret", Duration::from_mins(2))
}

/// Puts a value at a JSON pointer whose parent exists.
fn set(object: &mut Value, place: &str, value: Value) {
    let (parent, key) = place.rsplit_once('/').expect("a pointer has a slash");
    object.pointer_mut(parent).expect("the sample has the parent")[key] = value;
}
