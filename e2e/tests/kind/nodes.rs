//! Nodes of the fleet: where they are, how they are cordoned and drained by annotation, how they come and go by
//! `kubectl scale`, and that no content is on fewer nodes than it must be meanwhile.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::anchorage::{Cluster, name};
use e2e::fleet::Copies;
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
    let copies = cluster.copies(&[])?;
    copies.at_least(COPIES, &cids)?;
    let node = copies.fullest(&cids)?;
    story::note(&format!("draining {node}, which holds {} of {PINS}", copies.on(&node, &cids)));

    let drain = cluster.drain(&node, "kernel-update-7")?;
    ensure!(drain["startTime"].is_string(), "status.drain has no startTime: {drain}");
    let mut progress = vec![drain["placementsRemaining"].as_i64().unwrap_or_default()];
    let first = [node.clone()];
    let looks = cluster.safely_until("the drain to be done", MOVING, (&cids, COPIES, &first), |_| {
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

    let copies = cluster.copies(&first)?;
    ensure!(copies.on(&node, &cids) == 0, "{node} is Drained and holds {} pins", copies.on(&node, &cids));
    copies.at_least(COPIES, &cids)?;
    visitor.all_pinned(&cids, Duration::ZERO)?;

    cluster.undrain(&node)?;
    let drain = &cluster.namespace.get(&format!("pinnode/{node}"))?["status"]["drain"];
    ensure!(drain.is_null(), "a drain that was taken back is still in the status: {drain}");
    Ok(())
}

/// Two nodes more, which take their share, and two fewer, which are emptied before they are removed; and nothing is copied
/// but what the new nodes take and the old ones leave.
pub(crate) fn scale(cluster: &Cluster, visitor: &Visitor) -> Result<()> {
    visitor.sign_in(&cluster.mint_token(ORG)?)?;
    let cids = visitor.pins("pinned")?;
    ensure!(cids.len() >= PINS, "the org {ORG} has {} pinned contents", cids.len());
    let before = settled(cluster, &cids)?;

    cluster.scale(5)?;
    let looks = cluster.safely_until("the new nodes to take their shares", MOVING, (&cids, COPIES, &[]), |copies| {
        for node in ["demo-3", "demo-4"] {
            ensure!(copies.on(node, &cids) > 0, "{node} holds nothing yet");
        }
        copies.exactly(COPIES, &cids)
    })?;
    cluster.ready()?;
    let grown = settled(cluster, &cids)?;
    let (moved, share) = (grown.gained(&before, &cids), grown.on("demo-3", &cids) + grown.on("demo-4", &cids));
    ensure!(moved == share, "{moved} copies were made, and {share} of them are on the new nodes");
    story::note(&format!(
        "3 -> 5 nodes: {moved} of {} copies made, the least there can be; every content on {COPIES} Kubos at each of {looks} looks",
        COPIES * cids.len()
    ));

    cluster.scale(3)?;
    let leaving = cluster.leaving(2)?;
    let looks = cluster.safely_until("two nodes to go", MOVING, (&cids, COPIES, &leaving), |_| {
        let nodes = cluster.nodes()?;
        for node in nodes.iter().filter(|node| leaving.iter().any(|leaving| leaving == name(node))) {
            let why = condition(node, "Draining").map_or("", |draining| text(&draining["message"]));
            bail!("{} is still there: {why}", name(node));
        }
        Ok(())
    })?;
    let shrunk = settled(cluster, &cids)?;
    let left: usize = leaving.iter().map(|node| grown.on(node, &cids)).sum();
    let moved = shrunk.gained(&grown, &cids);
    ensure!(moved == left, "{moved} copies were made, and {left} were on the nodes that left");
    story::note(&format!(
        "5 -> 3 nodes: {moved} copies made, the least there can be; every content on {COPIES} Kubos at each of {looks} looks"
    ));
    for node in &leaving {
        has_left(cluster, node)?;
    }
    cluster.namespace.condition("anchoragecluster/demo", "Progressing", "False", Duration::from_mins(1))?;
    visitor.all_pinned(&cids, Duration::ZERO)
}

/// Waits until every content is on just as many nodes as it must be. Gives which.
fn settled(cluster: &Cluster, cids: &[String]) -> Result<Copies> {
    wait::until("contents to be where they belong", MOVING, || {
        let copies = cluster.copies(&[])?;
        copies.exactly(COPIES, cids)?;
        Ok(copies)
    })
}

/// That a node was drained before it was removed, and left its volume.
fn has_left(cluster: &Cluster, node: &str) -> Result<()> {
    wait::until("the word that it was drained before", Duration::from_secs(30), || {
        let about = format!("--field-selector=involvedObject.name={node},reason=Drained");
        let events = cluster.namespace.kubectl(["get", "events", &about, "-o", "name"]).run()?;
        ensure!(!events.is_empty(), "no Event says that {node} was Drained");
        Ok(())
    })?;
    let known = cluster.admin_nodes()?;
    let state = known.iter().find(|known| known["name"] == *node).map(|known| known["state"].clone());
    ensure!(state.is_none() || state == Some("drained".into()), "the pinners say that {node} is {state:?}");
    let volume = format!("data-{node}-0");
    ensure!(cluster.volumes()?.contains(&volume), "the policy is Retain, but {volume} is gone");
    Ok(())
}

pub(crate) fn cordon(cluster: &Cluster) -> Result<()> {
    cluster.cordon("demo-1", Some("disk-replacement"))?;
    let nodes = cluster.admin_nodes()?;
    let node = nodes.iter().find(|node| node["name"] == "demo-1").context("demo-1 is not listed")?;
    ensure!(node["scheduling"] == "Cordoned", "the pinners know demo-1 as {node}");
    cluster.cordon("demo-1", None)
}
