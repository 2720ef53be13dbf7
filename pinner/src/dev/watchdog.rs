//! Ends the children when `anchorage dev` was killed and cannot do it itself.
//!
//! The watchdog is this same program. Its stdin is a pipe whose other end only `anchorage dev` holds: the kernel closes it
//! when that process ends, however it ends, and then the roster tells who is left.

use std::{fs, io, path::Path, process::Stdio, time::Duration};

use anyhow::Context as _;
use tokio::{
    process::{Child, Command},
    task::spawn_blocking,
    time::timeout,
};

use super::{Stage, roster, state};

/// With nobody left to end it is only a process exit.
const DISMISSED_WITHIN: Duration = Duration::from_secs(2);

/// The running watchdog.
#[derive(Debug)]
pub(super) struct Watchdog(Child);

/// Starts one for this process, in a process group of its own: Ctrl-C in the terminal is not for it.
pub(super) fn start(stage: &Stage) -> anyhow::Result<Watchdog> {
    let state = &stage.state;
    let log = fs::File::create(state.log("watchdog")).context("open the watchdog's log")?;
    let child = Command::new(&stage.programs.anchorage)
        .args(["dev", "--watch-over", &std::process::id().to_string(), "--state-dir"])
        .arg(state.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .context("start the watchdog")?;
    Ok(Watchdog(child))
}

impl Watchdog {
    /// Ends it; there is nobody left to watch over.
    pub(super) async fn dismiss(mut self) {
        drop(self.0.stdin.take());
        if timeout(DISMISSED_WITHIN, self.0.wait()).await.is_err() {
            let _ = self.0.kill().await;
        }
    }
}

/// The watchdog itself: waits for the end of the process `dev`, then ends the children that it left.
pub(super) async fn run(dev: u32, state_dir: &Path) -> anyhow::Result<()> {
    let until_closed = || io::copy(&mut io::stdin(), &mut io::sink());
    let _ = spawn_blocking(until_closed).await;

    // After an orderly end there is no file; by now it may also be that of the next run. Whether the process is gone is
    // not asked: the pipe is closed a moment before it is.
    let file = state::roster_file(state_dir);
    let Some(run) = roster::read(&file)?.filter(|run| run.dev.pid == dev) else {
        return Ok(());
    };
    roster::end_strays(&file).await?;
    if run.temporary {
        state::remove(state_dir)?;
    }
    Ok(())
}
