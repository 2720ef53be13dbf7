//! The service that is disturbed: an `anchorage dev` of its own with short times, in a directory of the run, and how its
//! parts are reached.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    ask::{ask, request},
    disk::{self, Disk},
    relay::Lines,
};
use crate::story;

/// Short, so that what comes after minutes in earnest comes in a run.
const VARIABLES: [(&str, &str); 8] = [
    ("ANCHORAGE_REBALANCE_GRACE_SECONDS", "6"),
    ("ANCHORAGE_WORKER_RECONCILE_SECONDS", "4"),
    ("ANCHORAGE_WORKER_GC_SECONDS", "15"),
    ("ANCHORAGE_WORKER_STALL_SECONDS", "5"),
    ("ANCHORAGE_WORKER_SWEEP_SECONDS", "2"),
    ("ANCHORAGE_WORKER_PATIENCE_SECONDS", "5"),
    ("ANCHORAGE_DATABASE_POOL_SIZE", "6"),
    ("ANCHORAGE_LOG_LEVEL", "info"),
];
/// How long the end of everything may take.
const ENDS_WITHIN: Duration = Duration::from_secs(40);

/// What can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The postmaster.
    Postgres,
    /// nats-server.
    Nats,
    /// A node's Kubo.
    Kubo(usize),
    /// A node's pinner.
    Pinner(usize),
}

/// A running service. It ends with this value.
#[derive(Debug)]
pub struct System {
    dev: Child,
    state: PathBuf,
    said: Announcement,
    lines: Lines,
    /// Unmounted after the end of those who use them.
    disks: Vec<(Part, Disk)>,
}

/// The line of `anchorage dev`, as far as it is of use here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Announcement {
    endpoints: Vec<String>,
    admin_token: String,
    kubo: Vec<String>,
    database_url: String,
    nats_url: String,
}

impl System {
    /// Starts one in `dir` and waits until it is ready. `on_disks` gives Postgres, NATS and each Kubo a small disk of their own
    /// if we may mount.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn start(dir: &Path, nodes: u8, on_disks: bool) -> Result<Self> {
        let system = Self::run(dir, nodes)?;
        if !on_disks {
            return Ok(system);
        }
        // What there is to move to the disks is there after a first start.
        let state = system.state.clone();
        drop(system);
        let disks = disk::of_each_part(&state, nodes).unwrap_or_else(|error| {
            story::note(&format!("no disk will be full: {error:#}"));
            Vec::new()
        });
        let mut system = Self::run(dir, nodes)?;
        system.disks = disks;
        Ok(system)
    }

    fn run(dir: &Path, nodes: u8) -> Result<Self> {
        let program = program()?;
        let (state, log) = (dir.join("state"), dir.join("dev.log"));
        let lines = Lines::new(&state, nodes)?;
        let mut dev = Command::new(&program)
            .args(["dev", "--listen", "127.0.0.1:0", "--nodes", &nodes.to_string(), "--state-dir"])
            .arg(&state)
            .args(lines.flags())
            .envs(VARIABLES)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).with_context(|| format!("create {}", log.display()))?)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut line = String::new();
        let out = dev.stdout.take().context("anchorage dev has no standard output")?;
        BufReader::new(out).read_line(&mut line).context("read what anchorage dev announces")?;
        match serde_json::from_str(&line) {
            Ok(said) => Ok(Self { dev, state, said, lines, disks: Vec::new() }),
            Err(_) => {
                let _ = dev.wait();
                bail!("anchorage dev did not become ready: {}", fs::read_to_string(log).unwrap_or_default())
            }
        }
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.said.kubo.len()
    }

    /// Where a node's API is.
    ///
    /// # Errors
    /// When the announcement holds no address.
    pub fn api(&self, node: usize) -> Result<SocketAddr> {
        address(&self.said.endpoints, node)
    }

    /// Where a node's Kubo is.
    ///
    /// # Errors
    /// When the announcement holds no address.
    pub fn kubo(&self, node: usize) -> Result<SocketAddr> {
        address(&self.said.kubo, node)
    }

    /// Where NATS is.
    ///
    /// # Errors
    /// When the announcement holds no address.
    pub fn nats(&self) -> Result<SocketAddr> {
        let url = &self.said.nats_url;
        url.strip_prefix("nats://").and_then(|address| address.parse().ok()).with_context(|| format!("read {url}"))
    }

    /// Where NATS keeps its streams.
    pub fn nats_store(&self) -> PathBuf {
        self.state.join("nats/data")
    }

    /// The database, as superuser.
    pub fn database_url(&self) -> &str {
        &self.said.database_url
    }

    /// How the pinners reach Postgres and NATS.
    pub fn lines(&self) -> &Lines {
        &self.lines
    }

    /// The disk of a part.
    ///
    /// # Errors
    /// When it has none of its own.
    pub fn disk(&self, of: Part) -> Result<&Disk> {
        let disk = self.disks.iter().find(|(part, _)| *part == of);
        disk.map(|(_, disk)| disk).with_context(|| format!("{of:?} has no disk of its own"))
    }

    /// Makes all lines whole and room on all disks.
    pub fn mend(&self) {
        self.lines.mend();
        self.disks.iter().for_each(|(_, disk)| drop(disk.clear()));
    }

    /// Sends a signal to a part, as it runs now. `anchorage dev` starts again what dies.
    ///
    /// # Errors
    /// When it does not run at this moment.
    pub fn signal(&self, part: Part, signal: Signal) -> Result<()> {
        let name = match part {
            Part::Postgres => "Postgres".to_owned(),
            Part::Nats => "NATS".to_owned(),
            Part::Kubo(node) => format!("Kubo of node-{node}"),
            Part::Pinner(node) => format!("pinner of node-{node}"),
        };
        let running = fs::read_to_string(self.state.join("running.json")).context("read who runs")?;
        let running: Value = serde_json::from_str(&running).context("read who runs")?;
        let pid = running["children"][&name]["process"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.with_context(|| format!("{name} does not run"))?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to {name}"))
    }

    /// Asks something of the admin API, by some node.
    ///
    /// # Errors
    /// When it is refused or there is no answer.
    pub async fn administer(&self, by: usize, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request =
            request(method, &format!("/admin/v1/{path}"), &self.said.admin_token, "application/json", body.as_bytes());
        match ask(self.api(by)?, &request).await {
            Ok((status, text)) if (200..300).contains(&status) => {
                Ok(serde_json::from_slice(&text).unwrap_or(Value::Null))
            }
            Ok((status, text)) => bail!("{path}: {status} {}", String::from_utf8_lossy(&text)),
            Err(failure) => bail!("{path}: {failure:?}"),
        }
    }

    /// Asks a node's Kubo.
    ///
    /// # Errors
    /// When it fails or does not answer in time.
    pub async fn ask_kubo(&self, node: usize, path: &str) -> Result<Vec<u8>> {
        let request = request("POST", &format!("/api/v0/{path}"), "", "text/plain", b"");
        self.of_kubo(node, &request).await
    }

    /// Gives a block to a node's Kubo, unpinned. Gives its CID.
    ///
    /// # Errors
    /// When it fails or does not answer in time.
    pub async fn give(&self, node: usize, block: &str) -> Result<String> {
        let body =
            format!("--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{block}\r\n--b--\r\n");
        let path = "/api/v0/add?cid-version=1&pin=false";
        let request = request("POST", path, "", "multipart/form-data; boundary=b", body.as_bytes());
        let answer: Value = serde_json::from_slice(&self.of_kubo(node, &request).await?).context("read an answer")?;
        Ok(answer["Hash"].as_str().context("no CID")?.to_owned())
    }

    async fn of_kubo(&self, node: usize, request: &[u8]) -> Result<Vec<u8>> {
        match ask(self.kubo(node)?, request).await {
            Ok((200, body)) => Ok(body),
            Ok((status, body)) => bail!("Kubo answers {status}: {}", String::from_utf8_lossy(&body)),
            Err(failure) => bail!("Kubo does not answer: {failure:?}"),
        }
    }

    /// Ends all of it.
    pub fn end(&mut self) {
        self.mend();
        for node in 0..self.nodes() {
            for part in [Part::Kubo(node), Part::Pinner(node)] {
                let _ = self.signal(part, Signal::SIGCONT);
            }
        }
        if let Ok(pid) = i32::try_from(self.dev.id()) {
            let deadline = Instant::now() + ENDS_WITHIN;
            let is_running = |dev: &mut Child| matches!(dev.try_wait(), Ok(None));
            if is_running(&mut self.dev) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            while is_running(&mut self.dev) && Instant::now() < deadline {
                sleep(Duration::from_millis(50));
            }
            // Its watchdog ends the rest.
            let _ = self.dev.kill();
            let _ = self.dev.wait();
        }
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.end();
    }
}

fn address(urls: &[String], place: usize) -> Result<SocketAddr> {
    let url = urls.get(place).with_context(|| format!("there is no node {place}"))?;
    url.strip_prefix("http://").and_then(|address| address.parse().ok()).with_context(|| format!("read {url}"))
}

/// The `anchorage` of the same build, whether this is a program or a test.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program's own file")?;
    let found = own.ancestors().skip(1).take(2).map(|dir| dir.join("anchorage")).find(|path| path.is_file());
    ensure!(found.is_some(), "anchorage is missing beside {}: cargo build -p anchorage", own.display());
    found.context("found above")
}
