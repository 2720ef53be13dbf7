//! What whoever leads the fleet writes. Every transaction begins with the fence: see migration 0009.

use super::{Database, WorkerTx, fleet::MapError, placements::Wake};
use pinner_core::{
    arrange::{Arrangement, Copy, Need, Status, Step},
    content::ContentKey,
    id::NodeId,
    map::PlacementMap,
};
use sqlx::FromRow;
use std::{collections::BTreeMap, fmt};
use uuid::Uuid;

/// An office of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Plans maps and moves contents.
    Scheduler,
    /// Puts back work that was lost.
    Sweeper,
    /// Ends pauses that outlived their end.
    Watchdog,
    /// Deletes what is of no use any more.
    Pruner,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scheduler, Self::Sweeper, Self::Watchdog, Self::Pruner];

    /// Its name in the database, in NATS and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Sweeper => "sweeper",
            Self::Watchdog => "watchdog",
            Self::Pruner => "pruner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An office that was taken: good until somebody else takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Office {
    /// Which one.
    pub role: Role,
    /// Minted by the database when it was taken.
    pub epoch: i64,
}

/// Why a leader did not do something.
#[derive(Debug, thiserror::Error)]
pub enum LeadError {
    /// Somebody else holds the office: step down.
    #[error("another node holds the office")]
    Superseded,
    /// The map is another one than was gone by: look again.
    #[error("the placement map is another one by now")]
    Stale,
    /// The database did not do it.
    #[error(transparent)]
    Database(sqlx::Error),
    /// The database holds what is no map.
    #[error(transparent)]
    Map(#[from] MapError),
}

impl From<sqlx::Error> for LeadError {
    fn from(error: sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|refusal| refusal.code()).map(|code| code.to_string());
        match code.as_deref() {
            Some("AN001") => Self::Superseded,
            Some("AN002") => Self::Stale,
            _ => Self::Database(error),
        }
    }
}

/// Takes an office: from now on nothing is committed for an earlier epoch.
pub async fn take_office(db: &Database, role: Role, node: NodeId) -> sqlx::Result<Office> {
    let epoch = sqlx::query_scalar("select take_office($1, $2)")
        .bind(role.as_str())
        .bind(node.uuid())
        .fetch_one(&db.worker)
        .await?;
    Ok(Office { role, epoch })
}

/// Begins a transaction of an office, for which its epoch has been checked and stays good until the end.
pub async fn begin(db: &Database, office: Office) -> Result<WorkerTx, LeadError> {
    let mut tx = db.worker().await?;
    sqlx::query("select fence($1, $2)").bind(office.role.as_str()).bind(office.epoch).execute(&mut *tx).await?;
    Ok(tx)
}

/// The latest map that was planned for nodes with this digest.
pub async fn map_planned_for(tx: &mut WorkerTx, digest: &[u8]) -> Result<Option<PlacementMap>, LeadError> {
    let bytes: Option<Vec<u8>> =
        sqlx::query_scalar("select map from placement_maps where planned_for = $1 order by version desc limit 1")
            .bind(digest)
            .fetch_optional(&mut **tx)
            .await?;
    Ok(bytes.map(|bytes| PlacementMap::decode(&bytes)).transpose().map_err(MapError::from)?)
}

/// The epoch of whoever holds an office, or held it last.
pub async fn epoch(tx: &mut WorkerTx, role: Role) -> sqlx::Result<i64> {
    sqlx::query_scalar("select epoch from leaders where role = $1").bind(role.as_str()).fetch_one(&mut **tx).await
}

/// How many contents partitions have, and how many bytes those are. Partitions without contents are left out.
pub async fn partition_sizes(tx: &mut WorkerTx, partitions: &[u16]) -> sqlx::Result<BTreeMap<u16, (u64, u64)>> {
    let rows: Vec<(i32, i64, i64)> = sqlx::query_as(
        "select partition, count(*), sum(bytes)::bigint from contents where partition = any ($1) group by partition",
    )
    .bind(partitions.iter().map(|&partition| i32::from(partition)).collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    let number = |count: i64| u64::try_from(count).unwrap_or(0);
    let sizes = rows.into_iter().filter_map(|(partition, contents, bytes)| {
        Some((u16::try_from(partition).ok()?, (number(contents), number(bytes))))
    });
    Ok(sizes.collect())
}

/// Commits the map that follows the fleet's, with the partitions that it changes.
pub async fn commit_map(
    tx: &mut WorkerTx,
    office: Office,
    map: &PlacementMap,
    digest: &[u8],
    changed: &[u16],
) -> Result<(), LeadError> {
    sqlx::query("select commit_map($1, $2, $3, $4, $5)")
        .bind(office.epoch)
        .bind(i64::try_from(map.version()).unwrap_or(i64::MAX))
        .bind(map.encode())
        .bind(digest)
        .bind(changed.iter().map(|&partition| i32::from(partition)).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Notes the contents of up to `max` changed partitions as astray. Gives how many partitions and contents those were.
pub async fn note_changed(db: &Database, office: Office, max: i32) -> Result<(i64, i64), LeadError> {
    Ok(sqlx::query_as("select partitions, contents from note_changed($1, $2)")
        .bind(office.epoch)
        .bind(max)
        .fetch_one(&db.worker)
        .await?)
}

/// Up to `max` contents that may be astray, in the order of their keys from behind `after` on.
pub async fn astray(db: &Database, after: Option<&ContentKey>, max: usize) -> sqlx::Result<Vec<ContentKey>> {
    let keys: Vec<Vec<u8>> =
        sqlx::query_scalar("select key from contents where astray and key > $1 order by key limit $2")
            .bind(after.map_or(&[][..], ContentKey::as_bytes))
            .bind(i64::try_from(max).unwrap_or(i64::MAX))
            .fetch_all(&db.worker)
            .await?;
    keys.iter().map(|key| ContentKey::from_bytes(key).map_err(|error| sqlx::Error::Decode(error.into()))).collect()
}

/// A content as it is in this transaction, locked.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The content.
    pub content: ContentKey,
    /// Its partition.
    pub partition: u16,
    /// What its pins ask for.
    pub need: Need,
    /// Where it is.
    pub copies: Vec<Copy>,
}

/// Locks and reads contents; those that no pin holds are left out. Refuses to go by another map than the fleet's.
pub async fn look_at(
    tx: &mut WorkerTx,
    office: Office,
    map_version: u64,
    contents: &[ContentKey],
) -> Result<Vec<Placed>, LeadError> {
    #[derive(FromRow)]
    struct Row {
        content: Vec<u8>,
        partition: i32,
        copies_min: i32,
        copies_max: i32,
        node_ids: Vec<Uuid>,
        statuses: Vec<String>,
        may_retry: Vec<bool>,
    }
    let rows: Vec<Row> = sqlx::query_as("select * from look_at($1, $2, $3)")
        .bind(office.epoch)
        .bind(i64::try_from(map_version).unwrap_or(i64::MAX))
        .bind(contents.iter().map(ContentKey::as_bytes).collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await?;
    let count = |number: i32| usize::try_from(number).unwrap_or(0);
    rows.into_iter()
        .map(|row| {
            let content = ContentKey::from_bytes(&row.content).map_err(|error| sqlx::Error::Decode(error.into()))?;
            let copies = row.node_ids.iter().zip(&row.statuses).zip(&row.may_retry);
            Ok(Placed {
                content,
                partition: u16::try_from(row.partition).map_err(|error| sqlx::Error::Decode(error.into()))?,
                need: Need { least: count(row.copies_min), most: count(row.copies_max) },
                copies: copies
                    .map(|((&node, status), &may_retry)| {
                        Ok(Copy { node: NodeId::from_uuid(node), status: status_of(status)?, may_retry })
                    })
                    .collect::<sqlx::Result<_>>()?,
            })
        })
        .collect()
}

fn status_of(word: &str) -> sqlx::Result<Status> {
    Ok(match word {
        "queued" => Status::Queued,
        "pinning" => Status::Pinning,
        "pinned" => Status::Pinned,
        "failed" => Status::Failed,
        "unpinning" => Status::Unpinning,
        other => return Err(sqlx::Error::Decode(format!("no placement has the status {other}").into())),
    })
}

/// Takes the steps that were decided on by what [`look_at`] gave in this transaction. Gives the jobs to wake pinners for.
pub async fn arrange(
    tx: &mut WorkerTx,
    office: Office,
    arrangements: &[(ContentKey, Arrangement)],
) -> Result<Vec<Wake>, LeadError> {
    let (mut keys, mut nodes, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    for (content, arrangement) in arrangements {
        for step in &arrangement.steps {
            let (node, word) = match *step {
                Step::Add { node, failed: false } => (node, "add"),
                Step::Add { node, failed: true } => (node, "add failed"),
                Step::Release(node) => (node, "release"),
                Step::Restore(node) => (node, "restore"),
                Step::Forget(node) => (node, "forget"),
            };
            keys.push(content.as_bytes());
            nodes.push(node.uuid());
            steps.push(word);
        }
    }
    let settled: Vec<_> = arrangements
        .iter()
        .filter(|(_, arrangement)| arrangement.is_settled)
        .map(|(content, _)| content.as_bytes())
        .collect();
    if keys.is_empty() && settled.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_as("select job, node_id, generation from arrange_contents($1, $2, $3, $4, $5)")
        .bind(office.epoch)
        .bind(keys)
        .bind(nodes)
        .bind(steps)
        .bind(settled)
        .fetch_all(&mut **tx)
        .await?)
}

/// Puts back up to `max` jobs of any node whose lease ran out. Gives the jobs to wake pinners for.
pub async fn requeue_lost(db: &Database, office: Office, max: i32) -> Result<Vec<Wake>, LeadError> {
    Ok(sqlx::query_as("select job, node_id, generation from requeue_lost($1, $2)")
        .bind(office.epoch)
        .bind(max)
        .fetch_all(&db.worker)
        .await?)
}

/// Strikes out up to `max` placements that a node which is gone for good was to let go. Gives how many those were.
pub async fn forget_unpins(db: &Database, office: Office, max: i32) -> Result<i64, LeadError> {
    Ok(sqlx::query_scalar("select forget_unpins($1, $2)").bind(office.epoch).bind(max).fetch_one(&db.worker).await?)
}

/// Notes that a pause outlived its end. Gives whether it has just now.
pub async fn end_overdue_pause(db: &Database, office: Office) -> Result<bool, LeadError> {
    Ok(sqlx::query_scalar("select end_overdue_pause($1)").bind(office.epoch).fetch_one(&db.worker).await?)
}
