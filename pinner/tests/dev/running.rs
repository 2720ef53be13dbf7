//! An `anchorage dev` of the test's own: started, asked, killed, and gone with the test.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

/// Real programs on a machine that may be busy building.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A directory that only its owner may enter, as `mktemp -d` makes it; it goes with the value.
pub(crate) struct TestDir(PathBuf);

impl TestDir {
    pub(crate) fn new() -> Self {
        use std::os::unix::fs::DirBuilderExt as _;
        let name = format!("anchorage-dev-test-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    /// Not there yet: `anchorage dev` makes it.
    pub(crate) fn state(&self) -> PathBuf {
        self.0.join("state")
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// `anchorage dev` as a command.
pub(crate) fn command(nodes: u8, listen: &str, state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anchorage"));
    command.args(["dev", "--listen", listen, "--nodes", &nodes.to_string(), "--state-dir"]).arg(state);
    command
}

/// A running one, and what it announced.
pub(crate) struct Dev {
    child: Child,
    pub(crate) announcement: Value,
    http: reqwest::Client,
}

impl Dev {
    /// Starts one and waits for its line.
    pub(crate) fn start(nodes: u8, state: &Path) -> Self {
        Self::start_with(nodes, state, &[])
    }

    /// The same with variables for its pinners.
    pub(crate) fn start_with(nodes: u8, state: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = command(nodes, "127.0.0.1:0", state);
        command.envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let Ok(announcement) = serde_json::from_str(&line) else {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("anchorage dev ended without its line; it said:\n{said}");
        };
        Self { child, announcement, http: reqwest::Client::builder().timeout(Duration::from_secs(10)).build().unwrap() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A text of the announcement, as `/orgs/demo`.
    pub(crate) fn text(&self, pointer: &str) -> &str {
        let value = self.announcement.pointer(pointer).unwrap_or(&Value::Null);
        value.as_str().unwrap_or_else(|| panic!("{pointer} is {value}, not a text"))
    }

    /// A list of texts of the announcement.
    pub(crate) fn texts(&self, pointer: &str) -> Vec<&str> {
        let list = self.announcement.pointer(pointer).and_then(Value::as_array);
        let list = list.unwrap_or_else(|| panic!("{pointer} is no list"));
        list.iter().map(|value| value.as_str().unwrap()).collect()
    }

    /// All process numbers of the announcement.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let pids = self.announcement["pids"].as_object().unwrap().values();
        pids.flat_map(|value| match value {
            Value::Array(list) => list.clone(),
            one => vec![one.clone()],
        })
        .map(|pid| u32::try_from(pid.as_u64().unwrap()).unwrap())
        .collect()
    }

    /// The number of the process at `pointer`, as `/pids/pinner/1`.
    pub(crate) fn pid_of(&self, pointer: &str) -> u32 {
        let pid = self.announcement.pointer(pointer).and_then(Value::as_u64);
        u32::try_from(pid.unwrap_or_else(|| panic!("{pointer} is no number"))).unwrap()
    }

    /// Adds a file to the Kubo of a node and gives its CID.
    pub(crate) async fn add(&self, node: usize, content: &str) -> String {
        let url = format!("{}/api/v0/add?cid-version=1", self.texts("/kubo")[node]);
        // The smallest form with a file in it; the boundary does not occur in the tests' files.
        let body = format!(
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{content}\r\n--b--\r\n"
        );
        let request = self.http.post(url).header("content-type", "multipart/form-data; boundary=b").body(body);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["Hash"].as_str().unwrap().to_owned()
    }

    /// Asks the pinner `endpoint` for a pin of the org `demo` and gives its id, or what came instead.
    pub(crate) async fn pin(&self, endpoint: &str, cid: &str) -> Result<String, String> {
        let request = self.http.post(format!("{endpoint}/pins")).bearer_auth(self.text("/orgs/demo"));
        let answer = request.json(&json!({"cid": cid})).send().await.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let body = answer.text().await.map_err(|error| format!("{error:?}"))?;
        if status != 202 {
            return Err(format!("{status}: {body}"));
        }
        let pin: Value = serde_json::from_str(&body).unwrap();
        Ok(pin["requestid"].as_str().unwrap().to_owned())
    }

    /// The status of a pin of the org `demo`.
    pub(crate) async fn status(&self, id: &str) -> String {
        let url = format!("{}/pins/{id}", self.text("/endpoint"));
        let request = self.http.get(url).bearer_auth(self.text("/orgs/demo"));
        let Ok(answer) = request.send().await else {
            return "no answer".to_owned();
        };
        let pin: Value = answer.json().await.unwrap_or_default();
        pin["status"].as_str().unwrap_or("no status").to_owned()
    }

    /// Waits until each of these pins is pinned.
    pub(crate) async fn all_pinned(&self, ids: &[String]) {
        let deadline = Instant::now() + PATIENCE;
        for id in ids {
            loop {
                let status = self.status(id).await;
                if status == "pinned" {
                    break;
                }
                assert!(Instant::now() < deadline, "pin {id} is {status}");
                pause().await;
            }
        }
    }

    /// `GET` without a token.
    pub(crate) async fn get(&self, url: &str) -> Option<u16> {
        let answer = self.http.get(url).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    /// Ends it with `signal` and waits for that; gives what it said.
    pub(crate) fn end(&mut self, signal: Signal) -> String {
        send(self.pid(), signal);
        self.child.wait().unwrap();
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut said).unwrap();
        }
        said
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // A test that failed: the watchdog ends the rest.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Between two looks at something that takes as long as it takes.
pub(crate) async fn pause() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

pub(crate) fn send(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Whether a process runs; a zombie does not.
pub(crate) fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != "Z")
}

/// The running children of a process that have `word` among their arguments.
pub(crate) fn children(parent: u32, word: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(state, ppid)| ppid == parent && state != "Z"))
        .filter(|pid| arguments(*pid).iter().any(|argument| argument == word))
        .collect()
}

/// The command line of a process; none once it has ended.
fn arguments(pid: u32) -> Vec<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split('\0').map(str::to_owned).collect()
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
