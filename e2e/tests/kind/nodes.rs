//! Nodes of the fleet: where they are, and how they are cordoned and drained by annotation.

use anyhow::{Context as _, Result, ensure};
use e2e::anchorage::{Cluster, name};
use e2e::namespace::text;
use e2e::program::Program;

use crate::message;

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

pub(crate) fn drain(cluster: &Cluster) -> Result<()> {
    let drain = cluster.drain("demo-2", "kernel-update-7")?;
    ensure!(drain["startTime"].is_string(), "status.drain has no startTime: {drain}");
    let node = cluster.namespace.get("pinnode/demo-2")?;
    if drain["placementsRemaining"].as_i64().unwrap_or_default() > 0 {
        let said = message(&node, "Drained", "False")?;
        ensure!(!said.is_empty(), "Drained is False without a reason");
    }
    message(&node, "Schedulable", "False")?;
    cluster.undrain("demo-2")?;
    let node = cluster.namespace.get("pinnode/demo-2")?;
    ensure!(
        node["status"]["drain"].is_null(),
        "a drain that was taken back is still in the status: {}",
        node["status"]["drain"]
    );
    Ok(())
}

pub(crate) fn cordon(cluster: &Cluster) -> Result<()> {
    cluster.cordon("demo-1", Some("disk-replacement"))?;
    let listed =
        cluster.namespace.exec("demo-0-0", "anchorage", ["/anchorage", "admin", "nodes", "-o", "json"]).run()?;
    let listed: serde_json::Value = serde_json::from_str(&listed).context("read anchorage admin nodes -o json")?;
    let nodes = listed["nodes"].as_array().context("the answer lists no nodes")?;
    let node = nodes.iter().find(|node| node["name"] == "demo-1").context("demo-1 is not listed")?;
    ensure!(node["scheduling"] == "Cordoned", "the pinners know demo-1 as {node}");
    cluster.cordon("demo-1", None)
}
