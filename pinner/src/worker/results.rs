//! How work ended, told to the database: what ends while a commit is under way goes into the next one together, and
//! where much is under way a commit waits a moment for more. So a lone result waits for nobody, and a thousand a second
//! cost a few commits.

use super::{Worker, insist, reports::Reports};
use crate::db::placements::{self, Failure, JobGeneration, Progress, Ticket};
use std::{collections::HashSet, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// The most results of one commit.
const BATCH_MAX: usize = 256;
/// From so many pieces of work under way on, a commit waits for more results.
const BUSY: usize = 6;
/// How long it does, at most: little beside what the last of them will wait for Kubo.
const GATHER: Duration = Duration::from_millis(10);
/// How many results are enough.
const ENOUGH: usize = 16;

/// How a job ended.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    /// Kubo holds the content; what that took.
    Pinned(Progress),
    /// The attempt came to nothing.
    Failed(Failure),
    /// Nobody is to blame; to be tried again after a while.
    Released(Duration),
    /// Kubo let the content go.
    Unpinned,
    /// Kubo was to let the content go; it holds it, and it is needed.
    Kept(Progress),
}

/// Whether a result counted, or the job had passed to somebody else meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It counted.
    Done,
    /// It did not: the generation is another one now.
    Superseded,
    /// The database could not be told. The lease will run out.
    Untold,
}

struct Result {
    ticket: Ticket,
    ended: Ended,
    told: oneshot::Sender<Outcome>,
}

/// Where jobs leave their results.
#[derive(Clone)]
pub(super) struct Results(mpsc::UnboundedSender<Result>);

/// The other end.
pub(super) struct Queue(mpsc::UnboundedReceiver<Result>);

impl Results {
    /// Bounded by the slots: each job waits for its result to be told.
    pub(super) fn new() -> (Self, Queue) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), Queue(receiver))
    }

    /// Tells how a job ended.
    pub(super) async fn tell(&self, ticket: Ticket, ended: Ended) -> Outcome {
        let (told, outcome) = oneshot::channel();
        if self.0.send(Result { ticket, ended, told }).is_err() {
            return Outcome::Untold;
        }
        outcome.await.unwrap_or(Outcome::Untold)
    }
}

impl Queue {
    /// Tells the database until there is nobody left who could have a result.
    pub(super) async fn run(mut self, worker: &Worker, reports: &Reports, stop: &CancellationToken) {
        let mut batch = Vec::new();
        while self.0.recv_many(&mut batch, BATCH_MAX).await > 0 {
            self.gather(&mut batch, reports).await;
            for kind in by_kind(batch.drain(..)) {
                record(worker, stop, kind).await;
            }
        }
    }

    async fn gather(&mut self, batch: &mut Vec<Result>, reports: &Reports) {
        let more = async {
            while batch.len() < ENOUGH && reports.under_way() >= BUSY {
                if self.0.recv_many(batch, BATCH_MAX).await == 0 {
                    break;
                }
            }
        };
        // What was received stays in the batch.
        _ = timeout(GATHER, more).await;
    }
}

/// Each kind has its own statement and, since that locks contents in order, its own transaction.
fn by_kind(results: impl Iterator<Item = Result>) -> impl Iterator<Item = Vec<Result>> {
    let mut kinds: [Vec<Result>; 5] = Default::default();
    for result in results {
        let kind = match result.ended {
            Ended::Pinned(_) => 0,
            Ended::Failed(_) => 1,
            Ended::Released(_) => 2,
            Ended::Unpinned => 3,
            Ended::Kept(_) => 4,
        };
        kinds[kind].push(result);
    }
    kinds.into_iter().filter(|kind| !kind.is_empty())
}

/// Records results of one kind. When the database refuses them together, each by itself: one that it does not take must
/// not keep the others from being known.
async fn record(worker: &Worker, stop: &CancellationToken, results: Vec<Result>) {
    let pairs: Vec<_> = results.iter().map(|result| (&result.ticket, &result.ended)).collect();
    let mut told = insist(stop, || write(worker, &pairs)).await;
    if told.as_ref().is_err_and(|error| error.as_database_error().is_some()) && pairs.len() > 1 {
        let mut counted = HashSet::new();
        for pair in &pairs {
            match write(worker, &[*pair]).await {
                Ok(one) => counted.extend(one),
                Err(error) => tracing::warn!(%error, content = %pair.0.content, "cannot record how a job ended"),
            }
        }
        told = Ok(counted);
    }
    if let Err(error) = &told {
        tracing::warn!(%error, jobs = results.len(), "cannot record how work ended; its leases will run out and it is looked at again");
    }
    for result in results {
        let outcome = match &told {
            Ok(counted) if counted.contains(&result.ticket.id()) => Outcome::Done,
            Ok(_) => Outcome::Superseded,
            Err(_) => Outcome::Untold,
        };
        // Whoever does not wait for it any more is being stopped.
        _ = result.told.send(outcome);
    }
}

/// Writes results of one kind. Gives those that counted.
async fn write(worker: &Worker, results: &[(&Ticket, &Ended)]) -> sqlx::Result<HashSet<JobGeneration>> {
    let (mut pinned, mut failed, mut released, mut unpinned, mut kept) = (vec![], vec![], vec![], vec![], vec![]);
    for (ticket, ended) in results {
        let ticket = Ticket::clone(ticket);
        match ended {
            Ended::Pinned(progress) => pinned.push((ticket, *progress)),
            Ended::Failed(failure) => failed.push((ticket, failure.clone())),
            Ended::Released(wait) => released.push((ticket, *wait)),
            Ended::Unpinned => unpinned.push(ticket),
            Ended::Kept(progress) => kept.push((ticket, *progress)),
        }
    }
    let (db, node) = (&worker.db, worker.node);
    let mut counted = HashSet::new();
    if !pinned.is_empty() {
        counted.extend(placements::finish_pins(db, node, &pinned).await?);
    }
    if !failed.is_empty() {
        counted.extend(placements::fail_pins(db, node, &failed).await?);
    }
    if !released.is_empty() {
        counted.extend(placements::release(db, node, &released).await?);
    }
    if !unpinned.is_empty() {
        counted.extend(placements::finish_unpins(db, node, &unpinned).await?);
    }
    if !kept.is_empty() {
        counted.extend(placements::keep_needed(db, node, &kept).await?);
    }
    Ok(counted)
}
