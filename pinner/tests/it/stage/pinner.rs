//! The program under test: `anchorage serve` as a process of its own.

use super::{
    client::Client,
    containers,
    database::Database,
    wait::{SOON, until},
    watchdog,
};
use nix::{sys::signal::Signal, unistd::Pid};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::TcpListener,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicU16, AtomicU32, Ordering},
    time::Duration,
};
use tokio::process::{Child, Command};

/// The deployment's admin token.
pub(crate) const ADMIN_TOKEN: &str = "an-admin-token-of-more-than-thirty-two-characters";
/// The deployment's root secret.
pub(crate) const TOKENS_ROOT: &str = "a-root-secret-of-more-than-thirty-two-characters";

/// The program with a subcommand and nothing of our own environment. `ANCHORAGE_PROGRAM` names another build of it.
pub(crate) fn program(subcommand: &str) -> Command {
    let built = env!("CARGO_BIN_EXE_anchorage").into();
    let mut command = Command::new(std::env::var_os("ANCHORAGE_PROGRAM").unwrap_or(built));
    command.arg(subcommand).env_clear().stdin(Stdio::null());
    command
}

/// A port that nobody listens on. Below the range from which outgoing connections take theirs.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let start = (std::process::id() % 700) as u16 * 10;
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// How a pinner is to be started.
#[derive(Clone)]
pub(crate) struct Setup {
    variables: BTreeMap<&'static str, String>,
}

impl Setup {
    /// A pinner of one copy on `database`, with the Kubo at `kubo` and a NATS account of its own.
    pub(crate) fn new(database: &Database, kubo: &str) -> Self {
        let mut variables = BTreeMap::from(database.service_urls());
        variables.extend([
            ("ANCHORAGE_LISTEN", format!("127.0.0.1:{}", free_port())),
            ("ANCHORAGE_METRICS_LISTEN", format!("127.0.0.1:{}", free_port())),
            ("ANCHORAGE_NODE_NAME", "node-0".into()),
            ("ANCHORAGE_DATABASE_POOL_SIZE", "8".into()),
            ("ANCHORAGE_NATS_URL", containers::nats()),
            ("ANCHORAGE_KUBO_URL", kubo.into()),
            ("ANCHORAGE_TOKENS_ROOT", TOKENS_ROOT.into()),
            ("ANCHORAGE_ADMIN_TOKEN", ADMIN_TOKEN.into()),
            ("ANCHORAGE_REPLICATION_MIN", "1".into()),
            ("ANCHORAGE_REPLICATION_MAX", "1".into()),
            ("ANCHORAGE_NETWORK_MODE", "Private".into()),
            ("ANCHORAGE_NETWORK_ALLOW_CIDRS", "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12".into()),
            ("ANCHORAGE_WORKER_SWEEP_SECONDS", "1".into()),
            ("ANCHORAGE_LOG_LEVEL", "info,anchorage=debug".into()),
            ("RUST_BACKTRACE", "1".into()),
        ]);
        Self { variables }
    }

    /// Sets a variable.
    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.variables.insert(name, value.to_string());
        self
    }

    /// Another pinner of the same cluster.
    pub(crate) fn sibling(&self, name: &str, kubo: &str) -> Self {
        self.clone()
            .with("ANCHORAGE_LISTEN", format!("127.0.0.1:{}", free_port()))
            .with("ANCHORAGE_METRICS_LISTEN", format!("127.0.0.1:{}", free_port()))
            .with("ANCHORAGE_NODE_NAME", name)
            .with("ANCHORAGE_KUBO_URL", kubo)
    }

    /// The command, to be run in another way than [`Self::launch`] does.
    pub(crate) fn command(&self) -> Command {
        let mut command = program("serve");
        command.envs(&self.variables).kill_on_drop(true);
        command
    }

    /// Starts the process and waits for nothing.
    pub(crate) fn launch(&self) -> Pinner {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("pinner-{}.log", NEXT.fetch_add(1, Ordering::Relaxed)));
        let child = self.command().stdout(Stdio::null()).stderr(File::create(&log).expect("a log file")).spawn();
        let child = child.expect("the program starts");
        watchdog::started(child.id().expect("it was just started"));
        let url = |name| format!("http://{}", self.variables[name]);
        Pinner { url: url("ANCHORAGE_LISTEN"), metrics_url: url("ANCHORAGE_METRICS_LISTEN") + "/metrics", log, child }
    }

    /// Starts the process and waits until it can do everything, its Kubo included.
    pub(crate) async fn start(&self) -> Pinner {
        let pinner = self.launch();
        pinner.wait_for("[+]kubo ok", 200).await;
        pinner
    }
}

/// A running pinner. Killed when dropped; its log is shown when the test failed.
pub(crate) struct Pinner {
    /// Where its API is.
    pub(crate) url: String,
    /// Where its metrics are.
    pub(crate) metrics_url: String,
    log: PathBuf,
    child: Child,
}

impl Pinner {
    /// Waits until `/readyz?verbose` has this status and holds this text.
    pub(crate) async fn wait_for(&self, text: &str, status: u16) -> String {
        let client = Client::new(&self.url, None);
        until(&format!("/readyz?verbose of {} is {status} and says {text:?}", self.url), SOON, async || {
            let log = self.log();
            let last_words = log.lines().find(|line| line.starts_with("anchorage: "));
            assert!(last_words.is_none(), "it has ended: {last_words:?}");
            let answer = client.try_send(client.request(reqwest::Method::GET, "/readyz?verbose")).await.ok()?;
            (answer.status == status && answer.body.contains(text)).then_some(answer.body)
        })
        .await
    }

    /// A client of the platform.
    pub(crate) fn admin(&self) -> Client {
        Client::new(&self.url, Some(ADMIN_TOKEN))
    }

    /// A client of an org, with these scopes.
    pub(crate) async fn org_with(&self, org: &str, scopes: &[&str]) -> Client {
        let minted = self.admin().post("/admin/v1/tokens", &json!({"org": org, "scopes": scopes})).await.expect(201);
        Client::new(&self.url, minted["token"].as_str())
    }

    /// A client of an org that may do everything with pins.
    pub(crate) async fn org(&self, org: &str) -> Client {
        self.org_with(org, &["pins:read", "pins:write"]).await
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.id().expect("it has not ended");
        nix::sys::signal::kill(Pid::from_raw(pid as i32), signal).expect("it is ours");
    }

    /// The most memory that it ever held, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.child.id().expect("it has not ended"))).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.expect("Linux says so").parse::<usize>().unwrap() * 1024
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self, within: Duration) -> ExitStatus {
        let pid = self.child.id();
        let status =
            tokio::time::timeout(within, self.child.wait()).await.expect("it ends in time").expect("it is ours");
        if let Some(pid) = pid {
            watchdog::ended(pid);
        }
        status
    }

    /// Kills it on the spot.
    pub(crate) async fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.ended(SOON).await;
    }
}

impl Drop for Pinner {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(60)..];
            eprintln!("---- the end of {}\n{}", self.log.display(), shown.join("\n"));
        }
        if let Some(pid) = self.child.id() {
            drop(self.child.start_kill());
            watchdog::ended(pid);
        }
    }
}
