//! A pinner's own work: claiming jobs and saying what became of them. See migration 0006.
//!
//! What is told of jobs is told of many in one statement, so that a busy node writes as rarely as an idle one. Each
//! statement commits by itself.

use super::{Database, interval};
use pinner_core::{attempt::Reason, content::ContentKey, id::NodeId, lane::Room};
use sqlx::{FromRow, Postgres};
use std::{collections::HashSet, time::Duration};
use uuid::Uuid;

/// A claimed job: from now on this generation of it is the caller's.
#[derive(Debug, Clone)]
pub struct Job {
    /// What names the job to the database.
    pub ticket: Ticket,
    /// In which lane it was claimed.
    pub lane: Lane,
    /// Failed attempts before this one.
    pub attempts: u32,
    /// How long ago its first attempt began, apart from when the node could not work.
    pub age: Duration,
    /// Its turn, if it was taken in the order of turns.
    pub turn: Option<i64>,
    /// Whose retries were served last when it was claimed, if there was room for any.
    pub share: Option<i32>,
    /// Whether Kubo may once have been told to let the content go, and may yet do it.
    pub unpin_begun: bool,
    /// Peers that clients named as having the content.
    pub origins: Vec<String>,
}

/// Which slots a job takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// A first attempt.
    Fresh,
    /// A copy that the leader asked for.
    Copy,
    /// Another attempt.
    Retry,
    /// To be let go rather than held.
    Unpin,
}

/// A job and the generation under which it was claimed. A result for an older generation is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The content; the node is the caller's own.
    pub content: ContentKey,
    /// The job.
    pub job: i64,
    /// The generation.
    pub generation: i64,
}

impl Ticket {
    /// What identifies it among all claims.
    pub fn id(&self) -> JobGeneration {
        (self.job, self.generation)
    }
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

pub(super) fn content(bytes: &[u8]) -> sqlx::Result<ContentKey> {
    ContentKey::from_bytes(bytes).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Takes due jobs of `node`, as many as there is `room` for, for as long as `lease`. `share` is the one whose retries were
/// served last.
pub async fn claim(db: &Database, node: NodeId, room: Room, lease: Duration, share: i32) -> sqlx::Result<Vec<Job>> {
    #[derive(FromRow)]
    struct Claimed {
        content: Vec<u8>,
        job: i64,
        generation: i64,
        lane: String,
        attempts: i32,
        age_seconds: f64,
        turn: Option<i64>,
        share: Option<i32>,
        unpin_begun: bool,
        origins: Vec<String>,
    }
    let count = |slots: usize| i32::try_from(slots).unwrap_or(i32::MAX);
    let claimed: Vec<Claimed> = sqlx::query_as("select * from claim($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(node.uuid())
        .bind(count(room.oldest))
        .bind(count(room.newest))
        .bind(count(room.copies))
        .bind(count(room.retries))
        .bind(count(room.unpins))
        .bind(interval(lease))
        .bind(share)
        .fetch_all(&db.worker)
        .await?;
    claimed
        .into_iter()
        .map(|row| {
            Ok(Job {
                ticket: Ticket { content: content(&row.content)?, job: row.job, generation: row.generation },
                lane: match row.lane.as_str() {
                    "copy" => Lane::Copy,
                    "retry" => Lane::Retry,
                    "unpin" => Lane::Unpin,
                    _ => Lane::Fresh,
                },
                attempts: row.attempts.unsigned_abs(),
                age: Duration::from_secs_f64(row.age_seconds.max(0.0)),
                turn: row.turn,
                share: row.share,
                unpin_begun: row.unpin_begun,
                origins: row.origins,
            })
        })
        .collect()
}

/// Puts back everything that `node` had taken. Gives how many jobs that were.
pub async fn hand_back(db: &Database, node: NodeId) -> sqlx::Result<i64> {
    sqlx::query_scalar("select hand_back($1)").bind(node.uuid()).fetch_one(&db.worker).await
}

/// Puts back what `node` took and then lost its lease on.
pub async fn expire_leases(db: &Database, node: NodeId) -> sqlx::Result<i64> {
    sqlx::query_scalar("select expire_leases($1)").bind(node.uuid()).fetch_one(&db.worker).await
}

/// Notes that the pinner of `node` looks after it, and whether the node can work. All the time since the last such note
/// counts as idle if it cannot, or if that was longer ago than `at_most`, since then nobody was there.
pub async fn keep_time(db: &Database, node: NodeId, can_work: bool, at_most: Duration) -> sqlx::Result<()> {
    let noted = sqlx::query(
        "update nodes set swept = now(), idle_seconds = idle_seconds + case
             when $2 and swept > now() - $3 then 0
             else coalesce(extract(epoch from now() - swept), 0)
         end::double precision
         where id = $1",
    );
    noted.bind(node.uuid()).bind(can_work).bind(interval(at_most)).execute(&db.worker).await.map(|_| ())
}

/// Fails up to `max` placements of `node` that waited for another attempt past their deadline. Gives how many.
pub async fn fail_overdue(db: &Database, node: NodeId, deadline: Duration, max: i32) -> sqlx::Result<i64> {
    sqlx::query_scalar("select fail_overdue($1, $2, $3)")
        .bind(node.uuid())
        .bind(interval(deadline))
        .bind(max)
        .fetch_one(&db.worker)
        .await
}

/// Lets unpins of `node` go on that waited for a content which has come meanwhile. Gives how many.
pub async fn release_kept(db: &Database, node: NodeId) -> sqlx::Result<i64> {
    sqlx::query_scalar("select release_kept($1)").bind(node.uuid()).fetch_one(&db.worker).await
}

/// Deletes up to `max` pins whose time is up. Gives the jobs to wake pinners for.
pub async fn expire_pins(db: &Database, max: i32) -> sqlx::Result<Vec<Wake>> {
    sqlx::query_as("select job, node_id, generation from expire_pins($1)").bind(max).fetch_all(&db.worker).await
}

/// How far a fetch has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Blocks seen.
    pub blocks: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// An attempt that came to nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// In words.
    pub why: String,
    /// The code; none when nothing was wrong but the time it took.
    pub reason: Option<Reason>,
    /// Whether it counts as one more failed attempt.
    pub counts: bool,
    /// When another one follows; none when that was the last.
    pub retry_in: Option<Duration>,
}

/// Tickets as the columns that every statement takes first.
struct Columns {
    keys: Vec<Vec<u8>>,
    jobs: Vec<i64>,
    generations: Vec<i64>,
}

impl<'a> FromIterator<&'a Ticket> for Columns {
    fn from_iter<T: IntoIterator<Item = &'a Ticket>>(tickets: T) -> Self {
        let mut columns = Self { keys: Vec::new(), jobs: Vec::new(), generations: Vec::new() };
        for ticket in tickets {
            columns.keys.push(ticket.content.as_bytes().to_vec());
            columns.jobs.push(ticket.job);
            columns.generations.push(ticket.generation);
        }
        columns
    }
}

/// What identifies a claim: the job and the generation under which it was claimed.
pub type JobGeneration = (i64, i64);

type Call<'q> = sqlx::query::QueryAs<'q, Postgres, JobGeneration, sqlx::postgres::PgArguments>;

/// A call about these jobs of `node`, which gives those that were the caller's.
fn call(statement: &'static str, node: NodeId, columns: Columns) -> Call<'static> {
    sqlx::query_as(statement).bind(node.uuid()).bind(columns.keys).bind(columns.jobs).bind(columns.generations)
}

async fn jobs(call: Call<'_>, db: &Database) -> sqlx::Result<HashSet<JobGeneration>> {
    Ok(call.fetch_all(&db.worker).await?.into_iter().collect())
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn numbers(of: &[(Ticket, Progress)]) -> (Vec<i64>, Vec<i64>) {
    of.iter().map(|(_, progress)| (number(progress.blocks), number(progress.bytes))).unzip()
}

/// Which of these jobs are still the caller's.
pub async fn held(db: &Database, node: NodeId, tickets: &[Ticket]) -> sqlx::Result<HashSet<JobGeneration>> {
    jobs(call("select job, generation from held_jobs($1, $2, $3, $4)", node, tickets.iter().collect()), db).await
}

/// Notes progress and renews the leases. Gives those that are still the caller's.
pub async fn report(
    db: &Database,
    node: NodeId,
    reports: &[(Ticket, Progress)],
    lease: Duration,
) -> sqlx::Result<HashSet<JobGeneration>> {
    let (blocks, bytes) = numbers(reports);
    let columns = reports.iter().map(|(ticket, _)| ticket).collect();
    let call = call("select job, generation from report_progress($1, $2, $3, $4, $5, $6, $7)", node, columns);
    jobs(call.bind(blocks).bind(bytes).bind(interval(lease)), db).await
}

/// The contents are pinned on the node; every pin of them is brought up to date. Gives those that counted.
pub async fn finish_pins(
    db: &Database,
    node: NodeId,
    pinned: &[(Ticket, Progress)],
) -> sqlx::Result<HashSet<JobGeneration>> {
    let (blocks, bytes) = numbers(pinned);
    let columns = pinned.iter().map(|(ticket, _)| ticket).collect();
    jobs(
        call("select job, generation from finish_pins($1, $2, $3, $4, $5, $6)", node, columns).bind(blocks).bind(bytes),
        db,
    )
    .await
}

/// Attempts came to nothing. Gives those that counted.
pub async fn fail_pins(
    db: &Database,
    node: NodeId,
    failed: &[(Ticket, Failure)],
) -> sqlx::Result<HashSet<JobGeneration>> {
    let columns = failed.iter().map(|(ticket, _)| ticket).collect();
    let of = || failed.iter().map(|(_, failure)| failure);
    let call = call("select job, generation from fail_pins($1, $2, $3, $4, $5, $6, $7, $8)", node, columns)
        .bind(of().map(|failure| failure.why.clone()).collect::<Vec<_>>())
        .bind(of().map(|failure| failure.reason.map(Reason::as_str)).collect::<Vec<_>>())
        .bind(of().map(|failure| failure.counts).collect::<Vec<_>>())
        .bind(of().map(|failure| failure.retry_in.map(|wait| wait.as_secs_f64())).collect::<Vec<_>>());
    jobs(call, db).await
}

/// Puts jobs back without counting an attempt, each to be tried again after a while. Gives those that counted.
pub async fn release(
    db: &Database,
    node: NodeId,
    released: &[(Ticket, Duration)],
) -> sqlx::Result<HashSet<JobGeneration>> {
    let columns = released.iter().map(|(ticket, _)| ticket).collect();
    let waits: Vec<_> = released.iter().map(|(_, wait)| wait.as_secs_f64()).collect();
    jobs(call("select job, generation from release_jobs($1, $2, $3, $4, $5)", node, columns).bind(waits), db).await
}

/// The contents were to be let go and are needed: they are pinned on the node after all. Gives those that counted.
pub async fn keep_needed(
    db: &Database,
    node: NodeId,
    kept: &[(Ticket, Progress)],
) -> sqlx::Result<HashSet<JobGeneration>> {
    let (blocks, bytes) = numbers(kept);
    let columns = kept.iter().map(|(ticket, _)| ticket).collect();
    let call = call("select job, generation from keep_needed($1, $2, $3, $4, $5, $6)", node, columns);
    jobs(call.bind(blocks).bind(bytes), db).await
}

/// The contents are unpinned on the node; the placements are gone. Gives those that counted.
pub async fn finish_unpins(db: &Database, node: NodeId, unpinned: &[Ticket]) -> sqlx::Result<HashSet<JobGeneration>> {
    jobs(call("select job, generation from finish_unpins($1, $2, $3, $4)", node, unpinned.iter().collect()), db).await
}

/// What the database says to an unpin right before Kubo is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MayUnpin {
    /// No pin holds the content, or enough other nodes do.
    Yes,
    /// The job is another one by now.
    Superseded,
    /// Too few others hold the content.
    Needed,
}

/// Whether the content is to be let go still. Asked right before Kubo is told.
pub async fn may_unpin(db: &Database, node: NodeId, ticket: &Ticket) -> sqlx::Result<MayUnpin> {
    let answer: String = sqlx::query_scalar("select may_unpin($1, $2, $3, $4)")
        .bind(node.uuid())
        .bind(ticket.content.as_bytes())
        .bind(ticket.job)
        .bind(ticket.generation)
        .fetch_one(&db.worker)
        .await?;
    Ok(match answer.as_str() {
        "yes" => MayUnpin::Yes,
        "needed" => MayUnpin::Needed,
        _ => MayUnpin::Superseded,
    })
}

fn bytes(contents: &[ContentKey]) -> Vec<&[u8]> {
    contents.iter().map(ContentKey::as_bytes).collect()
}

/// Those of these contents that `node` need not hold: it has no placement of them, and either no pin holds them or enough
/// other nodes do.
pub async fn surplus(db: &Database, node: NodeId, contents: &[ContentKey]) -> sqlx::Result<Vec<ContentKey>> {
    if contents.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<Vec<u8>> = sqlx::query_scalar("select surplus($1, $2)")
        .bind(node.uuid())
        .bind(bytes(contents))
        .fetch_all(&db.worker)
        .await?;
    keys.iter().map(|key| content(key)).collect()
}

/// Up to `max` contents that are pinned on `node`, in the order of their keys from behind `after` on.
pub async fn pinned(
    db: &Database,
    node: NodeId,
    after: Option<&ContentKey>,
    max: usize,
) -> sqlx::Result<Vec<ContentKey>> {
    let keys: Vec<Vec<u8>> = sqlx::query_scalar(
        "select content from placements where node_id = $1 and status = 'pinned' and content > $2 order by content limit $3",
    )
    .bind(node.uuid())
    .bind(after.map_or(&[][..], ContentKey::as_bytes))
    .bind(i64::try_from(max).unwrap_or(i64::MAX))
    .fetch_all(&db.worker)
    .await?;
    keys.iter().map(|key| content(key)).collect()
}

/// The up to `max` contents that were placed on `node` last and are pinned there.
pub async fn latest_pinned(db: &Database, node: NodeId, max: usize) -> sqlx::Result<Vec<ContentKey>> {
    let keys: Vec<Vec<u8>> = sqlx::query_scalar(
        "select content from placements where node_id = $1 and status = 'pinned' order by job desc limit $2",
    )
    .bind(node.uuid())
    .bind(i64::try_from(max).unwrap_or(i64::MAX))
    .fetch_all(&db.worker)
    .await?;
    keys.iter().map(|key| content(key)).collect()
}

/// `node` was found not to hold these contents: it fetches them again. Gives how many were thought to be pinned.
pub async fn lose(db: &Database, node: NodeId, contents: &[ContentKey]) -> sqlx::Result<i64> {
    sqlx::query_scalar("select lose_pins($1, $2)").bind(node.uuid()).bind(bytes(contents)).fetch_one(&db.worker).await
}
