//! The watchdog: a pause that outlived its end is over, and said to be.

use super::{Leader, every};
use crate::db::lead::{self, LeadError, Office};
use std::time::Duration;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(2);

pub(super) async fn run(leader: &Leader, office: Office) {
    every(EVERY, "look after pauses", || watch(leader, office)).await;
}

async fn watch(leader: &Leader, office: Office) -> Result<(), LeadError> {
    if lead::end_overdue_pause(&leader.db, office).await? {
        leader.metrics.maintenance_overdue.inc();
        tracing::warn!("maintenance has outlived its end; moves, repair and garbage collection go on");
    }
    Ok(())
}
