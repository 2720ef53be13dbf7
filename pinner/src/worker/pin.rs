//! One attempt to pin a content on this node.

use super::{LEASE, Worker, dial, insist};
use crate::{
    db::placements::{self, Job, Outcome, Progress},
    kubo::{KuboError, addition::Step},
};
use pinner_core::retry::Next;
use std::time::Duration;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// A fetch is worth noting once it took this long; one of blocks that are there already is over before.
const FIRST_REPORT: Duration = Duration::from_millis(500);
/// Progress is noted, and the lease renewed, this often.
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
    if let Err(error) = insist(stop, || record(worker, job, &end)).await {
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
    let progress = watch::Sender::new(Progress::default());
    tokio::select! {
        end = fetch(worker, job, &progress) => end,
        () = keep(worker, job, &progress) => End::Superseded,
    }
}

/// Has Kubo fetch and pin; watches that it gets on, from the moment that it is asked.
async fn fetch(worker: &Worker, job: &Job, progress: &watch::Sender<Progress>) -> End {
    let stall = worker.settings.stall;
    let mut addition = match tokio::time::timeout(stall, worker.kubo.add_pin(&job.content)).await {
        Ok(Ok(addition)) => addition,
        Ok(Err(error)) => return from_kubo(error),
        Err(_) => return stalled(worker),
    };
    let mut advanced = Instant::now();
    loop {
        let step = match tokio::time::timeout_at(advanced + stall, addition.step()).await {
            Ok(Ok(step)) => step,
            // Also when Kubo went away meanwhile: a content that brings it down must not do so without end.
            Ok(Err(error)) => return End::Failed(error.to_string()),
            Err(_) => return stalled(worker),
        };
        let Step::Progress { blocks, bytes } = step else { return End::Pinned };
        let now = Progress { blocks, bytes };
        if progress.send_if_modified(|last| std::mem::replace(last, now) != now) {
            advanced = Instant::now();
        } else if advanced.elapsed() >= stall {
            return stalled(worker);
        }
    }
}

/// Notes progress and renews the lease, however silent Kubo is, until the job is somebody else's.
async fn keep(worker: &Worker, job: &Job, progress: &watch::Sender<Progress>) {
    tokio::time::sleep(FIRST_REPORT).await;
    loop {
        let now = *progress.borrow();
        if report(worker, job, now).await == Some(Outcome::Superseded) {
            return;
        }
        tokio::time::sleep(REPORT_EVERY).await;
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
    let (outcome, result) = match end {
        End::Pinned => (placements::finish_pin(&mut tx, job.ticket, &job.content).await?, "pinned"),
        End::Failed(why) => {
            let next = worker.settings.retry.after_failure(job.attempts + 1, job.age, rand::random());
            let retry_in = match next {
                Next::After(wait) => Some(wait),
                Next::Fail => None,
            };
            let why: String = why.chars().filter(|c| *c != '\0').take(ERROR_MAX).collect();
            tracing::info!(content = %job.content, attempt = job.attempts + 1, ?retry_in, %why, "a pin failed");
            let outcome = placements::fail_pin(&mut tx, job.ticket, &job.content, &why, retry_in).await?;
            (outcome, if retry_in.is_some() { "retried" } else { "failed" })
        }
        End::Released(retry_in) => {
            placements::release(&mut tx, job.ticket, *retry_in).await?;
            return tx.commit().await;
        }
        End::Superseded => return Ok(()),
    };
    tx.commit().await?;
    if outcome == Outcome::Done {
        worker.metrics.pins_finished(result);
    }
    Ok(())
}
