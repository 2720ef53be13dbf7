//! An org's pins. No statement names the org: the transaction carries it and row-level security applies it.

use super::{TenantTx, placements::Wake};
use pinner_core::{
    content::ContentKey,
    filter::{Filter, NameMatch},
    id::{OrgId, PinId},
    pin::{NewPin, Status, fold_case},
};
use sqlx::{FromRow, Postgres, QueryBuilder, types::Json};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use uuid::Uuid;

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
    /// The pin.
    pub pin_id: Uuid,
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

/// Where a new pin goes and on how many nodes.
#[derive(Debug, Clone)]
pub struct PlacementRequest<'a> {
    /// Nodes, best first; a few more than `copies_max`, since some may have been cordoned just now.
    pub candidates: &'a [Uuid],
    /// From how many nodes on it counts as pinned.
    pub copies_min: u8,
    /// On how many nodes it is put.
    pub copies_max: u8,
}

const COLUMNS: &str = "id, status::text as status, created, cid, content, name, origins, meta";

/// Stores a pin and places its content, all in the caller's transaction.
pub async fn insert(
    tx: &mut TenantTx,
    org: OrgId,
    id: PinId,
    pin: &NewPin,
    request: &PlacementRequest<'_>,
) -> sqlx::Result<(PinRow, Vec<Wake>)> {
    sqlx::query(
        "insert into pins (org_id, id, created, cid, content, name, name_folded, origins, meta, copies_min, copies_max)
         values ($1, $2, now(), $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(org.uuid())
    .bind(id.uuid())
    .bind(pin.cid.as_str())
    .bind(pin.cid.key().as_bytes())
    .bind(&pin.name)
    .bind(pin.name.as_deref().map(fold_case))
    .bind(&pin.origins)
    .bind(pin.meta.as_ref().map(Json))
    .bind(i16::from(request.copies_min))
    .bind(i16::from(request.copies_max))
    .execute(&mut **tx)
    .await?;
    let wakes = sqlx::query_as("select job, node_id, generation from place($1, $2, $3)")
        .bind(pin.cid.key().as_bytes())
        .bind(i32::from(request.copies_max))
        .bind(request.candidates)
        .fetch_all(&mut **tx)
        .await?;
    let row = find(tx, id).await?.ok_or(sqlx::Error::RowNotFound)?;
    Ok((row, wakes))
}

/// One pin of the org.
pub async fn find(tx: &mut TenantTx, id: PinId) -> sqlx::Result<Option<PinRow>> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!("select {COLUMNS} from pins where id = $1")))
        .bind(id.uuid())
        .fetch_optional(&mut **tx)
        .await
}

/// Locks what deleting or replacing a pin of `contents` will touch, in the order that every writer shares.
/// With `org`, its row too: for a transaction that also inserts a pin.
pub async fn lock(tx: &mut TenantTx, org: Option<OrgId>, contents: &[&[u8]]) -> sqlx::Result<()> {
    sqlx::query("select lock_contents($1, $2)")
        .bind(org.map(|org| org.uuid()))
        .bind(contents)
        .execute(&mut **tx)
        .await
        .map(|_| ())
}

/// Deletes a pin whose content was locked. `None` when it is not there (any more).
pub async fn delete(tx: &mut TenantTx, id: PinId, content: &[u8]) -> sqlx::Result<Option<Vec<Wake>>> {
    let deleted = sqlx::query("delete from pins where id = $1").bind(id.uuid()).execute(&mut **tx).await?;
    if deleted.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query_as("select job, node_id, generation from unpin_jobs($1)")
        .bind(content)
        .fetch_all(&mut **tx)
        .await
        .map(Some)
}

/// A page of the org's pins, newest first.
pub async fn list(tx: &mut TenantTx, filter: &Filter) -> sqlx::Result<Vec<PinRow>> {
    let mut query = QueryBuilder::new(format!("select {COLUMNS} from pins where true"));
    restrict(&mut query, filter);
    query.push(" order by created desc limit ").push_bind(i64::from(filter.limit));
    query.build_query_as().fetch_all(&mut **tx).await
}

/// How many pins of the org match, whatever the page. From the counters when nothing but the status is asked for.
pub async fn count(tx: &mut TenantTx, filter: &Filter) -> sqlx::Result<i64> {
    let by_status_alone = filter.contents.is_empty()
        && filter.name.is_none()
        && filter.meta.is_empty()
        && filter.before.is_none()
        && filter.after.is_none();
    if by_status_alone {
        return sqlx::query_scalar(
            "select coalesce(sum(pins), 0)::bigint from pin_counts where status = any ($1::pin_status[])",
        )
        .bind(statuses(filter))
        .fetch_one(&mut **tx)
        .await;
    }
    let mut query = QueryBuilder::new("select count(*) from pins where true");
    restrict(&mut query, filter);
    query.build_query_scalar().fetch_one(&mut **tx).await
}

/// Keeps what a replaced pin held until what replaces it has been fetched.
pub async fn keep_until(tx: &mut TenantTx, old_content: &[u8], new_content: &[u8]) -> sqlx::Result<()> {
    sqlx::query("select keep_until($1, $2)").bind(old_content).bind(new_content).execute(&mut **tx).await.map(|_| ())
}

/// How far these pins of the org are.
pub async fn progress(tx: &mut TenantTx, pins: &[Uuid]) -> sqlx::Result<Vec<ProgressRow>> {
    sqlx::query_as("select * from pin_progress($1)").bind(pins).fetch_all(&mut **tx).await
}

fn statuses(filter: &Filter) -> Vec<&'static str> {
    filter.statuses.iter().map(|status| status.as_str()).collect()
}

/// Adds the filter's conditions to a query that ends in a `where` clause.
fn restrict(query: &mut QueryBuilder<Postgres>, filter: &Filter) {
    if filter.statuses.len() < Status::ALL.len() {
        query.push(" and status = any (").push_bind(statuses(filter)).push("::pin_status[])");
    }
    if !filter.contents.is_empty() {
        let keys: Vec<Vec<u8>> = filter.contents.iter().map(|key: &ContentKey| key.as_bytes().to_vec()).collect();
        query.push(" and content = any (").push_bind(keys).push(")");
    }
    match &filter.name {
        None => {}
        Some(NameMatch::Exact(name)) => {
            query.push(" and name = ").push_bind(name.clone());
        }
        Some(NameMatch::ExactFolded(name)) => {
            query.push(" and name_folded = ").push_bind(name.clone());
        }
        // Not LIKE: a name may hold the signs that it gives a meaning to.
        Some(NameMatch::Partial(part)) => {
            query.push(" and position(").push_bind(part.clone()).push(" in name) > 0");
        }
        Some(NameMatch::PartialFolded(part)) => {
            query.push(" and position(").push_bind(part.clone()).push(" in name_folded) > 0");
        }
    }
    if let Some(before) = filter.before {
        query.push(" and created < ").push_bind(before);
    }
    if let Some(after) = filter.after {
        query.push(" and created > ").push_bind(after);
    }
    if !filter.meta.is_empty() {
        query.push(" and meta @> ").push_bind(Json(filter.meta.clone()));
    }
}
