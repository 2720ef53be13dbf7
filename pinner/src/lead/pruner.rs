//! The pruner: what is of no use any more is deleted.

use super::{Leader, every};
use crate::{
    db::lead::{self, LeadError, Office},
    tokens,
};
use std::time::Duration;

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(60);

pub(super) async fn run(leader: &Leader, office: Office) {
    every(EVERY, "prune", || prune(leader, office)).await;
}

async fn prune(leader: &Leader, office: Office) -> Result<(), LeadError> {
    // Whether the office is still ours. What is pruned goes by the database's clock alone and needs no fence.
    lead::begin(&leader.db, office).await?.commit().await?;
    tokens::prune(&leader.db).await?;
    Ok(())
}
