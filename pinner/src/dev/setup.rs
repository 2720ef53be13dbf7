//! Decides names, zones, ports and secrets of a run; those of an earlier run with the same state directory stay.

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::{
    DevArgs, pinner,
    ports::{Claims, PortBook},
    state::{StateDir, write_private},
};
use crate::config;

/// Failure domains, given to the nodes in turn.
const ZONES: [&str; 3] = ["a", "b", "c"];

/// Everything that is decided before anything starts.
pub(super) struct Setup {
    pub(super) nodes: Vec<Node>,
    pub(super) postgres: SocketAddr,
    pub(super) nats: SocketAddr,
    pub(super) secrets: Secrets,
    /// Keeps others from the ports.
    _claims: Claims,
    /// Variables of ours that every pinner gets, as the user set them.
    pub(super) tuning: Vec<(String, String)>,
}

/// One node: a pinner and its Kubo.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) zone: &'static str,
    pub(super) api: SocketAddr,
    pub(super) metrics: SocketAddr,
    /// RPC of its Kubo.
    pub(super) rpc: SocketAddr,
    /// Where its Kubo meets the others.
    pub(super) swarm: SocketAddr,
    /// Where its pinner finds Postgres.
    pub(super) postgres: SocketAddr,
    /// Where its pinner finds NATS.
    pub(super) nats: SocketAddr,
}

impl Node {
    /// URL of its API for programs on this machine.
    pub(super) fn endpoint(&self) -> String {
        let mut address = self.api;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{address}")
    }
}

/// Generated once per state directory.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Secrets {
    pub(super) postgres: String,
    pub(super) api: String,
    pub(super) worker: String,
    pub(super) metrics: String,
    pub(super) tokens_root: String,
    pub(super) admin_token: String,
    pub(super) swarm_key: String,
}

impl Secrets {
    fn generate() -> Self {
        Self {
            postgres: secret(),
            api: secret(),
            worker: secret(),
            metrics: secret(),
            tokens_root: secret(),
            admin_token: secret(),
            swarm_key: secret(),
        }
    }
}

/// 256 random bits as 64 hexadecimal digits.
fn secret() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

/// What a state directory remembers.
#[derive(Serialize, Deserialize)]
struct Memory {
    ports: BTreeMap<String, u16>,
    secrets: Secrets,
}

/// Decides, and remembers it before anything runs with it.
///
/// # Errors
/// A port that was asked for and is taken, a state directory that cannot be read or written.
pub(super) fn prepare(state: &StateDir, args: &DevArgs) -> anyhow::Result<Setup> {
    let memory = recall(state)?;
    let mut ports = PortBook::open(memory.ports);
    let (postgres, nats) = (ports.take("postgres")?, ports.take("nats")?);
    let mut decided = Vec::new();
    for index in 0..usize::from(args.nodes) {
        let name = format!("node-{index}");
        let purpose = |what: &str| format!("{name}.{what}");
        let api = if index == 0 {
            ports.take_exactly(args.listen, "--listen", &purpose("api"))?
        } else {
            ports.take(&purpose("api"))?
        };
        decided.push(Node {
            zone: ZONES[index % ZONES.len()],
            api,
            metrics: ports.take(&purpose("metrics"))?,
            rpc: ports.take(&purpose("rpc"))?,
            swarm: ports.take(&purpose("swarm"))?,
            postgres: args.postgres_through.get(index).copied().unwrap_or(postgres),
            nats: args.nats_through.get(index).copied().unwrap_or(nats),
            name,
        });
    }
    let (ports, claims) = ports.close();
    let memory = Memory { ports, secrets: memory.secrets };
    let text = serde_json::to_string_pretty(&memory).context("write the state")?;
    write_private(&state.memory_file(), &text)?;

    Ok(Setup {
        tuning: pinner::tuning(config::process_variables(), decided.len()),
        nodes: decided,
        _claims: claims,
        postgres,
        nats,
        secrets: memory.secrets,
    })
}

fn recall(state: &StateDir) -> anyhow::Result<Memory> {
    let file = state.memory_file();
    match fs::read_to_string(&file) {
        Ok(text) => serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged; without its passwords the data beside it cannot be used: restore it, or choose another --state-dir",
                file.display()
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Memory {
            ports: BTreeMap::new(),
            secrets: Secrets::generate(),
        }),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}
