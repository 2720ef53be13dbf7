//! Who cannot do what: orgs among each other, other pods with a Kubo, pods that want more than "restricted" allows.

use anyhow::{Context as _, Result, ensure};
use e2e::anchorage::{Cluster, name};
use e2e::namespace::{Namespace, text};
use e2e::visitor::Visitor;
use serde_json::json;

pub(crate) fn privileged_pods_are_refused(namespace: &Namespace) -> Result<()> {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "root" },
        "spec": { "containers": [{ "name": "root", "image": "busybox:1.36", "securityContext": { "privileged": true } }] },
    });
    let refusal = namespace.kubectl(["create", "--dry-run=server", "-f", "-"]).input(pod.to_string()).fails()?;
    ensure!(refusal.contains("PodSecurity \"restricted"), "refused, but not by Pod Security: {refusal}");
    Ok(())
}

pub(crate) fn orgs(cluster: &Cluster, visitor: &Visitor) -> Result<()> {
    visitor.sign_in(&cluster.mint_token("demo")?)?;
    let own = visitor.pins("pinned")?;
    let pin = own.first().context("the org demo has no pin to hide")?;
    visitor.sign_in(&cluster.mint_token("stranger")?)?;
    let seen = visitor.pins("queued,pinning,pinned,failed")?;
    ensure!(!seen.contains(pin), "the org stranger lists {pin}");
    Ok(())
}

pub(crate) fn kubo_rpc(cluster: &Cluster, visitor: &Visitor) -> Result<()> {
    let pods = cluster.pods()?;
    ensure!(pods.len() == 3, "three pinner pods, found {}", pods.len());
    for pod in &pods {
        let address = text(&pod["status"]["podIP"]);
        ensure!(!visitor.can_connect(address, 5001)?, "the RPC of Kubo in {} answers another pod", name(pod));
        ensure!(visitor.can_connect(address, 4001)?, "the swarm port of Kubo in {} does not answer", name(pod));
        ensure!(visitor.can_connect(address, 8080)?, "the API of {} does not answer", name(pod));
    }
    Ok(())
}
