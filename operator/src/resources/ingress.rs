//! The Ingress of the API.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend, IngressSpec,
    IngressTLS, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::cluster::validate::Cluster;
use crate::crd::anchorage_cluster as crd;
use crate::desired::Desired;
use crate::kind::Kind;
use crate::names::Component;

/// One host, all paths, to the API's Service.
#[must_use]
pub fn desired(cluster: &Cluster, wanted: &crd::IngressSpec) -> Desired {
    let backend = IngressBackend {
        service: Some(IngressServiceBackend {
            name: cluster.name.clone(),
            port: Some(ServiceBackendPort { name: Some("http".to_owned()), ..Default::default() }),
        }),
        ..Default::default()
    };
    let path = HTTPIngressPath { path: Some("/".to_owned()), path_type: "Prefix".to_owned(), backend };
    let tls = wanted
        .tls_secret_name
        .as_ref()
        .map(|secret| vec![IngressTLS { hosts: Some(vec![wanted.host.clone()]), secret_name: Some(secret.clone()) }]);
    let ingress = Ingress {
        metadata: ObjectMeta {
            name: Some(cluster.name.clone()),
            labels: Some(cluster.labels(Component::Pinner)),
            annotations: (!wanted.annotations.is_empty()).then(|| wanted.annotations.clone()),
            ..Default::default()
        },
        spec: Some(IngressSpec {
            ingress_class_name: wanted.class_name.clone(),
            rules: Some(vec![IngressRule {
                host: Some(wanted.host.clone()),
                http: Some(HTTPIngressRuleValue { paths: vec![path] }),
            }]),
            tls,
            ..Default::default()
        }),
        ..Default::default()
    };
    Desired::new(Kind::Ingress, &cluster.owner, ingress)
}
