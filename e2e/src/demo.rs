//! The story of `make demo`: from nothing to content pinned on two nodes through an Ingress, and a node that drains.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use crate::anchorage::{self, CLUSTER, Cluster, OF_CLUSTER, SAMPLE};
use crate::lab::Lab;
use crate::monitoring::Monitoring;
use crate::namespace::{Namespace, text};
use crate::story::{note, shown, step};
use crate::visitor::Visitor;
use crate::{traefik, wait};

/// A lab with everything that Anchorage lives among, and the project's images on its nodes.
#[derive(Debug)]
pub struct Stage {
    /// The cluster.
    pub lab: Lab,
    /// Address at which Traefik serves every Ingress.
    pub ingress: String,
    /// The Prometheus that scrapes for real.
    pub monitoring: Monitoring,
}

impl Stage {
    /// Sets it up, or takes what is already there. An Anchorage that runs other images than those that are built now
    /// is removed, so that what follows is about the present code.
    ///
    /// # Errors
    /// The first part that does not come up.
    pub fn set() -> Result<Self> {
        let lab = step("a Kubernetes cluster: kind, one control plane, workers in zones a, b, c", Lab::up)?;
        step("the images of Anchorage on its nodes", || {
            let changed = lab.load_images()?;
            if changed.is_empty() {
                note("unchanged");
                return Ok(());
            }
            note(&format!("loaded {}", changed.join(", ")));
            remove(&lab)
        })?;
        let ingress = step("Traefik as ingress controller", || traefik::install(&lab))?;
        let monitoring = step("Prometheus and its operator", || Monitoring::install(&lab))?;
        Ok(Self { lab, ingress, monitoring })
    }
}

/// Removes the sample cluster with its volumes, and the chart, if they are there.
///
/// # Errors
/// When something does not go away.
pub fn remove(lab: &Lab) -> Result<()> {
    let namespace = Namespace::create(lab, "anchorage", "restricted")?;
    namespace.kubectl(["delete", "pod,configmap", "visitor", "--ignore-not-found"]).run()?;
    if lab
        .kubectl(["get", "crd", "anchorageclusters.anchorage.dev", "--ignore-not-found", "-o", "name"])
        .run()?
        .is_empty()
    {
        return anchorage::uninstall_chart(&namespace);
    }
    Cluster { namespace: namespace.clone() }.delete()?;
    namespace.kubectl(["delete", "persistentvolumeclaims", "-l", OF_CLUSTER]).run()?;
    anchorage::uninstall_chart(&namespace)
}

/// `helm install`, `kubectl apply`, Ready.
///
/// # Errors
/// The first of these that does not succeed.
pub fn raise(lab: &Lab) -> Result<Cluster> {
    let namespace =
        step("helm install anchorage charts/anchorage, into a namespace under Pod Security \"restricted\"", || {
            anchorage::install_chart(lab)
        })?;
    step(&format!("kubectl apply -f {SAMPLE}, until the cluster and its nodes are Ready"), || {
        let cluster = Cluster::apply(&namespace)?;
        cluster.ready()?;
        Ok(cluster)
    })
}

/// A file is added to a Kubo outside the fleet and pinned with `ipfs pin remote` through the Ingress; gives the CID and
/// the nodes that hold it.
///
/// # Errors
/// The first thing that is not as promised.
pub fn pin_through_the_ingress(cluster: &Cluster, visitor: &Visitor, org: &str) -> Result<(String, Vec<String>)> {
    let content = format!(
        "Anchored at {:?}.\n",
        SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?
    );
    let cid = visitor.add(&content)?;
    shown("ipfs add message.txt", &cid);
    ensure!(visitor.peers()? == 0, "the visitor's Kubo knows a peer before it has met the service");
    visitor.sign_in(&cluster.mint_token(org)?)?;
    let said = visitor.pin(&cid, "a message")?;
    shown(&format!("ipfs pin remote add --service=anchorage --name='a message' {cid}"), &said);
    let holders = wait::until("two Kubos that list the pin", Duration::from_secs(30), || {
        let holders = cluster.holders(&cid)?;
        ensure!(holders.len() == 2, "it is on {holders:?}");
        Ok(holders)
    })?;
    note(&format!("ipfs pin ls: recursive on {}", holders.join(" and ")));
    Ok((cid, holders))
}

/// The whole story.
///
/// # Errors
/// The first step that fails.
pub fn run() -> Result<()> {
    let stage = Stage::set()?;
    let cluster = raise(&stage.lab)?;
    shown("kubectl get anc,pn", &cluster.namespace.kubectl(["get", "anc,pn"]).run()?);

    let visitor = step("a user's own Kubo, on the private network, peered with nobody", || {
        Visitor::arrive(&cluster.namespace, &stage.ingress)
    })?;
    let (cid, holders) = step("a file is pinned with the real client through http://pins.anchorage.test", || {
        pin_through_the_ingress(&cluster, &visitor, CLUSTER)
    })?;
    step("Prometheus reads every pinner's metrics", || {
        let pods = stage.monitoring.targets_up("anchorage/demo", 3)?;
        note(&format!("targets up: {}", pods.join(", ")));
        Ok(())
    })?;

    let node = holders.first().context("no node holds the pin")?;
    step(&format!("kubectl annotate pinnode {node} anchorage.dev/drain=kernel-update, until it is Drained"), || {
        drain(&cluster, node, &cid)
    })?;
    step("the drain is taken back: the node is schedulable again", || cluster.undrain(node))?;

    farewell(&cluster.namespace);
    Ok(())
}

/// A node gives away all that it holds; the content `cid` is on two others then.
fn drain(cluster: &Cluster, node: &str, cid: &str) -> Result<()> {
    let drain = cluster.drain(node, "kernel-update")?;
    let request = text(&drain["requestToken"]);
    note(&format!("acknowledged: request {request}, {} placements to move", drain["placementsRemaining"]));
    shown("kubectl get pn", &cluster.namespace.kubectl(["get", "pn"]).run()?);
    wait::until("the node to be Drained", Duration::from_mins(3), || cluster.drained(node))?;
    shown("kubectl get pn", &cluster.namespace.kubectl(["get", "pn"]).run()?);
    let holders = cluster.holders(cid)?;
    ensure!(holders.len() >= 2 && !holders.iter().any(|holder| holder == node), "the content is on {holders:?}");
    note(&format!("ipfs pin ls: recursive on {}", holders.join(" and ")));
    Ok(())
}

fn farewell(namespace: &Namespace) {
    eprintln!();
    eprintln!("Look around:");
    eprintln!("  eval \"$(e2e/lab/lab env)\"; kubectl -n {} get anc,pn,pods", namespace.name);
    eprintln!("  kubectl -n {} exec -it visitor -- ipfs pin remote ls --service=anchorage", namespace.name);
    eprintln!("Remove it all: make clean");
}
