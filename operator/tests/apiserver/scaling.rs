//! More nodes and fewer, told to a real API server.

use anchorage_operator::cluster::plan::SURPLUS;
use anchorage_operator::kind::Kind;
use anchorage_operator::names;
use serde_json::{Value, json};

use crate::sample::{names_of, spec};
use crate::scene::{Scene, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_smaller_cluster_keeps_a_node_until_it_is_drained() {
    let scene = Scene::set("smaller").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(3)).await;
    scene.bring_up(3).await;
    scene.pinner.block_drains("no other node may take the data");

    scene.apply_cluster(spec(2)).await;
    let message = scene.cluster_condition("Progressing", "True", "ScaleDownBlocked").await;
    assert!(message.contains("demo-2") && message.contains("no other node may take the data"), "{message}");
    assert_eq!(names_of(&scene, Kind::PinNode).await, ["demo-0", "demo-1", "demo-2"]);

    scene.pinner.finish_drain("demo-2");
    until("the drained node to go", async || {
        (names_of(&scene, Kind::PinNode).await == ["demo-0", "demo-1"]).then_some(())
    })
    .await;
    scene.cluster_condition("Ready", "True", "Ready").await;
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_node_with_least_to_move_leaves_and_stays_when_the_cluster_grows_again() {
    let scene = Scene::set("scaled").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(3)).await;
    for (node, placements) in [("demo-0", 9), ("demo-1", 1), ("demo-2", 5)] {
        scene.pinner.register(node);
        scene.pinner.hold(node, placements);
    }
    scene.bring_up(3).await;
    scene.scale(2).await;
    let message = scene.cluster_condition("Progressing", "True", "ScalingDown").await;
    assert!(message.ends_with(": demo-1"), "{message}");
    scene.node_condition("demo-1", "Draining", "True", "ScaledDown").await;
    let status = scene.pin_nodes().get("demo-1").await.unwrap().status.unwrap();
    assert_eq!(status.drain.unwrap().request_token.as_deref(), Some(SURPLUS));

    // Half way through, the cluster is to have as many nodes as before.
    scene.pinner.progress("demo-1", 1, "2026-01-01T00:05:00Z");
    scene.scale(3).await;
    scene.node_condition("demo-1", "Schedulable", "True", "Active").await;
    scene.cluster_condition("Progressing", "False", "Complete").await;
    assert_eq!(names_of(&scene, Kind::PinNode).await, ["demo-0", "demo-1", "demo-2"]);
    for node in ["demo-0", "demo-2"] {
        assert_eq!(scene.pinner.asked(node), [Value::Null; 0], "{node}");
    }
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_holds_a_smaller_cluster_up_and_a_killed_operator_does_not() {
    let scene = Scene::set("scaled-killed").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(3)).await;
    scene.bring_up(3).await;
    scene.annotate_cluster(names::MAINTENANCE, json!("switch")).await;
    scene.cluster_condition("Maintenance", "True", "Requested").await;
    scene.scale(2).await;
    let message = scene.cluster_condition("Progressing", "True", "WaitingForMaintenance").await;
    assert!(message.ends_with(": demo-2"), "{message}");
    assert_eq!(scene.pinner.asked("demo-2"), [Value::Null; 0]);

    // The operator is killed once the drain has begun, the next one when it is done, before it removes the node.
    scene.pinner.be_silent(true);
    scene.annotate_cluster(names::MAINTENANCE, Value::Null).await;
    until("the end of the pause", async || scene.pinner.pauses().last()?.is_null().then_some(())).await;
    scene.pinner.be_silent(false);
    until("the drain", async || (!scene.pinner.asked("demo-2").is_empty()).then_some(())).await;
    operator.kill().await;
    let operator = scene.operator();
    scene.node_condition("demo-2", "Draining", "True", "ScaledDown").await;
    operator.kill().await;
    scene.pinner.finish_drain("demo-2");
    assert_eq!(names_of(&scene, Kind::PinNode).await, ["demo-0", "demo-1", "demo-2"]);

    let operator = scene.operator();
    until("the drained node to go", async || {
        (names_of(&scene, Kind::PinNode).await == ["demo-0", "demo-1"]).then_some(())
    })
    .await;
    scene.cluster_condition("Progressing", "False", "Complete").await;
    assert_eq!(scene.pinner.asked("demo-2").len(), 1, "the drain was asked for once");
    // The volume's fate is the cluster's policy; without a controller manager nobody carries it out here.
    let set = scene.api(Kind::StatefulSet).get("demo-2").await.unwrap();
    assert_eq!(set.data["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"], "Retain");

    // A node of that name that comes again is not drained any more.
    scene.pods().delete("demo-2-0", &kube::api::DeleteParams::default().grace_period(0)).await.unwrap();
    scene.api(Kind::StatefulSet).delete("demo-2", &kube::api::DeleteParams::default()).await.unwrap();
    scene.scale(3).await;
    scene.bring_up_node("demo-2").await;
    scene.node_condition("demo-2", "Schedulable", "True", "Active").await;
    operator.end().await;
    scene.strike().await;
}
