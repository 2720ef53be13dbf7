//! The sweeper: work of pinners that are gone is put back, so that nothing waits for them.

use super::{Leader, every};
use crate::db::lead::{self, LeadError, Office};
use std::time::Duration;

/// Time between two sweeps.
const EVERY: Duration = Duration::from_secs(5);
/// What one statement takes at most.
const MAX: i32 = 500;

pub(super) async fn run(leader: &Leader, office: Office) {
    every(EVERY, "sweep up lost work", || sweep(leader, office)).await;
}

async fn sweep(leader: &Leader, office: Office) -> Result<(), LeadError> {
    let wakes = lead::requeue_lost(&leader.db, office, MAX).await?;
    if !wakes.is_empty() {
        tracing::info!(jobs = wakes.len(), "put back work of pinners that are away");
        leader.waker.wake(&wakes);
    }
    let forgotten = lead::forget_unpins(&leader.db, office, MAX).await?;
    if forgotten > 0 {
        tracing::info!(placements = forgotten, "struck out what drained nodes that are gone were to let go");
    }
    Ok(())
}
