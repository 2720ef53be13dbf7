//! What every pinner looks after from time to time, whether or not anybody told it to.

use super::Worker;
use crate::db::placements;

/// Placements or pins whose time is up that one step of a sweep takes, so that its locks are short.
const EXPIRED_MAX: i32 = 500;

/// A node that was not swept for so many times the usual was without a pinner, or without a database.
const SWEEPS_MISSED: u32 = 4;

/// Puts back work whose lease ran out, ends what is past its time, and lets go what was kept for a replacement.
pub(super) async fn run(worker: &Worker) {
    keep_time(worker).await;
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
}

/// Has the time not count towards any deadline in which this node could not work. Before anything is claimed, since what
/// waits may be from before the node was away.
pub(super) async fn keep_time(worker: &Worker) {
    let can_work = *worker.kubo_ready.borrow() && !*worker.kubo_disk_full.borrow();
    let at_most = worker.settings.sweep * SWEEPS_MISSED;
    if let Err(error) = placements::keep_time(&worker.db, worker.node, can_work, at_most).await {
        tracing::warn!(%error, "cannot note whether this node works; the next sweep tries again");
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
