//! A stand-in for Kubo that records what it is asked and fails as told.
//!
//! It keeps to what the real one does where that matters: a `pin/add` of something pinned removes the pin first
//! (HAZARDS 11), an answer begins with status 200 before its outcome is known (HAZARDS 13). What must never be asked
//! of a Kubo is noted as a crime.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// How a `pin/add` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Addition {
    /// Pinned after a while.
    After(Duration),
    /// No answer at all, not even a status.
    Silence,
    /// Lines that say "no progress" until the caller goes away.
    Standstill,
    /// A block each time that this has passed, until the plan is another one: then it is pinned.
    Drip(Duration),
    /// A little progress, then the end of the answer, as a failure looks whose trailer nobody reads.
    EndsWithoutPin,
    /// A line with an error.
    ErrorLine,
    /// The connection breaks in the middle of the answer.
    BreaksOff,
}

/// What happened so far.
#[derive(Default)]
pub(crate) struct Record {
    /// Every call with its CID, in order: `("pin/add", "bafy…")`.
    pub(crate) calls: Vec<(String, String)>,
    /// What is pinned.
    pub(crate) pinned: BTreeSet<String>,
    /// How long a `pin/rm` takes. It goes on when the caller hangs up, as in a Kubo that has begun with it.
    pub(crate) removal_takes: Duration,
    /// Whether `dag/stat` fails.
    pub(crate) measures_nothing: bool,
    /// What it has pinned and lacks blocks of.
    pub(crate) lacking: BTreeSet<String>,
    /// What `dag/stat` breaks off at, once.
    pub(crate) breaks_at: Option<String>,
    /// Whether its disk is full.
    pub(crate) disk_is_full: bool,
    /// How much it stores, of 10 GB.
    pub(crate) repo_size: u64,
    /// Whether a write failed; then all do until it is started again.
    write_failed: bool,
    /// What is being removed.
    removing: BTreeSet<String>,
    /// What must not be asked of a Kubo, and was.
    pub(crate) crimes: Vec<String>,
    /// Operations under way by CID.
    busy: BTreeMap<String, usize>,
    /// The most additions at one time.
    pub(crate) additions_at_once: usize,
    additions: usize,
}

impl Record {
    /// Whether a write fails.
    fn refuses_to_write(&mut self) -> bool {
        self.write_failed |= self.disk_is_full;
        self.write_failed
    }

    /// How many operations on a CID are under way.
    pub(crate) fn under_way(&self, cid: &str) -> usize {
        self.busy.get(cid).copied().unwrap_or_default()
    }

    /// Whether a `pin/rm` of a CID goes on.
    pub(crate) fn is_removing(&self, cid: &str) -> bool {
        self.removing.contains(cid)
    }
}

type Plan = dyn Fn(&str, usize) -> Addition + Send + Sync;

/// A fake Kubo. Ends with its test's runtime.
pub(crate) struct FakeKubo {
    /// Its RPC.
    pub(crate) url: String,
    record: Arc<Mutex<Record>>,
    plan: Arc<Mutex<Arc<Plan>>>,
    present: watch::Sender<bool>,
    holds_removals: watch::Sender<bool>,
}

impl FakeKubo {
    /// A Kubo that pins everything at once.
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let plan: Arc<Plan> = Arc::new(|_, _| Addition::After(Duration::ZERO));
        let fake = Self {
            url: format!("http://127.0.0.1:{port}"),
            record: Arc::default(),
            plan: Arc::new(Mutex::new(plan)),
            present: watch::Sender::new(true),
            holds_removals: watch::Sender::new(false),
        };
        let (record, plan, present) = (Arc::clone(&fake.record), Arc::clone(&fake.plan), fake.present.subscribe());
        let holds_removals = fake.holds_removals.subscribe();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let holds_removals = holds_removals.clone();
                let call = Call { record: Arc::clone(&record), plan: Arc::clone(&plan), holds_removals };
                let mut present = present.clone();
                tokio::spawn(async move {
                    if *present.borrow_and_update() {
                        tokio::select! {
                            _ = call.answer(stream) => {}
                            _ = present.changed() => {}
                        }
                    }
                });
            }
        });
        fake
    }

    /// Sets how an addition goes, from its CID and how often that was added before.
    pub(crate) fn plan(&self, plan: impl Fn(&str, usize) -> Addition + Send + Sync + 'static) {
        *self.plan.lock().expect("nobody panics while holding this lock") = Arc::new(plan);
    }

    /// Goes away: breaks every connection and answers none. Or comes back.
    pub(crate) fn set_present(&self, present: bool) {
        self.present.send_replace(present);
    }

    /// From now on no `pin/rm` ends, or all may. They go on when the caller hangs up, as in a Kubo that has begun with them.
    pub(crate) fn hold_removals(&self, holds: bool) {
        self.holds_removals.send_replace(holds);
    }

    /// Looks at what happened so far.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Record) -> T) -> T {
        look(&mut self.record.lock().expect("nobody panics while holding this lock"))
    }

    /// How often a call was made with a CID.
    pub(crate) fn calls(&self, call: &str, cid: &str) -> usize {
        self.look(|record| record.calls.iter().filter(|(name, arg)| name == call && arg == cid).count())
    }

    /// Fails if anything was asked that must not be.
    pub(crate) fn check(&self) {
        self.look(|record| assert!(record.crimes.is_empty(), "{:?}", record.crimes));
    }
}

struct Call {
    record: Arc<Mutex<Record>>,
    plan: Arc<Mutex<Arc<Plan>>>,
    holds_removals: watch::Receiver<bool>,
}

/// Notes that an operation on a CID has ended, also when its connection broke.
struct Busy<'a>(&'a Call, String, bool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.note(|record| {
            *record.busy.entry(self.1.clone()).or_default() -= 1;
            record.additions -= usize::from(self.2);
        });
    }
}

impl Call {
    fn note<T>(&self, note: impl FnOnce(&mut Record) -> T) -> T {
        note(&mut self.record.lock().expect("nobody panics while holding this lock"))
    }

    fn busy(&self, call: &str, cid: &str) -> Busy<'_> {
        let adds = call == "pin/add";
        self.note(|record| {
            let others = record.busy.entry(cid.to_owned()).or_default();
            *others += 1;
            if *others > 1 {
                record.crimes.push(format!("{call} of {cid} while another operation on it was under way"));
            }
            record.additions += usize::from(adds);
            record.additions_at_once = record.additions_at_once.max(record.additions);
        });
        Busy(self, cid.to_owned(), adds)
    }

    async fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut head = Vec::new();
        while !head.windows(4).any(|window| window == b"\r\n\r\n") {
            if stream.read_buf(&mut head).await.ok()? == 0 {
                return None;
            }
        }
        let head = String::from_utf8(head).ok()?;
        let url = reqwest::Url::parse(&format!("http://kubo{}", head.split(' ').nth(1)?)).ok()?;
        let call = url.path().strip_prefix("/api/v0/")?.to_owned();
        let parameters: BTreeMap<_, _> = url.query_pairs().into_owned().collect();
        let cid = parameters.get("arg").cloned().unwrap_or_default();
        self.note(|record| record.calls.push((call.clone(), cid.clone())));
        match call.as_str() {
            "id" => {
                let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
                let body = format!(r#"{{"ID":"{peer}","Addresses":["/ip4/127.0.0.1/tcp/4001/p2p/{peer}"]}}"#);
                whole(&mut stream, 200, &body).await
            }
            "repo/stat" => {
                let size = self.note(|record| record.repo_size);
                let body = format!(r#"{{"RepoSize":{size},"StorageMax":10000000000}}"#);
                whole(&mut stream, 200, &body).await
            }
            "pin/ls" => {
                if parameters.get("type").map(String::as_str) != Some("recursive") {
                    self.note(|record| record.crimes.push("pin/ls without type=recursive".into()));
                }
                if cid.is_empty() {
                    let pins = self.note(|record| record.pinned.clone());
                    let lines: String =
                        pins.iter().map(|cid| format!("{{\"Cid\":\"{cid}\",\"Type\":\"recursive\"}}\n")).collect();
                    whole(&mut stream, 200, &lines).await
                } else if self.note(|record| record.pinned.contains(&cid)) {
                    whole(&mut stream, 200, &format!(r#"{{"Keys":{{"{cid}":{{"Type":"recursive"}}}}}}"#)).await
                } else {
                    let message = format!(r#"{{"Message":"path '{cid}' is not pinned","Code":0,"Type":"error"}}"#);
                    whole(&mut stream, 500, &message).await
                }
            }
            "pin/add" | "pin/rm" if self.note(Record::refuses_to_write) => {
                let message = r#"{"Message":"write 000006.log: no space left on device","Code":0,"Type":"error"}"#;
                whole(&mut stream, 500, message).await
            }
            "pin/rm" => {
                let _busy = self.busy(&call, &cid);
                self.remove_slowly(&cid).await;
                self.note(|record| record.lacking.remove(&cid));
                if self.note(|record| record.pinned.remove(&cid)) {
                    whole(&mut stream, 200, &format!(r#"{{"Pins":["{cid}"]}}"#)).await
                } else {
                    let message = r#"{"Message":"not pinned or pinned indirectly","Code":0,"Type":"error"}"#;
                    whole(&mut stream, 500, message).await
                }
            }
            "pin/add" => self.add(stream, &cid).await,
            "dag/stat" => {
                if parameters.get("offline").map(String::as_str) != Some("true") {
                    self.note(|record| record.crimes.push("dag/stat without offline=true".into()));
                }
                if self.note(|record| record.breaks_at.take_if(|at| *at == cid).is_some()) {
                    return None;
                }
                let is_whole = |record: &mut Record| record.pinned.contains(&cid) && !record.lacking.contains(&cid);
                if self.note(|record| is_whole(record) && !record.measures_nothing) {
                    whole(&mut stream, 200, r#"{"UniqueBlocks":1,"TotalSize":100,"DagStats":[]}"#).await
                } else {
                    let message = r#"{"Message":"block was not found locally (offline)","Code":0,"Type":"error"}"#;
                    whole(&mut stream, 500, message).await
                }
            }
            "diag/cmds" => {
                let active = self.note(|record| {
                    let command = |cid| format!(r#"{{"Command":"pin/rm","Active":true,"Args":["{cid}"]}}"#);
                    record.removing.iter().map(command).collect::<Vec<_>>().join(",")
                });
                whole(&mut stream, 200, &format!("[{active}]")).await
            }
            "diag/sys" => {
                let free = if self.note(|record| record.disk_is_full) { 0 } else { 1 << 30 };
                let body =
                    format!(r#"{{"diskinfo":{{"free_space":{free},"fstype":"ext4","total_space":4294967296}}}}"#);
                whole(&mut stream, 200, &body).await
            }
            "repo/gc" => whole(&mut stream, 200, "").await,
            "shutdown" => {
                self.note(|record| record.write_failed = false);
                whole(&mut stream, 200, "").await
            }
            "swarm/connect" | "swarm/peering/add" => whole(&mut stream, 200, "{}").await,
            other => {
                self.note(|record| record.crimes.push(format!("the call {other}")));
                whole(&mut stream, 404, "{}").await
            }
        }
    }

    /// As long as a removal takes; what is left to do of it is done also if the caller goes away meanwhile.
    async fn remove_slowly(&self, cid: &str) {
        let (takes, mut holds) = (self.note(|record| record.removal_takes), self.holds_removals.clone());
        if takes.is_zero() && !*holds.borrow() {
            return;
        }
        let (record, cid) = (Arc::clone(&self.record), cid.to_owned());
        record.lock().expect("nobody panics while holding this lock").removing.insert(cid.clone());
        let removal = tokio::spawn(async move {
            tokio::time::sleep(takes).await;
            // Whoever holds it may have ended with its test.
            drop(holds.wait_for(|holds| !holds).await);
            let mut record = record.lock().expect("nobody panics while holding this lock");
            record.pinned.remove(&cid);
            record.removing.remove(&cid);
        });
        removal.await.expect("it does not panic");
    }

    async fn add(&self, mut stream: TcpStream, cid: &str) -> Option<()> {
        let _busy = self.busy("pin/add", cid);
        let before = self.note(|record| {
            if record.pinned.remove(cid) {
                record.crimes.push(format!("pin/add of {cid}, which was pinned"));
            }
            record.calls.iter().filter(|(call, arg)| call == "pin/add" && arg == cid).count() - 1
        });
        let addition = plan_of(&self.plan)(cid, before);
        if addition == Addition::Silence {
            return gone(&mut stream).await;
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: X-Stream-Error\r\n\r\n";
        stream.write_all(head.as_bytes()).await.ok()?;
        chunk(&mut stream, r#"{"Progress":1,"Bytes":100}"#).await?;
        match addition {
            Addition::After(wait) => {
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    ended = gone(&mut stream) => return ended,
                }
                self.note(|record| record.pinned.insert(cid.to_owned()));
                chunk(&mut stream, &format!(r#"{{"Pins":["{cid}"]}}"#)).await?;
            }
            Addition::Standstill => loop {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                    ended = gone(&mut stream) => return ended,
                }
                chunk(&mut stream, r#"{"Progress":1,"Bytes":100}"#).await?;
            },
            Addition::Drip(every) => {
                for n in 2.. {
                    if plan_of(&self.plan)(cid, before) != addition {
                        self.note(|record| record.pinned.insert(cid.to_owned()));
                        chunk(&mut stream, &format!(r#"{{"Pins":["{cid}"]}}"#)).await?;
                        break;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(every) => {}
                        ended = gone(&mut stream) => return ended,
                    }
                    chunk(&mut stream, &format!(r#"{{"Progress":{n},"Bytes":{}}}"#, n * 100)).await?;
                }
            }
            Addition::ErrorLine => {
                chunk(&mut stream, r#"{"Message":"block was not found","Code":0,"Type":"error"}"#).await?;
            }
            Addition::BreaksOff => return None,
            Addition::EndsWithoutPin | Addition::Silence => {}
        }
        stream.write_all(b"0\r\nX-Stream-Error: it failed\r\n\r\n").await.ok()
    }
}

fn plan_of(plan: &Mutex<Arc<Plan>>) -> Arc<Plan> {
    Arc::clone(&*plan.lock().expect("nobody panics while holding this lock"))
}

/// Waits until the caller hangs up.
async fn gone(stream: &mut TcpStream) -> Option<()> {
    let mut rest = [0; 1];
    stream.read(&mut rest).await.ok().map(drop)
}

async fn chunk(stream: &mut TcpStream, line: &str) -> Option<()> {
    stream.write_all(format!("{:x}\r\n{line}\n\r\n", line.len() + 1).as_bytes()).await.ok()
}

async fn whole(stream: &mut TcpStream, status: u16, body: &str) -> Option<()> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await.ok()
}
