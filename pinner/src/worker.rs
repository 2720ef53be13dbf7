//! The worker: takes this node's due placements and has Kubo pin or unpin them.
//!
//! It looks at the table whenever something may have changed: when its bell rings (a wake-up from NATS or a commit in
//! this process), when a slot becomes free, and at every sweep. What it does never depends on why it looked. Jobs
//! are leased; a result counts only under the generation that was claimed, so a job that passed to somebody else, or
//! was turned from pinning to unpinning meanwhile, cannot be finished by a latecomer.

mod collect;
mod dial;
mod exclusive;
mod full;
mod lanes;
mod pin;
mod reconcile;
mod reports;
mod results;
mod sweep;
mod unpin;
mod uploads;
mod verify;

pub use lanes::Slots;

use crate::{
    bell::{Bell, Listener},
    db::{
        Database,
        placements::{self, Job, Lane},
    },
    fleet::Fleet,
    kubo::Kubo,
    metrics::Metrics,
    service::Gates,
    wake::Waker,
};
use exclusive::Exclusive;
use full::Full;
use lanes::{Lanes, Slot};
use pinner_core::{id::NodeId, retry::RetryPolicy};
use reports::Reports;
use results::Results;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How long a claim is good for without a sign of life.
const LEASE: Duration = Duration::from_secs(60);
/// Waits between tries to tell the database how a job ended.
const INSIST_WAITS: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];
/// How long to leave a job alone when Kubo is away. It is no attempt.
const KUBO_AWAY: Duration = Duration::from_secs(2);
/// The most jobs of one lane that one look takes, so that a look stays short.
const CLAIM_MAX: usize = 64;

/// The worker's bounds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Jobs at once.
    pub slots: Slots,
    /// Time between sweeps.
    pub sweep: Duration,
    /// How long a first attempt may bring nothing before it joins the others in the retry lane.
    pub patience: Duration,
    /// How long a fetch may bring nothing before it is given up.
    pub stall: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Time between comparisons of Kubo with its placements.
    pub reconcile: Duration,
    /// Time between garbage collections.
    pub gc: Duration,
}

/// What the worker and its jobs share.
pub struct Worker {
    /// The database.
    pub db: Database,
    /// The Kubo beside us.
    pub kubo: Kubo,
    /// Which node we are.
    pub node: NodeId,
    /// The fleet as last seen.
    pub fleet: Fleet,
    /// Where to announce jobs for other nodes.
    pub waker: Waker,
    /// Whether Kubo answered when it was last asked.
    pub kubo_ready: watch::Receiver<bool>,
    /// Told whether Kubo's disk is full.
    pub kubo_disk_full: watch::Sender<bool>,
    /// The highest turn that was taken in the order of turns, for the pulse to tell.
    pub turn: Arc<AtomicI64>,
    /// Bounds.
    pub settings: Settings,
    /// What garbage collection waits for.
    pub gates: Gates,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

struct Running {
    worker: Worker,
    exclusive: Exclusive,
    lanes: Arc<Lanes>,
    reports: Arc<Reports>,
    results: Results,
    /// Told when fetches have to end because garbage is to be collected.
    make_room: watch::Sender<bool>,
    /// Whether there is room on Kubo's disk.
    full: Full,
    /// Whether anything was let go since garbage was collected last.
    has_garbage: AtomicBool,
    stop: CancellationToken,
}

/// Works until told to stop; then cancels what is under way, hands it back and returns.
pub async fn run(worker: Worker, bell: &Bell, stop: CancellationToken) {
    let mut listener = bell.listener();
    let mut tick = tokio::time::interval(worker.settings.sweep);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kubo_ready = worker.kubo_ready.clone();
    let (results, queue) = Results::new();
    let lanes = Arc::new(Lanes::new(worker.settings.slots));
    let full = Full::new(worker.kubo_disk_full.clone());
    let (exclusive, reports) = (Exclusive::default(), Arc::<Reports>::default());
    let running = Arc::new(Running {
        worker,
        exclusive,
        lanes,
        reports,
        results,
        make_room: watch::Sender::new(false),
        full,
        // Who knows what was there before.
        has_garbage: AtomicBool::new(true),
        stop: stop.clone(),
    });
    hand_back(&running.worker).await;
    sweep::keep_time(&running.worker).await;
    // Before anything else is pinned: that is verified already.
    let before = verify::latest(&running.worker).await;
    let mut jobs = JoinSet::new();
    let mut taken = Taken::default();
    let work = async {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = listener.heard() => {}
                () = running.lanes.freed() => {}
                Some(ended) = jobs.join_next(), if !jobs.is_empty() => {
                    if !matches!(ended, Ok(After::Look)) {
                        continue;
                    }
                }
                Ok(()) = kubo_ready.changed() => {}
                _ = tick.tick() => sweep::run(&running.worker).await,
            }
            look(&running, &mut listener, &mut jobs, &mut taken).await;
        }
        // Each job sees the same token and lets go of Kubo.
        while jobs.join_next().await.is_some() {}
    };
    // Results are told as long as there are jobs that could have one.
    tokio::select! {
        () = work => {}
        () = queue.run(&running.worker, &running.reports, &stop) => {}
        () = async { running.reports.run(&running.worker, &stop).await; std::future::pending().await } => {}
        () = reconcile::run(&running, &before) => {}
        () = collect::run(&running) => {}
        () = uploads::run(&running.worker) => {}
        () = full::run(&running) => {}
    }
    hand_back(&running.worker).await;
}

/// What was taken since the start, for the next to be of others.
#[derive(Debug, Default)]
struct Taken {
    /// New placements.
    fresh: u64,
    /// Whose retries were served last.
    share: i32,
}

/// Claims what is due into free slots.
async fn look(running: &Arc<Running>, listener: &mut Listener, jobs: &mut JoinSet<After>, taken: &mut Taken) {
    let answers = listener.begin();
    loop {
        let room = running.full.limit(running.lanes.room(taken.fresh, CLAIM_MAX));
        if room.total() == 0 || !*running.worker.kubo_ready.borrow() {
            break;
        }
        let worker = &running.worker;
        let claimed = match placements::claim(&worker.db, worker.node, room, LEASE, taken.share).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "cannot claim work; the next sweep tries again");
                break;
            }
        };
        let more = claimed.len() >= CLAIM_MAX;
        for job in claimed {
            taken.fresh += u64::from(job.lane == Lane::Fresh);
            taken.share = job.share.unwrap_or(taken.share);
            worker.turn.fetch_max(job.turn.unwrap_or(0), Ordering::Relaxed);
            let slot = running.lanes.take(job.lane);
            jobs.spawn(work(Arc::clone(running), slot, job));
        }
        if !more {
            break;
        }
    }
    listener.end(answers);
}

/// What the end of a job asks for. Its slot was free before, and was looked after then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// Nothing.
    Nothing,
    /// A look: the job itself is due again at once.
    Look,
}

/// Works on a job from its claim to the moment when the database knows how it ended.
async fn work(running: Arc<Running>, slot: Slot, job: Job) -> After {
    // From now on, so that the lease is renewed also while somebody else works on the content.
    let reported = running.reports.begin(&job.ticket);
    let alone = async {
        slot.begin().await;
        running.exclusive.lock(&job.ticket.content).await
    };
    let _alone = tokio::select! {
        alone = alone => alone,
        () = reported.superseded() => return After::Nothing,
        () = running.stop.cancelled() => return After::Nothing,
    };
    match job.lane {
        Lane::Fresh | Lane::Copy | Lane::Retry => pin::run(&running, slot, reported, &job).await,
        Lane::Unpin => {
            unpin::run(&running, &job).await;
            After::Nothing
        }
    }
}

/// Tells the database what must not be lost for a moment's trouble: a deadlock that it broke, a restart. All tries
/// together are shorter than a lease; when we are stopping there is one.
async fn insist<T, F: Future<Output = sqlx::Result<T>>>(
    stop: &CancellationToken,
    mut tell: impl FnMut() -> F,
) -> sqlx::Result<T> {
    for wait in INSIST_WAITS {
        match tell().await {
            Err(error) if !stop.is_cancelled() => tracing::debug!(%error, "the database was not told; once more"),
            told => return told,
        }
        stop.run_until_cancelled(tokio::time::sleep(wait)).await;
    }
    tell().await
}

/// Gives back everything that this node holds a claim on: whoever made the claims is gone, or about to go.
async fn hand_back(worker: &Worker) {
    match placements::hand_back(&worker.db, worker.node).await {
        Ok(0) => {}
        Ok(jobs) => tracing::info!(jobs, "handed unfinished work back"),
        Err(error) => tracing::warn!(%error, "cannot hand work back; its leases will run out"),
    }
}
