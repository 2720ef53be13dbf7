//! What an org holds, for itself to know: pins by status and bytes, exact, and its limits.

use super::Database;
use pinner_core::{id::OrgId, pin::Status};
use sqlx::FromRow;
use std::collections::BTreeMap;

/// What an org holds and may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Pins of each status; every status is there.
    pub pins: BTreeMap<Status, i64>,
    /// Bytes of the contents it holds, each counted once, as far as nodes have reported.
    pub bytes: i64,
    /// The most pins, if there is a limit.
    pub max_pins: Option<i64>,
    /// The most bytes, if there is a limit.
    pub max_bytes: Option<i64>,
}

/// The usage of `org` at one moment; `RowNotFound` when there is no such org.
pub async fn of(db: &Database, org: OrgId) -> sqlx::Result<Usage> {
    #[derive(FromRow)]
    struct Row {
        queued: i64,
        pinning: i64,
        pinned: i64,
        failed: i64,
        bytes: i64,
        max_pins: Option<i64>,
        max_bytes: Option<i64>,
    }
    let row: Option<Row> = sqlx::query_as(
        "with org as materialized (select set_config('anchorage.org', $1, true)::uuid as id)
         select usage.* from org cross join lateral usage_of(org.id) usage",
    )
    .bind(org.uuid().to_string())
    .fetch_all(&db.api)
    .await?
    .pop();
    let row = row.ok_or(sqlx::Error::RowNotFound)?;
    let pins = [
        (Status::Queued, row.queued),
        (Status::Pinning, row.pinning),
        (Status::Pinned, row.pinned),
        (Status::Failed, row.failed),
    ];
    Ok(Usage { pins: pins.into(), bytes: row.bytes, max_pins: row.max_pins, max_bytes: row.max_bytes })
}
