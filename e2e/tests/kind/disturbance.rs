//! What happens while it works: programs are killed, the operator starts again.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::anchorage::{CLUSTER, Cluster, OF_CLUSTER, OPERATOR, name};
use e2e::namespace::text;
use e2e::visitor::Visitor;
use e2e::{node, story, wait};

const PINS: usize = 12;
/// A little more than the 30 s after which the operator looks at a PinNode again by itself.
const AT_REST: Duration = Duration::from_secs(32);

/// Pins are accepted whose content nobody has yet, so every pinner is in the middle of its work when it is killed.
pub(crate) fn kill_pinners(cluster: &Cluster, visitor: &Visitor) -> Result<()> {
    visitor.sign_in(&cluster.mint_token("survivor")?)?;
    let contents: Vec<_> = (0..PINS).map(|number| format!("to be pinned whatever happens: {number}\n")).collect();
    let mut cids = Vec::new();
    for content in &contents {
        let cid = visitor.foresee(content)?;
        visitor.pin_in_background(&cid, "whatever happens")?;
        cids.push(cid);
    }
    let waiting = visitor.pins("queued,pinning")?.len();
    ensure!(waiting == PINS, "{waiting} of {PINS} pins are under way although nobody has their content");

    for pod in cluster.pods()? {
        node::kill(&pod, "/anchorage")?;
        story::note(&format!("killed the pinner of {}", name(&pod)));
    }
    wait::until("the pinners to be back", Duration::from_mins(3), || {
        for pod in cluster.pods()? {
            ensure!(node::restarts(&pod, "anchorage")? >= 1, "{} has not been started again", name(&pod));
        }
        cluster.namespace.condition("anchoragecluster/demo", "Ready", "True", Duration::ZERO).map(drop)
    })?;

    for content in &contents {
        visitor.add(content)?;
    }
    visitor.all_pinned(&cids, Duration::from_mins(4))?;
    cluster.copies(&[])?.at_least(2, &cids)
}

/// An operator that comes back finds everything as it should be, and then has nothing to write.
pub(crate) fn restart_operator(cluster: &Cluster) -> Result<()> {
    cluster.ready()?;
    for node in cluster.nodes()? {
        let node = format!("pinnode/{}", name(&node));
        cluster.namespace.condition(&node, "KuboReady", "True", Duration::from_mins(1))?;
    }
    let mut before = versions(cluster)?;
    wait::until("the cluster to be at rest after what was done to it", Duration::from_mins(3), || {
        let rest = wait::throughout(AT_REST, || unchanged(cluster, &before));
        before = versions(cluster)?;
        rest
    })?;

    cluster.namespace.kubectl(["rollout", "restart", OPERATOR]).run()?;
    cluster.namespace.rolled_out(OPERATOR, Duration::from_mins(2))?;
    wait::throughout(AT_REST, || unchanged(cluster, &before))
}

/// That nothing has been written since the versions `before` were noted.
fn unchanged(cluster: &Cluster, before: &BTreeMap<String, String>) -> Result<()> {
    let now = versions(cluster)?;
    let changed: Vec<_> = now.iter().filter(|(object, version)| before.get(*object) != Some(version)).collect();
    ensure!(changed.is_empty() && now.len() == before.len(), "written: {changed:?}");
    Ok(())
}

/// The resource version of everything that the operator writes.
fn versions(cluster: &Cluster) -> Result<BTreeMap<String, String>> {
    let kinds = "pinnodes,statefulsets,jobs,services,ingresses,configmaps,secrets,poddisruptionbudgets,\
        podmonitors.monitoring.coreos.com";
    let mut objects = cluster.namespace.list(kinds, OF_CLUSTER)?;
    objects.push(cluster.namespace.get(&format!("anchoragecluster/{CLUSTER}"))?);
    Ok(objects
        .iter()
        .map(|object| {
            let key = format!("{}/{}", text(&object["kind"]), name(object));
            (key, text(&object["metadata"]["resourceVersion"]).to_owned())
        })
        .collect())
}
