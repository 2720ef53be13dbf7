//! The worker: takes this node's due placements and has Kubo pin or unpin them.
//!
//! It looks at the table whenever something may have changed: when its bell rings (a wake-up from NATS or a commit in
//! this process), when a slot becomes free, and at every sweep. What it does never depends on why it looked. Jobs
//! are leased; a result counts only under the generation that was claimed, so a job that passed to somebody else, or
//! was turned from pinning to unpinning meanwhile, cannot be finished by a latecomer.

mod dial;
mod exclusive;
mod pin;
mod sweep;
mod unpin;

use crate::{
    bell::{Bell, Listener},
    db::{Database, placements},
    fleet::Fleet,
    kubo::Kubo,
    metrics::Metrics,
    wake::Waker,
};
use exclusive::Exclusive;
use pinner_core::{id::NodeId, retry::RetryPolicy};
use std::{sync::Arc, time::Duration};
use sweep::Sweep;
use tokio::{sync::Semaphore, sync::watch, task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How long a claim is good for without a sign of life.
const LEASE: Duration = Duration::from_secs(60);
/// Waits between tries to tell the database how a job ended.
const INSIST_WAITS: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(4)];
/// The most jobs that one look takes, so that a look stays short.
const CLAIM_MAX: usize = 64;

/// The worker's bounds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Jobs at once.
    pub slots: usize,
    /// Time between sweeps.
    pub sweep: Duration,
    /// How long a fetch may bring nothing before it is given up.
    pub stall: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
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
    /// Bounds.
    pub settings: Settings,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

struct Running {
    worker: Worker,
    exclusive: Exclusive,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Works until told to stop; then cancels what is under way, hands it back and returns.
pub async fn run(worker: Worker, bell: &Bell, stop: CancellationToken) {
    let mut listener = bell.listener();
    let slots = Arc::new(Semaphore::new(worker.settings.slots));
    let mut sweep = Sweep::default();
    let mut tick = tokio::time::interval(worker.settings.sweep);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kubo_ready = worker.kubo_ready.clone();
    let running = Arc::new(Running { worker, exclusive: Exclusive::default(), slots, stop: stop.clone() });
    let mut jobs = JoinSet::new();
    hand_back(&running.worker).await;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = listener.heard() => {}
            Some(_) = jobs.join_next(), if !jobs.is_empty() => {}
            Ok(()) = kubo_ready.changed() => {}
            _ = tick.tick() => sweep.run(&running.worker).await,
        }
        look(&running, &mut listener, &mut jobs).await;
    }
    // Each job sees the same token and lets go of Kubo.
    while jobs.join_next().await.is_some() {}
    hand_back(&running.worker).await;
}

/// Claims what is due into free slots.
async fn look(running: &Arc<Running>, listener: &mut Listener, jobs: &mut JoinSet<()>) {
    let answers = listener.begin();
    loop {
        let free = running.slots.available_permits().min(CLAIM_MAX);
        if free == 0 || !*running.worker.kubo_ready.borrow() {
            break;
        }
        let claimed = match claim(&running.worker, free).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(%error, "cannot claim work; the next sweep tries again");
                break;
            }
        };
        let all = claimed.len() < free;
        for job in claimed {
            let slot =
                Arc::clone(&running.slots).try_acquire_owned().expect("only this loop takes slots, and counted them");
            let running = Arc::clone(running);
            jobs.spawn(async move {
                let _slot = slot;
                let _alone = running.exclusive.lock(&job.content).await;
                if job.unpin {
                    unpin::run(&running.worker, &running.stop, &job).await;
                } else {
                    pin::run(&running.worker, &running.stop, &job).await;
                }
            });
        }
        if all {
            break;
        }
    }
    listener.end(answers);
}

async fn claim(worker: &Worker, free: usize) -> sqlx::Result<Vec<placements::Job>> {
    let mut tx = worker.db.worker().await?;
    let claimed = placements::claim(&mut tx, worker.node, free, LEASE).await?;
    tx.commit().await?;
    Ok(claimed)
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
    let handed = async {
        let mut tx = worker.db.worker().await?;
        let jobs = placements::hand_back(&mut tx, worker.node).await?;
        tx.commit().await?;
        Ok::<_, sqlx::Error>(jobs)
    };
    match handed.await {
        Ok(0) => {}
        Ok(jobs) => tracing::info!(jobs, "handed unfinished work back"),
        Err(error) => tracing::warn!(%error, "cannot hand work back; its leases will run out"),
    }
}
