//! Many pins of an org at once. No statement names the org: the transaction carries it and row-level security applies
//! it.

use super::{TenantTx, placements::Wake};
use pinner_core::pin::Status;
use std::collections::BTreeSet;
use uuid::Uuid;

/// The contents that these pins of the org hold, each once, by key. Ids of no pin of the org give nothing.
pub async fn contents(tx: &mut TenantTx, ids: &[Uuid]) -> sqlx::Result<Vec<Vec<u8>>> {
    sqlx::query_scalar("select distinct content from pins where id = any ($1) order by content")
        .bind(ids)
        .fetch_all(&mut **tx)
        .await
}

/// Locks those of the contents that the org holds, in the order that every writer shares.
pub async fn lock(tx: &mut TenantTx, contents: &[&[u8]]) -> sqlx::Result<()> {
    sqlx::query("select lock_contents($1, null)").bind(contents).execute(&mut **tx).await.map(|_| ())
}

/// Deletes pins of the org that hold these contents, which were locked, and have one of these statuses: nothing else of
/// a pin changes, so one that was chosen by a filter still matches it. Gives those that it deleted and the jobs that
/// this left.
pub async fn delete(
    tx: &mut TenantTx,
    ids: &[Uuid],
    contents: &[&[u8]],
    statuses: &BTreeSet<Status>,
) -> sqlx::Result<(Vec<Uuid>, Vec<Wake>)> {
    let deleted = sqlx::query_scalar(
        "delete from pins where id = any ($1) and content = any ($2) and status = any ($3::pin_status[]) returning id",
    )
    .bind(ids)
    .bind(contents)
    .bind(statuses.iter().map(|status| status.as_str()).collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    let wakes = sqlx::query_as(
        "select job, node_id, generation from unnest($1::bytea[]) as c (key) cross join lateral unpin_jobs(c.key)",
    )
    .bind(contents)
    .fetch_all(&mut **tx)
    .await?;
    Ok((deleted, wakes))
}
