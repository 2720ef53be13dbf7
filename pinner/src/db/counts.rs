//! Counting for metrics, as the role that may count and nothing else, and the folding of counters.

use super::{MetricsTx, WorkerTx};

/// Nodes that were seen within the presence TTL.
pub async fn live_nodes(tx: &mut MetricsTx) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from nodes where seen > now() - presence_ttl()").fetch_one(&mut **tx).await
}

/// Placements of all nodes by status; a status that none has is left out.
pub async fn placements(tx: &mut MetricsTx) -> sqlx::Result<Vec<(String, i64)>> {
    sqlx::query_as("select status::text, count(*) from placements group by status").fetch_all(&mut **tx).await
}

/// Folds up to `max` changes of the counters into their sums. Gives how many there were; none, too, while another
/// transaction does so.
pub async fn fold(tx: &mut WorkerTx, max: i32) -> sqlx::Result<i64> {
    sqlx::query_scalar("select fold_counts($1)").bind(max).fetch_one(&mut **tx).await
}
