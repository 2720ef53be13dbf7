//! Anchorage itself: the chart, a cluster, its nodes, its tokens, as a platform team handles them.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::lab::Lab;
use crate::namespace::{Namespace, condition, text};
use crate::wait;

/// Where the sample cluster's manifest is.
pub const SAMPLE: &str = "charts/anchorage/samples/cluster.yaml";
/// The sample cluster's name.
pub const CLUSTER: &str = "demo";
/// Label that every object of the sample cluster carries.
pub const OF_CLUSTER: &str = "anchorage.dev/cluster=demo";
/// Label that everything the chart installs carries.
pub const OF_CHART: &str = "app.kubernetes.io/instance=anchorage";
/// Deployment of the operator.
pub const OPERATOR: &str = "deployment/anchorage-operator";

/// Kinds of everything that a cluster may consist of, for looking whether some is left.
pub const KINDS: &str = "anchorageclusters,pinnodes,statefulsets,deployments,jobs,pods,services,ingresses,configmaps,\
    secrets,serviceaccounts,roles,rolebindings,poddisruptionbudgets,podmonitors.monitoring.coreos.com";

/// `helm install` of the chart into a namespace that enforces the Pod Security standard "restricted".
///
/// # Errors
/// When the operator is not ready within three minutes.
pub fn install_chart(lab: &Lab) -> Result<Namespace> {
    let namespace = Namespace::create(lab, "anchorage", "restricted")?;
    let chart = lab.path("charts/anchorage");
    let chart = chart.to_str().context("the repository's path is not UTF-8")?;
    lab.helm(["upgrade", "--install", "anchorage", chart, "-n", &namespace.name, "--wait", "--timeout=3m"]).run()?;
    Ok(namespace)
}

/// `helm uninstall` of the chart.
///
/// # Errors
/// When Helm cannot remove it within three minutes.
pub fn uninstall_chart(namespace: &Namespace) -> Result<()> {
    let arguments = ["uninstall", "anchorage", "-n", &namespace.name, "--wait", "--timeout=3m", "--ignore-not-found"];
    namespace.lab.helm(arguments).run().map(drop)
}

/// The sample cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Where it lives.
    pub namespace: Namespace,
}

impl Cluster {
    /// `kubectl apply` of the sample.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn apply(namespace: &Namespace) -> Result<Self> {
        let sample = std::fs::read(namespace.lab.path(SAMPLE)).with_context(|| format!("read {SAMPLE}"))?;
        namespace.apply(sample)?;
        Ok(Self { namespace: namespace.clone() })
    }

    /// Waits until the cluster and every PinNode of it is Ready.
    ///
    /// # Errors
    /// When they are not within six minutes: what their conditions say.
    pub fn ready(&self) -> Result<()> {
        let limit = Duration::from_mins(6);
        self.namespace.condition("anchoragecluster/demo", "Ready", "True", limit)?;
        for node in self.nodes()? {
            self.namespace.condition(&format!("pinnode/{}", name(&node)), "Ready", "True", limit)?;
        }
        Ok(())
    }

    /// Its PinNodes, by name.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn nodes(&self) -> Result<Vec<Value>> {
        let mut nodes = self.namespace.list("pinnodes", OF_CLUSTER)?;
        nodes.sort_by_key(|node| name(node).to_owned());
        ensure!(!nodes.is_empty(), "the cluster has no PinNodes");
        Ok(nodes)
    }

    /// The pods of its PinNodes, by name.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn pods(&self) -> Result<Vec<Value>> {
        let selector = format!("{OF_CLUSTER},app.kubernetes.io/component=pinner");
        let mut pods = self.namespace.list("pods", &selector)?;
        pods.sort_by_key(|pod| name(pod).to_owned());
        Ok(pods)
    }

    /// The nodes as the pinners know them, by `anchorage admin nodes`.
    ///
    /// # Errors
    /// When the pinner does not answer.
    pub fn admin_nodes(&self) -> Result<Vec<Value>> {
        let command = ["/anchorage", "admin", "nodes", "-o", "json"];
        let listed = self.namespace.exec(&self.a_pod()?, "anchorage", command).run()?;
        let listed: Value = serde_json::from_str(&listed).context("read anchorage admin nodes -o json")?;
        listed["nodes"].as_array().cloned().context("the answer lists no nodes")
    }

    /// The name of a pinner's pod, for commands that any of them can run.
    fn a_pod(&self) -> Result<String> {
        let pods = self.pods()?;
        let ready = pods.iter().find(|pod| {
            pod["metadata"]["deletionTimestamp"].is_null()
                && condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
        });
        ready.map(|pod| name(pod).to_owned()).context("no pinner is ready")
    }

    /// A token for an org, made inside a pinner as an administrator does it.
    ///
    /// # Errors
    /// When the pinner refuses.
    pub fn mint_token(&self, org: &str) -> Result<String> {
        let command = ["/anchorage", "admin", "mint-token", "--org", org, "--scopes", "pins:read,pins:write"];
        let token = self.namespace.exec(&self.a_pod()?, "anchorage", command).run()?;
        ensure!(token.starts_with("eyJ") && token.lines().count() == 1, "mint-token prints something beside the token");
        Ok(token)
    }

    /// The PinNodes whose Kubo holds a recursive pin of `cid`.
    ///
    /// # Errors
    /// When a Kubo does not answer.
    pub fn holders(&self, cid: &str) -> Result<Vec<String>> {
        Ok(self.copies(&[])?.of(cid))
    }

    /// Asks for a drain of a node, as `kubectl annotate` does, and waits until its status acknowledges that request.
    ///
    /// # Errors
    /// When the acknowledgement has not come within a minute.
    pub fn drain(&self, node: &str, reason: &str) -> Result<Value> {
        self.annotate(node, &format!("anchorage.dev/drain={reason}"))?;
        wait::until("the acknowledgement of the drain", Duration::from_mins(1), || {
            let found = self.namespace.get(&format!("pinnode/{node}"))?;
            let token = text(&found["status"]["drain"]["requestToken"]);
            ensure!(token == reason, "status.drain.requestToken is '{token}'");
            // Of one look: what was read before the condition holds need not have the drain's numbers.
            let holds = |kind| condition(&found, kind).is_some_and(|condition| condition["status"] == "True");
            ensure!(holds("Draining") || holds("Drained"), "neither Draining nor Drained is True: {}", found["status"]);
            let drain = &found["status"]["drain"];
            ensure!(drain["placementsRemaining"].is_i64(), "status.drain does not say yet what is left: {drain}");
            Ok(drain.clone())
        })
    }

    /// Takes the drain back and waits until the node takes part again.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub fn undrain(&self, node: &str) -> Result<()> {
        self.annotate(node, "anchorage.dev/drain-")?;
        self.schedulable(node, true)
    }

    /// Cordons a node by annotation, or takes that back.
    ///
    /// # Errors
    /// When the status does not follow within a minute.
    pub fn cordon(&self, node: &str, reason: Option<&str>) -> Result<()> {
        let annotation =
            reason.map_or("anchorage.dev/cordon-".to_owned(), |reason| format!("anchorage.dev/cordon={reason}"));
        self.annotate(node, &annotation)?;
        self.schedulable(node, reason.is_none())
    }

    /// Deletes the cluster and waits until nothing is left but the volumes that its policy keeps.
    ///
    /// # Errors
    /// When something is left after four minutes: its name.
    pub fn delete(self) -> Result<()> {
        self.namespace
            .kubectl(["delete", "anchoragecluster", CLUSTER, "--ignore-not-found", "--timeout=240s"])
            .run()?;
        self.namespace.gone(KINDS, OF_CLUSTER, Duration::from_mins(4))
    }

    /// The names of the volume claims that it has, or left behind.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn volumes(&self) -> Result<Vec<String>> {
        let claims = self.namespace.list("persistentvolumeclaims", OF_CLUSTER)?;
        Ok(claims.iter().map(|claim| name(claim).to_owned()).collect())
    }

    fn schedulable(&self, node: &str, yes: bool) -> Result<()> {
        let status = if yes { "True" } else { "False" };
        self.namespace.condition(&format!("pinnode/{node}"), "Schedulable", status, Duration::from_mins(1)).map(drop)
    }

    fn annotate(&self, node: &str, annotation: &str) -> Result<()> {
        self.namespace.kubectl(["annotate", "--overwrite", "pinnode", node, annotation]).run().map(drop)
    }
}

/// The name of an object.
pub fn name(object: &Value) -> &str {
    text(&object["metadata"]["name"])
}
