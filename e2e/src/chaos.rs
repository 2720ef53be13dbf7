//! `make chaos`: the service under load while its parts are killed, stopped and robbed, by a schedule that a seed draws; then
//! quiet; then the judgement over what clients were told and what is there.
//!
//! Everything is real: an `anchorage dev` of some nodes on Postgres, NATS and Kubos, with short times. A run is
//!
//! 1. [`load`]: clients of two orgs, whose every operation and its outcome is [recorded](history), while [`inject`] does what
//!    the [`schedule`] says and samples are taken;
//! 2. a quiet phase: everything is healed and must come to rest within a bound;
//! 3. the verdict of pure functions: [`kept`] over the history, [`held`] over tables and Kubos at rest, [`watched`] over the
//!    samples.
//!
//! A run without enough load proves nothing and is invalid. `--plant` breaks a promise on purpose: such a run must fail, and a
//! test sees to it.
//!
//! What is drawn is repeated by the seed; when things happen is up to the machine, so a failure may take some runs to come
//! back. The history and the logs of a failed run stay.

pub mod ask;
pub mod dice;
pub mod disk;
pub mod facts;
pub mod held;
pub mod history;
pub mod inject;
pub mod kept;
pub mod load;
pub mod look;
pub mod nats;
pub mod plant;
pub mod relay;
pub mod report;
pub mod schedule;
pub mod system;
pub mod watched;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, sleep_until, timeout},
};

use self::{
    facts::{Sample, State, Violation},
    history::Recorder,
    inject::Done,
    load::Stage,
    look::Tables,
    plant::Plant,
    report::Report,
    schedule::{Kind, Step},
    system::System,
};
use crate::story;

/// Flags of `e2e chaos`.
#[derive(Debug, Clone, clap::Args)]
pub struct ChaosArgs {
    /// Draws faults and operations; any if left out
    #[arg(long)]
    pub seed: Option<u64>,
    /// How long load and faults last
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u64).range(5..=7200))]
    pub seconds: u64,
    /// Nodes of the fleet
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=9))]
    pub nodes: u8,
    /// Only these faults
    #[arg(long, value_delimiter = ',', value_enum)]
    pub faults: Vec<Kind>,
    /// No faults at all
    #[arg(long, conflicts_with = "faults")]
    pub calm: bool,
    /// Break this on purpose: the run must fail
    #[arg(long, value_delimiter = ',', value_enum)]
    pub plant: Vec<Plant>,
}

/// How long the fleet may take to come to rest.
const RESTS_WITHIN: Duration = Duration::from_secs(240);
/// Requests that were cut off may take effect until then, before the first look.
const SETTLES: Duration = Duration::from_secs(3);
/// Between two samples.
const SAMPLES: Duration = Duration::from_millis(250);
/// Fewer acknowledged operations a second prove nothing.
const LEAST_LOAD: f64 = 3.0;

/// Runs and prints what came of it.
///
/// # Errors
/// When a promise is broken, the run is invalid or could not be made.
pub fn run(arguments: &ChaosArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let report = runtime.context("start a runtime")?.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
        tokio::select! {
            report = disturb(arguments) => report,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("told to end"),
        }
    })?;
    print(&report);
    report.verdict()
}

/// One run.
///
/// # Errors
/// When it could not be made.
pub async fn disturb(arguments: &ChaosArgs) -> Result<Report> {
    let seed = arguments.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let dir = std::env::temp_dir().join(format!("anchorage-chaos-{seed}-{}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    story::note(&format!("seed {seed}; the history is in {}", dir.join("history.jsonl").display()));
    let outcome = disturb_in(arguments, seed, dir.clone()).await;
    if outcome.as_ref().is_ok_and(|report| report.verdict().is_ok() || !arguments.plant.is_empty()) {
        let _ = fs::remove_dir_all(&dir);
    } else {
        // What is of use to a reader stays.
        for data in ["postgres", "kubo", "nats"] {
            let _ = fs::remove_dir_all(dir.join("state").join(data));
        }
    }
    outcome
}

async fn disturb_in(arguments: &ChaosArgs, seed: u64, dir: PathBuf) -> Result<Report> {
    let steps = if arguments.calm {
        Vec::new()
    } else {
        schedule::schedule(seed, arguments.seconds, arguments.nodes.into(), &arguments.faults)
    };
    let needs_disks = steps.iter().any(|step| step.fault.kind.needs_disks());
    // Relays have to run while it waits.
    let system = tokio::task::block_in_place(|| System::start(&dir, arguments.nodes, needs_disks))?;
    let stage = Arc::new(Stage {
        recorder: Recorder::create(&dir.join("history.jsonl"))?,
        system,
        seed,
        blocks: Mutex::new(BTreeMap::new()),
        is_over: AtomicBool::new(false),
    });
    let samples = Arc::new(Mutex::new(Watched::default()));
    let watching = tokio::spawn(watch(Arc::clone(&stage), Arc::clone(&samples)));
    let providing = tokio::spawn(load::provide(Arc::clone(&stage)));
    let rested = act(arguments, &steps, &stage).await;
    watching.abort();
    providing.abort();
    // What they hold of the stage is dropped with them. That they were cancelled is right, that they broke is not.
    for (what, ended) in [("looking on", watching.await), ("giving blocks again", providing.await)] {
        ensure!(!ended.is_err_and(|error| error.is_panic()), "{what} ended in a panic, so the run shows nothing");
    }
    let (done, state, rest) = rested?;
    let history = stage.recorder.operations();
    let watched = std::mem::take(&mut *samples.lock().unwrap_or_else(PoisonError::into_inner));
    let losses = done.losses.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut violations = kept::check(&history, &state.pins);
    violations.extend(held::check(&state));
    violations.extend(watched::check(&watched.samples, &losses));
    violations.extend(watched.violations);
    Ok(Report {
        seed,
        arguments: arguments.clone(),
        dir,
        least: (arguments.seconds as f64 * LEAST_LOAD) as usize,
        rest,
        history,
        pins: state.pins.len(),
        faults: done.faults.into_inner().unwrap_or_else(PoisonError::into_inner),
        samples: watched.samples.len(),
        refused: watched.refused,
        violations,
    })
}

/// Load and faults, then quiet. Gives what was done, what is there at rest, and how long the fleet took to get there.
async fn act(arguments: &ChaosArgs, steps: &[Step], stage: &Arc<Stage>) -> Result<(Done, State, Duration)> {
    let done = Done::default();
    let tokens = load::tokens(stage).await?;
    let began = Instant::now();
    let end = began + Duration::from_secs(arguments.seconds);
    let ends = async {
        sleep_until(began + (end - began) / 2).await;
        let planted = plant::in_the_middle(stage, &arguments.plant).await;
        sleep_until(end).await;
        stage.is_over.store(true, Ordering::Relaxed);
        planted
    };
    let ((), (), planted) = tokio::join!(load::run(stage, tokens), inject::run(stage, steps, &done), ends);
    planted?;

    stage.recorder.note("quiet");
    let quiet = Instant::now();
    inject::heal_all(stage).await?;
    sleep(SETTLES).await;
    let mut tables = Tables::of(&stage.system);
    let mut state = None;
    while quiet.elapsed() < RESTS_WITHIN {
        if let Ok(found) = tables.state(&stage.system).await {
            let is_at_rest = held::check(&found).is_empty();
            state = Some(found);
            if is_at_rest {
                break;
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
    let rest = quiet.elapsed();
    let mut state = state.context("the service could not be looked at in the quiet phase")?;
    if !arguments.plant.is_empty() {
        let planted = plant::at_the_end(stage, &arguments.plant, &state).await;
        let found = tables.state(&stage.system).await;
        plant::go_on(stage);
        planted?;
        state = found?;
    }
    Ok((done, state, rest))
}

/// What was seen all along.
#[derive(Debug, Default)]
struct Watched {
    samples: Vec<Sample>,
    /// How often the fence refused an epoch that was over.
    refused: usize,
    violations: Vec<Violation>,
}

/// Takes samples until it is ended. Each new holder of an office is an occasion to try the number of the one before.
async fn watch(stage: Arc<Stage>, watched: Arc<Mutex<Watched>>) {
    let mut tables = Tables::of(&stage.system);
    let mut tried: BTreeMap<String, i64> = BTreeMap::new();
    loop {
        sleep(SAMPLES).await;
        let Ok(sample) = tables.sample(stage.recorder.now()).await else { continue };
        for term in &sample.terms {
            if tried.insert(term.role.clone(), term.epoch).is_none_or(|epoch| epoch >= term.epoch) {
                continue;
            }
            let old = term.epoch - 1;
            let fence = "select 1 from fence($1, $2)";
            let asked = timeout(
                Duration::from_secs(5),
                tables.ask(async |session| sqlx::query(fence).bind(&term.role).bind(old).execute(session).await),
            );
            let Ok(answer) = asked.await else { continue };
            let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
            match answer {
                Ok(_) => watched.violations.push(Violation::new(
                    "an old leader may write",
                    format!("{} of epoch {old} passes the fence beside {}", term.role, term.epoch),
                )),
                Err(error) if format!("{error:#}").contains("another node is") => watched.refused += 1,
                Err(_) => {}
            }
        }
        watched.lock().unwrap_or_else(PoisonError::into_inner).samples.push(sample);
    }
}

#[expect(clippy::print_stdout, reason = "what is printed is what this command is for")]
fn print(report: &Report) {
    println!("{report}");
}
