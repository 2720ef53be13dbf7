//! Letting go of a content that no pin of any org holds any more.

use super::{Worker, insist};
use crate::db::placements::{self, Job, Outcome};
use tokio_util::sync::CancellationToken;

/// Unpins a content, unless it is wanted again. What fails is tried again when its lease has run out.
pub(super) async fn run(worker: &Worker, stop: &CancellationToken, job: &Job) {
    match stop.run_until_cancelled(attempt(worker, stop, job)).await {
        Some(Err(error)) => tracing::warn!(%error, content = %job.content, "cannot unpin yet"),
        Some(Ok(Outcome::Superseded)) => tracing::debug!(content = %job.content, "wanted again, not unpinned"),
        Some(Ok(Outcome::Done)) => worker.metrics.pins_finished("unpinned"),
        None => {}
    }
}

/// Between the last question and Kubo's answer somebody may pin the content again. Then the placement has another
/// generation, this unpin does not count, and the new job finds the content unpinned and pins it: its blocks are
/// still there, since garbage collection is ours alone.
async fn attempt(worker: &Worker, stop: &CancellationToken, job: &Job) -> anyhow::Result<Outcome> {
    let mut tx = worker.db.worker().await?;
    let wanted = placements::may_unpin(&mut tx, job.ticket).await?;
    tx.commit().await?;
    if !wanted {
        return Ok(Outcome::Superseded);
    }
    worker.kubo.unpin(&job.content).await?;
    Ok(insist(stop, || finish(worker, job)).await?)
}

async fn finish(worker: &Worker, job: &Job) -> sqlx::Result<Outcome> {
    let mut tx = worker.db.worker().await?;
    let outcome = placements::finish_unpin(&mut tx, job.ticket, &job.content).await?;
    tx.commit().await?;
    Ok(outcome)
}
