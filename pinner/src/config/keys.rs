//! The table of all keys: YAML path, default, and what kind of value it holds. Everything else that knows a key's name
//! (variables, messages, `anchorage config`) takes it from here.

/// One configuration key.
#[derive(Debug)]
pub(super) struct Key {
    /// Where it stands in the YAML file, dots between the levels.
    pub(super) path: &'static str,
    /// Its value when no layer sets it.
    pub(super) default: Option<&'static str>,
    pub(super) form: Form,
}

/// What a key's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One value.
    Scalar,
    /// A YAML list, or one text with commas.
    List,
    /// A text that may also stand in a file of its own and is never printed.
    Secret,
}

impl Key {
    const fn scalar(path: &'static str, default: &'static str) -> Self {
        Self { path, default: Some(default), form: Form::Scalar }
    }

    const fn secret(path: &'static str) -> Self {
        Self { path, default: None, form: Form::Secret }
    }

    pub(super) fn is_secret(&self) -> bool {
        self.form == Form::Secret
    }

    /// `metrics.allowCidrs` -> `ANCHORAGE_METRICS_ALLOW_CIDRS`.
    pub(super) fn variable(&self) -> String {
        let mut name = String::from(PREFIX);
        for letter in self.path.chars() {
            match letter {
                '.' => name.push('_'),
                letter if letter.is_ascii_uppercase() => name.extend(['_', letter]),
                letter => name.push(letter.to_ascii_uppercase()),
            }
        }
        name
    }

    /// The variable that names the file with the secret.
    pub(super) fn file_variable(&self) -> String {
        format!("{}_FILE", self.variable())
    }

    /// The YAML path that names the file with the secret.
    pub(super) fn file_path(&self) -> String {
        format!("{}File", self.path)
    }

    /// The key and every way to set it, for the message that it is missing.
    pub(super) fn how_to_set(&self) -> String {
        if self.is_secret() {
            format!(
                "{path} (set variable {variable} or {variable}_FILE, or {path} or {path}File in the YAML file)",
                path = self.path,
                variable = self.variable(),
            )
        } else {
            format!(
                "{path} (set variable {variable}, or {path} in the YAML file)",
                path = self.path,
                variable = self.variable(),
            )
        }
    }
}

/// What the variables' names begin with.
pub(super) const PREFIX: &str = "ANCHORAGE_";

pub(super) const LISTEN: Key = Key::scalar("listen", "0.0.0.0:8080");
pub(super) const METRICS_LISTEN: Key = Key::scalar("metrics.listen", "0.0.0.0:9090");
pub(super) const METRICS_ALLOW_CIDRS: Key = Key {
    path: "metrics.allowCidrs",
    default: Some("127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7"),
    form: Form::List,
};
pub(super) const NODE_NAME: Key = Key { path: "node.name", default: None, form: Form::Scalar };
pub(super) const NODE_ZONE: Key = Key::scalar("node.zone", "");
pub(super) const DATABASE_ADMIN_URL: Key = Key::secret("database.adminUrl");
pub(super) const DATABASE_API_URL: Key = Key::secret("database.apiUrl");
pub(super) const DATABASE_WORKER_URL: Key = Key::secret("database.workerUrl");
pub(super) const DATABASE_METRICS_URL: Key = Key::secret("database.metricsUrl");
pub(super) const DATABASE_POOL_SIZE: Key = Key::scalar("database.poolSize", "8");
pub(super) const NATS_URL: Key = Key::secret("nats.url");
pub(super) const NATS_CREDENTIALS: Key = Key::secret("nats.credentials");
pub(super) const NATS_REPLICAS: Key = Key::scalar("nats.replicas", "1");
pub(super) const KUBO_URL: Key = Key::scalar("kubo.url", "http://127.0.0.1:5001");
pub(super) const TOKENS_ROOT: Key = Key::secret("tokens.root");
pub(super) const ADMIN_TOKEN: Key = Key::secret("admin.token");
pub(super) const REPLICATION_MIN: Key = Key::scalar("replication.min", "2");
pub(super) const REPLICATION_MAX: Key = Key::scalar("replication.max", "2");
pub(super) const NETWORK_MODE: Key = Key::scalar("network.mode", "Public");
/// Its default depends on `network.mode`, see [`PRIVATE_ALLOW_CIDRS`].
pub(super) const NETWORK_ALLOW_CIDRS: Key = Key { path: "network.allowCidrs", default: Some(""), form: Form::List };
pub(super) const WORKER_SLOTS: Key = Key::scalar("worker.slots", "16");
/// Fetches that take longer than a moment, beside those in `worker.slots`.
pub(super) const WORKER_SLOW_SLOTS: Key = Key::scalar("worker.slowSlots", "64");
/// Copies that the leader asked for, so that contents are where the placement map wants them.
pub(super) const WORKER_COPY_SLOTS: Key = Key::scalar("worker.copySlots", "8");
/// Fetches that came to nothing before and are tried again.
pub(super) const WORKER_RETRY_SLOTS: Key = Key::scalar("worker.retrySlots", "16");
pub(super) const WORKER_UNPIN_SLOTS: Key = Key::scalar("worker.unpinSlots", "8");
/// How long a first attempt may bring nothing before it joins those that are tried again.
pub(super) const WORKER_PATIENCE_SECONDS: Key = Key::scalar("worker.patienceSeconds", "10");
pub(super) const WORKER_SWEEP_SECONDS: Key = Key::scalar("worker.sweepSeconds", "5");
pub(super) const WORKER_STALL_SECONDS: Key = Key::scalar("worker.stallSeconds", "120");
pub(super) const WORKER_DEADLINE_SECONDS: Key = Key::scalar("worker.deadlineSeconds", "86400");
/// Between two comparisons of what Kubo holds with what its placements say.
pub(super) const WORKER_RECONCILE_SECONDS: Key = Key::scalar("worker.reconcileSeconds", "3600");
/// Between two garbage collections of Kubo.
pub(super) const WORKER_GC_SECONDS: Key = Key::scalar("worker.gcSeconds", "3600");
/// Whether nodes that join get their share by themselves.
pub(super) const REBALANCE_ENABLED: Key = Key::scalar("rebalance.enabled", "true");
/// Contents that are on the way at once, in the whole fleet.
pub(super) const REBALANCE_MAX_CONCURRENT_MOVES: Key = Key::scalar("rebalance.maxConcurrentMoves", "1000");
/// A node that is silent for longer is given up, and what it held is copied from elsewhere.
pub(super) const REBALANCE_GRACE_SECONDS: Key = Key::scalar("rebalance.graceSeconds", "600");
/// The most bytes of one uploaded file.
pub(super) const UPLOADS_MAX_BYTES: Key = Key::scalar("uploads.maxBytes", "4294967296");
pub(super) const LOG_FORMAT: Key = Key::scalar("log.format", "text");
pub(super) const LOG_LEVEL: Key = Key::scalar("log.level", "info");
pub(super) const SHUTDOWN_GRACE_SECONDS: Key = Key::scalar("shutdown.graceSeconds", "20");

/// Default of `network.allowCidrs` on a private network, where nodes have private addresses.
pub(super) const PRIVATE_ALLOW_CIDRS: &str = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7";

/// Every key; those of one section stand together.
pub(super) static ALL: [&Key; 38] = [
    &LISTEN,
    &METRICS_LISTEN,
    &METRICS_ALLOW_CIDRS,
    &NODE_NAME,
    &NODE_ZONE,
    &DATABASE_ADMIN_URL,
    &DATABASE_API_URL,
    &DATABASE_WORKER_URL,
    &DATABASE_METRICS_URL,
    &DATABASE_POOL_SIZE,
    &NATS_URL,
    &NATS_CREDENTIALS,
    &NATS_REPLICAS,
    &KUBO_URL,
    &TOKENS_ROOT,
    &ADMIN_TOKEN,
    &REPLICATION_MIN,
    &REPLICATION_MAX,
    &NETWORK_MODE,
    &NETWORK_ALLOW_CIDRS,
    &WORKER_SLOTS,
    &WORKER_SLOW_SLOTS,
    &WORKER_COPY_SLOTS,
    &WORKER_RETRY_SLOTS,
    &WORKER_UNPIN_SLOTS,
    &WORKER_PATIENCE_SECONDS,
    &WORKER_SWEEP_SECONDS,
    &WORKER_STALL_SECONDS,
    &WORKER_DEADLINE_SECONDS,
    &WORKER_RECONCILE_SECONDS,
    &WORKER_GC_SECONDS,
    &REBALANCE_ENABLED,
    &REBALANCE_MAX_CONCURRENT_MOVES,
    &REBALANCE_GRACE_SECONDS,
    &UPLOADS_MAX_BYTES,
    &LOG_FORMAT,
    &LOG_LEVEL,
    &SHUTDOWN_GRACE_SECONDS,
];
