//! A pinner's own work: claiming jobs and saying what became of them. See migration 0006.

use super::WorkerTx;
use pinner_core::{content::ContentKey, id::NodeId};
use sqlx::{FromRow, postgres::types::PgInterval};
use std::time::Duration;
use uuid::Uuid;

/// A claimed job: from now on this generation of it is the caller's.
#[derive(Debug, Clone)]
pub struct Job {
    /// What names the job to the database.
    pub ticket: Ticket,
    /// The content.
    pub content: ContentKey,
    /// Whether it is to be let go rather than held.
    pub unpin: bool,
    /// Failed attempts before this one.
    pub attempts: u32,
    /// How long ago it was placed.
    pub age: Duration,
}

/// A job and the generation under which it was claimed. A result for an older generation is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The job.
    pub job: i64,
    /// The generation.
    pub generation: i64,
}

/// A job that a pinner should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromRow)]
pub struct Wake {
    /// The job.
    pub job: i64,
    /// Whose it is.
    pub node_id: Uuid,
    /// Its generation.
    pub generation: i64,
}

/// Whether a result counted, or the job had passed to somebody else meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It counted.
    Done,
    /// It did not: the generation is another one now.
    Superseded,
}

impl From<bool> for Outcome {
    fn from(done: bool) -> Self {
        if done { Self::Done } else { Self::Superseded }
    }
}

fn interval(duration: Duration) -> PgInterval {
    // Whole microseconds; nobody leases for 292,000 years.
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}

/// Takes up to `slots` due jobs of `node` for as long as `lease`.
pub async fn claim(tx: &mut WorkerTx, node: NodeId, slots: usize, lease: Duration) -> sqlx::Result<Vec<Job>> {
    #[derive(FromRow)]
    struct Claimed {
        content: Vec<u8>,
        job: i64,
        generation: i64,
        unpin: bool,
        attempts: i32,
        age_seconds: f64,
    }
    let claimed: Vec<Claimed> = sqlx::query_as("select * from claim($1, $2, $3)")
        .bind(node.uuid())
        .bind(i32::try_from(slots).unwrap_or(i32::MAX))
        .bind(interval(lease))
        .fetch_all(&mut **tx)
        .await?;
    claimed
        .into_iter()
        .map(|row| {
            Ok(Job {
                ticket: Ticket { job: row.job, generation: row.generation },
                content: content(&row.content)?,
                unpin: row.unpin,
                attempts: row.attempts.unsigned_abs(),
                age: Duration::from_secs_f64(row.age_seconds.max(0.0)),
            })
        })
        .collect()
}

fn content(bytes: &[u8]) -> sqlx::Result<ContentKey> {
    ContentKey::from_bytes(bytes).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Puts back everything that `node` had taken. Gives how many jobs that were.
pub async fn hand_back(tx: &mut WorkerTx, node: NodeId) -> sqlx::Result<i64> {
    sqlx::query_scalar("select hand_back($1)").bind(node.uuid()).fetch_one(&mut **tx).await
}

/// Puts back what `node` took and then lost its lease on.
pub async fn expire_leases(tx: &mut WorkerTx, node: NodeId) -> sqlx::Result<i64> {
    sqlx::query_scalar("select expire_leases($1)").bind(node.uuid()).fetch_one(&mut **tx).await
}

/// Puts one job back without counting an attempt, to be tried again after `retry_in`.
pub async fn release(tx: &mut WorkerTx, ticket: Ticket, retry_in: Duration) -> sqlx::Result<()> {
    sqlx::query("select release_job($1, $2, $3)")
        .bind(ticket.job)
        .bind(ticket.generation)
        .bind(interval(retry_in))
        .execute(&mut **tx)
        .await
        .map(|_| ())
}

/// How far a fetch has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Blocks seen.
    pub blocks: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Notes progress and renews the lease.
pub async fn report(
    tx: &mut WorkerTx,
    ticket: Ticket,
    content: &ContentKey,
    progress: Progress,
    lease: Duration,
) -> sqlx::Result<Outcome> {
    sqlx::query_scalar::<_, bool>("select report_progress($1, $2, $3, $4, $5, $6)")
        .bind(ticket.job)
        .bind(ticket.generation)
        .bind(content.as_bytes())
        .bind(i64::try_from(progress.blocks).unwrap_or(i64::MAX))
        .bind(i64::try_from(progress.bytes).unwrap_or(i64::MAX))
        .bind(interval(lease))
        .fetch_one(&mut **tx)
        .await
        .map(Outcome::from)
}

/// The content is pinned on the node; every pin of it is brought up to date.
pub async fn finish_pin(tx: &mut WorkerTx, ticket: Ticket, content: &ContentKey) -> sqlx::Result<Outcome> {
    finish(tx, "select finish_pin($1, $2, $3)", ticket, content).await
}

/// The content is unpinned on the node; the placement is gone.
pub async fn finish_unpin(tx: &mut WorkerTx, ticket: Ticket, content: &ContentKey) -> sqlx::Result<Outcome> {
    finish(tx, "select finish_unpin($1, $2, $3)", ticket, content).await
}

async fn finish(
    tx: &mut WorkerTx,
    statement: &'static str,
    ticket: Ticket,
    content: &ContentKey,
) -> sqlx::Result<Outcome> {
    sqlx::query_scalar::<_, bool>(statement)
        .bind(ticket.job)
        .bind(ticket.generation)
        .bind(content.as_bytes())
        .fetch_one(&mut **tx)
        .await
        .map(Outcome::from)
}

/// An attempt failed because of `why`; another follows after `retry_in`, or none.
pub async fn fail_pin(
    tx: &mut WorkerTx,
    ticket: Ticket,
    content: &ContentKey,
    why: &str,
    retry_in: Option<Duration>,
) -> sqlx::Result<Outcome> {
    sqlx::query_scalar::<_, bool>("select fail_pin($1, $2, $3, $4, $5)")
        .bind(ticket.job)
        .bind(ticket.generation)
        .bind(content.as_bytes())
        .bind(why)
        .bind(retry_in.map(interval))
        .fetch_one(&mut **tx)
        .await
        .map(Outcome::from)
}

/// Whether nobody wants the content any more. Asked right before Kubo is told to let it go.
pub async fn may_unpin(tx: &mut WorkerTx, ticket: Ticket) -> sqlx::Result<bool> {
    sqlx::query_scalar("select may_unpin($1, $2)").bind(ticket.job).bind(ticket.generation).fetch_one(&mut **tx).await
}

/// Peers that clients named as having the content.
pub async fn origins(tx: &mut WorkerTx, content: &ContentKey) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar("select origins_of($1)").bind(content.as_bytes()).fetch_one(&mut **tx).await
}

/// A content on fewer nodes than wanted.
#[derive(Debug, Clone)]
pub struct Short {
    /// The content.
    pub content: ContentKey,
    /// On how many nodes it should be.
    pub copies: usize,
}

/// Up to `max` contents that found too few nodes when they were accepted: in the order of their keys, from behind
/// `after` on, or from the first.
pub async fn short_of_copies(tx: &mut WorkerTx, after: Option<&ContentKey>, max: i32) -> sqlx::Result<Vec<Short>> {
    let rows: Vec<(Vec<u8>, i32)> = sqlx::query_as("select content, copies from short_of_copies($1, $2)")
        .bind(after.map_or(&[][..], ContentKey::as_bytes))
        .bind(max)
        .fetch_all(&mut **tx)
        .await?;
    rows.into_iter()
        .map(|(bytes, copies)| Ok(Short { content: content(&bytes)?, copies: copies.unsigned_abs() as usize }))
        .collect()
}

/// Adds placements from `candidates` until there are enough.
pub async fn add_copies(tx: &mut WorkerTx, short: &Short, candidates: &[Uuid]) -> sqlx::Result<Vec<Wake>> {
    sqlx::query_as("select job, node_id, generation from add_copies($1, $2, $3)")
        .bind(short.content.as_bytes())
        .bind(i32::try_from(short.copies).unwrap_or(i32::MAX))
        .bind(candidates)
        .fetch_all(&mut **tx)
        .await
}
