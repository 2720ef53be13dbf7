//! Random histories: nodes are drained, the cluster is scaled and paused, and the operator is killed, in any order.
//!
//! A seed is a history. Whatever it holds, no node is removed that the pinners do not call drained, and once nobody asks
//! for anything, everything is as the spec says, also with the pinners, and the next operator finds nothing to write.

use std::collections::BTreeSet;
use std::time::Duration;

use anchorage_operator::crd::PinNode;
use anchorage_operator::kind::Kind;
use anchorage_operator::names;
use futures::StreamExt as _;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};

use crate::sample::spec;
use crate::scene::{Operator, Scene, ready_pod, until};

const STEPS: usize = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_with_many_removals_leaves_nothing_behind() {
    tell(13).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_with_a_drain_that_outlives_its_operator_leaves_nothing_behind() {
    tell(11).await;
}

async fn tell(seed: u64) {
    let (scene, mut chance) = (Scene::set(&format!("history-{seed}")).await, Chance(seed));
    let mut operator = scene.operator();
    scene.apply_cluster(spec(3)).await;
    scene.bring_up(3).await;
    let witness = tokio::spawn(watch_removals(scene.pin_nodes(), scene.pinner.clone()));

    for _ in 0..STEPS {
        operator = step(&scene, operator, &mut chance).await;
        play_the_rest(&scene).await;
        // When the next thing happens is part of the history.
        tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
    }

    for node in scene.names(Kind::PinNode).await {
        annotate(&scene, &node, Value::Null).await;
    }
    scene.annotate_cluster(names::MAINTENANCE, Value::Null).await;
    scene.scale(3).await;
    until("everything to be as the spec says", async || {
        play_the_rest(&scene).await;
        for node in scene.pinner.draining() {
            scene.pinner.finish_drain(&node);
        }
        is_settled(&scene).await.then_some(())
    })
    .await;
    assert!(!witness.is_finished(), "{}", witness.await.unwrap());
    witness.abort();
    assert_eq!(scene.pinner.maintenance(), json!({ "paused": false }));
    for node in scene.names(Kind::PinNode).await {
        assert_eq!(scene.pinner.scheduling(&node), "Active", "{node}");
    }
    operator.end().await;
    let operator = scene.operator();
    operator.looked(1, 3).await;
    assert_eq!(operator.metrics.writes(), 0, "{}", operator.metrics.text());
    operator.end().await;
    scene.strike().await;
}

/// One thing that happens; gives the operator that acts from then on.
async fn step(scene: &Scene, operator: Operator, chance: &mut Chance) -> Operator {
    let nodes: Vec<String> = scene.names(Kind::PinNode).await.into_iter().collect();
    let node = chance.one_of(&nodes);
    match chance.below(20) {
        0..5 => {
            let size = 2 + usize::try_from(chance.below(3)).unwrap();
            println!("  {size} nodes");
            scene.scale(size).await;
        }
        5..10 => {
            println!("  drain {node}");
            annotate(scene, &node, json!(format!("request {}", chance.below(100)))).await;
        }
        10..12 => {
            println!("  do not drain {node}");
            annotate(scene, &node, Value::Null).await;
        }
        12..13 => {
            println!("  pause");
            scene.annotate_cluster(names::MAINTENANCE, json!("pause")).await;
        }
        13..15 => {
            println!("  go on");
            scene.annotate_cluster(names::MAINTENANCE, Value::Null).await;
        }
        15..18 => {
            println!("  kill the operator");
            operator.kill().await;
            return scene.operator();
        }
        _ => {
            if scene.pinner.maintenance()["paused"] != true {
                let draining = scene.pinner.draining();
                println!("  {draining:?} are empty");
                draining.iter().for_each(|node| scene.pinner.finish_drain(node));
            }
        }
    }
    operator
}

/// A user's annotation, unless the node is gone by now.
async fn annotate(scene: &Scene, node: &str, value: Value) {
    let patch = json!({ "metadata": { "annotations": { names::DRAIN: value } } });
    match scene.pin_nodes().patch(node, &kube::api::PatchParams::default(), &kube::api::Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        patched => drop(patched.unwrap()),
    }
}

/// Plays the StatefulSet controller, the kubelet and the garbage collector for all PinNodes as they are now.
async fn play_the_rest(scene: &Scene) {
    let nodes = scene.pin_nodes().list(&ListParams::default()).await.unwrap().items;
    let alive: BTreeSet<String> = nodes.iter().filter_map(ResourceExt::uid).collect();
    for set in scene.api(Kind::StatefulSet).list(&ListParams::default()).await.unwrap() {
        let (name, owner) = (set.name_any(), &set.owner_references()[0]);
        if owner.kind != "PinNode" {
            continue;
        }
        let pod = format!("{name}-0");
        let has_pod = scene.pods().get_opt(&pod).await.unwrap().is_some();
        if !alive.contains(&owner.uid) {
            if has_pod {
                scene.pods().delete(&pod, &DeleteParams::default().grace_period(0)).await.unwrap();
            }
            scene.api(Kind::StatefulSet).delete(&name, &DeleteParams::default()).await.unwrap();
        } else if !has_pod {
            scene.pinner.register(&name);
            scene.make_pod(&name, ready_pod()).await;
            scene.make_ready(&name).await;
        }
    }
}

async fn is_settled(scene: &Scene) -> bool {
    let says = |conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition], wanted: &[(&str, &str)]| {
        wanted.iter().all(|(type_, status)| conditions.iter().any(|c| c.type_ == *type_ && c.status == *status))
    };
    let nodes = scene.pin_nodes().list(&ListParams::default()).await.unwrap().items;
    let is_well = |node: &PinNode| {
        let status = node.status.as_ref();
        status.is_some_and(|status| {
            says(&status.conditions, &[("Ready", "True"), ("Schedulable", "True"), ("Draining", "False")])
        })
    };
    let cluster = scene.clusters().get("demo").await.unwrap();
    let Some(status) = cluster.status else { return false };
    nodes.len() == 3
        && nodes.iter().all(is_well)
        && status.observed_generation == cluster.metadata.generation
        && status.maintenance.is_none()
        && (status.nodes, status.ready_nodes) == (3, 3)
        && says(&status.conditions, &[("Ready", "True"), ("Progressing", "False"), ("Maintenance", "False")])
}

/// Ends with the first removal of a PinNode that the pinners do not call drained.
async fn watch_removals(nodes: kube::Api<PinNode>, pinner: crate::fake_pinner::FakePinner) -> String {
    let mut events = watcher::watcher(nodes, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        if let Ok(Event::Delete(node)) = event {
            let (name, state) = (node.name_any(), pinner.state_of(&node.name_any()));
            println!("  {name} is removed, {state:?}");
            if state.is_some_and(|state| state != "drained") {
                return format!("{name} was removed before it was drained");
            }
        }
    }
    "the watch ended".to_owned()
}

/// Numbers that follow from a seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn one_of(&mut self, names: &[String]) -> String {
        let index = self.below(names.len() as u64);
        names[usize::try_from(index).unwrap()].clone()
    }
}
