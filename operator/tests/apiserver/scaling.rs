//! More nodes and fewer, told to a real API server.

use anchorage_operator::kind::Kind;

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
