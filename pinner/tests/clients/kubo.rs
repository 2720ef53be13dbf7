//! A user's Kubo, in the service's private network, and the `ipfs` command that talks to it.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};

use crate::running::{PATIENCE, TestDir, pause};

/// A running daemon with a repository of its own; both go with the value.
pub(crate) struct Kubo {
    repo: PathBuf,
    daemon: Option<Child>,
    _dir: TestDir,
}

/// What a command said and whether it did what it was told.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) good: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Kubo {
    /// Makes a repository that knows the swarm key and looks for nobody (HAZARDS 16). The daemon is started apart.
    pub(crate) fn new(swarm_key: &str) -> Self {
        let dir = TestDir::new();
        let repo = dir.state();
        let kubo = Self { repo, daemon: None, _dir: dir };
        kubo.ipfs(&["init", "--profile=test"]);
        fs::copy(swarm_key, kubo.repo.join("swarm.key")).unwrap();
        for (key, value) in [
            ("Addresses.API", json!("/ip4/127.0.0.1/tcp/0")),
            ("Addresses.Gateway", json!([])),
            ("Addresses.Swarm", json!(["/ip4/127.0.0.1/tcp/0"])),
            ("Bootstrap", json!([])),
            ("Routing", json!({"Type": "none", "DelegatedRouters": []})),
            ("Ipns.DelegatedPublishers", json!([])),
            ("DNS.Resolvers", json!({})),
            ("AutoConf.Enabled", json!(false)),
            ("AutoTLS.Enabled", json!(false)),
            ("Discovery.MDNS.Enabled", json!(false)),
            ("Provide.Enabled", json!(false)),
            ("Swarm.AddrFilters", json!([])),
            ("Internal.ShutdownTimeout", json!("2s")),
        ] {
            kubo.configure(key, &value);
        }
        kubo
    }

    /// Sets a key of its configuration.
    pub(crate) fn configure(&self, key: &str, value: &Value) {
        self.ipfs(&["config", "--json", key, &value.to_string()]);
    }

    /// Starts the daemon and waits until it answers. It does not outlive the test, however that ends.
    pub(crate) async fn start(&mut self) {
        let mut daemon = Command::new("setpriv");
        daemon.args(["--pdeathsig", "KILL"]).arg(program()).arg("daemon").envs(self.variables());
        let log = fs::File::create(self.repo.with_extension("log")).unwrap();
        self.daemon = Some(daemon.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while !self.repo.join("api").exists() || !self.run(&["id"]).good {
            let said = || fs::read_to_string(self.repo.with_extension("log")).unwrap();
            assert!(Instant::now() < deadline, "Kubo does not start: {}", said());
            pause().await;
        }
    }

    /// Runs `ipfs` with these arguments; a failure is for the caller.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        let output = Command::new(program()).args(args).envs(self.variables()).stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { good: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs `ipfs` with these arguments, which must go well, and gives what it wrote.
    pub(crate) fn ipfs(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert!(said.good, "ipfs {args:?}: {said:?}");
        said.out.trim().to_owned()
    }

    /// As [`Self::ipfs`], with one JSON value a line.
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        let out = self.ipfs(&[args, &["--enc=json"]].concat());
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Adds a file and gives its CID, of this version.
    pub(crate) fn add(&self, content: &str, version: u8) -> String {
        let file = self.repo.with_extension("file");
        fs::write(&file, content).unwrap();
        self.ipfs(&["add", "--quieter", &format!("--cid-version={version}"), file.to_str().unwrap()])
    }

    fn variables(&self) -> Vec<(String, String)> {
        let repo = self.repo.to_str().unwrap();
        [
            ("HOME", repo),
            ("IPFS_PATH", repo),
            ("IPFS_TELEMETRY", "off"),
            ("LIBP2P_FORCE_PNET", "1"),
            // The policy of MFS looks every 30 s otherwise.
            ("MFS_PIN_POLL_INTERVAL", "100ms"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

impl Drop for Kubo {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// The same `ipfs` that `anchorage dev` runs.
fn program() -> PathBuf {
    std::env::var_os("ANCHORAGE_TOOLS_DIR").map_or_else(|| "ipfs".into(), |dir| PathBuf::from(dir).join("ipfs"))
}
