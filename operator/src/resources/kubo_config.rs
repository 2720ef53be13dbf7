//! The ConfigMap with Kubo's start-up script.
//!
//! The script runs before every start of the daemon and sets each setting that we rely on, so that a change of the spec
//! reaches Kubos that exist and nothing depends on what the image did when it made the repository. The `server` profile
//! is not used: it would keep pods from dialling each other.

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use crate::cluster::validate::Cluster;
use crate::crd::anchorage_cluster::Network;
use crate::crd::shared::Storage;
use crate::desired::Desired;
use crate::kind::Kind;
use crate::names::{self, Component};
use crate::quantity;

/// Where the swarm key of a Private network is mounted.
pub(crate) const SWARM_KEY_DIR: &str = "/etc/anchorage/swarm-key";
/// Environment variable with the size that the blocks may take, since volumes may differ between PinNodes.
pub(crate) const STORAGE_MAX: &str = "ANCHORAGE_STORAGE_MAX";

/// The ConfigMap, the same for all PinNodes of a cluster.
#[must_use]
pub fn desired(cluster: &Cluster) -> Desired {
    let config_map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(names::kubo_config(&cluster.name)),
            labels: Some(cluster.labels(Component::Pinner)),
            ..Default::default()
        },
        data: Some([("10-anchorage.sh".to_owned(), script(cluster))].into_iter().collect()),
        ..Default::default()
    };
    Desired::new(Kind::ConfigMap, &cluster.owner, config_map)
}

/// The script itself.
#[must_use]
pub fn script(cluster: &Cluster) -> String {
    let mut script = String::from(
        "#!/bin/sh\n# Written by anchorage-operator; runs before every start of the daemon.\nset -eu\n\
         set_json() { ipfs config --json \"$1\" \"$2\"; }\n\n",
    );
    script.push_str(match cluster.kubo.network {
        Network::Private => PRIVATE_KEY,
        Network::Public => "rm -f \"$IPFS_PATH/swarm.key\"\n",
    });
    for (key, value) in settings(cluster.kubo.network) {
        script.push_str(&format!("set_json {key} {}\n", quoted(&value)));
    }
    script.push_str(&format!("ipfs config Datastore.StorageMax \"${STORAGE_MAX}\"\n"));
    if !cluster.kubo.config_patch.is_empty() {
        script.push_str("\n# spec.kubo.configPatch\n");
    }
    for (key, value) in &cluster.kubo.config_patch {
        script.push_str(&format!("set_json {key} {}\n", quoted(value)));
    }
    script
}

const PRIVATE_KEY: &str = "rm -f \"$IPFS_PATH/swarm.key\"\n\
    (umask 0277 && cat /etc/anchorage/swarm-key/swarm.key >\"$IPFS_PATH/swarm.key\")\n";

/// Settings of both kinds of network. Each is set for both, so that a cluster can change from one to the other.
fn settings(network: Network) -> Vec<(&'static str, Value)> {
    let public = network == Network::Public;
    // QUIC and WebTransport cannot carry a swarm key.
    let listen = if public {
        json!([
            "/ip4/0.0.0.0/tcp/4001",
            "/ip6/::/tcp/4001",
            "/ip4/0.0.0.0/udp/4001/quic-v1",
            "/ip4/0.0.0.0/udp/4001/quic-v1/webtransport",
            "/ip6/::/udp/4001/quic-v1",
            "/ip6/::/udp/4001/quic-v1/webtransport"
        ])
    } else {
        json!(["/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001"])
    };
    let automatic = |value: Value, otherwise: Value| if public { value } else { otherwise };
    vec![
        ("Addresses.API", json!("/ip4/127.0.0.1/tcp/5001")),
        ("Addresses.Gateway", json!([])),
        ("Addresses.Swarm", listen),
        ("AutoConf.Enabled", json!(public)),
        ("AutoTLS.Enabled", json!(false)),
        ("Bootstrap", automatic(json!(["auto"]), json!([]))),
        ("Discovery.MDNS.Enabled", json!(false)),
        ("DNS.Resolvers", automatic(json!({ ".": "auto" }), json!({}))),
        ("Ipns.DelegatedPublishers", automatic(json!(["auto"]), json!([]))),
        ("Routing.DelegatedRouters", automatic(json!(["auto"]), json!([]))),
        ("Routing.Type", automatic(json!("auto"), json!("none"))),
        ("Swarm.DisableNatPortMap", json!(true)),
        ("Internal.ShutdownTimeout", json!("60s")),
    ]
}

/// The value of `STORAGE_MAX` for a volume: nine tenths of it, the rest is for the datastore's own files.
#[must_use]
pub(crate) fn storage_max(storage: &Storage) -> String {
    format!("{}B", quantity::units(&storage.size).unwrap_or(0) / 10 * 9)
}

/// JSON as one word of a shell script.
fn quoted(value: &Value) -> String {
    format!("'{}'", value.to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_a_setting_stays_inside_its_word() {
        assert_eq!(quoted(&json!("it's; rm -rf /")), r#"'"it'\''s; rm -rf /"'"#);
    }

    #[test]
    fn blocks_leave_a_tenth_of_the_volume_free() {
        let storage = Storage { size: "10G".to_owned(), storage_class_name: None };
        assert_eq!(storage_max(&storage), "9000000000B");
    }
}
