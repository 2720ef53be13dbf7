//! Folds what changed in the counters into their sums, so that readers add up little. See migration 0004.
//!
//! Every pinner tries; the database lets one at a time. Whoever finds something to do looks again soon, everybody else
//! ever more rarely.

use crate::db::{Database, counts};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The most changes that one transaction folds.
const FOLD_MAX: i32 = 20_000;
/// Time to the next look after one that found something.
const SOON: Duration = Duration::from_millis(500);
/// The longest time to the next look.
const LATE: Duration = Duration::from_secs(15);

/// Folds until told to stop.
pub async fn run(db: Database, stop: CancellationToken) {
    let mut wait = SOON;
    while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        wait = match fold(&db).await {
            Ok(0) => (wait * 2).min(LATE),
            Ok(changes) if changes >= i64::from(FOLD_MAX) => Duration::ZERO,
            Ok(_) => SOON,
            Err(error) => {
                tracing::warn!(%error, "cannot fold counts; they stay exact, but take longer to read");
                LATE
            }
        };
    }
}

async fn fold(db: &Database) -> sqlx::Result<i64> {
    let mut tx = db.worker().await?;
    let changes = counts::fold(&mut tx, FOLD_MAX).await?;
    tx.commit().await?;
    Ok(changes)
}
