//! A cluster is paused and goes on, told to a real API server.

use std::time::Instant;

use anchorage_operator::names;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::sample::{spec, with};
use crate::scene::{Scene, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_on_when_the_pinners_have_it_and_ends_when_it_is_taken_back() {
    let scene = Scene::set("paused").await;
    let operator = scene.operator();
    let end = Timestamp::from_second(Timestamp::now().as_second() + 3600).unwrap().to_string();
    let pause = json!({ "reason": "new switches", "until": end });
    scene.apply_cluster(with(spec(2), "maintenance", pause)).await;
    let message = scene.cluster_condition("Maintenance", "False", "WaitingForPinners").await;
    assert!(message.contains("no pinner is ready"), "{message}");
    scene.bring_up(2).await;
    let message = scene.cluster_condition("Maintenance", "True", "Requested").await;
    assert!(message.starts_with(&format!("paused until {end}: new switches.")), "{message}");
    let asked = json!({ "reason": "new switches", "requestToken": "new switches", "untilTime": end });
    assert_eq!(scene.pinner.pauses(), [asked]);
    let status = scene.clusters().get("demo").await.unwrap().status.unwrap().maintenance.unwrap();
    assert_eq!(status.request_token, "new switches");

    // A drain is accepted and says what it waits for.
    scene.annotate("demo-1", names::DRAIN, json!("t1")).await;
    let message = scene.node_condition("demo-1", "Draining", "True", "Blocked").await;
    assert_eq!(message, "the cluster is in maintenance");

    // The annotation wins while it is there.
    let asked = Instant::now();
    scene.annotate_cluster(names::MAINTENANCE, json!("fire drill")).await;
    until("the pinners to have it", async || {
        (scene.pinner.pauses().last()?["requestToken"] == "fire drill").then_some(())
    })
    .await;
    println!("passed on after {:?}", asked.elapsed());
    scene.annotate_cluster(names::MAINTENANCE, Value::Null).await;
    until("the spec to count again", async || {
        (scene.pinner.pauses().last()?["requestToken"] == "new switches").then_some(())
    })
    .await;
    scene.apply_cluster(spec(2)).await;
    scene.cluster_condition("Maintenance", "False", "NotRequested").await;
    assert_eq!(scene.pinner.pauses().last(), Some(&Value::Null));
    assert!(scene.clusters().get("demo").await.unwrap().status.unwrap().maintenance.is_none());
    scene.node_condition("demo-1", "Draining", "True", "RequestedByAnnotation").await;
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_its_operator_was_killed_over_is_known_as_its_own() {
    let scene = Scene::set("paused-killed").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(1)).await;
    scene.bring_up(1).await;
    scene.pinner.be_silent(true);
    scene.annotate_cluster(names::MAINTENANCE, json!("t1")).await;
    until("the pinners to be told", async || (scene.pinner.pauses().len() == 1).then_some(())).await;
    operator.kill().await;
    scene.pinner.be_silent(false);
    scene.annotate_cluster(names::MAINTENANCE, Value::Null).await;

    let operator = scene.operator();
    until("the pause to be taken back", async || scene.pinner.pauses().last()?.is_null().then_some(())).await;
    until("nothing to be left of it", async || {
        scene.clusters().get("demo").await.unwrap().status?.maintenance.is_none().then_some(())
    })
    .await;
    scene.cluster_condition("Maintenance", "False", "NotRequested").await;
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_the_pinners_refuse_pauses_nothing() {
    let scene = Scene::set("paused-for-ever").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(3)).await;
    scene.bring_up(3).await;
    scene.apply_cluster(with(spec(2), "maintenance", json!({ "until": "2999-01-01T00:00:00Z" }))).await;
    let message = scene.cluster_condition("Maintenance", "False", "Refused").await;
    assert!(message.ends_with("untilTime is more than 30 days away"), "{message}");
    scene.cluster_condition("Progressing", "True", "ScalingDown").await;
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_by_hand_is_told_and_left_alone() {
    let scene = Scene::set("paused-by-hand").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(1)).await;
    scene.bring_up(1).await;
    operator.end().await;
    scene.pinner.pause_by_hand("looking around");
    let operator = scene.operator();
    let message = scene.cluster_condition("Maintenance", "True", "RequestedByAdmin").await;
    assert!(message.contains("looking around"), "{message}");
    assert_eq!(scene.pinner.pauses(), [Value::Null; 0]);
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_ends_by_itself_is_told_and_not_asked_for_again() {
    let scene = Scene::set("paused-too-long").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(1)).await;
    scene.bring_up(1).await;
    scene.annotate_cluster(names::MAINTENANCE, json!("forgotten")).await;
    scene.cluster_condition("Maintenance", "True", "Requested").await;
    // While nobody looks, so that it is the next one that finds it.
    operator.end().await;
    scene.pinner.expire_pause();

    let operator = scene.operator();
    let message = scene.cluster_condition("Maintenance", "False", "Expired").await;
    assert!(message.contains("Remove spec.maintenance and the annotation"), "{message}");
    until("an Event", async || {
        scene.events().await.into_iter().find(|(type_, reason, _)| type_ == "Warning" && reason == "Expired")
    })
    .await;
    let counted = "anchorage_operator_pauses_expired_total 1";
    until("the metric", async || operator.metrics.text().contains(counted).then_some(())).await;
    assert_eq!(scene.pinner.pauses().len(), 1);

    scene.annotate_cluster(names::MAINTENANCE, Value::Null).await;
    scene.cluster_condition("Maintenance", "False", "NotRequested").await;
    assert_eq!(scene.pinner.pauses().last(), Some(&Value::Null));
    operator.end().await;
    scene.strike().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_and_a_paused_cluster_are_at_rest() {
    let scene = Scene::set("at-rest").await;
    let operator = scene.operator();
    scene.apply_cluster(spec(2)).await;
    scene.bring_up(2).await;
    scene.annotate("demo-0", names::MAINTENANCE, json!("new fan")).await;
    scene.annotate("demo-1", names::DRAIN, json!("t1")).await;
    scene.node_condition("demo-1", "Draining", "True", "RequestedByAnnotation").await;
    scene.pinner.finish_drain("demo-1");
    scene.annotate_cluster(names::MAINTENANCE, json!("switch")).await;
    scene.cluster_condition("Maintenance", "True", "Requested").await;
    scene.node_condition("demo-0", "Schedulable", "False", "Maintenance").await;
    scene.node_condition("demo-1", "Drained", "True", "Drained").await;
    operator.end().await;

    // The pinners tell the time with every answer; nothing else is new.
    let asked = (scene.pinner.asked("demo-0"), scene.pinner.asked("demo-1"), scene.pinner.pauses());
    let operator = scene.operator();
    operator.looked(1, 2).await;
    scene.annotate("demo-1", "example.org/note", json!("x")).await;
    scene.annotate_cluster("example.org/note", json!("x")).await;
    operator.looked(2, 3).await;
    assert_eq!(operator.metrics.writes(), 0, "{}", operator.metrics.text());
    assert_eq!((scene.pinner.asked("demo-0"), scene.pinner.asked("demo-1"), scene.pinner.pauses()), asked);
    operator.end().await;
    scene.strike().await;
}
