//! One attempt to pin a content on this node.

use super::{LEASE, Worker, dial};
use crate::{
    db::placements::{self, Job, Outcome, Progress},
    kubo::{KuboError, addition::Step},
};
use pinner_core::retry::Next;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Progress is noted at most this often.
const REPORT_EVERY: Duration = Duration::from_secs(2);
/// How long to leave a job alone when Kubo is away. It is no attempt.
const KUBO_AWAY: Duration = Duration::from_secs(2);
/// An error's text is kept up to here.
const ERROR_MAX: usize = 500;

/// How an attempt ended.
#[derive(Debug)]
enum End {
    /// Kubo holds it.
    Pinned,
    /// The attempt failed, for this reason.
    Failed(String),
    /// Nobody is to blame: we are stopping, or Kubo is away.
    Released(Duration),
    /// The job is somebody else's now, or nobody's.
    Superseded,
}

/// Runs the attempt and tells the database how it ended.
pub(super) async fn run(worker: &Worker, stop: &CancellationToken, job: &Job) {
    let end = stop.run_until_cancelled(attempt(worker, job)).await.unwrap_or(End::Released(Duration::ZERO));
    if let Err(error) = record(worker, job, &end).await {
        tracing::warn!(%error, content = %job.content, "cannot record how a pin ended; its lease will run out and it is looked at again");
    }
}

async fn attempt(worker: &Worker, job: &Job) -> End {
    match worker.kubo.is_pinned(&job.content).await {
        // Never added again: that would delete the pin first (HAZARDS 11).
        Ok(true) => return End::Pinned,
        Ok(false) => {}
        Err(error) => return from_kubo(error),
    }
    dial::origins(worker, &job.content).await;
    match fetch(worker, job).await {
        Ok(end) => end,
        Err(error) => from_kubo(error),
    }
}

/// Has Kubo fetch and pin; watches that it gets on.
async fn fetch(worker: &Worker, job: &Job) -> Result<End, KuboError> {
    let mut addition = worker.kubo.add_pin(&job.content).await?;
    let mut progress = Progress::default();
    let mut advanced = Instant::now();
    let mut reported: Option<Instant> = None;
    loop {
        let deadline = advanced + worker.settings.stall;
        let step = match tokio::time::timeout_at(deadline, addition.step()).await {
            Ok(step) => step?,
            Err(_) => return Ok(stalled(worker)),
        };
        let Step::Progress { blocks, bytes } = step else { return Ok(End::Pinned) };
        let now = Progress { blocks, bytes };
        if now != progress {
            progress = now;
            advanced = Instant::now();
        } else if advanced.elapsed() >= worker.settings.stall {
            return Ok(stalled(worker));
        }
        if reported.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            reported = Some(Instant::now());
            if report(worker, job, progress).await == Some(Outcome::Superseded) {
                return Ok(End::Superseded);
            }
        }
    }
}

fn stalled(worker: &Worker) -> End {
    let seconds = worker.settings.stall.as_secs();
    End::Failed(format!("no block arrived for {seconds} s; no peer that has the content was found"))
}

/// Notes progress. `None` when the database could not be told: the work goes on as long as the lease may.
async fn report(worker: &Worker, job: &Job, progress: Progress) -> Option<Outcome> {
    let told = async {
        let mut tx = worker.db.worker().await?;
        let outcome = placements::report(&mut tx, job.ticket, &job.content, progress, LEASE).await?;
        tx.commit().await?;
        Ok::<_, sqlx::Error>(outcome)
    };
    told.await.inspect_err(|error| tracing::warn!(%error, "cannot note progress")).ok()
}

fn from_kubo(error: KuboError) -> End {
    match error {
        KuboError::Unreachable(error) => {
            tracing::warn!(%error, "Kubo went away during a pin");
            End::Released(KUBO_AWAY)
        }
        KuboError::Refused(why) => End::Failed(why),
        strange @ KuboError::Strange { .. } => End::Failed(strange.to_string()),
    }
}

async fn record(worker: &Worker, job: &Job, end: &End) -> sqlx::Result<()> {
    let mut tx = worker.db.worker().await?;
    match end {
        End::Pinned => {
            placements::finish_pin(&mut tx, job.ticket, &job.content).await?;
            worker.metrics.pins_finished("pinned");
        }
        End::Failed(why) => {
            let next = worker.settings.retry.after_failure(job.attempts + 1, job.age, rand::random());
            let retry_in = match next {
                Next::After(wait) => Some(wait),
                Next::Fail => None,
            };
            let why: String = why.chars().filter(|c| *c != '\0').take(ERROR_MAX).collect();
            tracing::info!(content = %job.content, attempt = job.attempts + 1, ?retry_in, %why, "a pin failed");
            placements::fail_pin(&mut tx, job.ticket, &job.content, &why, retry_in).await?;
            worker.metrics.pins_finished(if retry_in.is_some() { "retried" } else { "failed" });
        }
        End::Released(retry_in) => placements::release(&mut tx, job.ticket, *retry_in).await?,
        End::Superseded => return Ok(()),
    }
    tx.commit().await
}
