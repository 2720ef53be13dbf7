//! The two Services of the pinners: one for clients, one for the nodes themselves.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::validate::Cluster;
use crate::desired::Desired;
use crate::kind::Kind;
use crate::names::{self, API_PORT, Component, SWARM_PORT};

/// The API, answered by any pinner that is ready.
#[must_use]
pub fn api(cluster: &Cluster) -> Desired {
    let ports = vec![ServicePort {
        name: Some("http".to_owned()),
        port: 80,
        target_port: Some(IntOrString::String("http".to_owned())),
        ..Default::default()
    }];
    service(cluster, cluster.name.clone(), ServiceSpec { ports: Some(ports), ..Default::default() })
}

/// An address per pinner, ready or not: Kubos dial each other through it.
#[must_use]
pub fn nodes(cluster: &Cluster) -> Desired {
    let port = |name: &str, port: i32, protocol: &str| ServicePort {
        name: Some(name.to_owned()),
        port,
        protocol: Some(protocol.to_owned()),
        ..Default::default()
    };
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        ports: Some(vec![
            port("swarm-tcp", SWARM_PORT, "TCP"),
            port("swarm-udp", SWARM_PORT, "UDP"),
            port("http", API_PORT, "TCP"),
        ]),
        ..Default::default()
    };
    service(cluster, names::nodes_service(&cluster.name), spec)
}

fn service(cluster: &Cluster, name: String, spec: ServiceSpec) -> Desired {
    let selector = Some(names::selector(&cluster.name, Component::Pinner));
    let service = Service {
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some(cluster.labels(Component::Pinner)),
            ..Default::default()
        },
        spec: Some(ServiceSpec { selector, ..spec }),
        ..Default::default()
    };
    Desired::new(Kind::Service, &cluster.owner, service)
}
