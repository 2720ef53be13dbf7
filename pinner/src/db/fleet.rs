//! What is true of the fleet as a whole: the map that holds, a pause, whose Kubo collects garbage. See migration 0009.

use super::{Database, WorkerTx, interval};
use pinner_core::{
    id::NodeId,
    map::{PlacementMap, Unreadable},
};
use sqlx::{FromRow, PgConnection};
use std::time::Duration;
use time::OffsetDateTime;
use uuid::Uuid;

/// The fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FleetRow {
    /// The version of the map that holds; 0 before the first.
    pub map_version: i64,
    /// Whether moves, repair and garbage collection wait.
    pub is_paused: bool,
    /// The pause that was asked for last, until somebody ends it.
    pub pause: Option<Pause>,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Since when.
    pub since: OffsetDateTime,
    /// Until when.
    pub until: OffsetDateTime,
    /// Why.
    pub reason: Option<String>,
    /// By which request.
    pub token: Option<String>,
}

/// A map that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The database did not give it.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// What the database holds is not a map.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// What tells the fleet from others that share its NATS.
pub async fn id(connection: &mut PgConnection) -> sqlx::Result<Uuid> {
    sqlx::query_scalar("select id from fleet").fetch_one(connection).await
}

/// Reads the fleet's row.
pub async fn read(connection: &mut PgConnection) -> sqlx::Result<FleetRow> {
    #[derive(FromRow)]
    struct Row {
        map_version: i64,
        is_paused: bool,
        pause_since: Option<OffsetDateTime>,
        pause_until: Option<OffsetDateTime>,
        pause_reason: Option<String>,
        pause_token: Option<String>,
    }
    let row: Row = sqlx::query_as(
        "select map_version, is_paused() as is_paused, pause_since, pause_until, pause_reason, pause_token from fleet",
    )
    .fetch_one(connection)
    .await?;
    let pause = row.pause_since.zip(row.pause_until).map(|(since, until)| Pause {
        since,
        until,
        reason: row.pause_reason,
        token: row.pause_token,
    });
    Ok(FleetRow { map_version: row.map_version, is_paused: row.is_paused, pause })
}

/// The map of a version, if it is kept still. Version 0 is the empty one.
pub async fn map(connection: &mut PgConnection, version: i64) -> Result<Option<PlacementMap>, MapError> {
    if version == 0 {
        return Ok(Some(PlacementMap::empty(pinner_core::content::PARTITIONS)));
    }
    let bytes: Option<Vec<u8>> = sqlx::query_scalar("select map from placement_maps where version = $1")
        .bind(version)
        .fetch_optional(connection)
        .await?;
    Ok(bytes.map(|bytes| PlacementMap::decode(&bytes)).transpose()?)
}

/// Pauses the fleet until `until`.
pub async fn pause(
    tx: &mut WorkerTx,
    token: Option<&str>,
    reason: Option<&str>,
    until: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query("select pause_fleet($1, $2, $3)")
        .bind(token)
        .bind(reason)
        .bind(until)
        .execute(&mut **tx)
        .await
        .map(|_| ())
}

/// Ends a pause.
pub async fn resume(tx: &mut WorkerTx) -> sqlx::Result<()> {
    sqlx::query("select resume_fleet()").execute(&mut **tx).await.map(|_| ())
}

/// Whether `node`'s Kubo may collect garbage now, for as long as `lease`.
pub async fn begin_gc(db: &Database, node: NodeId, lease: Duration) -> sqlx::Result<bool> {
    sqlx::query_scalar("select begin_gc($1, $2)").bind(node.uuid()).bind(interval(lease)).fetch_one(&db.worker).await
}

/// `node`'s Kubo is done.
pub async fn end_gc(db: &Database, node: NodeId) -> sqlx::Result<()> {
    sqlx::query("select end_gc($1)").bind(node.uuid()).execute(&db.worker).await.map(|_| ())
}
