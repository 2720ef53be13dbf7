//! What every pinner looks after from time to time, whether or not anybody told it to.

use super::Worker;
use crate::db::placements;
use pinner_core::content::ContentKey;

/// Contents that one sweep gives further placements.
const SHORT_MAX: i32 = 200;
/// Placements or pins whose time is up that one step of a sweep takes, so that its locks are short.
const EXPIRED_MAX: i32 = 500;

/// The sweeps of a worker, each of which goes on where the last one ended: so contents that no node can take do not
/// keep the sweep from those behind them.
#[derive(Default)]
pub(super) struct Sweep {
    after: Option<ContentKey>,
}

impl Sweep {
    /// Puts back work whose lease ran out, ends what is past its time, lets go what was kept for a replacement, and
    /// places contents that found too few nodes when they were accepted.
    pub(super) async fn run(&mut self, worker: &Worker) {
        if let Err(error) = expire_leases(worker).await {
            tracing::warn!(%error, "cannot put back work whose lease ran out; the next sweep tries again");
        }
        if let Err(error) = expire_pins(worker).await {
            tracing::warn!(%error, "cannot delete pins whose time is up; the next sweep tries again");
        }
        if let Err(error) = fail_overdue(worker).await {
            tracing::warn!(%error, "cannot end what is past its deadline; the next sweep tries again");
        }
        if let Err(error) = release_kept(worker).await {
            tracing::warn!(%error, "cannot let go what was kept for a replacement; the next sweep tries again");
        }
        match add_copies(worker, self.after.as_ref()).await {
            Ok(last) => self.after = last,
            Err(error) => tracing::warn!(%error, "cannot place what is short of copies; the next sweep tries again"),
        }
    }
}

async fn expire_leases(worker: &Worker) -> sqlx::Result<()> {
    let jobs = placements::expire_leases(&worker.db, worker.node).await?;
    if jobs > 0 {
        tracing::info!(jobs, "put back work whose lease ran out");
    }
    Ok(())
}

async fn expire_pins(worker: &Worker) -> sqlx::Result<()> {
    let wakes = placements::expire_pins(&worker.db, EXPIRED_MAX).await?;
    worker.waker.wake(&wakes);
    Ok(())
}

async fn fail_overdue(worker: &Worker) -> sqlx::Result<()> {
    let failed = placements::fail_overdue(&worker.db, worker.node, worker.settings.retry.deadline, EXPIRED_MAX).await?;
    if failed > 0 {
        tracing::info!(failed, "gave up on placements past their deadline");
    }
    Ok(())
}

async fn release_kept(worker: &Worker) -> sqlx::Result<()> {
    placements::release_kept(&worker.db, worker.node).await.map(|_| ())
}

/// Gives the content to go on behind, or none when the end was reached.
async fn add_copies(worker: &Worker, after: Option<&ContentKey>) -> sqlx::Result<Option<ContentKey>> {
    let short = placements::short_of_copies(&worker.db, after, SHORT_MAX).await?;
    for content in &short {
        let candidates = worker.fleet.candidates(&content.content, content.copies);
        // A transaction each: locks are taken content by content, and one that fails holds up no other.
        let wakes = placements::add_copies(&worker.db, content, &candidates).await?;
        worker.waker.wake(&wakes);
    }
    let more = short.len() >= SHORT_MAX.unsigned_abs() as usize;
    Ok(short.last().filter(|_| more).map(|last| last.content.clone()))
}
