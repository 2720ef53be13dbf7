//! Nodes are drained, cordoned and kept in maintenance by annotation, told to a real API server.

use std::time::{Duration, Instant};

use anchorage_operator::kind::Kind;
use anchorage_operator::names;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::sample::spec;
use crate::scene::{Scene, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_annotation_drains_a_node_and_its_token_comes_back() {
    let scene = Scene::set("drained").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(2)).await;
    scene.bring_up(2).await;
    scene.node_condition("demo-1", "Schedulable", "True", "Active").await;
    scene.pinner.block_drains("no other node has room");

    let asked = Instant::now();
    scene.annotate("demo-1", names::DRAIN, json!("kernel-update-7")).await;
    let message = scene.node_condition("demo-1", "Drained", "False", "Blocked").await;
    let took = asked.elapsed();
    println!("acknowledged after {took:?}");
    assert!(took < Duration::from_secs(5), "acknowledged after {took:?}");
    assert_eq!(message, "no other node has room");
    let status = scene.pin_nodes().get("demo-1").await.unwrap().status.unwrap();
    let drain = status.drain.unwrap();
    assert_eq!(drain.request_token.as_deref(), Some("kernel-update-7"));
    assert_eq!((drain.placements_remaining, drain.bytes_remaining), (Some(2), Some(2048)));
    assert_eq!(drain.blocked_by, ["no other node has room"]);
    scene.node_condition("demo-1", "Schedulable", "False", "RequestedByAnnotation").await;
    let body = json!({ "scheduling": "Drained", "requestToken": "kernel-update-7", "reason": "kernel-update-7" });
    assert_eq!(scene.pinner.asked("demo-1"), [body]);

    // There is room again: progress is seen without anybody touching the node.
    scene.pinner.progress("demo-1", 1, "2026-01-01T00:05:00Z");
    let message = scene.node_condition("demo-1", "Draining", "True", "RequestedByAnnotation").await;
    assert_eq!(message, "1 placements are on the node still");
    let drain = scene.pin_nodes().get("demo-1").await.unwrap().status.unwrap().drain.unwrap();
    assert_eq!((drain.placements_total, drain.placements_remaining), (Some(2), Some(1)));
    assert_eq!(drain.expected_completion_time.as_deref(), Some("2026-01-01T00:05:00Z"));
    assert_eq!(drain.blocked_by, [""; 0]);
    scene.pinner.finish_drain("demo-1");
    scene.node_condition("demo-1", "Drained", "True", "Drained").await;
    scene.node_condition("demo-1", "Draining", "False", "Drained").await;
    let drain = scene.pin_nodes().get("demo-1").await.unwrap().status.unwrap().drain.unwrap();
    assert_eq!((drain.placements_remaining, drain.expected_completion_time), (Some(0), None));

    scene.annotate("demo-1", names::DRAIN, Value::Null).await;
    scene.node_condition("demo-1", "Schedulable", "True", "Active").await;
    scene.node_condition("demo-1", "Drained", "False", "NotRequested").await;
    assert!(scene.pin_nodes().get("demo-1").await.unwrap().status.unwrap().drain.is_none());
    assert_eq!(scene.pinner.asked("demo-1").last().unwrap()["scheduling"], "Active");

    scene.annotate("demo-0", names::CORDON, json!("look")).await;
    scene.node_condition("demo-0", "Schedulable", "False", "RequestedByAnnotation").await;
    assert_eq!(scene.pinner.asked("demo-0").last().unwrap()["scheduling"], "Cordoned");
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_that_its_operator_was_killed_over_is_known_as_its_own() {
    let scene = Scene::set("killed").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(2)).await;
    scene.bring_up(2).await;

    // The pinners do as they are told, but their answer comes too late for this operator.
    scene.pinner.be_silent(true);
    let asked = Instant::now();
    scene.annotate("demo-1", names::DRAIN, json!("t1")).await;
    until("the acknowledgement", async || {
        let status = scene.pin_nodes().get("demo-1").await.unwrap().status.unwrap();
        (status.drain?.request_token.as_deref() == Some("t1")).then_some(())
    })
    .await;
    let took = asked.elapsed();
    println!("acknowledged after {took:?}, unanswered by the pinners");
    // Long before the operator gives up on an answer.
    assert!(took < Duration::from_secs(3), "acknowledged after {took:?}");
    until("the pinners to be told", async || (scene.pinner.asked("demo-1").len() == 1).then_some(())).await;
    operator.kill().await;
    scene.pinner.be_silent(false);
    scene.annotate("demo-1", names::DRAIN, Value::Null).await;

    let operator = scene.operator();
    until("the drain to be taken back", async || {
        (scene.pinner.asked("demo-1").last()?["scheduling"] == "Active").then_some(())
    })
    .await;
    until("nothing to be left of it", async || {
        scene.pin_nodes().get("demo-1").await.unwrap().status?.drain.is_none().then_some(())
    })
    .await;
    scene.node_condition("demo-1", "Schedulable", "True", "Active").await;
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_nodes_drain_at_once_and_one_whose_pod_is_gone_as_well() {
    let scene = Scene::set("several").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(3)).await;
    scene.bring_up(3).await;
    scene.annotate("demo-0", names::DRAIN, json!("rack-1")).await;
    scene.annotate("demo-2", names::DRAIN, json!("rack-2")).await;
    for node in ["demo-0", "demo-2"] {
        scene.node_condition(node, "Draining", "True", "RequestedByAnnotation").await;
    }

    scene.pinner.die("demo-2");
    scene.pods().delete("demo-2-0", &DeleteParams::default().grace_period(0)).await.unwrap();
    scene.node_condition("demo-2", "Ready", "False", "Starting").await;
    // Its data is repaired from the others, which then say that nothing is on it.
    scene.pinner.finish_drain("demo-2");
    scene.node_condition("demo-2", "Drained", "True", "Drained").await;

    // The other one is cancelled half way, which is nothing to the first.
    scene.pinner.progress("demo-0", 1, "2026-01-01T00:05:00Z");
    scene.annotate("demo-0", names::DRAIN, Value::Null).await;
    scene.node_condition("demo-0", "Schedulable", "True", "Active").await;
    scene.node_condition("demo-0", "Draining", "False", "NotRequested").await;
    scene.node_condition("demo-2", "Drained", "True", "Drained").await;
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_deleted_once_drained_is_made_anew_and_takes_part() {
    let scene = Scene::set("anew").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(2)).await;
    scene.bring_up(2).await;
    scene.annotate("demo-1", names::DRAIN, json!("larger disk")).await;
    scene.node_condition("demo-1", "Draining", "True", "RequestedByAnnotation").await;
    scene.pinner.finish_drain("demo-1");
    scene.node_condition("demo-1", "Drained", "True", "Drained").await;

    let before = scene.pin_nodes().get("demo-1").await.unwrap().uid();
    scene.pin_nodes().delete("demo-1", &DeleteParams::default()).await.unwrap();
    // Plays the garbage collector.
    scene.pods().delete("demo-1-0", &DeleteParams::default().grace_period(0)).await.unwrap();
    scene.api(Kind::StatefulSet).delete("demo-1", &DeleteParams::default()).await.unwrap();
    until("a new PinNode", async || {
        (scene.pin_nodes().get_opt("demo-1").await.unwrap()?.uid() != before).then_some(())
    })
    .await;
    scene.bring_up_node("demo-1").await;
    scene.node_condition("demo-1", "Schedulable", "True", "Active").await;
    assert_eq!(scene.pinner.asked("demo-1").last().unwrap()["scheduling"], "Active");
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_in_maintenance_keeps_what_it_has() {
    let scene = Scene::set("maintained").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(2)).await;
    scene.bring_up(2).await;
    scene.annotate("demo-0", names::MAINTENANCE, json!("new fan")).await;
    let message = scene.node_condition("demo-0", "Schedulable", "False", "Maintenance").await;
    assert_eq!(message, "Maintenance: new fan");
    let body = json!({ "scheduling": "Maintenance", "requestToken": "new fan", "reason": "new fan" });
    assert_eq!(scene.pinner.asked("demo-0"), [body]);
    scene.node_condition("demo-0", "Drained", "False", "NotRequested").await;

    scene.annotate("demo-0", names::MAINTENANCE, Value::Null).await;
    scene.node_condition("demo-0", "Schedulable", "True", "Active").await;
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_room_on_its_disk_says_so_and_its_cluster_too() {
    let scene = Scene::set("full").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(2)).await;
    // Before anybody asks: the next look may be half a minute away.
    scene.pinner.register("demo-1");
    scene.pinner.fill_disk("demo-1", true);
    scene.bring_up(2).await;
    let message = scene.node_condition("demo-1", "Schedulable", "False", "DiskFull").await;
    assert!(message.contains("larger volume"), "{message}");
    let message = scene.cluster_condition("Degraded", "True", "DiskFull").await;
    assert!(message.starts_with("PinNode demo-1: the disk"), "{message}");
    scene.node_condition("demo-1", "KuboReady", "True", "Answering").await;
    scene.node_condition("demo-0", "Schedulable", "True", "Active").await;

    scene.pinner.fill_disk("demo-1", false);
    scene.annotate("demo-1", names::CORDON, json!("look again")).await;
    scene.node_condition("demo-1", "Schedulable", "False", "RequestedByAnnotation").await;
    scene.annotate("demo-1", names::CORDON, Value::Null).await;
    scene.node_condition("demo-1", "Schedulable", "True", "Active").await;
    scene.cluster_condition("Degraded", "False", "AsExpected").await;
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cordoned_kubernetes_node_takes_no_placements_and_a_drained_one_gives_them_away() {
    let scene = Scene::set("nodes").await;
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let node = json!({
        "metadata": { "name": "worker-a", "labels": { "topology.kubernetes.io/zone": "a" } },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    let node = nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    // Without a controller manager a new Node keeps the taint that admission gives it.
    let untainted =
        json!({ "spec": { "taints": null }, "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
    nodes.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(untainted)).await.unwrap();

    let operator = scene.operator();
    scene.apply_cluster(spec(1)).await;
    let pin_node = until("a PinNode", async || scene.pin_nodes().get_opt("demo-0").await.unwrap()).await;
    assert_eq!(pin_node.spec.zone.as_deref(), Some("a"));
    scene.bring_up(1).await;
    let binding = json!({
        "metadata": { "name": "demo-0-0" },
        "target": { "apiVersion": "v1", "kind": "Node", "name": "worker-a" },
    });
    let _: Value =
        scene.pods().create_subresource("binding", "demo-0-0", &PostParams::default(), &binding).await.unwrap();

    let cordon = |yes: bool| json!({ "spec": { "unschedulable": yes } });
    nodes.patch("worker-a", &PatchParams::default(), &Patch::Merge(cordon(true))).await.unwrap();
    scene.node_condition("demo-0", "Schedulable", "False", "KubernetesNodeCordoned").await;
    scene.node_condition("demo-0", "Drained", "False", "NotRequested").await;
    assert_eq!(scene.pinner.asked("demo-0").last().unwrap()["scheduling"], "Cordoned");
    // `kubectl drain` evicts the pod of a cordoned Node; its successor is on no Node yet.
    scene.pods().delete("demo-0-0", &DeleteParams::default().grace_period(0)).await.unwrap();
    let pending =
        json!({ "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "False", "message": "none" }] });
    scene.make_pod("demo-0", pending).await;
    scene.node_condition("demo-0", "Ready", "False", "PodUnschedulable").await;
    scene.node_condition("demo-0", "Schedulable", "False", "KubernetesNodeCordoned").await;
    let drain = json!({ "metadata": { "annotations": { names::DRAIN: "rack-4" } } });
    nodes.patch("worker-a", &PatchParams::default(), &Patch::Merge(drain)).await.unwrap();
    scene.node_condition("demo-0", "Draining", "True", "KubernetesNodeDraining").await;
    operator.end().await;
    nodes.delete("worker-a", &DeleteParams::default()).await.unwrap();
    scene.strike().await;
}
