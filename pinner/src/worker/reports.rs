//! What is under way: its progress and its leases, told to the database together, and the end of what is not ours
//! any more.

use super::{LEASE, Worker};
use crate::db::placements::{self, JobGeneration, Progress, Ticket};
use pinner_core::attempt;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often is looked for what there is to tell.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Work is worth telling of once it took this long; a pin of blocks that are there already is over before.
const FIRST_REPORT: Duration = Duration::from_millis(500);
/// What changes is told this often, and so is asked whose the work is.
const REPORT_EVERY: Duration = Duration::from_millis(1500);
/// A lease is renewed this often where nothing else is to tell.
const RENEW_EVERY: Duration = Duration::from_secs(15);

/// Everything under way.
#[derive(Default)]
pub(super) struct Reports {
    running: Mutex<HashMap<JobGeneration, Running>>,
}

struct Running {
    ticket: Ticket,
    progress: Progress,
    began: Instant,
    /// When the first block came, and the last.
    blocks_came: Option<(Instant, Instant)>,
    told: Option<(Progress, Instant)>,
    superseded: CancellationToken,
}

impl Running {
    fn is_to_be_told(&self, now: Instant) -> bool {
        match self.told {
            None => now - self.began >= FIRST_REPORT,
            Some((progress, at)) => (progress != self.progress && now - at >= REPORT_EVERY) || now - at >= RENEW_EVERY,
        }
    }
}

/// A piece of work that is reported on until this is dropped.
pub(super) struct Reported {
    reports: Arc<Reports>,
    id: JobGeneration,
    superseded: CancellationToken,
}

impl Reports {
    /// Begins to report on a job.
    pub(super) fn begin(self: &Arc<Self>, ticket: &Ticket) -> Reported {
        let superseded = CancellationToken::new();
        let running = Running {
            ticket: ticket.clone(),
            progress: Progress::default(),
            began: Instant::now(),
            blocks_came: None,
            told: None,
            superseded: superseded.clone(),
        };
        self.running().insert(ticket.id(), running);
        Reported { reports: Arc::clone(self), id: ticket.id(), superseded }
    }

    /// Reports until told to stop.
    pub(super) async fn run(&self, worker: &Worker, stop: &CancellationToken) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(look.tick()).await.is_some() {
            if let Err(error) = self.report(worker).await {
                tracing::warn!(%error, "cannot note progress");
            }
        }
    }

    async fn report(&self, worker: &Worker) -> sqlx::Result<()> {
        let now = Instant::now();
        let (changed, same): (Vec<_>, Vec<_>) = self
            .running()
            .values()
            .filter(|running| now - running.began >= FIRST_REPORT)
            .map(|running| ((running.ticket.clone(), running.progress), running.is_to_be_told(now)))
            .partition(|(_, to_be_told)| *to_be_told);
        if changed.is_empty() && same.is_empty() {
            return Ok(());
        }
        let changed: Vec<_> = changed.into_iter().map(|(report, _)| report).collect();
        let same: Vec<_> = same.into_iter().map(|((ticket, _), _)| ticket).collect();
        let mut held = HashSet::new();
        if !changed.is_empty() {
            held.extend(placements::report(&worker.db, worker.node, &changed, LEASE).await?);
        }
        if !same.is_empty() {
            held.extend(placements::held(&worker.db, worker.node, &same).await?);
        }
        let mut running = self.running();
        for (ticket, progress) in &changed {
            if let Some(running) = running.get_mut(&ticket.id()) {
                running.told = Some((*progress, now));
            }
        }
        for ticket in changed.iter().map(|(ticket, _)| ticket).chain(&same) {
            if let Some(lost) = running.get(&ticket.id()).filter(|_| !held.contains(&ticket.id())) {
                lost.superseded.cancel();
            }
        }
        Ok(())
    }

    /// How much is under way.
    pub(super) fn under_way(&self) -> usize {
        self.running().len()
    }

    /// How long ago any fetch got a block that was not among its first, which come in a moment and would again; none when
    /// none has.
    pub(super) fn advanced(&self) -> Option<Duration> {
        let running = self.running();
        let came = running.values().filter_map(|running| running.blocks_came);
        let last = came.filter(|(first, last)| *last - *first >= attempt::BRIEF).map(|(_, last)| last).max();
        last.map(|last| last.elapsed())
    }

    fn running(&self) -> MutexGuard<'_, HashMap<JobGeneration, Running>> {
        self.running.lock().expect("nobody panics while holding this lock")
    }
}

impl Reported {
    /// Notes how far the work is.
    pub(super) fn note(&self, progress: Progress) {
        let mut running = self.reports.running();
        if let Some(running) = running.get_mut(&self.id).filter(|running| running.progress != progress) {
            let now = Instant::now();
            running.blocks_came = Some((running.blocks_came.map_or(now, |(first, _)| first), now));
            running.progress = progress;
        }
    }

    /// Waits until the work is somebody else's, or nobody's.
    pub(super) async fn superseded(&self) {
        self.superseded.cancelled().await;
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        self.reports.running().remove(&self.id);
    }
}
