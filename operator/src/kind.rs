//! The kinds of objects that the operator owns: a closed set, in the order in which they are applied.

use k8s_openapi::api::{apps, batch, core, networking, policy};
use kube::api::ApiResource;
use kube::core::GroupVersionKind;

use crate::crd;

/// A kind of owned object. The order is the order of applying: what is mounted comes before what mounts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Generated credentials. Never watched or listed, only read by name.
    Secret,
    /// Configuration files.
    ConfigMap,
    /// Addresses inside the Kubernetes cluster.
    Service,
    /// How many pods a voluntary disruption may take at once.
    PodDisruptionBudget,
    /// Databases, message servers, pinners.
    StatefulSet,
    /// Migrations.
    Job,
    /// PinNodes of a cluster.
    PinNode,
    /// A way in from outside.
    Ingress,
    /// A way in from outside by the Gateway API; only where that is served.
    HttpRoute,
    /// What the Prometheus Operator reads; only where that is served.
    PodMonitor,
}

/// Kinds that every API server has and that are watched by label.
pub const WATCHED: [Kind; 6] =
    [Kind::ConfigMap, Kind::Service, Kind::PodDisruptionBudget, Kind::StatefulSet, Kind::Job, Kind::Ingress];

/// Kinds that may come and go with their CRDs.
pub const OPTIONAL: [Kind; 2] = [Kind::HttpRoute, Kind::PodMonitor];

impl Kind {
    /// How the API server names it.
    #[must_use]
    pub fn api(self) -> ApiResource {
        match self {
            Kind::Secret => ApiResource::erase::<core::v1::Secret>(&()),
            Kind::ConfigMap => ApiResource::erase::<core::v1::ConfigMap>(&()),
            Kind::Service => ApiResource::erase::<core::v1::Service>(&()),
            Kind::PodDisruptionBudget => ApiResource::erase::<policy::v1::PodDisruptionBudget>(&()),
            Kind::StatefulSet => ApiResource::erase::<apps::v1::StatefulSet>(&()),
            Kind::Job => ApiResource::erase::<batch::v1::Job>(&()),
            Kind::PinNode => ApiResource::erase::<crd::PinNode>(&()),
            Kind::Ingress => ApiResource::erase::<networking::v1::Ingress>(&()),
            Kind::HttpRoute => foreign("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
            Kind::PodMonitor => foreign("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors"),
        }
    }

    /// The kind's name as users write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Secret => "Secret",
            Kind::ConfigMap => "ConfigMap",
            Kind::Service => "Service",
            Kind::PodDisruptionBudget => "PodDisruptionBudget",
            Kind::StatefulSet => "StatefulSet",
            Kind::Job => "Job",
            Kind::PinNode => "PinNode",
            Kind::Ingress => "Ingress",
            Kind::HttpRoute => "HTTPRoute",
            Kind::PodMonitor => "PodMonitor",
        }
    }
}

fn foreign(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}
