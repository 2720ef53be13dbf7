//! What every pinner looks after from time to time, whether or not anybody told it to.

use super::Worker;
use crate::db::placements;

/// Contents that one sweep gives further placements.
const SHORT_MAX: i32 = 200;

/// Puts back work whose lease ran out, and places contents that found too few nodes when they were accepted.
pub(super) async fn run(worker: &Worker) {
    if let Err(error) = expire(worker).await {
        tracing::warn!(%error, "cannot put back work whose lease ran out; the next sweep tries again");
    }
    if let Err(error) = add_copies(worker).await {
        tracing::warn!(%error, "cannot place what is short of copies; the next sweep tries again");
    }
}

async fn expire(worker: &Worker) -> sqlx::Result<()> {
    let mut tx = worker.db.worker().await?;
    let jobs = placements::expire_leases(&mut tx, worker.node).await?;
    tx.commit().await?;
    if jobs > 0 {
        tracing::info!(jobs, "put back work whose lease ran out");
    }
    Ok(())
}

async fn add_copies(worker: &Worker) -> sqlx::Result<()> {
    let mut tx = worker.db.worker().await?;
    let short = placements::short_of_copies(&mut tx, SHORT_MAX).await?;
    tx.commit().await?;
    for content in short {
        let candidates = worker.fleet.candidates(&content.content, content.copies);
        // A transaction each: locks are taken content by content, and one that fails holds up no other.
        let mut tx = worker.db.worker().await?;
        let wakes = placements::add_copies(&mut tx, &content, &candidates).await?;
        tx.commit().await?;
        worker.waker.wake(&wakes);
    }
    Ok(())
}
