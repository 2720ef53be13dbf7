//! A cluster's life, told to a real API server: made, changed, refused, left alone.

use std::collections::BTreeMap;

use anchorage_operator::kind::Kind;
use anchorage_operator::names;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::sample::{names_of, spec, with};
use crate::scene::{Scene, ready_pod, until};
use crate::server::server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spec_becomes_a_cluster_and_a_second_look_writes_nothing() {
    let scene = Scene::set("whole").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(2)).await;

    // The database comes first, then its schema, then the pinners.
    scene.node_condition("demo-0", "Ready", "False", "WaitingForDatabase").await;
    assert_eq!(names_of(&scene, Kind::Job).await, [""; 0]);
    scene.make_ready("demo-postgres").await;
    let migration = scene.migration().await;
    assert_eq!(names_of(&scene, Kind::StatefulSet).await, ["demo-nats", "demo-postgres"]);
    scene.cluster_condition("DatabaseReady", "False", "Migrating").await;
    scene.admits(Kind::StatefulSet, "demo-postgres").await;
    scene.admits(Kind::StatefulSet, "demo-nats").await;
    scene.admits(Kind::Job, &migration).await;
    scene.complete(&migration).await;
    scene.make_ready("demo-nats").await;
    for node in ["demo-0", "demo-1"] {
        scene.bring_up_node(node).await;
    }
    scene.cluster_condition("Ready", "True", "Ready").await;
    scene.cluster_condition("Progressing", "False", "Complete").await;
    scene.cluster_condition("Degraded", "False", "AsExpected").await;

    assert_eq!(names_of(&scene, Kind::ConfigMap).await, ["demo-kubo"]);
    assert_eq!(names_of(&scene, Kind::Service).await, ["demo", "demo-nats", "demo-nodes", "demo-postgres"]);
    assert_eq!(names_of(&scene, Kind::PodDisruptionBudget).await, ["demo"]);
    assert_eq!(names_of(&scene, Kind::Ingress).await, ["demo"]);
    assert_eq!(
        names_of(&scene, Kind::Secret).await,
        ["demo-admin", "demo-database", "demo-nats", "demo-postgres", "demo-swarm-key", "demo-tokens"]
    );
    // It is told after the status was written.
    until("an Event", async || scene.events().await.into_iter().find(|(_, reason, _)| reason == "Migrated")).await;

    operator.end().await;
    let before = versions(&scene).await;
    let operator = scene.operator();
    operator.looked(1, 2).await;
    // And once more, woken by somebody's annotations.
    scene.annotate("demo-0", "example.org/note", json!("x")).await;
    scene.annotate("demo-1", "example.org/note", json!("x")).await;
    operator.looked(2, 4).await;
    assert_eq!(operator.metrics.writes(), 0, "{}", operator.metrics.text());
    let mut after = versions(&scene).await;
    // The test itself annotated these two.
    for node in ["PinNode/demo-0", "PinNode/demo-1"] {
        after.insert(node.to_owned(), before[node].clone());
    }
    assert_eq!(after, before);
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_add_stays_and_what_they_change_is_put_right() {
    let scene = Scene::set("edited").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(2)).await;
    scene.object(Kind::Ingress, "demo").await;
    let service = scene.api(Kind::Service);
    let label = json!({ "metadata": { "labels": { "team": "storage" } } });
    service.patch("demo", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();

    let stolen = json!({ "spec": { "selector": { names::CLUSTER_LABEL: "another" } } });
    service.patch("demo", &PatchParams::default(), &Patch::Merge(stolen)).await.unwrap();
    let config = json!({ "data": { "10-anchorage.sh": "exit 1" } });
    scene.api(Kind::ConfigMap).patch("demo-kubo", &PatchParams::default(), &Patch::Merge(config)).await.unwrap();
    scene.api(Kind::PodDisruptionBudget).delete("demo", &DeleteParams::default()).await.unwrap();

    let repaired = until("the selector to be put right", async || {
        let service = service.get("demo").await.unwrap();
        (service.data["spec"]["selector"][names::CLUSTER_LABEL] == "demo").then_some(service)
    })
    .await;
    assert_eq!(repaired.labels()["team"], "storage");
    until("the script to be put right", async || {
        let config = scene.api(Kind::ConfigMap).get("demo-kubo").await.unwrap();
        config.data["data"]["10-anchorage.sh"].as_str().unwrap().contains("Addresses.API").then_some(())
    })
    .await;
    scene.object(Kind::PodDisruptionBudget, "demo").await;

    // An object that is not wanted any more goes.
    let mut without_ingress = spec(2);
    without_ingress.as_object_mut().unwrap().remove("api");
    scene.apply_cluster(without_ingress).await;
    until("the Ingress to go", async || scene.names(Kind::Ingress).await.is_empty().then_some(())).await;
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_done_is_said_and_what_runs_keeps_running() {
    let scene = Scene::set("refused").await;
    let operator = scene.operator();
    scene.apply_cluster(with(spec(2), "postgres", json!({ "secretName": "our-postgres" }))).await;
    let message = scene.cluster_condition("DatabaseReady", "False", "SecretMissing").await;
    assert!(message.contains("our-postgres") && message.contains("url"), "{message}");

    let secrets: Api<Secret> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let put = async |content: Value| {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "our-postgres" }, "stringData": content });
        secrets.patch("our-postgres", &PatchParams::apply("user").force(), &Patch::Apply(secret)).await.unwrap();
    };
    put(json!({ "uri": "x" })).await;
    let message = scene.cluster_condition("DatabaseReady", "False", "SecretInvalid").await;
    assert!(message.contains("no key url"), "{message}");
    put(json!({ "url": "mysql://root:hunter2@db/pins" })).await;
    let message = until("the next complaint", async || {
        let message = scene.cluster_condition("DatabaseReady", "False", "SecretInvalid").await;
        message.contains("postgres://").then_some(message)
    })
    .await;
    assert!(!message.contains("hunter2"), "{message}");
    put(json!({ "url": "postgres://root:hunter2@db/pins" })).await;
    let migration = scene.migration().await;
    let derived = secrets.get("demo-database").await.unwrap().data.unwrap();
    assert!(derived["api-url"].0.starts_with(b"postgres://anchorage_api:"));
    assert!(!derived.contains_key("admin-url"));
    scene.complete(&migration).await;
    scene.make_ready("demo-nats").await;
    scene.bring_up_node("demo-0").await;
    scene.bring_up_node("demo-1").await;

    let before = versions(&scene).await;
    let oidc = json!({ "issuerURL": "https://id.example", "clientID": "anchorage", "clientSecretName": "oidc" });
    let refused = with(with(spec(3), "postgres", json!({ "secretName": "our-postgres" })), "oidc", oidc);
    scene.apply_cluster(refused).await;
    let message = scene.cluster_condition("Ready", "False", "NotSupported").await;
    assert!(message.contains("oidc is not supported in this version"), "{message}");
    scene.cluster_condition("DatabaseReady", "True", "LastKnown").await;
    scene.cluster_condition("Available", "True", "PinnerReady").await;
    let after = versions(&scene).await;
    let objects = |versions: BTreeMap<String, String>| -> Vec<(String, String)> {
        versions.into_iter().filter(|(name, _)| !name.starts_with("PinNode/")).collect()
    };
    assert_eq!(objects(after), objects(before));
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_made_again_waits_for_its_predecessors_secrets_to_go() {
    let scene = Scene::set("again").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(1)).await;
    scene.object(Kind::Ingress, "demo").await;
    let secrets: Api<Secret> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let token = async || secrets.get("demo-admin").await.unwrap().data.unwrap()["token"].0.clone();
    let before = token().await;

    scene.clusters().delete("demo", &DeleteParams::default()).await.unwrap();
    scene.apply_cluster(spec(1)).await;
    scene.cluster_condition("Ready", "False", "WaitingForRemoval").await;
    // Plays the garbage collector.
    let all = (DeleteParams::default(), ListParams::default());
    secrets.delete_collection(&all.0, &all.1).await.unwrap();
    for kind in [Kind::ConfigMap, Kind::PodDisruptionBudget, Kind::StatefulSet, Kind::Ingress, Kind::PinNode] {
        scene.api(kind).delete_collection(&all.0, &all.1).await.unwrap();
    }
    for name in scene.names(Kind::Service).await {
        scene.api(Kind::Service).delete(&name, &all.0).await.unwrap();
    }
    scene.object(Kind::Ingress, "demo").await;
    assert_ne!(token().await, before);
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_of_pods_becomes_a_condition_with_its_cause() {
    let scene = Scene::set("trouble").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(2)).await;
    scene.bring_up(2).await;
    let crashing = json!({
        "conditions": [{ "type": "PodScheduled", "status": "True" }, { "type": "Ready", "status": "False" }],
        "containerStatuses": [{
            "name": "anchorage", "image": "a", "imageID": "", "ready": false, "restartCount": 4,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "exitCode": 2, "message": "tokens.root: must have at least 32 bytes" } },
        }],
    });
    scene.set_pod_status("demo-1-0", crashing).await;
    let message = scene.node_condition("demo-1", "Ready", "False", "ContainerCrashing").await;
    assert!(message.contains("tokens.root: must have at least 32 bytes"), "{message}");
    scene.cluster_condition("Degraded", "True", "PinNodeInTrouble").await;
    scene.set_pod_status("demo-1-0", ready_pod()).await;
    scene.cluster_condition("Ready", "True", "Ready").await;

    // The token of the pinners is another one: said, and mended as soon as they accept ours.
    scene.pinner.accept_only("another");
    scene.annotate("demo-0", names::DRAIN, json!("t1")).await;
    let message = scene.node_condition("demo-0", "Draining", "True", "WaitingForPinners").await;
    assert!(message.contains("demo-admin"), "{message}");
    let secrets: Api<Secret> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let token = secrets.get("demo-admin").await.unwrap().data.unwrap()["token"].0.clone();
    scene.pinner.accept_only(&String::from_utf8(token).unwrap());
    scene.node_condition("demo-0", "Draining", "True", "RequestedByAnnotation").await;
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_object_of_the_same_name_is_left_alone_and_a_pod_monitor_comes_with_its_definition() {
    let scene = Scene::set("foreign").await;
    let foreign = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "demo-kubo" }, "data": { "mine": "1" } });
    let foreign = serde_json::from_value(foreign).unwrap();
    scene.api(Kind::ConfigMap).create(&PostParams::default(), &foreign).await.unwrap();
    let operator = scene.operator();
    scene.apply_cluster(with(spec(2), "metrics", json!({ "podMonitor": { "enabled": true } }))).await;
    let message = scene.cluster_condition("Ready", "False", "NameTaken").await;
    assert!(message.contains("ConfigMap demo-kubo"), "{message}");
    assert_eq!(scene.api(Kind::ConfigMap).get("demo-kubo").await.unwrap().data["data"], json!({ "mine": "1" }));
    scene.api(Kind::ConfigMap).delete("demo-kubo", &DeleteParams::default()).await.unwrap();
    scene.object(Kind::Ingress, "demo").await;

    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "podmonitors.monitoring.coreos.com", "annotations": { "api-approved.kubernetes.io": "test" } },
        "spec": {
            "group": "monitoring.coreos.com", "scope": "Namespaced",
            "names": { "kind": "PodMonitor", "plural": "podmonitors" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    });
    tokio::task::spawn_blocking(move || server().apply(&[], &definition.to_string()).unwrap()).await.unwrap();
    let monitor = scene.object(Kind::PodMonitor, "demo").await;
    assert_eq!(monitor.data["spec"]["podMetricsEndpoints"][0]["port"], "metrics");
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_is_rolled_out_after_its_migration_one_ready_pod_at_a_time() {
    let scene = Scene::set("rollout").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(2)).await;
    scene.bring_up(2).await;
    let old = scene.migration().await;

    scene.apply_cluster(with(spec(2), "image", json!("anchorage/anchorage:next"))).await;
    let new =
        until("the next migration", async || scene.names(Kind::Job).await.into_iter().find(|name| *name != old)).await;
    scene.cluster_condition("DatabaseReady", "False", "Migrating").await;
    assert_eq!(images(&scene).await, ["anchorage/anchorage:test"; 2]);
    scene.complete(&new).await;
    let waiting = until("one node to wait for the other", async || {
        for (node, other) in [("demo-0", "demo-1"), ("demo-1", "demo-0")] {
            let image = image(&scene, node).await;
            if image == "anchorage/anchorage:next" {
                return Some(other);
            }
        }
        None
    })
    .await;
    assert_eq!(image(&scene, waiting).await, "anchorage/anchorage:test");
    scene.node_condition(waiting, "Ready", "True", "RollingOut").await;
    scene.cluster_condition("Ready", "False", "RollingOut").await;
    scene.cluster_condition("Progressing", "True", "RollingOut").await;
    scene.cluster_condition("Available", "True", "PinnerReady").await;
    for node in ["demo-0", "demo-1"] {
        if node != waiting {
            scene.make_ready(node).await;
        }
    }
    until("the other node's turn", async || (image(&scene, waiting).await == "anchorage/anchorage:next").then_some(()))
        .await;
    scene.make_ready(waiting).await;
    scene.cluster_condition("Ready", "True", "Ready").await;
    operator.end().await;
    scene.strike().await;
}

async fn image(scene: &Scene, stateful_set: &str) -> String {
    let set = scene.api(Kind::StatefulSet).get(stateful_set).await.unwrap();
    set.data["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
}

async fn images(scene: &Scene) -> Vec<String> {
    vec![image(scene, "demo-0").await, image(scene, "demo-1").await]
}

/// The resource version of every object that a cluster consists of.
async fn versions(scene: &Scene) -> BTreeMap<String, String> {
    let kinds = [
        Kind::Secret,
        Kind::ConfigMap,
        Kind::Service,
        Kind::PodDisruptionBudget,
        Kind::StatefulSet,
        Kind::Job,
        Kind::PinNode,
        Kind::Ingress,
    ];
    let mut versions = BTreeMap::new();
    for kind in kinds {
        for object in scene.api(kind).list(&ListParams::default()).await.unwrap() {
            let name = format!("{}/{}", kind.as_str(), object.name_any());
            versions.insert(name, object.resource_version().unwrap());
        }
    }
    versions
}
