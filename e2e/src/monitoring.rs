//! The Prometheus operator and a Prometheus that scrapes for real.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::lab::Lab;
use crate::namespace::{Namespace, text};
use crate::wait;

const LIMIT: Duration = Duration::from_mins(3);

/// The monitoring of the cluster.
#[derive(Debug)]
pub struct Monitoring {
    namespace: Namespace,
}

impl Monitoring {
    /// Installs it, or leaves it as it is.
    ///
    /// # Errors
    /// When Prometheus does not become ready within three minutes.
    pub fn install(lab: &Lab) -> Result<Self> {
        let crds = lab.prometheus_crds()?;
        let crds = crds.to_str().context("the folder of the CRDs is not UTF-8")?;
        lab.kubectl(["apply", "--server-side", "--force-conflicts", "-f", crds]).run()?;
        lab.kubectl(["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).run()?;
        let namespace = Namespace::create(lab, "monitoring", "restricted")?;
        namespace.apply(std::fs::read(lab.path("e2e/manifests/monitoring.yaml")).context("read monitoring.yaml")?)?;
        namespace.rolled_out("deployment/prometheus-operator", LIMIT)?;
        namespace.rolled_out("statefulset/prometheus-lab", LIMIT)?;
        Ok(Self { namespace })
    }

    /// The pods whose metrics Prometheus read the last time it tried, sorted by name, once there are `count`.
    ///
    /// # Errors
    /// When there are not after three minutes: which targets there are and what is wrong with them.
    pub fn targets_up(&self, pod_monitor: &str, count: usize) -> Result<Vec<String>> {
        wait::until("targets that are up in Prometheus", LIMIT, || {
            let targets = self.targets(pod_monitor)?;
            ensure!(!targets.is_empty(), "Prometheus has not read {pod_monitor} yet");
            let (up, down): (Vec<_>, Vec<_>) = targets.iter().partition(|target| target["health"] == "up");
            let errors: Vec<_> = down.iter().map(|target| text(&target["lastError"])).collect();
            ensure!(up.len() == count && down.is_empty(), "{} up, {} not: {}", up.len(), down.len(), errors.join("; "));
            let mut pods: Vec<_> = up.iter().map(|target| text(&target["labels"]["pod"]).to_owned()).collect();
            pods.sort();
            Ok(pods)
        })
    }

    /// The value of a query that gives one number, as text.
    ///
    /// # Errors
    /// When it gives none.
    pub fn query(&self, query: &str) -> Result<String> {
        let answer = self.ask(&format!("query?query={query}"))?;
        let value = answer["data"]["result"][0]["value"][1].as_str();
        value.map(str::to_owned).with_context(|| format!("{query} has no value in Prometheus"))
    }

    fn targets(&self, pod_monitor: &str) -> Result<Vec<Value>> {
        let answer = self.ask("targets?state=active")?;
        let pool = format!("podMonitor/{pod_monitor}/");
        let targets = answer["data"]["activeTargets"].as_array().context("Prometheus lists no targets")?;
        Ok(targets.iter().filter(|target| text(&target["scrapePool"]).starts_with(&pool)).cloned().collect())
    }

    /// Asks Prometheus' HTTP API through the API server.
    fn ask(&self, question: &str) -> Result<Value> {
        let service = "services/prometheus-operated:9090/proxy";
        let path = format!("/api/v1/namespaces/{}/{service}/api/v1/{question}", self.namespace.name);
        let answer = self.namespace.lab.kubectl(["get", "--raw", &path]).run()?;
        serde_json::from_str(&answer).context("read Prometheus' answer")
    }
}
