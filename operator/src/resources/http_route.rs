//! The HTTPRoute of the API, for clusters with the Gateway API.

use serde_json::json;

use crate::cluster::validate::Cluster;
use crate::crd::anchorage_cluster::HttpRouteSpec;
use crate::desired::Desired;
use crate::kind::Kind;
use crate::names::Component;

/// All paths to the API's Service.
#[must_use]
pub fn desired(cluster: &Cluster, wanted: &HttpRouteSpec) -> Desired {
    let hostnames = (!wanted.hostnames.is_empty()).then_some(&wanted.hostnames);
    let route = json!({
        "metadata": { "name": cluster.name, "labels": cluster.labels(Component::Pinner) },
        "spec": {
            "parentRefs": wanted.parent_refs,
            "hostnames": hostnames,
            "rules": [{
                "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }],
                "backendRefs": [{ "name": cluster.name, "port": 80 }],
            }],
        },
    });
    Desired::new(Kind::HttpRoute, &cluster.owner, route)
}
