//! The CRDs on a real API server: they install without a warning and refuse what cannot be.

use std::process::Command;
use std::sync::OnceLock;

use anchorage_operator::crd::publish;
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::server::server;

/// Installs both definitions, once.
pub(crate) fn installed() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let yaml: String = publish::definitions().iter().map(|definition| publish::yaml(definition).unwrap()).collect();
        server().apply(&["--server-side", "--warnings-as-errors"], &yaml).unwrap();
        kubectl(&["wait", "--for=condition=Established", "--timeout=30s", "crd", "--all"]);
    });
}

fn kubectl(arguments: &[&str]) -> String {
    let output = server().kubectl().args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_definitions_install_without_a_warning_and_a_second_time_without_a_change() {
    installed();
    // Others may be installed meanwhile, by tests of what there is only with them.
    let names: Vec<_> = publish::definitions().iter().map(ResourceExt::name_any).collect();
    let versions = || {
        let what = "jsonpath={range .items[*]}{.metadata.resourceVersion}{.status.conditions}{end}";
        let names = names.iter().map(String::as_str);
        kubectl(&["get", "crd"].into_iter().chain(names).chain(["-o", what]).collect::<Vec<_>>())
    };
    let before = versions();
    assert!(!before.contains("NonStructuralSchema"), "{before}");
    let yaml: String = publish::definitions().iter().map(|definition| publish::yaml(definition).unwrap()).collect();
    server().apply(&["--server-side", "--warnings-as-errors"], &yaml).unwrap();
    assert_eq!(versions(), before);
}

#[test]
fn kubectl_knows_the_short_names_and_columns() {
    installed();
    let resources = kubectl(&["api-resources", "--api-group=anchorage.dev", "--no-headers"]);
    assert!(resources.contains("anc") && resources.contains("pn"), "{resources}");
}

/// A cluster that is right but for what the tests change in it.
pub(crate) fn cluster(name: &str) -> Value {
    json!({
        "apiVersion": "anchorage.dev/v1alpha1",
        "kind": "AnchorageCluster",
        "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "nodes": 3,
            "kubo": { "network": "Private", "storage": { "size": "1Gi" } },
            "postgres": { "managed": { "storage": { "size": "1Gi" } } },
            "nats": { "managed": { "storage": { "size": "1Gi" } } },
        },
    })
}

fn pin_node(name: &str) -> Value {
    json!({
        "apiVersion": "anchorage.dev/v1alpha1",
        "kind": "PinNode",
        "metadata": { "name": name, "namespace": "default" },
        "spec": { "clusterName": "demo", "zone": "a", "storage": { "size": "1Gi" } },
    })
}

/// Puts `value` where the JSON pointer says; null takes the field out.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match value {
        Value::Null => drop(parent.as_object_mut().unwrap().remove(key)),
        value => parent[key] = value,
    }
    object
}

#[test]
fn good_specs_are_accepted() {
    installed();
    let good = [
        cluster("good"),
        with(cluster("good"), "/spec/postgres", json!({ "secretName": "db" })),
        with(cluster("good"), "/spec/postgres", json!({ "secretName": "db", "managed": null })),
        with(
            cluster("good"),
            "/spec/nats",
            json!({ "url": "nats://a:4222,nats://b:4222", "credentialsSecretName": "c" }),
        ),
        with(cluster("good"), "/spec/nats/managed/replicas", json!(3)),
        with(cluster("good"), "/spec/replication", json!({ "min": 1, "max": 3 })),
        with(cluster("good"), "/spec/kubo/configPatch", json!({ "Swarm.ConnMgr": { "HighWater": 200 } })),
        with(cluster("good"), "/spec/api", json!({ "httpRoute": { "parentRefs": [{ "name": "gateway" }] } })),
        with(cluster("good"), "/spec/rebalance", json!({ "maxConcurrentMoves": 100_000 })),
        with(cluster("good"), "/spec/maintenance", json!({ "reason": "disk", "until": "2030-01-01T00:00:00Z" })),
        with(
            cluster("good"),
            "/spec/oidc",
            json!({ "issuerURL": "https://x", "clientID": "a", "clientSecretName": "s" }),
        ),
        with(cluster("good"), "/spec/resources", json!({ "requests": { "cpu": "250m", "memory": "1.5Gi" } })),
        pin_node("demo-0"),
    ];
    for object in good {
        let accepted = server().apply(&["--dry-run=server"], &object.to_string());
        assert_eq!(accepted, Ok(()), "{object}");
    }
}

#[test]
fn bad_specs_are_refused_with_their_cure() {
    installed();
    let long = "x".repeat(41);
    let bad = [
        (with(cluster("bad"), "/spec/nodes", json!(0)), "spec.nodes"),
        (with(cluster("bad"), "/spec/nodes", json!(5001)), "spec.nodes"),
        (
            with(cluster("bad"), "/spec/replication", json!({ "min": 3, "max": 2 })),
            "replication.min must not be greater",
        ),
        (
            with(cluster("bad"), "/spec/replication", json!({ "min": 2, "max": 4 })),
            "Raise nodes or lower replication.max",
        ),
        (with(cluster("bad"), "/spec/replication", json!({ "min": 1, "max": 10 })), "spec.replication.max"),
        (with(cluster("bad"), "/spec/replication", json!({ "min": 1 })), "spec.replication.max"),
        (with(cluster("bad"), "/spec/kubo", Value::Null), "spec.kubo"),
        (with(cluster("bad"), "/spec/kubo/network", json!("Intranet")), "spec.kubo.network"),
        (with(cluster("bad"), "/spec/kubo/storage/size", json!("lots")), "spec.kubo.storage.size"),
        (
            with(
                with(cluster("bad"), "/spec/kubo/network", json!("Public")),
                "/spec/kubo/swarmKeySecretName",
                json!("k"),
            ),
            "swarmKeySecretName is for network: Private only",
        ),
        (with(cluster("bad"), "/spec/postgres", json!({})), "exactly one of postgres.secretName"),
        (with(cluster("bad"), "/spec/postgres/secretName", json!("db")), "exactly one of postgres.secretName"),
        (with(cluster("bad"), "/spec/postgres", Value::Null), "spec.postgres"),
        (with(cluster("bad"), "/spec/nats", json!({})), "exactly one of nats.url"),
        (with(cluster("bad"), "/spec/nats/url", json!("nats://x")), "exactly one of nats.url"),
        (with(cluster("bad"), "/spec/nats", json!({ "url": "http://x" })), "nats:// or tls://"),
        (with(cluster("bad"), "/spec/nats", json!({ "url": "nats://u:p@x" })), "must not carry a password"),
        (with(cluster("bad"), "/spec/nats/credentialsSecretName", json!("c")), "goes with nats.url"),
        (with(cluster("bad"), "/spec/nats/managed/replicas", json!(2)), "must be 1, 3 or 5"),
        (with(cluster("bad"), "/spec/nats/streamReplicas", json!(4)), "must be 1, 3 or 5"),
        (with(cluster("bad"), "/spec/volumeClaimDeletePolicy", json!("Recycle")), "spec.volumeClaimDeletePolicy"),
        (with(cluster("bad"), "/spec/api", json!({ "ingress": {} })), "spec.api.ingress.host"),
        (
            with(cluster("bad"), "/spec/api", json!({ "httpRoute": { "parentRefs": [] } })),
            "spec.api.httpRoute.parentRefs",
        ),
        (with(cluster("bad"), "/spec/metrics", json!({ "allowCIDRs": ["here"] })), "spec.metrics.allowCIDRs"),
        (
            with(cluster("bad"), "/spec/metrics", json!({ "podMonitor": { "interval": "often" } })),
            "spec.metrics.podMonitor.interval",
        ),
        (with(cluster("bad"), "/spec/maintenance", json!({ "until": "tomorrow" })), "spec.maintenance.until"),
        (with(cluster("bad"), "/spec/resources", json!({ "limits": { "memory": "much" } })), "spec.resources.limits"),
        (
            with(cluster("bad"), "/spec/rebalance", json!({ "maxConcurrentMoves": 0 })),
            "spec.rebalance.maxConcurrentMoves",
        ),
        (
            with(cluster("bad"), "/spec/rebalance", json!({ "maxConcurrentMoves": 100_001 })),
            "spec.rebalance.maxConcurrentMoves",
        ),
        (with(cluster("bad"), "/spec/tokens", json!({ "rotationDays": 0 })), "spec.tokens.rotationDays"),
        (with(cluster("bad"), "/metadata/name", json!(long)), "at most 40 lower-case letters"),
        (with(cluster("bad"), "/metadata/name", json!("9demo")), "begins with a letter"),
        (with(cluster("bad"), "/metadata/name", json!("de.mo")), "lower-case letters, digits and dashes"),
        (with(pin_node("demo-0"), "/metadata/name", json!("other-0")), "begins with its cluster's name"),
        (with(pin_node("demo-0"), "/spec/scheduling", json!("Paused")), "spec.scheduling"),
        (with(pin_node("demo-0"), "/spec/clusterName", Value::Null), "spec.clusterName"),
    ];
    for (object, cure) in bad {
        let refusal = server().apply(&["--dry-run=server"], &object.to_string()).expect_err(&object.to_string());
        assert!(refusal.contains(cure), "expected {cure:?} in: {refusal}");
    }
}

#[test]
fn changes_that_cannot_be_followed_are_refused_with_their_cure() {
    installed();
    let stored = [cluster("changing"), with(pin_node("demo-7"), "/metadata/namespace", json!("default"))];
    for object in &stored {
        server().apply(&[], &object.to_string()).unwrap();
    }
    let refused = [
        (with(stored[0].clone(), "/spec/postgres/managed/storage/size", json!("2Gi")), "cannot change after creation"),
        (with(stored[0].clone(), "/spec/nats/managed/storage/size", json!("2Gi")), "cannot change after creation"),
        (with(stored[1].clone(), "/spec/zone", json!("b")), "zone cannot change"),
        (with(stored[1].clone(), "/spec/zone", Value::Null), "zone cannot change"),
        (with(stored[1].clone(), "/spec/storage/size", json!("2Gi")), "storage cannot change"),
        (with(stored[1].clone(), "/spec/storage", Value::Null), "storage cannot change"),
        (with(stored[1].clone(), "/spec/clusterName", json!("dem")), "clusterName cannot change"),
    ];
    for (object, cure) in refused {
        let refusal = server().apply(&["--dry-run=server"], &object.to_string()).expect_err(&object.to_string());
        assert!(refusal.contains(cure), "expected {cure:?} in: {refusal}");
    }
    let allowed = [
        with(stored[0].clone(), "/spec/kubo/storage/size", json!("2Gi")),
        with(stored[0].clone(), "/spec/postgres", json!({ "secretName": "db" })),
        with(stored[1].clone(), "/spec/scheduling", json!("Cordoned")),
    ];
    for object in allowed {
        assert_eq!(server().apply(&["--dry-run=server"], &object.to_string()), Ok(()), "{object}");
    }
    let copies = with(stored[0].clone(), "/spec/replication", json!({ "min": 2, "max": 2 }));
    server().apply(&[], &copies.to_string()).unwrap();
    let refused = server().kubectl().args(["scale", "anc/changing", "--replicas=1"]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("Raise nodes or lower replication.max"), "{said}");
    let scaled = server().kubectl().args(["scale", "anc/changing", "--replicas=5"]).status().unwrap();
    assert!(scaled.success());
    assert_eq!(kubectl(&["get", "anc/changing", "-o", "jsonpath={.spec.nodes}"]), "5");
    kubectl(&["delete", "anc/changing", "pn/demo-7"]);
}

#[test]
fn the_files_in_crds_are_what_the_types_say() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for definition in publish::definitions() {
        let yaml = publish::yaml(&definition).unwrap();
        for folder in ["crds", "charts/anchorage/files/crds"] {
            let path = format!("{root}/{folder}/{}", publish::file_name(&definition));
            let file = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(file == yaml, "{path} is not what the types say. Run `make crds`");
        }
    }
    let printed = Command::new(env!("CARGO_BIN_EXE_anchorage-operator")).arg("crds").output().unwrap();
    let all: String = publish::definitions().iter().map(|definition| publish::yaml(definition).unwrap()).collect();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), all);
}
