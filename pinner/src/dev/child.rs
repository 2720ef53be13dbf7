//! Child processes: one that runs to its end, and one that is kept running, started again when it dies and ended when
//! asked to.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{
    process::Command,
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{account::Account, roster::Roster, say};

/// Pause before the first new start, doubled for each further one up to the longest: a child that cannot run does not
/// take the machine down with it, and one that was killed is back within 2 s.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// After this long a child counts as having run well.
const RAN_WELL: Duration = Duration::from_secs(10);
/// A child that ends this often before it was ever ready will not become so.
const PATIENCE: u32 = 3;
/// How long a child may take until it answers, on a slow disk and with cold caches.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two questions whether a child is ready.
const POLL: Duration = Duration::from_millis(30);
/// How much of a log a message shows.
const TAIL_LINES: usize = 12;

/// What to run and how.
#[derive(Clone)]
pub(super) struct Program {
    /// What messages call it.
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) args: Vec<OsString>,
    /// All variables it gets, besides `PATH` and `HOME`: ours may be meant for another Kubo or Postgres.
    pub(super) variables: Vec<(String, String)>,
    /// A directory to hand over as open file on stdin, or none.
    pub(super) stdin: Option<PathBuf>,
    /// Whom it runs as, if not as ourselves.
    pub(super) account: Option<Account>,
    /// Where its output goes.
    pub(super) log: PathBuf,
    /// The signal that makes it end in good order.
    pub(super) stop: Signal,
    /// How long that may take.
    pub(super) grace: Duration,
}

impl Program {
    /// The command, with output to the log file. A group of its own keeps the terminal's Ctrl-C from it: children are
    /// ended in order, by us.
    fn command(&self) -> io::Result<Command> {
        let mut log = OpenOptions::new();
        let log = log.create(true).append(true).mode(0o600).open(&self.log)?;
        let mut command = Command::new(&self.file);
        command
            .args(&self.args)
            .current_dir("/")
            .env_clear()
            .envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(match &self.stdin {
                Some(directory) => Stdio::from(File::open(directory)?),
                None => Stdio::null(),
            })
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true);
        if let Some(account) = &self.account {
            account.applied_to(&mut command);
        }
        Ok(command)
    }
}

/// Runs `program` once, to its end.
///
/// # Errors
/// When it cannot run or fails; the message holds the end of its log.
pub(super) async fn run(program: &Program, roster: &Roster) -> anyhow::Result<()> {
    let _ = fs::remove_file(&program.log);
    let spawned = program.command().and_then(|mut command| command.spawn());
    let mut child = spawned.with_context(|| format!("run {}", program.file.display()))?;
    if let Some(pid) = child.id() {
        roster.add(&program.name, pid, program.stop);
    }
    let status = child.wait().await.with_context(|| format!("wait for {}", program.name))?;
    roster.remove(&program.name);
    anyhow::ensure!(
        status.success(),
        "{} ended with {status}; the end of its log:\n{}",
        program.name,
        tail(&program.log)
    );
    Ok(())
}

/// A child that is kept running.
#[derive(Debug)]
pub(super) struct Child {
    name: String,
    log: PathBuf,
    life: watch::Receiver<Life>,
    stop: CancellationToken,
    keeper: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Life {
    pid: Option<u32>,
    ends: u32,
    last_end: String,
}

impl Child {
    /// Starts `program` and keeps it running.
    pub(super) fn start(program: Program, roster: Arc<Roster>) -> Self {
        let (sender, life) = watch::channel(Life::default());
        let stop = CancellationToken::new();
        let (name, log) = (program.name.clone(), program.log.clone());
        let _ = fs::remove_file(&log);
        let keeper = tokio::spawn(keep(program, roster, sender, stop.clone()));
        Self { name, log, life, stop, keeper }
    }

    /// The number of the present process; 0 between two of them.
    pub(super) fn pid(&self) -> u32 {
        self.life.borrow().pid.unwrap_or(0)
    }

    /// Waits until `answers` is true.
    ///
    /// # Errors
    /// When the child keeps ending or stays silent instead; the message holds the end of its log.
    pub(super) async fn ready(&self, answers: impl AsyncFn() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while !answers().await {
            let given_up = {
                let life = self.life.borrow();
                if life.ends >= PATIENCE {
                    Some(format!("does not start ({})", life.last_end))
                } else if Instant::now() >= deadline {
                    Some(format!("is not ready after {} s", READY_WITHIN.as_secs()))
                } else {
                    None
                }
            };
            if let Some(why) = given_up {
                anyhow::bail!("{} {why}; the end of its log:\n{}", self.name, tail(&self.log));
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Ends it and waits for that; the wait is bounded by the program's grace.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        let _ = self.keeper.await;
    }
}

async fn keep(program: Program, roster: Arc<Roster>, life: watch::Sender<Life>, stop: CancellationToken) {
    let mut pause = PAUSE;
    while !stop.is_cancelled() {
        let began = Instant::now();
        let end = run_once(&program, &roster, &life, &stop).await;
        if stop.is_cancelled() {
            return;
        }
        if began.elapsed() >= RAN_WELL {
            pause = PAUSE;
        }
        say(&format!("{} ended ({end}); it is started again", program.name));
        life.send_modify(|life| {
            life.ends += 1;
            life.last_end = end;
        });
        tokio::select! {
            () = sleep(pause) => {}
            () = stop.cancelled() => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// From one start to the end; says how it ended.
async fn run_once(program: &Program, roster: &Roster, life: &watch::Sender<Life>, stop: &CancellationToken) -> String {
    let spawned = program.command().and_then(|mut command| command.spawn());
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => return format!("{}: {error}", program.file.display()),
    };
    if let Some(pid) = child.id() {
        roster.add(&program.name, pid, program.stop);
        life.send_modify(|life| life.pid = Some(pid));
    }
    let ended = tokio::select! {
        ended = child.wait() => ended,
        () = stop.cancelled() => end(program, &mut child).await,
    };
    life.send_modify(|life| life.pid = None);
    roster.remove(&program.name);
    match ended {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

async fn end(program: &Program, child: &mut tokio::process::Child) -> io::Result<std::process::ExitStatus> {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // We have not waited for it yet, so the number is still its own.
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), program.stop);
    }
    if let Ok(ended) = timeout(program.grace, child.wait()).await {
        return ended;
    }
    say(&format!("{} did not end within {} s and is killed", program.name, program.grace.as_secs()));
    child.start_kill()?;
    child.wait().await
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].join("\n")
}
