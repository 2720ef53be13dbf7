//! The PinNodes of a cluster.

use serde_json::json;

use crate::cluster::validate::Cluster;
use crate::crd::shared::Storage;
use crate::desired::Desired;
use crate::kind::Kind;
use crate::names::{self, Component};

/// A PinNode as the cluster wants it. `zone` and `storage` are decided once, when it is created; `surplus` says why it
/// is to be emptied and removed. `spec.scheduling` belongs to the user and is not touched.
#[must_use]
pub fn desired(
    cluster: &Cluster,
    name: &str,
    zone: Option<&str>,
    storage: Option<&Storage>,
    surplus: Option<&str>,
) -> Desired {
    let mut labels = cluster.labels(Component::Pinner);
    labels.insert(names::NODE_LABEL.to_owned(), name.to_owned());
    let annotations = surplus.map(|why| json!({ names::SURPLUS: why }));
    let pin_node = json!({
        "metadata": { "name": name, "labels": labels, "annotations": annotations },
        "spec": { "clusterName": cluster.name, "zone": zone, "storage": storage },
    });
    Desired::new(Kind::PinNode, &cluster.owner, pin_node)
}
