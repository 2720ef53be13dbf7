//! The PodMonitor that makes a Prometheus Operator scrape the pinners.

use serde_json::json;

use crate::cluster::validate::Cluster;
use crate::crd::anchorage_cluster::PodMonitorSpec;
use crate::desired::Desired;
use crate::kind::Kind;
use crate::names::{self, Component};

/// One endpoint: the port `metrics` of every pinner.
#[must_use]
pub fn desired(cluster: &Cluster, wanted: &PodMonitorSpec) -> Desired {
    let mut labels = wanted.labels.clone();
    labels.extend(cluster.labels(Component::Pinner));
    let pod_monitor = json!({
        "metadata": { "name": cluster.name, "labels": labels },
        "spec": {
            "selector": { "matchLabels": names::selector(&cluster.name, Component::Pinner) },
            "podMetricsEndpoints": [{ "port": "metrics", "interval": wanted.interval }],
        },
    });
    Desired::new(Kind::PodMonitor, &cluster.owner, pod_monitor)
}
