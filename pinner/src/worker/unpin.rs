//! Letting go of a content that no pin of any org holds any more, or that enough other nodes hold.

use super::{
    KUBO_AWAY, Running, full, pin,
    results::{Ended, Outcome},
};
use crate::{
    db::placements::{self, Job, MayUnpin},
    kubo::KuboError,
};
use std::sync::atomic::Ordering;

/// Unpins a content, unless it is wanted again. What Kubo refuses is tried again when its lease has run out; until then
/// the lease is renewed, however long Kubo takes, so that no second slot is given to it.
pub(super) async fn run(running: &Running, job: &Job) {
    match running.stop.run_until_cancelled(attempt(running, job)).await {
        Some(Err(error)) => tracing::warn!(%error, content = %job.ticket.content, "cannot unpin yet"),
        Some(Ok(Outcome::Superseded)) => tracing::debug!(content = %job.ticket.content, "wanted again, not unpinned"),
        Some(Ok(Outcome::Done | Outcome::Untold)) | None => {}
    }
}

/// Between the last question and Kubo's answer somebody may pin the content again. Then the placement has another
/// generation, this unpin does not count, and the new job finds the content unpinned and pins it: its blocks are
/// still there, since garbage collection is ours alone.
async fn attempt(running: &Running, job: &Job) -> anyhow::Result<Outcome> {
    let worker = &running.worker;
    let _unpinning = worker.gates.pins.read().await;
    match placements::may_unpin(&worker.db, worker.node, &job.ticket).await? {
        MayUnpin::Yes => {}
        MayUnpin::Superseded => return Ok(Outcome::Superseded),
        MayUnpin::Needed => {
            // Kubo may be about to let it go for somebody who is not there any more.
            pin::wait_for_unpin(worker, job).await?;
            if worker.kubo.is_pinned(&job.ticket.content).await? {
                // Others that held it are gone, or never had it.
                let size = pin::size(worker, job).await;
                return Ok(running.results.tell(job.ticket.clone(), Ended::Kept(size)).await);
            }
            // There is nothing to let go where nothing is held.
        }
    }
    let ended = match worker.kubo.unpin(&job.ticket.content).await {
        Ok(()) => Ended::Unpinned,
        // It may have been told all the same: who pins the content again looks after that.
        Err(KuboError::Unreachable(error)) => {
            tracing::warn!(%error, content = %job.ticket.content, "Kubo went away during an unpin");
            Ended::Released(KUBO_AWAY)
        }
        Err(KuboError::Full(why)) => {
            tracing::debug!(why, "no room for an unpin");
            full::note(running);
            Ended::Released(KUBO_AWAY)
        }
        Err(error) => return Err(error.into()),
    };
    running.has_garbage.store(true, Ordering::Relaxed);
    let unpinned = matches!(ended, Ended::Unpinned);
    let outcome = running.results.tell(job.ticket.clone(), ended).await;
    if unpinned && outcome == Outcome::Done {
        worker.metrics.pins_finished("unpinned");
    }
    Ok(outcome)
}
