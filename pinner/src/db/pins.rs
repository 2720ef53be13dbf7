//! Reading an org's pins: one statement for a pin, one for a page with its count.
//!
//! Each statement sets the org itself, in a row that everything else in it is joined to, so that nothing is read before
//! the org is set; row-level security applies it, and naming the org besides lets indexes be used. What would come of
//! another order is an answer without rows.

use super::{Database, page::PageQuery};
use pinner_core::{
    filter::Filter,
    id::{OrgId, PinId},
};
use sqlx::{FromRow, Row, postgres::PgRow, types::Json};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use uuid::Uuid;

/// How long a search may take that no index bounds, in milliseconds.
const SEARCH_MAX: &str = "5000";

/// A pin as stored.
#[derive(Debug, Clone, FromRow)]
pub struct PinRow {
    /// The request's id.
    pub id: Uuid,
    /// `queued`, `pinning`, `pinned` or `failed`.
    pub status: String,
    /// Milliseconds, unique in the org.
    pub created: OffsetDateTime,
    /// As the client spelled it.
    pub cid: String,
    /// The content's key.
    pub content: Vec<u8>,
    /// The label.
    pub name: Option<String>,
    /// As the client sent them.
    pub origins: Vec<String>,
    /// The pairs.
    pub meta: Option<Json<BTreeMap<String, String>>>,
}

/// How far a pin is and who holds it.
#[derive(Debug, Clone, FromRow)]
pub struct ProgressRow {
    /// Nodes it is placed on, holders first.
    pub nodes: Vec<Uuid>,
    /// How many nodes it is placed on.
    pub copies: i64,
    /// How many of them hold it.
    pub pinned: i64,
    /// The most failed attempts on one node.
    pub attempts: i32,
    /// The most blocks on one node.
    pub blocks: i64,
    /// The most bytes on one node.
    pub bytes: i64,
    /// When a node tries again.
    pub next_attempt: Option<OffsetDateTime>,
    /// Why the last attempt failed, in words.
    pub error: Option<String>,
    /// The same as a code.
    pub reason: Option<String>,
    /// When the pin deletes itself.
    pub expires: Option<OffsetDateTime>,
    /// Why it was given up whatever becomes of its content.
    pub refused: Option<String>,
}

/// A page and how many pins there are beyond it, both of one moment.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Pins of the org that match.
    pub count: i64,
    /// The newest of them.
    pub rows: Vec<(PinRow, ProgressRow)>,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The search went through too many pins.
    #[error("the search took too long")]
    TooBroad,
    /// The database.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// One pin of the org.
pub async fn read(db: &Database, org: OrgId, id: PinId) -> sqlx::Result<Option<(PinRow, ProgressRow)>> {
    let rows = sqlx::query(
        "with org as materialized (select set_config('anchorage.org', $1, true)::uuid as id)
         select p.*, progress.* from org
         cross join lateral (
            select id, created, cid, content, name, origins, meta from pins
            where pins.id = $2 and org_id = org.id
         ) p
         cross join lateral pin_progress(array[p.id]) progress",
    )
    .bind(org.uuid().to_string())
    .bind(id.uuid())
    .fetch_all(&db.api)
    .await?;
    rows.first().map(pin).transpose()
}

/// A page of the org's pins, newest first, and how many match.
pub async fn list(db: &Database, org: OrgId, filter: &Filter) -> Result<Page, ListError> {
    let mut query = PageQuery::new(org, filter).build();
    if !filter.searches() {
        return Ok(page(&query.build().fetch_all(&db.api).await?)?);
    }
    let mut tx = db.tenant(org).await?;
    sqlx::query("select set_config('statement_timeout', $1, true)").bind(SEARCH_MAX).execute(&mut *tx).await?;
    let rows = query.build().fetch_all(&mut *tx).await.map_err(|error| match error.as_database_error() {
        Some(refusal) if refusal.code().as_deref() == Some("57014") => ListError::TooBroad,
        _ => error.into(),
    })?;
    tx.commit().await?;
    Ok(page(&rows)?)
}

fn pin(row: &PgRow) -> sqlx::Result<(PinRow, ProgressRow)> {
    Ok((PinRow::from_row(row)?, ProgressRow::from_row(row)?))
}

/// The count is in every row; a page without pins is one row of the count alone.
fn page(rows: &[PgRow]) -> sqlx::Result<Page> {
    let Some(first) = rows.first() else { return Ok(Page::default()) };
    let count = first.try_get("count")?;
    if first.try_get::<Option<Uuid>, _>("id")?.is_none() {
        return Ok(Page { count, rows: Vec::new() });
    }
    Ok(Page { count, rows: rows.iter().map(pin).collect::<sqlx::Result<_>>()? })
}
