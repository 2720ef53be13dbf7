//! Every name, label and annotation that the operator gives or reads, in one place.

use std::collections::BTreeMap;

/// API group of our kinds; also the prefix of our labels and annotations.
pub const GROUP: &str = "anchorage.dev";
/// Asks a PinNode, or all PinNodes on a Kubernetes Node, to give their data away. The value is the reason.
pub const DRAIN: &str = "anchorage.dev/drain";
/// Asks a PinNode to take no new placements. The value is the reason.
pub const CORDON: &str = "anchorage.dev/cordon";
/// Asks a PinNode to keep its place while it is away, or a cluster to move nothing. The value is the reason.
pub const MAINTENANCE: &str = "anchorage.dev/maintenance";
/// Set by the cluster controller on PinNodes that are more than `spec.nodes` asks for. The value says why.
pub const SURPLUS: &str = "anchorage.dev/surplus";
/// Digest of what the operator last applied, on every object that it owns.
pub const APPLIED: &str = "anchorage.dev/applied";
/// Digest of the secrets and settings that a pod reads at its start; a change replaces the pod.
pub const INPUTS: &str = "anchorage.dev/inputs";
/// Label: the cluster that an object belongs to.
pub const CLUSTER_LABEL: &str = "anchorage.dev/cluster";
/// Label: the PinNode that an object belongs to.
pub const NODE_LABEL: &str = "anchorage.dev/node";
/// Label that every owned object carries, and that watches select by.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of that label.
pub const MANAGED_BY: &str = "anchorage-operator";
/// Port on which a pinner serves its API.
pub const API_PORT: i32 = 8080;
/// Port on which a pinner serves metrics.
pub const METRICS_PORT: i32 = 9090;
/// Port on which Kubo speaks to other Kubos.
pub const SWARM_PORT: i32 = 4001;

/// What an owned object is part of; the value of `app.kubernetes.io/component`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// Pinners and what leads to them.
    Pinner,
    /// The managed database.
    Postgres,
    /// The managed message system.
    Nats,
    /// Database migrations.
    Migrate,
}

impl Component {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Component::Pinner => "pinner",
            Component::Postgres => "postgres",
            Component::Nats => "nats",
            Component::Migrate => "migrate",
        }
    }
}

/// Labels of an object of `cluster`.
#[must_use]
pub fn labels(cluster: &str, component: Component) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "anchorage"),
        ("app.kubernetes.io/instance", cluster),
        ("app.kubernetes.io/component", component.as_str()),
        (MANAGED_BY_LABEL, MANAGED_BY),
        ("app.kubernetes.io/part-of", "anchorage"),
        (CLUSTER_LABEL, cluster),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// The labels that select pods of one component of `cluster`; they never change.
#[must_use]
pub fn selector(cluster: &str, component: Component) -> BTreeMap<String, String> {
    [(CLUSTER_LABEL, cluster), ("app.kubernetes.io/component", component.as_str())]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The labels that select the pod of one PinNode.
#[must_use]
pub fn node_selector(cluster: &str, node: &str) -> BTreeMap<String, String> {
    let mut labels = selector(cluster, Component::Pinner);
    labels.insert(NODE_LABEL.to_owned(), node.to_owned());
    labels
}

/// The selector of all pinners of `cluster` as text, for /scale.
#[must_use]
pub fn selector_text(cluster: &str) -> String {
    let pairs: Vec<String> =
        selector(cluster, Component::Pinner).iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

/// Name of the PinNode with `index`, which is also that of its StatefulSet.
#[must_use]
pub fn pin_node(cluster: &str, index: usize) -> String {
    format!("{cluster}-{index}")
}

/// The index in a PinNode's name, if it is one of the cluster's numbered names.
#[must_use]
pub fn pin_node_index(cluster: &str, name: &str) -> Option<usize> {
    let digits = name.strip_prefix(cluster)?.strip_prefix('-')?;
    let index = digits.parse().ok()?;
    (pin_node(cluster, index) == name).then_some(index)
}

macro_rules! suffixed {
    ($($(#[$doc:meta])* $name:ident = $suffix:literal;)*) => {
        $($(#[$doc])* #[must_use] pub fn $name(cluster: &str) -> String { format!(concat!("{}", $suffix), cluster) })*
    };
}

suffixed! {
    /// Secret with the admin API's token, key `token`.
    admin_secret = "-admin";
    /// Secret with the root of token signing, key `root`.
    tokens_secret = "-tokens";
    /// Secret with the pinners' database URLs.
    database_secret = "-database";
    /// Secret with the NATS URL, and for a managed NATS its configuration.
    nats_secret = "-nats";
    /// Secret with the generated swarm key, key `swarm.key`.
    swarm_key_secret = "-swarm-key";
    /// The managed Postgres: Secret with its password, StatefulSet and Service.
    postgres = "-postgres";
    /// The managed NATS: StatefulSet and Service.
    nats = "-nats";
    /// ConfigMap with Kubo's start-up script.
    kubo_config = "-kubo";
    /// Headless Service that gives each pinner's pod an address.
    nodes_service = "-nodes";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clusters_own_numbers_are_an_index() {
        assert_eq!(pin_node_index("demo", "demo-0"), Some(0));
        assert_eq!(pin_node_index("demo", "demo-12"), Some(12));
        for foreign in ["demo", "demo-", "demo-01", "demo--1", "demo-x", "demo-a-1", "other-1"] {
            assert_eq!(pin_node_index("demo", foreign), None, "{foreign}");
        }
    }
}
