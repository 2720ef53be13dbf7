//! Nodes of the fleet: where they are, how they are cordoned and drained by annotation, how they come and go by
//! `kubectl scale`, and that no content is on fewer nodes than it must be meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::anchorage::{Cluster, name};
use e2e::namespace::{condition, text};
use e2e::program::Program;
use e2e::visitor::Visitor;
use e2e::{story, wait};

use crate::message;

/// The org whose contents are moved about.
const ORG: &str = "mover";
/// How many contents it has.
const PINS: usize = 24;
/// `replication.min` of the sample cluster.
const COPIES: usize = 2;
/// How long moving them may take.
const MOVING: Duration = Duration::from_mins(3);

pub(crate) fn one_in_each_zone(cluster: &Cluster) -> Result<()> {
    let mut zones = Vec::new();
    for node in cluster.nodes()? {
        let zone = text(&node["spec"]["zone"]).to_owned();
        let pod = cluster.namespace.get(&format!("pod/{}-0", name(&node)))?;
        let host = cluster.namespace.lab.kubectl(["get", "node", text(&pod["spec"]["nodeName"]), "-o"]);
        let label = zone_of_host(host)?;
        ensure!(zone == label, "{} says zone {zone} and runs in zone {label}", name(&node));
        zones.push(zone);
    }
    zones.sort();
    ensure!(zones == ["a", "b", "c"], "the nodes are in zones {zones:?}");
    Ok(())
}

fn zone_of_host(get: Program) -> Result<String> {
    get.args([r"jsonpath={.metadata.labels.topology\.kubernetes\.io/zone}"]).run()
}

/// A node that holds data is drained to the end, with progress to be seen, and takes part again.
pub(crate) fn drain(cluster: &Cluster, visitor: &Visitor) -> Result<()> {
    visitor.sign_in(&cluster.mint_token(ORG)?)?;
    let cids = visitor.pin_many("to be moved", PINS)?;
    visitor.all_pinned(&cids, Duration::from_mins(2))?;
    let copies = cluster.copies(None)?;
    copies.at_least(COPIES, &cids)?;
    let node = copies.fullest(&cids)?;
    story::note(&format!("draining {node}, which holds {} of {PINS}", copies.on(&node, &cids)));

    let drain = cluster.drain(&node, "kernel-update-7")?;
    ensure!(drain["startTime"].is_string(), "status.drain has no startTime: {drain}");
    let mut progress = vec![drain["placementsRemaining"].as_i64().unwrap_or_default()];
    let looks = cluster.safely_until("the drain to be done", MOVING, (&cids, COPIES, Some(&node)), |_| {
        let status = &cluster.namespace.get(&format!("pinnode/{node}"))?["status"]["drain"];
        progress.extend(status["placementsRemaining"].as_i64());
        cluster.drained(&node).map(drop)
    })?;
    progress.dedup();
    story::note(&format!("placements left: {progress:?}; every content on {COPIES} Kubos at each of {looks} looks"));
    ensure!(progress.iter().any(|left| *left > 0), "no progress was seen: {progress:?}");
    let done = cluster.drained(&node)?;
    ensure!(done["placementsRemaining"] == 0, "Drained with placements left: {done}");
    ensure!(done["requestToken"] == "kernel-update-7", "another drain is done: {done}");
    message(&cluster.namespace.get(&format!("pinnode/{node}"))?, "Schedulable", "False")?;

    let copies = cluster.copies(Some(&node))?;
    ensure!(copies.on(&node, &cids) == 0, "{node} is Drained and holds {} pins", copies.on(&node, &cids));
    copies.at_least(COPIES, &cids)?;
    visitor.all_pinned(&cids, Duration::ZERO)?;

    cluster.undrain(&node)?;
    let drain = &cluster.namespace.get(&format!("pinnode/{node}"))?["status"]["drain"];
    ensure!(drain.is_null(), "a drain that was taken back is still in the status: {drain}");
    Ok(())
}

/// One node more, which takes its share, and one node less, which is emptied before it is removed.
pub(crate) fn scale(cluster: &Cluster, visitor: &Visitor) -> Result<()> {
    visitor.sign_in(&cluster.mint_token(ORG)?)?;
    let cids = visitor.pins("pinned")?;
    ensure!(cids.len() >= PINS, "the org {ORG} has {} pinned contents", cids.len());

    cluster.scale(4)?;
    wait::until("a fourth node", Duration::from_mins(1), || {
        let nodes = cluster.nodes()?.len();
        ensure!(nodes == 4, "there are {nodes} nodes");
        Ok(())
    })?;
    cluster.ready()?;
    let looks = cluster.safely_until("the new node to take its share", MOVING, (&cids, COPIES, None), |copies| {
        ensure!(copies.on("demo-3", &cids) > 0, "demo-3 holds nothing yet");
        Ok(())
    })?;
    story::note(&format!("four nodes share the data; every content on {COPIES} Kubos at each of {looks} looks"));

    cluster.scale(3)?;
    let node = cluster.leaving()?;
    let looks = cluster.safely_until(&format!("{node} to go"), MOVING, (&cids, COPIES, Some(&node)), |_| {
        let nodes = cluster.nodes()?;
        let left = nodes.iter().find(|left| name(left) == node);
        let why = left.and_then(|left| condition(left, "Draining")).map_or("", |draining| text(&draining["message"]));
        ensure!(left.is_none(), "{node} is still there: {why}");
        Ok(())
    })?;
    story::note(&format!("{node} is gone; every content on {COPIES} Kubos at each of {looks} looks"));
    wait::until("the word that it was drained before", Duration::from_secs(30), || {
        let about = format!("--field-selector=involvedObject.name={node},reason=Drained");
        let events = cluster.namespace.kubectl(["get", "events", &about, "-o", "name"]).run()?;
        ensure!(!events.is_empty(), "no Event says that {node} was Drained");
        Ok(())
    })?;
    let known = cluster.admin_nodes()?;
    let state = known.iter().find(|known| known["name"] == *node).map(|known| known["state"].clone());
    ensure!(state.is_none() || state == Some("drained".into()), "the pinners say that {node} is {state:?}");
    cluster.namespace.condition("anchoragecluster/demo", "Progressing", "False", Duration::from_mins(1))?;
    let volume = format!("data-{node}-0");
    ensure!(cluster.volumes()?.contains(&volume), "the policy is Retain, but {volume} is gone");
    visitor.all_pinned(&cids, Duration::ZERO)
}

pub(crate) fn cordon(cluster: &Cluster) -> Result<()> {
    cluster.cordon("demo-1", Some("disk-replacement"))?;
    let nodes = cluster.admin_nodes()?;
    let node = nodes.iter().find(|node| node["name"] == "demo-1").context("demo-1 is not listed")?;
    ensure!(node["scheduling"] == "Cordoned", "the pinners know demo-1 as {node}");
    cluster.cordon("demo-1", None)
}
