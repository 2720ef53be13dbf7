//! Generated Secrets.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::cluster::validate::Cluster;
use crate::desired::Desired;
use crate::kind::Kind;
use crate::names::Component;
use crate::secrets::Content;

/// The Secret `name` with `content`.
#[must_use]
pub fn desired(cluster: &Cluster, name: &str, content: &Content) -> Desired {
    let data = content.iter().map(|(key, text)| (key.clone(), ByteString(text.expose().as_bytes().to_vec()))).collect();
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(cluster.labels(Component::Pinner)),
            ..Default::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Default::default()
    };
    Desired::new(Kind::Secret, &cluster.owner, secret)
}
