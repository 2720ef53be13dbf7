//! Which processes belong to a run, in a file, so that somebody else can end them: the watchdog when `anchorage dev` was
//! killed, or the next `anchorage dev` with the same state directory.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{
    say,
    state::{StateDir, write_private},
};

/// A stray that has not ended by then is killed.
const STRAYS_END_WITHIN: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(50);

/// One process. Its number alone may be somebody else's by now; number and start time are not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Clock ticks from the start of the machine to that of the process.
    started: u64,
}

/// A child and the signal that makes it end in good order.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    process: Process,
    stop: String,
}

/// The file's content.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Run {
    /// The `anchorage dev` itself.
    pub(super) dev: Process,
    /// Whether the state directory goes with it.
    pub(super) temporary: bool,
    children: BTreeMap<String, Entry>,
}

/// The processes of this run.
#[derive(Debug)]
pub(super) struct Roster {
    file: PathBuf,
    run: Mutex<Run>,
}

impl Roster {
    /// Begins with nobody.
    pub(super) fn open(state: &StateDir) -> anyhow::Result<Self> {
        let run = Run {
            dev: Process::find(std::process::id()).context("read this process from /proc")?,
            temporary: state.is_temporary(),
            children: BTreeMap::new(),
        };
        let roster = Self { file: state.roster_file(), run: Mutex::new(run) };
        roster.change(|_| {});
        Ok(roster)
    }

    /// A child by this name runs now. One that has ended already is not worth a line.
    pub(super) fn add(&self, name: &str, pid: u32, stop: Signal) {
        if let Some(process) = Process::find(pid) {
            let stop = stop.as_str().to_owned();
            self.change(|run| {
                run.children.insert(name.to_owned(), Entry { process, stop });
            });
        }
    }

    /// It has ended.
    pub(super) fn remove(&self, name: &str) {
        self.change(|run| {
            run.children.remove(name);
        });
    }

    /// Kills all that still run.
    pub(super) fn kill_all(&self) {
        let run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        for child in run.children.values() {
            child.process.signal(Signal::SIGKILL);
        }
    }

    /// All children have ended.
    pub(super) fn close(&self) {
        let _ = fs::remove_file(&self.file);
    }

    fn change(&self, change: impl FnOnce(&mut Run)) {
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut run);
        let written = serde_json::to_string(&*run)
            .context("write the list of children")
            .and_then(|text| write_private(&self.file, &text));
        if let Err(error) = written {
            say(&format!("{error:#}; if this process is killed, its children may stay"));
        }
    }
}

/// What a roster file holds, if there is one.
pub(super) fn read(file: &Path) -> anyhow::Result<Option<Run>> {
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).map(Some).with_context(|| format!("read {}", file.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

/// Ends the children of a run whose `anchorage dev` has died, and forgets them.
pub(super) async fn end_strays(file: &Path) -> anyhow::Result<()> {
    let Some(run) = read(file)? else {
        return Ok(());
    };
    let strays: Vec<(&String, &Entry)> = run.children.iter().filter(|(_, child)| child.process.is_alive()).collect();
    if !strays.is_empty() {
        let names: Vec<&str> = strays.iter().map(|(name, _)| name.as_str()).collect();
        say(&format!("ending what the run of pid {} left behind: {}", run.dev.pid, names.join(", ")));
    }
    for (_, stray) in &strays {
        stray.process.signal(stray.stop.parse().unwrap_or(Signal::SIGTERM));
    }
    let deadline = Instant::now() + STRAYS_END_WITHIN;
    while strays.iter().any(|(_, stray)| stray.process.is_alive()) && Instant::now() < deadline {
        sleep(POLL).await;
    }
    for (_, stray) in &strays {
        stray.process.signal(Signal::SIGKILL);
    }
    let _ = fs::remove_file(file);
    Ok(())
}

impl Process {
    /// The process with this number, unless it has ended (a zombie has).
    pub(super) fn find(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(pid, &stat)
    }

    /// `pid (name) state …`, the start time being field 22; the name may hold spaces and parentheses.
    fn parse(pid: u32, stat: &str) -> Option<Self> {
        let (_, tail) = stat.rsplit_once(')')?;
        let mut fields = tail.split_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        (state != "Z").then_some(Self { pid, started })
    }

    /// Whether this very process still runs.
    pub(super) fn is_alive(&self) -> bool {
        Self::find(self.pid).is_some_and(|now| now.started == self.started)
    }

    fn signal(&self, signal: Signal) {
        if self.is_alive()
            && let Ok(pid) = i32::try_from(self.pid)
        {
            // It may end between the two lines; that is what was wanted.
            let _ = signal::kill(Pid::from_raw(pid), signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 98765 20";
        let process = Process::parse(7, &format!("7 (a) b (c)) {fields}")).unwrap();
        assert_eq!(process.started, 98_765);
        assert_eq!(Process::parse(7, "7 (a) Z 1 2 3"), None);
    }

    #[test]
    fn another_process_with_the_same_number_is_not_taken_for_ours() {
        let us = Process::find(std::process::id()).unwrap();
        assert!(us.is_alive());
        let earlier = Process { started: us.started - 1, ..us };
        assert!(!earlier.is_alive());
    }
}
