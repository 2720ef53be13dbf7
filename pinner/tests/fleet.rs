//! The fleet on real programs, by `anchorage dev`: nodes that come, are drained, die, return and lose their disks, while
//! contents move by themselves and none is held by fewer nodes than it must be.
//!
//! Needs Postgres, nats-server and ipfs; `make tools` gets them.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test")]
#![expect(dead_code, reason = "what tests of `anchorage dev` need is shared, and not all of it is needed here")]

#[path = "dev/running.rs"]
mod running;
#[path = "fleet/watched.rs"]
mod watched;

use nix::sys::signal::Signal;
use reqwest::Method;
use running::{Dev, TestDir, send};
use serde_json::{Value, json};
use watched::{Fleet, until};

/// Nodes silent for longer are given up; short, so that tests are.
const GRACE: (&str, &str) = ("ANCHORAGE_REBALANCE_GRACE_SECONDS", "6");

#[tokio::test]
async fn a_fleet_grows_and_shrinks_with_the_least_movement_and_nothing_below_its_minimum() {
    const PINS: usize = 150;
    let dir = TestDir::new();
    let mut dev = Dev::start(3, &dir.state());
    let fleet = Fleet::of(&dev).await;
    fleet.pin(PINS).await;
    fleet.wait_settled(3).await;
    // Nothing moves before both new nodes are there, so that the one does not go by the other.
    fleet.send(Method::PUT, "maintenance", &json!({"forSeconds": 600})).await;
    dev.end(Signal::SIGTERM);

    let mut dev = Dev::start(5, &dir.state());
    let fleet = Fleet::of(&dev).await;
    let watch = fleet.watch();
    fleet.send(Method::DELETE, "maintenance", &Value::Null).await;
    fleet.wait_settled(5).await;
    let (moved, least) = (fleet.fetched().await, fleet.least_moved(&["node-3", "node-4"]).await);
    println!("3 to 5 nodes: {moved} copies were made, the new nodes hold {least}");
    assert_eq!(moved, least, "no copy was made but those that the new nodes hold");

    // First nothing new for both, so that the one does not go by the other.
    for node in ["node-3", "node-4"] {
        fleet.post(&format!("nodes/{node}/cordon"), &json!({})).await;
    }
    let leaving = fleet.least_moved(&["node-3", "node-4"]).await;
    for node in ["node-3", "node-4"] {
        let held = fleet.least_moved(&[node]).await;
        let answer = fleet.post(&format!("nodes/{node}/drain"), &json!({"reason": "it leaves"})).await;
        let drain = &answer["drain"];
        assert_eq!((&answer["state"], &drain["placementsTotal"]), (&json!("draining"), &json!(held)), "{answer}");
        // It may have begun.
        assert!(drain["placementsRemaining"].as_u64().unwrap() <= held as u64, "{answer}");
    }
    for node in ["node-3", "node-4"] {
        fleet.wait_state(node, "drained").await;
        assert_eq!(fleet.held(node).await, 0, "Kubo holds nothing that was pinned through the service");
    }
    fleet.wait_settled(3).await;
    let back = fleet.fetched().await - moved;
    println!("5 to 3 nodes: {back} copies were made, the drained nodes held {leaving}");
    assert_eq!(back, leaving);
    println!("{} samples, none below the minimum", watch.end().await);
    fleet.check_kubos().await;
    dev.end(Signal::SIGTERM);
}

#[tokio::test]
async fn a_drain_says_what_it_waits_for_and_can_be_taken_back_at_any_time() {
    let dir = TestDir::new();
    let mut dev = Dev::start(3, &dir.state());
    let fleet = Fleet::of(&dev).await;
    fleet.pin(60).await;
    fleet.wait_settled(3).await;
    let (before, watch) = (fleet.placements().await, fleet.watch());

    // A pause: it is accepted, waits and says so.
    let paused = fleet.send(Method::PUT, "maintenance", &json!({"forSeconds": 600, "reason": "disks"})).await;
    assert_eq!((&paused["paused"], &paused["reason"]), (&json!(true), &json!("disks")));
    let answer = fleet.post("nodes/node-1/drain", &json!({})).await;
    assert!(answer["drain"]["blockedBy"][0].as_str().unwrap().contains("maintenance"), "{answer}");
    fleet.post("nodes/node-1/uncordon", &json!({})).await;
    assert_eq!(fleet.send(Method::DELETE, "maintenance", &Value::Null).await["paused"], json!(false));

    // Two of three nodes cannot go: each content must be on two.
    for node in ["node-1", "node-2"] {
        fleet.post(&format!("nodes/{node}/drain"), &json!({})).await;
    }
    let blocked = until("the drain says that nodes are missing", async || {
        let node = fleet.node("node-2").await;
        node["drain"]["blockedBy"][0].as_str().filter(|why| why.contains("only 1 other node")).map(str::to_owned)
    })
    .await;
    assert!(blocked.contains("add nodes") && blocked.contains("must be on 2"), "{blocked}");
    // One taken back, the other one goes on to its end.
    fleet.post("nodes/node-2/uncordon", &json!({})).await;
    fleet.wait_state("node-1", "drained").await;

    // Taken back after its end everything is where it was before: nothing else has moved.
    fleet.post("nodes/node-1/uncordon", &json!({})).await;
    fleet.wait_settled(3).await;
    assert_eq!(fleet.placements().await, before);
    let refusal = fleet.refusal(Method::POST, "nodes/nobody/drain", &json!({})).await;
    assert!(refusal.contains("no node named"), "{refusal}");
    watch.end().await;
    fleet.check_kubos().await;
    dev.end(Signal::SIGTERM);
}

#[tokio::test]
async fn a_drain_comes_to_its_end_whoever_is_killed_meanwhile() {
    let dir = TestDir::new();
    let mut dev = Dev::start(4, &dir.state());
    let fleet = Fleet::of(&dev).await;
    fleet.pin(200).await;
    fleet.wait_settled(4).await;
    let watch = fleet.watch();
    fleet.post("nodes/node-3/drain", &json!({})).await;
    until("it has begun", async || {
        let drain = &fleet.node("node-3").await["drain"];
        (drain["placementsRemaining"].as_u64()? < drain["placementsTotal"].as_u64()?).then_some(())
    })
    .await;
    // The leader, and the one that is drained.
    let leader = fleet.leader().await;
    send(dev.pid_of(&format!("/pids/pinner/{leader}")), Signal::SIGKILL);
    send(dev.pid_of("/pids/kubo/3"), Signal::SIGKILL);
    fleet.wait_state("node-3", "drained").await;
    fleet.wait_settled(3).await;
    watch.end().await;
    fleet.check_kubos().await;
    dev.end(Signal::SIGTERM);
}

#[tokio::test]
async fn a_plan_is_shown_applied_and_refused_once_it_is_stale() {
    let dir = TestDir::new();
    let off = ("ANCHORAGE_REBALANCE_ENABLED", "false");
    let mut dev = Dev::start_with(2, &dir.state(), &[off]);
    let fleet = Fleet::of(&dev).await;
    fleet.pin(40).await;
    fleet.wait_settled(2).await;
    dev.end(Signal::SIGTERM);

    let mut dev = Dev::start_with(3, &dir.state(), &[off]);
    let fleet = Fleet::of(&dev).await;
    let plan = until("the new node would get its share", async || {
        Some(fleet.get("rebalance").await).filter(|plan| plan["partitions"] != json!(0))
    })
    .await;
    let (moves, version) = (plan["moves"].as_array().unwrap(), plan["mapVersion"].as_u64().unwrap());
    assert!(moves.iter().all(|step| step["to"] == "node-2" && step["why"] == "balance"), "{plan}");
    assert!(plan["contents"].as_u64().unwrap() > 10 && plan["bytes"].as_u64().unwrap() > 0, "{plan}");
    assert_eq!(fleet.fetched().await, 0, "nothing moves by itself");

    fleet.send(Method::PUT, "maintenance", &json!({"forSeconds": 600})).await;
    let apply = json!({"plan": plan["id"]});
    let refusal = fleet.refusal(Method::POST, "rebalance", &apply).await;
    assert!(refusal.contains("MAINTENANCE"), "{refusal}");
    fleet.send(Method::DELETE, "maintenance", &Value::Null).await;
    assert_eq!(fleet.post("rebalance", &apply).await["id"], plan["id"]);
    let refusal = fleet.refusal(Method::POST, "rebalance", &apply).await;
    assert!(refusal.contains("STALE_PLAN"), "{refusal}");
    fleet.wait_settled(3).await;
    assert_eq!(fleet.fetched().await, fleet.least_moved(&["node-2"]).await);
    assert_eq!(fleet.get("rebalance").await["moves"], json!([]), "planning again changes nothing");

    // The same from a terminal.
    let plan = fleet.command(&["rebalance", "--dry-run"]);
    assert_eq!((&plan["moves"], &plan["mapVersion"]), (&json!([]), &json!(version + 1)), "{plan}");
    assert_eq!(fleet.command(&["rebalance"])["partitions"], json!(0));
    assert_eq!(fleet.command(&["cluster-presences"])["presences"].as_array().unwrap().len(), 3);
    assert_eq!(fleet.command(&["maintenance", "on", "--for", "1h", "--reason", "disks"])["reason"], "disks");
    assert_eq!(fleet.command(&["maintenance", "status"])["paused"], json!(true));
    assert_eq!(fleet.command(&["maintenance", "off"])["paused"], json!(false));
    let caches = fleet.command(&["cache-stats"]);
    assert!(caches["caches"].as_array().unwrap().iter().any(|cache| cache["name"] == "placement_map"), "{caches}");
    dev.end(Signal::SIGTERM);
}

#[tokio::test]
async fn what_a_lost_node_held_is_copied_from_the_others_and_a_wiped_disk_is_filled_again() {
    let dir = TestDir::new();
    let settings = [GRACE, ("ANCHORAGE_WORKER_RECONCILE_SECONDS", "3")];
    let mut dev = Dev::start_with(4, &dir.state(), &settings);
    let fleet = Fleet::of(&dev).await;
    fleet.pin(80).await;
    fleet.wait_settled(4).await;

    // A disk that comes back empty under the same name: found by comparing, filled from the others. A comparison may run
    // while it is being emptied, and find a part of it.
    let before = fleet.held("node-2").await;
    fleet.forget_pins(2).await;
    until("what was lost is found", async || {
        (fleet.metric(2, "anchorage_reconciled_total{result=\"missing\"}").await > 0.0).then_some(())
    })
    .await;
    until("and pinned again", async || (fleet.held("node-2").await == before).then_some(())).await;
    fleet.wait_settled(4).await;
    fleet.check_kubos().await;

    // Blocks that a crash has kept from the disk, under pins that are there: Kubo says that it holds them, and is not
    // believed.
    let blocks = dir.state().join("kubo/node-1/blocks");
    let lost = watched::remove_blocks(&blocks);
    send(dev.pid_of("/pids/kubo/1"), Signal::SIGKILL);
    until("what was broken is fetched again", async || {
        (fleet.metric(1, "anchorage_reconciled_total{result=\"broken\"}").await > 0.0).then_some(())
    })
    .await;
    fleet.wait_settled(4).await;
    fleet.check_kubos().await;
    fleet.check_blocks(1).await;
    println!("{lost} files of blocks were lost");

    // Somebody else's pin is too much, and is let go at the second look.
    let stranger = dev.add(0, "nobody asked for this").await;
    until("it is let go", async || (!fleet.kubo_holds(0, &stranger).await).then_some(())).await;

    // A node that is silent for longer than its grace.
    let gone = if fleet.leader().await == 3 { 2 } else { 3 };
    let pid = dev.pid_of(&format!("/pids/pinner/{gone}"));
    send(pid, Signal::SIGSTOP);
    fleet.wait_settled(3).await;
    // Stale work of the one that returns is refused, and it gets its share again.
    send(pid, Signal::SIGCONT);
    fleet.wait_settled(4).await;
    fleet.check_kubos().await;
    dev.end(Signal::SIGTERM);
}

#[tokio::test]
async fn what_a_dead_kubo_held_is_copied_though_its_pinner_lives_and_draining_it_ends() {
    let dir = TestDir::new();
    let mut dev = Dev::start_with(4, &dir.state(), &[GRACE, ("ANCHORAGE_WORKER_RECONCILE_SECONDS", "3")]);
    let fleet = Fleet::of(&dev).await;
    fleet.pin(40).await;
    fleet.wait_settled(4).await;
    // It hangs and is not started again. Its pinner beats on.
    let kubo = dev.pid_of("/pids/kubo/2");
    send(kubo, Signal::SIGSTOP);
    until("the others hold all that it held", async || {
        let placements = fleet.placements().await;
        let elsewhere = |nodes: &Vec<String>| nodes.iter().filter(|node| *node != "node-2").count();
        placements.values().all(|nodes| elsewhere(nodes) >= 2).then_some(())
    })
    .await;
    assert_eq!(fleet.node("node-2").await["live"], json!(true));
    fleet.post("nodes/node-2/drain", &json!({})).await;
    fleet.wait_state("node-2", "drained").await;
    fleet.post("nodes/node-2/uncordon", &json!({})).await;
    send(kubo, Signal::SIGCONT);
    fleet.wait_settled(4).await;
    // What it held beyond its placements when it came back is found by comparing, twice.
    until("each Kubo holds what it should", async || (fleet.strays().await == 0).then_some(())).await;
    fleet.check_kubos().await;
    dev.end(Signal::SIGTERM);
}
