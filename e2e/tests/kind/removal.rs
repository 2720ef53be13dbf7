//! What is left when things are removed.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::anchorage::{self, Cluster, OF_CHART, OF_CLUSTER};
use e2e::namespace::Namespace;

pub(crate) fn cluster(cluster: Cluster) -> Result<()> {
    let before = cluster.volumes()?;
    let namespace = cluster.namespace.clone();
    cluster.clone().delete()?;
    let after = cluster.volumes()?;
    ensure!(
        !before.is_empty() && before == after,
        "volumes before: {before:?}, after: {after:?}; the policy is Retain"
    );
    namespace.kubectl(["delete", "persistentvolumeclaims", "-l", OF_CLUSTER, "--timeout=60s"]).run().map(drop)
}

pub(crate) fn chart(namespace: &Namespace) -> Result<()> {
    anchorage::uninstall_chart(namespace)?;
    let kinds = "deployments,pods,services,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,\
        clusterroles,clusterrolebindings,validatingwebhookconfigurations,prometheusrules.monitoring.coreos.com";
    namespace.gone(kinds, OF_CHART, Duration::from_mins(2))?;
    let leases = namespace.kubectl(["get", "leases", "-o", "name"]).run()?;
    ensure!(leases.is_empty(), "left: {leases}");
    let definitions = namespace.lab.kubectl(["get", "crd", "-o", "name"]).run()?;
    for kind in ["anchorageclusters", "pinnodes"] {
        ensure!(definitions.contains(&format!("{kind}.anchorage.dev")), "the definition of {kind} is gone");
    }
    Ok(())
}
