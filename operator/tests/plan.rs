//! What is planned for a cluster, without any server: names per scenario, whole objects where every field matters.

#![expect(clippy::unwrap_used, reason = "what stops a test has failed it")]

use std::collections::BTreeMap;
use std::sync::Arc;

use anchorage_operator::apply::changes;
use anchorage_operator::cluster::observe::Observed;
use anchorage_operator::cluster::plan::{Plan, SURPLUS, plan};
use anchorage_operator::cluster::validate::{Cluster, Refusal, validate};
use anchorage_operator::crd::AnchorageCluster;
use anchorage_operator::crd::shared::Storage;
use anchorage_operator::credentials::Credentials;
use anchorage_operator::desired::Desired;
use anchorage_operator::kind::Kind;
use anchorage_operator::names;
use anchorage_operator::resources::{migrate_job, pinner};
use anchorage_operator::secrets::{Secrets, Text};
use anchorage_operator::served::Served;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::DynamicObject;
use serde_json::{Value, json};

fn private() -> Value {
    json!({
        "nodes": 3,
        "kubo": {
            "network": "Private", "storage": { "size": "10Gi" },
            "resources": { "limits": { "memory": "1Gi" } },
            "configPatch": { "Swarm.ConnMgr.HighWater": 200 },
        },
        "postgres": { "managed": { "storage": { "size": "10Gi" } } },
        "nats": { "managed": { "storage": { "size": "1Gi" } } },
    })
}

fn public() -> Value {
    json!({
        "nodes": 1,
        "kubo": { "storage": { "size": "10Gi" } },
        "postgres": { "secretName": "our-postgres" },
        "nats": { "url": "tls://nats.example:4222", "credentialsSecretName": "our-nats" },
        "api": {
            "ingress": { "host": "pins.example", "tlsSecretName": "pins-tls", "annotations": { "a": "b" } },
            "httpRoute": { "parentRefs": [{ "name": "gateway" }], "hostnames": ["pins.example"] },
        },
        "metrics": { "podMonitor": { "enabled": true, "interval": "30s" }, "allowCIDRs": ["10.0.0.0/8"] },
        "volumeClaimDeletePolicy": "Delete",
    })
}

fn with(mut spec: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    spec.pointer_mut(parent).unwrap()[key] = value;
    spec
}

fn object(spec: Value) -> AnchorageCluster {
    let metadata = json!({ "name": "demo", "namespace": "pins", "uid": "1", "generation": 1 });
    serde_json::from_value(json!({
        "apiVersion": "anchorage.dev/v1alpha1", "kind": "AnchorageCluster", "metadata": metadata, "spec": spec,
    }))
    .unwrap()
}

/// The Secrets that a user of [`public`] has made.
fn users_secrets() -> Secrets {
    let mut secrets = Secrets::default();
    let mut put = |name: &str, key: &str, value: &str| {
        secrets.insert(name, Arc::new(BTreeMap::from([(key.to_owned(), Text::new(value))])));
    };
    put("our-postgres", "url", "postgres://root:secret@db.example/pins");
    put("our-nats", "nats.creds", "-----BEGIN NATS USER JWT-----");
    secrets
}

fn valid(spec: Value) -> Cluster {
    validate(&object(spec), &users_secrets(), "anchorage/anchorage:test").unwrap()
}

/// Secrets as they come from chance in production, here in order.
fn counter() -> impl FnMut() -> String {
    let mut count = 0;
    move || {
        count += 1;
        format!("{count:064}")
    }
}

fn planned(cluster: &Cluster, observed: &Observed) -> Plan {
    let credentials = Credentials::complete(cluster, &observed.secrets, &mut counter());
    plan(cluster, observed, &credentials, false)
}

fn named(objects: &[Desired]) -> Vec<String> {
    objects.iter().map(|object| format!("{}/{}", object.kind.as_str(), object.name)).collect()
}

/// The world after everything that `plan` wants was made, with the database running.
fn after(mut observed: Observed, plan: &Plan) -> Observed {
    for object in &plan.objects {
        let mut body = object.body.clone();
        if object.kind == Kind::StatefulSet {
            body["status"] = json!({ "readyReplicas": 1 });
        }
        if object.kind == Kind::PinNode {
            let node = serde_json::from_value(body.clone()).unwrap();
            observed.pin_nodes.insert(object.name.clone(), Arc::new(node));
        }
        if object.kind == Kind::Secret {
            // Secrets are read by name and never watched.
            continue;
        }
        let live: DynamicObject = serde_json::from_value(body).unwrap();
        observed.live.insert((object.kind, object.name.clone()), Arc::new(live));
    }
    observed
}

fn yaml(object: &Desired) -> String {
    serde_yaml::to_string(&object.body).unwrap()
}

fn find<'a>(plan: &'a Plan, kind: Kind, name: &str) -> &'a Desired {
    plan.objects.iter().find(|object| object.kind == kind && object.name == name).unwrap()
}

#[test]
fn a_private_cluster_with_everything_managed() {
    let cluster = valid(private());
    let first = planned(&cluster, &Observed::default());
    insta::assert_yaml_snapshot!(named(&first.objects), @r#"
    - Secret/demo-admin
    - Secret/demo-database
    - Secret/demo-nats
    - Secret/demo-postgres
    - Secret/demo-swarm-key
    - Secret/demo-tokens
    - ConfigMap/demo-kubo
    - Service/demo
    - Service/demo-nodes
    - PodDisruptionBudget/demo
    - Service/demo-postgres
    - StatefulSet/demo-postgres
    - Service/demo-nats
    - StatefulSet/demo-nats
    - PinNode/demo-0
    - PinNode/demo-1
    - PinNode/demo-2
    "#);
    let observed = after(Observed::default(), &first);
    let second = planned(&cluster, &observed);
    let new: Vec<String> =
        named(&second.objects).into_iter().filter(|name| !named(&first.objects).contains(name)).collect();
    assert_eq!(new, [format!("Job/{}", migrate_job::name(&cluster))], "the database runs, so it can be migrated");
}

#[test]
fn a_public_cluster_on_what_exists_already() {
    let cluster = valid(public());
    let served = Served::these([Kind::HttpRoute, Kind::PodMonitor]);
    let observed = Observed { secrets: users_secrets(), served, ..Observed::default() };
    let plan = planned(&cluster, &observed);
    insta::assert_yaml_snapshot!(named(&plan.objects), @r#"
    - Secret/demo-admin
    - Secret/demo-database
    - Secret/demo-nats
    - Secret/demo-tokens
    - ConfigMap/demo-kubo
    - Service/demo
    - Service/demo-nodes
    - PodDisruptionBudget/demo
    - Job/demo-migrate-fe578354a7
    - PinNode/demo-0
    - Ingress/demo
    - HTTPRoute/demo
    - PodMonitor/demo
    "#);
}

#[test]
fn kinds_that_are_not_served_are_left_out_and_named() {
    let cluster = valid(public());
    let plan = planned(&cluster, &Observed { secrets: users_secrets(), ..Observed::default() });
    assert_eq!(plan.unserved, [Kind::HttpRoute, Kind::PodMonitor]);
}

#[test]
fn planning_again_after_applying_changes_nothing() {
    let cluster = valid(private());
    let mut observed = Observed::default();
    for _ in 0..2 {
        let plan = planned(&cluster, &observed);
        observed = after(observed, &plan);
    }
    let credentials = Credentials::complete(&cluster, &observed.secrets, &mut counter());
    for (name, content) in credentials.secrets() {
        observed.secrets.insert(name, Arc::new(content.clone()));
    }
    let plan = planned(&cluster, &observed);
    assert_eq!(named(&changes(&plan.objects, &observed.live).into_iter().cloned().collect::<Vec<_>>()), [""; 0]);
    assert!(plan.remove.is_empty() && plan.leaving.is_empty());
}

#[test]
fn what_is_not_wanted_any_more_is_removed() {
    let cluster = valid(with(private(), "/nats/managed/replicas", json!(3)));
    let observed = after(Observed::default(), &planned(&cluster, &Observed::default()));
    let mut spec = private();
    spec["nats"] = json!({ "url": "nats://elsewhere:4222" });
    let plan = planned(&valid(spec), &observed);
    let removed: Vec<String> = plan
        .remove
        .iter()
        .map(|(kind, object)| format!("{}/{}", kind.as_str(), object.metadata.name.as_deref().unwrap()))
        .collect();
    assert_eq!(removed, ["Service/demo-nats", "PodDisruptionBudget/demo-nats", "StatefulSet/demo-nats"]);
}

/// A world with one PinNode more than `cluster` wants, `demo-2`, and the reports of the pinners.
fn with_a_surplus_node(cluster: &Cluster, reports: Value, change: impl FnOnce(&mut Value)) -> Observed {
    let larger = Cluster { nodes: cluster.nodes + 1, ..cluster.clone() };
    let mut observed = after(Observed::default(), &planned(&larger, &Observed::default()));
    let mut node = serde_json::to_value(&*observed.pin_nodes["demo-2"]).unwrap();
    node["metadata"]["annotations"][names::SURPLUS] = json!(SURPLUS);
    let now = "2026-01-01T00:00:00Z";
    node["status"] = json!({
        "scheduling": "Drained", "requestToken": SURPLUS,
        "conditions": [
            { "type": "Drained", "status": "True", "reason": "Drained", "message": "", "lastTransitionTime": now },
        ],
    });
    change(&mut node);
    observed.live.insert((Kind::PinNode, "demo-2".to_owned()), Arc::new(serde_json::from_value(node.clone()).unwrap()));
    observed.pin_nodes.insert("demo-2".to_owned(), Arc::new(serde_json::from_value(node).unwrap()));
    let reports: Option<BTreeMap<_, _>> = serde_json::from_value(reports).unwrap();
    observed.reports = reports.map(Arc::new);
    observed
}

#[test]
fn a_surplus_node_goes_only_when_the_drain_that_is_asked_for_now_is_done() {
    let cluster = valid(with(private(), "/nodes", json!(2)));
    let drained = || json!({ "demo-2": { "state": "drained" } });
    let credentials = Credentials::complete(&cluster, &Secrets::default(), &mut counter());
    let removed = |observed: &Observed, paused: bool| -> bool {
        let plan = plan(&cluster, observed, &credentials, paused);
        assert_eq!(plan.remove.is_empty(), !plan.leaving.is_empty());
        !plan.remove.is_empty()
    };
    assert!(removed(&with_a_surplus_node(&cluster, drained(), |_| {}), false));
    assert!(removed(&with_a_surplus_node(&cluster, json!({}), |_| {}), false), "it has never registered");
    assert!(!removed(&with_a_surplus_node(&cluster, drained(), |_| {}), true), "paused");
    assert!(!removed(&with_a_surplus_node(&cluster, Value::Null, |_| {}), false), "no pinner answers");
    let draining = json!({ "demo-2": { "state": "draining" } });
    assert!(!removed(&with_a_surplus_node(&cluster, draining, |_| {}), false), "the status is older than the pinners");
    type Change = fn(&mut Value);
    let changes: [(&str, Change); 4] = [
        ("not marked yet", |node| node["metadata"]["annotations"] = json!({ names::DRAIN: SURPLUS })),
        ("another drain is done", |node| node["status"]["requestToken"] = json!("kernel")),
        ("another drain is asked for", |node| node["metadata"]["annotations"][names::DRAIN] = json!("kernel")),
        ("it is to keep its place", |node| node["metadata"]["annotations"][names::MAINTENANCE] = json!("fan")),
    ];
    for (why, change) in changes {
        assert!(!removed(&with_a_surplus_node(&cluster, drained(), change), false), "{why}");
    }
}

#[test]
fn a_pause_keeps_nodes_from_leaving_and_says_which() {
    let cluster = valid(with(private(), "/nodes", json!(2)));
    let unmarked = |node: &mut Value| {
        node["metadata"]["annotations"] = json!({});
        node["status"] = json!({});
    };
    let observed = with_a_surplus_node(&cluster, json!({}), unmarked);
    let credentials = Credentials::complete(&cluster, &observed.secrets, &mut counter());
    let marked = |plan: &Plan| -> bool {
        !find(plan, Kind::PinNode, "demo-2").body["metadata"]["annotations"][names::SURPLUS].is_null()
    };
    let paused = plan(&cluster, &observed, &credentials, true);
    assert_eq!((&paused.waiting[..], &paused.leaving[..]), (&["demo-2".to_owned()][..], &[][..]));
    assert!(!marked(&paused));
    let after_it = plan(&cluster, &observed, &credentials, false);
    assert_eq!((&after_it.waiting[..], &after_it.leaving[..]), (&[][..], &["demo-2".to_owned()][..]));
    assert!(marked(&after_it));
}

#[test]
fn generated_values_are_kept_for_ever() {
    let cluster = valid(private());
    let mut secrets = Secrets::default();
    let first = Credentials::complete(&cluster, &secrets, &mut counter());
    for (name, content) in first.secrets() {
        secrets.insert(name, Arc::new(content.clone()));
    }
    let second = Credentials::complete(&cluster, &secrets, &mut || panic!("nothing is missing"));
    assert_eq!(second, first);
}

#[test]
fn role_passwords_outlive_a_change_of_the_database_address() {
    let mut secrets = users_secrets();
    let before = Credentials::complete(&valid(public()), &secrets, &mut counter());
    for (name, content) in before.secrets() {
        secrets.insert(name, Arc::new(content.clone()));
    }
    let moved = BTreeMap::from([("url".to_owned(), Text::new("postgres://root:other@new.example/pins"))]);
    secrets.insert("our-postgres", Arc::new(moved));
    let cluster = validate(&object(public()), &secrets, "image").unwrap();
    let after = Credentials::complete(&cluster, &secrets, &mut || panic!("nothing is missing"));
    let url = |credentials: &Credentials| {
        let (_, content) = credentials.secrets().find(|(name, _)| *name == "demo-database").unwrap();
        content["api-url"].expose().to_owned()
    };
    assert_eq!(url(&after), url(&before).replace("db.example", "new.example"));
}

#[test]
fn the_pod_of_a_pin_node_in_full() {
    let cluster = valid(private());
    let owner = OwnerReference {
        kind: "PinNode".to_owned(),
        name: "demo-0".to_owned(),
        uid: "2".to_owned(),
        ..Default::default()
    };
    let storage = Storage { size: "10Gi".to_owned(), storage_class_name: Some("fast".to_owned()) };
    let placement = pinner::Placement {
        name: "demo-0",
        owner: &owner,
        zone: Some("a"),
        storage: &storage,
        inputs: "0123456789abcdef",
    };
    insta::assert_snapshot!("pinner", yaml(&pinner::desired(&cluster, &placement)));
}

#[test]
fn how_data_moves_is_told_to_the_pinners_where_the_spec_says_it() {
    let told = |spec: Value| -> Vec<(String, String)> {
        let cluster = valid(spec);
        let owner = OwnerReference::default();
        let placement = pinner::Placement {
            name: "demo-0",
            owner: &owner,
            zone: None,
            storage: &cluster.kubo.storage,
            inputs: "0123456789abcdef",
        };
        let body = pinner::desired(&cluster, &placement).body;
        let variables = body.pointer("/spec/template/spec/containers/0/env").unwrap().as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        variables
            .iter()
            .map(|variable| (text(&variable["name"]), text(&variable["value"])))
            .filter(|(name, _)| name.starts_with("ANCHORAGE_REBALANCE"))
            .collect()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(told(private()), []);
    assert_eq!(told(with(private(), "/rebalance", json!({}))), [pair("ANCHORAGE_REBALANCE_ENABLED", "true")]);
    assert_eq!(
        told(with(private(), "/rebalance", json!({ "enabled": false, "maxConcurrentMoves": 50 }))),
        [pair("ANCHORAGE_REBALANCE_ENABLED", "false"), pair("ANCHORAGE_REBALANCE_MAX_CONCURRENT_MOVES", "50")]
    );
}

#[test]
fn servers_and_configuration_in_full() {
    let cluster = valid(private());
    let first = planned(&cluster, &Observed::default());
    insta::assert_snapshot!("postgres", yaml(find(&first, Kind::StatefulSet, "demo-postgres")));
    insta::assert_snapshot!("nats", yaml(find(&first, Kind::StatefulSet, "demo-nats")));
    insta::assert_snapshot!("kubo-private", yaml(find(&first, Kind::ConfigMap, "demo-kubo")));
    let public = planned(&valid(public()), &Observed { secrets: users_secrets(), ..Observed::default() });
    insta::assert_snapshot!("kubo-public", yaml(find(&public, Kind::ConfigMap, "demo-kubo")));
    let job = public.objects.iter().find(|object| object.kind == Kind::Job).unwrap();
    insta::assert_snapshot!("migration", yaml(job));
}

#[test]
fn specs_that_cannot_be_are_refused_with_their_cure() {
    let cases = [
        (
            with(private(), "/oidc", json!({ "issuerURL": "x", "clientID": "y", "clientSecretName": "z" })),
            "NotSupported",
            "oidc is not supported",
        ),
        (with(private(), "/tokens", json!({ "rotationDays": 30 })), "NotSupported", "tokens.rotationDays"),
        (with(private(), "/api", json!({ "rateLimits": { "token": 1 } })), "NotSupported", "api.rateLimits"),
        (with(private(), "/api", json!({ "trustedProxies": ["10.0.0.0/8"] })), "NotSupported", "api.trustedProxies"),
        (with(private(), "/replication", json!({ "min": 2, "max": 4 })), "InvalidSpec", "max <= nodes"),
        (with(private(), "/kubo/storage/size", json!("1Ki")), "InvalidSpec", "at least 16Mi"),
        (
            with(private(), "/kubo/configPatch", json!({ "Addresses": {} })),
            "InvalidSpec",
            "Addresses.API belongs to the operator",
        ),
        (
            with(private(), "/kubo/configPatch", json!({ "Identity.PrivKey": "x" })),
            "InvalidSpec",
            "belongs to the operator",
        ),
        (
            with(private(), "/kubo/configPatch", json!({ "Bootstrap": ["auto"] })),
            "InvalidSpec",
            "belongs to the operator",
        ),
        (with(private(), "/kubo/configPatch", json!({ "x'; rm": 1 })), "InvalidSpec", "dotted names"),
        (with(private(), "/kubo/swarmKeySecretName", json!("keys")), "SecretMissing", "Secret keys does not exist"),
        (with(private(), "/kubo/swarmKeySecretName", json!("our-nats")), "SecretInvalid", "no key swarm.key"),
        (
            with(private(), "/postgres", json!({ "secretName": "none" })),
            "SecretMissing",
            "postgres.secretName names it",
        ),
        (with(private(), "/nats/streamReplicas", json!(3)), "InvalidSpec", "Raise nats.managed.replicas"),
    ];
    for (spec, reason, cure) in cases {
        let refusal: Refusal = validate(&object(spec.clone()), &users_secrets(), "image").expect_err(&spec.to_string());
        assert_eq!(refusal.reason(), reason, "{spec}");
        assert!(refusal.to_string().contains(cure), "expected {cure:?} in: {refusal}");
    }
    let harmless = with(with(private(), "/rebalance", json!({ "enabled": true })), "/tokens", json!({}));
    assert!(validate(&object(harmless), &users_secrets(), "image").is_ok());
}
