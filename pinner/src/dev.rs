//! `anchorage dev`: the whole service on one machine without Kubernetes.
//!
//! Real Postgres, nats-server and one Kubo a node run as child processes on loopback addresses, then the database is
//! migrated and one `anchorage serve` a node is started. When all of it is ready one line of JSON goes to stdout
//! ([`announcement`]); everything else goes to stderr and to the log files of the state directory.
//!
//! Reading order: [`state`] is the directory, [`setup`] decides names, ports and secrets, [`postgres`], [`nats`],
//! [`kubo`] and [`pinner`] say what to run, [`child`] keeps it running, [`roster`] and [`watchdog`] see to it that nothing
//! outlives `anchorage dev`, however that ends.

mod account;
mod announcement;
mod child;
mod kubo;
mod nats;
mod pinner;
mod ports;
mod postgres;
mod programs;
mod roster;
mod setup;
mod state;
mod watchdog;

use std::{
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::future;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use self::{
    announcement::Announcement, child::Child, programs::Programs, roster::Roster, setup::Setup, state::StateDir,
};
use crate::config::ServeConfig;

/// Flags of `anchorage dev`.
#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// How many nodes to run: a pinner process and a Kubo each
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=32))]
    nodes: u8,
    /// Address of the first node's API; the others get free ports. Port 0 is any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Keep all data, ports and secrets here, and continue with what is there. Without it everything lives in a temporary
    /// directory that is removed at the end
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Used by fault harnesses: where each node's pinner finds Postgres, in the nodes' order; relays to the real one
    #[arg(long, hide = true, value_name = "ADDRESS", value_delimiter = ',')]
    postgres_through: Vec<SocketAddr>,
    /// The same of NATS
    #[arg(long, hide = true, value_name = "ADDRESS", value_delimiter = ',')]
    nats_through: Vec<SocketAddr>,
    /// Used by `anchorage dev` itself: end what it leaves behind when it dies
    #[arg(long, hide = true, value_name = "PID", requires = "state_dir")]
    watch_over: Option<u32>,
}

/// How long a start may take in all; each part's own wait is shorter and says more.
const STARTED_WITHIN: Duration = Duration::from_secs(180);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When something cannot be started: a program or port is missing, the state directory is in use, a part ends before it
/// is ready. Whatever had been started is ended before.
pub async fn run(args: DevArgs) -> anyhow::Result<()> {
    if let (Some(pid), Some(state_dir)) = (args.watch_over, &args.state_dir) {
        return watchdog::run(pid, state_dir).await;
    }
    let mut interrupts = Interrupts::listen()?;
    let programs = Programs::find()?;
    let state = StateDir::open(args.state_dir.as_deref())?;
    roster::end_strays(&state.roster_file()).await?;
    let setup = setup::prepare(&state, &args)?;
    let stage =
        Stage { config: pinner::checked(&setup)?, roster: Arc::new(Roster::open(&state)?), programs, state, setup };
    let watchdog = watchdog::start(&stage)?;
    let mut running = Running::default();
    let outcome = tokio::select! {
        started = start(&stage, &mut running) => started.map(Some),
        () = interrupts.next() => Ok(None),
    };
    let outcome = match outcome {
        Ok(Some(announcement)) => {
            let announced = print(&announcement);
            if announced.is_ok() {
                interrupts.next().await;
            }
            announced
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };

    say("ending");
    tokio::select! {
        () = running.stop() => {}
        () = interrupts.next() => stage.roster.kill_all(),
    }
    stage.roster.close();
    watchdog.dismiss().await;
    outcome
}

/// Everything that is settled before the first child starts.
struct Stage {
    programs: Programs,
    state: StateDir,
    setup: Setup,
    /// What the pinners will run with.
    config: ServeConfig,
    roster: Arc<Roster>,
}

/// What has been started so far, in groups that are ended one after the other.
#[derive(Default)]
struct Running {
    postgres: Option<Child>,
    nats: Option<Child>,
    kubos: Vec<Child>,
    pinners: Vec<Child>,
}

impl Running {
    /// Those that use others first: a pinner hands back its work while database, NATS and Kubo still answer.
    async fn stop(self) {
        future::join_all(self.pinners.into_iter().map(Child::stop)).await;
        future::join_all(self.kubos.into_iter().map(Child::stop)).await;
        future::join_all(self.nats.into_iter().map(Child::stop)).await;
        future::join_all(self.postgres.into_iter().map(Child::stop)).await;
    }
}

/// Starts everything and waits until all of it is ready.
async fn start(stage: &Stage, running: &mut Running) -> anyhow::Result<Announcement> {
    let began = Instant::now();
    let progress = |what: &str| say(&format!("{what} after {:.1} s", began.elapsed().as_secs_f64()));
    let all = async {
        // The three do not need each other, and each is mostly waiting for its own disk.
        tokio::try_join!(
            postgres::start(stage, &mut running.postgres),
            nats::start(stage, &mut running.nats),
            kubo::start(stage, &mut running.kubos),
        )?;
        progress("Postgres, NATS and Kubo are ready");
        pinner::migrate(stage).await?;
        progress("the database is migrated");
        pinner::start(stage, &mut running.pinners).await?;
        progress("the pinners are ready");
        announcement::make(stage, running).await
    };
    timeout(STARTED_WITHIN, all).await.unwrap_or_else(|_| {
        Err(anyhow::anyhow!(
            "not ready within {} s; what each part says is in {}",
            STARTED_WITHIN.as_secs(),
            stage.state.logs().display()
        ))
    })
}

/// One line on stdout, at once, whatever stdout is.
fn print(announcement: &Announcement) -> anyhow::Result<()> {
    let line = serde_json::to_string(announcement).context("write the announcement")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("print the announcement to stdout")
}

/// Progress for whoever watches.
#[expect(clippy::print_stderr, reason = "stderr is where DESIGN puts the progress of this command")]
fn say(line: &str) {
    eprintln!("anchorage dev: {line}");
}

/// The signals that end this command in good order. SIGHUP is left as it is: a closing terminal ends us, `nohup` keeps us.
struct Interrupts {
    terminate: Signal,
    interrupt: Signal,
}

impl Interrupts {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
