//! Letting go of a content that no pin of any org holds any more.

use super::{
    Running,
    results::{Ended, Outcome},
};
use crate::db::placements::{self, Job};

/// Unpins a content, unless it is wanted again. What fails is tried again when its lease has run out; until then the
/// lease is renewed, however long Kubo takes, so that no second slot is given to it.
pub(super) async fn run(running: &Running, job: &Job) {
    match running.stop.run_until_cancelled(attempt(running, job)).await {
        Some(Err(error)) => tracing::warn!(%error, content = %job.ticket.content, "cannot unpin yet"),
        Some(Ok(Outcome::Superseded)) => tracing::debug!(content = %job.ticket.content, "wanted again, not unpinned"),
        Some(Ok(Outcome::Done)) => running.worker.metrics.pins_finished("unpinned"),
        Some(Ok(Outcome::Untold)) | None => {}
    }
}

/// Between the last question and Kubo's answer somebody may pin the content again. Then the placement has another
/// generation, this unpin does not count, and the new job finds the content unpinned and pins it: its blocks are
/// still there, since garbage collection is ours alone.
async fn attempt(running: &Running, job: &Job) -> anyhow::Result<Outcome> {
    let worker = &running.worker;
    if !placements::may_unpin(&worker.db, worker.node, &job.ticket).await? {
        return Ok(Outcome::Superseded);
    }
    worker.kubo.unpin(&job.ticket.content).await?;
    Ok(running.results.tell(job.ticket.clone(), Ended::Unpinned).await)
}
