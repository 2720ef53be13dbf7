//! One attempt to pin a content on this node.

use super::{
    After, KUBO_AWAY, Running, Worker, dial, full,
    lanes::Slot,
    reports::Reported,
    results::{Ended, Outcome},
};
use crate::{
    db::placements::{Failure, Job, Lane, Progress},
    kubo::{KuboError, addition::Step},
};
use pinner_core::{
    attempt::{Limits, Over, Reason, Watch, spread},
    retry::Next,
};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};

/// How often an attempt is looked at on which nothing happens.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often Kubo is asked whether it is done with an unpin that nobody waits for any more.
const UNPIN_WAIT: Duration = Duration::from_millis(250);
/// An error's text is kept up to here.
const ERROR_MAX: usize = 500;

/// How an attempt ended.
#[derive(Debug)]
enum End {
    /// Kubo holds it.
    Pinned(Progress),
    /// The attempt failed, for this reason.
    Failed(Reason, String),
    /// Nothing was found quickly: on with it where there is more patience.
    Impatient,
    /// It gets on, but has had its turn: on with it where others wait, too.
    Outstayed,
    /// Nobody is to blame: we are stopping, or Kubo is away.
    Released(Duration),
    /// The job is somebody else's now, or nobody's.
    Superseded,
}

/// Runs the attempt, frees its slot and tells the database how it ended.
pub(super) async fn run(running: &Running, slot: Slot, reported: Reported, job: &Job) -> After {
    let began = Instant::now();
    let end = tokio::select! {
        end = attempt(running, &slot, job, &reported) => end,
        () = asked_for_room(running) => End::Released(Duration::ZERO),
        () = slot.make_room() => unreachable!("it never ends"),
        () = reported.superseded() => End::Superseded,
        () = running.stop.cancelled() => End::Released(Duration::ZERO),
    };
    // Kubo may take on the next while the database is told.
    drop((reported, slot));
    let job = Job { age: job.age + began.elapsed(), ..job.clone() };
    record(running, &job, end).await
}

/// Ends when garbage is to be collected and this has to make room.
async fn asked_for_room(running: &Running) {
    let mut make_room = running.make_room.subscribe();
    if make_room.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn attempt(running: &Running, slot: &Slot, job: &Job, reported: &Reported) -> End {
    let worker = &running.worker;
    let _pinning = worker.gates.pins.read().await;
    if job.unpin_begun
        && let Err(error) = wait_for_unpin(worker, job).await
    {
        return from_kubo(running, error);
    }
    match worker.kubo.is_pinned(&job.ticket.content).await {
        // Never added again: that would delete the pin first (HAZARDS 11).
        Ok(true) => return End::Pinned(size(worker, job).await),
        Ok(false) => {}
        Err(error) => return from_kubo(running, error),
    }
    dial::dial(worker, &job.origins).await;
    fetch(running, slot, job, reported).await
}

/// How large a content is that Kubo holds already. Nothing, as far as anybody knows, if that cannot be said: it is held.
pub(super) async fn size(worker: &Worker, job: &Job) -> Progress {
    match worker.kubo.measure(&job.ticket.content).await {
        Ok((blocks, bytes)) => Progress { blocks, bytes },
        Err(error) => {
            tracing::debug!(%error, content = %job.ticket.content, "a content that is held is of unknown size");
            Progress::default()
        }
    }
}

/// Waits until Kubo has done with an unpin that somebody asked for who is not there any more. What it does to a pin
/// that is there now it would do unseen.
pub(super) async fn wait_for_unpin(worker: &Worker, job: &Job) -> Result<(), KuboError> {
    while worker.kubo.is_unpinning(&job.ticket.content).await? {
        tokio::time::sleep(UNPIN_WAIT).await;
    }
    Ok(())
}

/// Has Kubo fetch and pin; watches that it gets on, from the moment that it is asked.
async fn fetch(running: &Running, slot: &Slot, job: &Job, reported: &Reported) -> End {
    let worker = &running.worker;
    let settings = &worker.settings;
    let began = Instant::now();
    let patience = spread(settings.patience, rand::random());
    let mut watch = Watch::new(Limits {
        patience: (job.lane == Lane::Fresh).then_some(patience),
        stall: settings.stall,
        remaining: settings.retry.deadline.saturating_sub(job.age),
    });
    let mut progress = Progress::default();
    let mut addition = worker.kubo.add_pin(&job.ticket.content);
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            step = addition.step() => match step {
                Ok(Step::Pinned) => return End::Pinned(progress),
                Ok(Step::Progress { blocks, bytes }) => {
                    progress = Progress { blocks, bytes };
                    watch.note(began.elapsed(), blocks, bytes);
                    reported.note(progress);
                }
                Err(error) if !addition.has_begun() => return from_kubo(running, error),
                Err(error @ KuboError::Full(_)) if progress.bytes == 0 => return from_kubo(running, error),
                // Also when Kubo went away meanwhile, or its disk became full: a content that brings it down, or is
                // larger than the disk, must not do so without end.
                Err(error) => {
                    if matches!(error, KuboError::Full(_)) {
                        full::note(running);
                    }
                    return End::Failed(Reason::KuboError, error.to_string());
                }
            },
            _ = look.tick() => {}
        }
        match watch.over(began.elapsed()) {
            Some(Over::Patience) => return End::Impatient,
            Some(Over::Failed(reason)) => return End::Failed(reason, explain(worker, reason, progress)),
            None if slot.is_outstayed(began.elapsed(), patience) => return End::Outstayed,
            None => {}
        }
    }
}

/// Why a fetch was given up, for people.
fn explain(worker: &Worker, reason: Reason, progress: Progress) -> String {
    let settings = &worker.settings;
    let stall = settings.stall.as_secs();
    match reason {
        Reason::Stalled => {
            format!(
                "no block arrived for {stall} s after the first {}; no peer that has the rest was found",
                progress.blocks
            )
        }
        Reason::Deadline => {
            format!("not complete {} s after it was first tried, and given up", settings.retry.deadline.as_secs())
        }
        _ => format!("no block arrived for {stall} s; no peer that has the content was found"),
    }
}

fn from_kubo(running: &Running, error: KuboError) -> End {
    match error {
        KuboError::Full(why) => {
            tracing::debug!(why, "no room for a pin");
            full::note(running);
            End::Released(KUBO_AWAY)
        }
        KuboError::Unreachable(error) => {
            tracing::warn!(%error, "Kubo went away during a pin");
            End::Released(KUBO_AWAY)
        }
        KuboError::Refused(why) => End::Failed(Reason::KuboError, why),
        strange @ KuboError::Strange { .. } => End::Failed(Reason::KuboError, strange.to_string()),
    }
}

/// What the database is to be told, and how it counts in the metrics.
fn ended(worker: &Worker, job: &Job, end: End) -> Option<(Ended, Option<&'static str>)> {
    Some(match end {
        End::Pinned(progress) => (Ended::Pinned(progress), Some("pinned")),
        End::Failed(reason, why) => {
            let next = match reason {
                Reason::Deadline => Next::Fail,
                _ => worker.settings.retry.after_failure(job.attempts + 1, job.age, rand::random()),
            };
            let retry_in = match next {
                Next::After(wait) => Some(wait),
                Next::Fail => None,
            };
            let why: String = why.chars().filter(|c| *c != '\0').take(ERROR_MAX).collect();
            tracing::info!(content = %job.ticket.content, attempt = job.attempts + 1, ?retry_in, %why, "a pin failed");
            let failure = Failure { why, reason: Some(reason), counts: true, retry_in };
            (Ended::Failed(failure), Some(if retry_in.is_some() { "retried" } else { "failed" }))
        }
        End::Impatient => {
            let why = "no block arrived quickly; next it is looked for with more patience".to_owned();
            let reason = Some(Reason::NoProviders);
            (Ended::Failed(Failure { why, reason, counts: true, retry_in: Some(Duration::ZERO) }), Some("retried"))
        }
        End::Outstayed => {
            let why = "it takes long and others have their turn; it goes on from where it is".to_owned();
            (Ended::Failed(Failure { why, reason: None, counts: false, retry_in: Some(Duration::ZERO) }), None)
        }
        End::Released(wait) => (Ended::Released(wait), None),
        End::Superseded => return None,
    })
}

async fn record(running: &Running, job: &Job, end: End) -> After {
    let worker = &running.worker;
    let after = if matches!(end, End::Impatient | End::Outstayed) { After::Look } else { After::Nothing };
    let Some((ended, counted_as)) = ended(worker, job, end) else { return After::Nothing };
    let outcome = running.results.tell(job.ticket.clone(), ended).await;
    if let (Outcome::Done, Some(result)) = (outcome, counted_as) {
        worker.metrics.pins_finished(result);
    }
    after
}
