//! What `anchorage serve` and `anchorage migrate` are told: defaults < YAML file < `ANCHORAGE_…` variables < flags.
//!
//! [`Config::load`] takes every input as an argument (flags, variables; files are read through their paths), checks all
//! values that are there, and remembers where each came from, so that a message can name the places that disagree.
//! What a command cannot do without is asked for by [`Config::for_serve`] and [`Config::for_migrate`].
//! Nothing here connects to anything: whether a database answers is found out by whoever uses its URL.

mod args;
mod check;
mod error;
mod keys;
mod layers;
mod parse;
mod secret;
mod show;
mod suggest;
mod variables;
mod yaml;

use std::{fmt, net::SocketAddr, time::Duration};

use ipnet::IpNet;
use reqwest::Url;
use tracing_subscriber::filter::Targets;

pub use self::{
    args::{ConfigArgs, ConfigFileArgs, process_variables},
    error::ConfigError,
    layers::Place,
    secret::Secret,
};
use self::{keys::Key, layers::Settings};

/// All keys, each well-formed where it is set, with the place it came from.
#[derive(Debug)]
pub struct Config {
    settings: Settings,
    values: Values,
}

/// The typed values; `None` where a key has neither value nor default.
#[derive(Debug)]
struct Values {
    listen: SocketAddr,
    metrics: Metrics,
    node_name: Option<String>,
    node_zone: Option<String>,
    admin_url: Option<Secret>,
    api_url: Option<Secret>,
    worker_url: Option<Secret>,
    metrics_url: Option<Secret>,
    pool_size: u32,
    nats_url: Option<Secret>,
    nats_credentials: Option<Secret>,
    nats_replicas: usize,
    kubo_url: Url,
    token_root: Option<Secret>,
    admin_token: Option<Secret>,
    replication: Replication,
    network: Network,
    worker: Worker,
    rebalance: Rebalance,
    upload_max: u64,
    log: Log,
    shutdown_grace: Duration,
}

/// What `anchorage serve` runs with; nothing in it is missing.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Address of the API.
    pub listen: SocketAddr,
    /// The metrics port and who may read it.
    pub metrics: Metrics,
    /// Which node this pinner is.
    pub node: Node,
    /// How to reach Postgres, once per role.
    pub database: Database,
    /// How to reach NATS.
    pub nats: Nats,
    /// RPC of this node's Kubo.
    pub kubo_url: Url,
    /// Text that the token signing keys are derived from, at least 32 bytes.
    pub token_root: Secret,
    /// Bearer token of the platform's administrator, at least 32 characters.
    pub admin_token: Secret,
    /// How many nodes hold a content.
    pub replication: Replication,
    /// Which IPFS network the nodes live in.
    pub network: Network,
    /// Bounds of the worker.
    pub worker: Worker,
    /// How contents move between nodes.
    pub rebalance: Rebalance,
    /// The most bytes of one uploaded file, 1 to 2^40.
    pub upload_max: u64,
    /// Form and level of the log.
    pub log: Log,
    /// How long a shutdown may take before work is cut off.
    pub shutdown_grace: Duration,
}

/// What `anchorage migrate` runs with.
#[derive(Debug, Clone)]
pub struct MigrateConfig {
    /// URL of a role that may create roles, or of `anchorage_migrator` once the roles exist.
    pub admin_url: Secret,
    /// URL whose password `anchorage_api` gets.
    pub api_url: Secret,
    /// URL whose password `anchorage_worker` gets.
    pub worker_url: Secret,
    /// URL whose password `anchorage_metrics` gets.
    pub metrics_url: Secret,
    /// Form and level of the log.
    pub log: Log,
}

/// The metrics port.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Its address.
    pub listen: SocketAddr,
    /// Peer addresses that may read it.
    pub allow_cidrs: Vec<IpNet>,
}

/// Which node a pinner is.
#[derive(Debug, Clone)]
pub struct Node {
    /// Name of its `PinNode`.
    pub name: String,
    /// Its failure domain; `None` where zones are not known.
    pub zone: Option<String>,
}

/// How a pinner reaches Postgres: one URL per role, so that no code path has more rights than it needs.
#[derive(Debug, Clone)]
pub struct Database {
    /// Logs in as `anchorage_api`.
    pub api_url: Secret,
    /// Logs in as `anchorage_worker`.
    pub worker_url: Secret,
    /// Logs in as `anchorage_metrics`.
    pub metrics_url: Secret,
    /// Most connections per role, 1 to 1,000.
    pub pool_size: u32,
}

/// How a pinner reaches NATS.
#[derive(Debug, Clone)]
pub struct Nats {
    /// One server URL or several with commas between; may hold user and password.
    pub url: Secret,
    /// Content of a `.creds` file.
    pub credentials: Option<Secret>,
    /// Replicas of streams and buckets, 1 to 5.
    pub replicas: usize,
}

/// How many nodes hold a content; `1 <= min <= max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// Fewer than this is not `pinned`.
    pub min: u8,
    /// More than this is not asked for.
    pub max: u8,
}

/// Which IPFS network the nodes live in.
#[derive(Debug, Clone)]
pub struct Network {
    /// The public network or one with a swarm key.
    pub mode: NetworkMode,
    /// Ranges that may be dialled; on a public network in addition to all public addresses.
    pub allow_cidrs: Vec<IpNet>,
}

/// The public IPFS network, or one of its own with a swarm key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkMode {
    /// The network everybody is in.
    Public,
    /// Only who has the swarm key is in it.
    Private,
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NetworkMode::Public => "Public",
            NetworkMode::Private => "Private",
        })
    }
}

/// Bounds of the worker.
#[derive(Debug, Clone, Copy)]
pub struct Worker {
    /// New placements worked on at a time, 1 to 4,096, as are the other slots.
    pub slots: usize,
    /// Fetches that take longer than a moment, beside those.
    pub slow_slots: usize,
    /// Copies that the leader asked for.
    pub copy_slots: usize,
    /// Placements that were tried before.
    pub retry_slots: usize,
    /// Placements that are let go.
    pub unpin_slots: usize,
    /// How long a first attempt may bring nothing before it joins those that are tried again.
    pub patience: Duration,
    /// Between two searches for work whose wake-up was lost.
    pub sweep: Duration,
    /// A pin without progress for this long is given up for now; never more than `deadline`.
    pub stall: Duration,
    /// A pin is given up for good this long after its first attempt.
    pub deadline: Duration,
    /// Between two comparisons of what Kubo holds with what its placements say.
    pub reconcile: Duration,
    /// Between two garbage collections of Kubo.
    pub gc: Duration,
}

/// How contents move between nodes.
#[derive(Debug, Clone, Copy)]
pub struct Rebalance {
    /// Whether nodes that join get their share by themselves. Drains and repair go on without.
    pub enabled: bool,
    /// Contents that are on the way at once, in the whole fleet: 1 to 100,000.
    pub max_concurrent_moves: usize,
    /// A node that is silent for longer is given up, and what it held is copied from elsewhere.
    pub grace: Duration,
}

/// Form and level of the log.
#[derive(Debug, Clone)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// What is logged, as `info` or `info,sqlx=warn`.
    pub level: Targets,
}

/// Whom the log is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads and checks every layer. `variables` are those of the process ([`process_variables`]); names that do not
    /// begin with `ANCHORAGE_` are passed over.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown name, a malformed value or a contradiction; the message names the place and
    /// the cure and never holds a secret.
    pub fn load(args: &ConfigArgs, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let settings = layers::read(args, variables)?;
        let values = parse::values(&settings)?;
        check::contradictions(&settings, &values)?;
        Ok(Self { settings, values })
    }

    /// Form and level of the log, which every command needs.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.values.log
    }

    /// What is in force as YAML: a comment beside each value says where it comes from, secrets are masked.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        show::yaml(&self.settings)
    }

    /// What `anchorage serve` needs.
    ///
    /// # Errors
    /// [`ConfigError::Missing`], naming every key that is not set.
    pub fn for_serve(self) -> Result<ServeConfig, ConfigError> {
        let values = self.values;
        let mut required = Required::by("serve");
        let config = (
            required.take(&keys::NODE_NAME, values.node_name),
            required.take(&keys::DATABASE_API_URL, values.api_url),
            required.take(&keys::DATABASE_WORKER_URL, values.worker_url),
            required.take(&keys::DATABASE_METRICS_URL, values.metrics_url),
            required.take(&keys::NATS_URL, values.nats_url),
            required.take(&keys::TOKENS_ROOT, values.token_root),
            required.take(&keys::ADMIN_TOKEN, values.admin_token),
        );
        let (
            Some(name),
            Some(api_url),
            Some(worker_url),
            Some(metrics_url),
            Some(nats_url),
            Some(token_root),
            Some(admin_token),
        ) = config
        else {
            return Err(required.into());
        };
        Ok(ServeConfig {
            listen: values.listen,
            metrics: values.metrics,
            node: Node { name, zone: values.node_zone },
            database: Database { api_url, worker_url, metrics_url, pool_size: values.pool_size },
            nats: Nats { url: nats_url, credentials: values.nats_credentials, replicas: values.nats_replicas },
            kubo_url: values.kubo_url,
            token_root,
            admin_token,
            replication: values.replication,
            network: values.network,
            worker: values.worker,
            rebalance: values.rebalance,
            upload_max: values.upload_max,
            log: values.log,
            shutdown_grace: values.shutdown_grace,
        })
    }

    /// What `anchorage migrate` needs.
    ///
    /// # Errors
    /// [`ConfigError::Missing`], naming every key that is not set.
    pub fn for_migrate(self) -> Result<MigrateConfig, ConfigError> {
        let values = self.values;
        let mut required = Required::by("migrate");
        let config = (
            required.take(&keys::DATABASE_ADMIN_URL, values.admin_url),
            required.take(&keys::DATABASE_API_URL, values.api_url),
            required.take(&keys::DATABASE_WORKER_URL, values.worker_url),
            required.take(&keys::DATABASE_METRICS_URL, values.metrics_url),
        );
        let (Some(admin_url), Some(api_url), Some(worker_url), Some(metrics_url)) = config else {
            return Err(required.into());
        };
        Ok(MigrateConfig { admin_url, api_url, worker_url, metrics_url, log: values.log })
    }
}

/// Collects what a command misses, so that one message names all of it.
struct Required {
    command: &'static str,
    missing: Vec<&'static Key>,
}

impl Required {
    fn by(command: &'static str) -> Self {
        Self { command, missing: Vec::new() }
    }

    fn take<T>(&mut self, key: &'static Key, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.missing.push(key);
        }
        value
    }
}

impl From<Required> for ConfigError {
    fn from(required: Required) -> Self {
        ConfigError::Missing {
            command: required.command,
            keys: required.missing.iter().map(|key| key.how_to_set()).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
