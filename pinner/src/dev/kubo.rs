//! One Kubo a node, in a private network on loopback: it dials nobody but the other nodes and whom a pin names.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::future;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{
    Stage,
    child::{self, Child, Program},
    setup::Node,
    state::{empty_dir_beside, write_private},
};

/// A node as the others know it.
struct Peer {
    id: String,
    address: String,
}

/// Starts every node's Kubo and waits until all answer.
pub(super) async fn start(stage: &Stage, slot: &mut Vec<Child>) -> anyhow::Result<()> {
    let Stage { state, setup, .. } = stage;
    let key = format!("/key/swarm/psk/1.0.0/\n/base16/\n{}\n", setup.secrets.swarm_key);
    write_private(&state.swarm_key(), &key)?;
    let repos: Vec<_> = setup.nodes.iter().map(|node| state.kubo(&node.name)).collect();
    let both = || repos.iter().zip(&setup.nodes);
    future::try_join_all(both().map(|(repo, node)| initialise(stage, node, repo))).await?;

    let configs: Vec<Value> = repos.iter().map(|repo| read_config(repo)).collect::<anyhow::Result<_>>()?;
    let peers: Vec<Peer> = configs.iter().zip(&setup.nodes).map(|(config, node)| Peer::of(config, node)).collect();
    for ((repo, config), node) in repos.iter().zip(configs).zip(&setup.nodes) {
        let config =
            serde_json::to_string_pretty(&private(config, node, &peers)).context("write Kubo's configuration")?;
        write_private(&repo.join("config"), &config)?;
        write_private(&repo.join("swarm.key"), &key)?;
        slot.push(Child::start(daemon(stage, node, repo), Arc::clone(&stage.roster)));
    }
    let http = reqwest::Client::builder().timeout(Duration::from_secs(1)).build().context("make an HTTP client")?;
    let ready = slot.iter().zip(&setup.nodes).map(|(child, node)| {
        let http = &http;
        child.ready(async move || {
            let answer = http.post(format!("http://{}/api/v0/id", node.rpc)).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
    });
    future::try_join_all(ready).await?;
    connect(&http, &setup.nodes, &peers).await;
    Ok(())
}

/// Each pair once. Peering alone would get there too, but its first attempt came before the other was up and the next one
/// is seconds away.
async fn connect(http: &reqwest::Client, nodes: &[Node], peers: &[Peer]) {
    let pairs = nodes.iter().enumerate().flat_map(|(index, node)| {
        peers[index + 1..].iter().map(move |peer| {
            let address = format!("{}/p2p/{}", peer.address, peer.id);
            http.post(format!("http://{}/api/v0/swarm/connect?arg={address}", node.rpc)).send()
        })
    });
    future::join_all(pairs).await;
}

impl Peer {
    fn of(config: &Value, node: &Node) -> Self {
        Self {
            id: config["Identity"]["PeerID"].as_str().unwrap_or_default().to_owned(),
            address: multiaddr(node.swarm),
        }
    }
}

/// Makes the repository beside its place and moves it there when it is whole. Profile `test` begins with nothing that
/// would dial out.
async fn initialise(stage: &Stage, node: &Node, repo: &Path) -> anyhow::Result<()> {
    if fs::exists(repo).with_context(|| format!("look for {}", repo.display()))? {
        return Ok(());
    }
    let new = empty_dir_beside(repo)?;
    let program = Program {
        name: format!("`ipfs init` of {}", node.name),
        args: vec!["init".into(), "--profile=test".into()],
        log: stage.state.log(&format!("ipfs-init-{}", node.name)),
        grace: Duration::ZERO,
        ..daemon(stage, node, &new)
    };
    child::run(&program, &stage.roster).await?;
    fs::rename(&new, repo).with_context(|| format!("move the repository to {}", repo.display()))
}

fn daemon(stage: &Stage, node: &Node, repo: &Path) -> Program {
    Program {
        name: format!("Kubo of {}", node.name),
        file: stage.programs.ipfs.clone(),
        args: vec!["daemon".into()],
        variables: variables(repo),
        stdin: None,
        account: None,
        log: stage.state.log(&format!("kubo-{}", node.name)),
        stop: Signal::SIGTERM,
        grace: Duration::from_secs(8),
    }
}

fn variables(repo: &Path) -> Vec<(String, String)> {
    let repo = repo.display().to_string();
    [
        ("HOME", repo.as_str()),
        ("IPFS_PATH", repo.as_str()),
        ("IPFS_TELEMETRY", "off"),
        // Without the swarm key it must not run at all.
        ("LIBP2P_FORCE_PNET", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn read_config(repo: &Path) -> anyhow::Result<Value> {
    let file = repo.join("config");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("read {}", file.display()))
}

/// The configuration with everything off that would look for others, and the other nodes as the only peers. Identity and
/// datastore stay.
fn private(mut config: Value, node: &Node, peers: &[Peer]) -> Value {
    let own = config["Identity"]["PeerID"].as_str().unwrap_or_default().to_owned();
    let others: Vec<Value> = peers
        .iter()
        .filter(|peer| peer.id != own)
        .map(|peer| json!({"ID": peer.id, "Addrs": [peer.address]}))
        .collect();
    config["Addresses"] = json!({
        "API": multiaddr(node.rpc),
        "Gateway": [],
        "Swarm": [multiaddr(node.swarm)],
        "Announce": [], "AppendAnnounce": [], "NoAnnounce": [],
    });
    config["Bootstrap"] = json!([]);
    config["Routing"] = json!({"Type": "none", "DelegatedRouters": []});
    config["Ipns"]["DelegatedPublishers"] = json!([]);
    config["DNS"]["Resolvers"] = json!({});
    config["Peering"]["Peers"] = json!(others);
    for (section, key) in [("Discovery", "MDNS"), ("Swarm", "RelayClient"), ("Swarm", "RelayService")] {
        config[section][key] = json!({"Enabled": false});
    }
    for section in ["AutoConf", "AutoTLS", "Provide", "HTTPRetrieval"] {
        config[section]["Enabled"] = json!(false);
    }
    config["AutoNAT"] = json!({"ServiceMode": "disabled"});
    config["Version"] = json!({"SwarmCheckEnabled": false});
    config["Swarm"]["DisableNatPortMap"] = json!(true);
    config["Swarm"]["AddrFilters"] = json!([]);
    // The default is 12 hours.
    config["Internal"]["ShutdownTimeout"] = json!("5s");
    config
}

fn multiaddr(address: std::net::SocketAddr) -> String {
    let family = if address.is_ipv4() { "ip4" } else { "ip6" };
    format!("/{family}/{}/tcp/{}", address.ip(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            name: "node-0".to_owned(),
            zone: "a",
            api: "127.0.0.1:1".parse().unwrap(),
            metrics: "127.0.0.1:2".parse().unwrap(),
            rpc: "127.0.0.1:3".parse().unwrap(),
            swarm: "127.0.0.1:4".parse().unwrap(),
            postgres: "127.0.0.1:5".parse().unwrap(),
            nats: "127.0.0.1:6".parse().unwrap(),
        }
    }

    #[test]
    fn a_kubo_knows_the_other_nodes_and_looks_for_nobody() {
        let before = json!({
            "Identity": {"PeerID": "me", "PrivKey": "k"},
            "Bootstrap": ["auto"],
            "Routing": {"DelegatedRouters": ["auto"]},
            "DNS": {"Resolvers": {".": "auto"}},
            "Ipns": {"DelegatedPublishers": ["auto"]},
            "Swarm": {"AddrFilters": ["/ip4/10.0.0.0/ipcidr/8"]},
        });
        let peer = |id: &str, port| Peer { id: id.to_owned(), address: format!("/ip4/127.0.0.1/tcp/{port}") };
        let after = private(before, &node(), &[peer("me", 4), peer("you", 14)]);
        assert_eq!(after["Peering"]["Peers"], json!([{"ID": "you", "Addrs": ["/ip4/127.0.0.1/tcp/14"]}]));
        assert_eq!(after["Identity"]["PrivKey"], "k");
        assert_eq!(after["Addresses"]["API"], "/ip4/127.0.0.1/tcp/3");
        assert_eq!(after["Addresses"]["Swarm"], json!(["/ip4/127.0.0.1/tcp/4"]));
        assert!(!after.to_string().contains("auto\""), "{after}");
        assert!(!after.to_string().contains("ipcidr"), "{after}");
    }
}
