//! Whether an upload that nobody has fetched for an hour was all of what its root names.
//!
//! As long as a pin wants an upload and no node holds it, its blocks are spared here, and a drain of this node waits for it.
//! That must end for a file which was a part only: nobody can ever fetch the rest, at least not from here. So after an hour,
//! in which the rest may come, it is walked block by block.

use super::{Worker, verify};
use crate::db::uploads;
use tokio::time::{MissedTickBehavior, interval};

/// Uploads that are looked at in a row.
const LOOK_MAX: i32 = 16;

/// Looks from time to time until told to stop.
pub(super) async fn run(worker: &Worker) {
    let mut tick = interval(worker.settings.sweep);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Err(error) = look(worker).await {
            tracing::warn!(%error, "cannot tell whether uploads are whole; they are spared for another hour");
        }
    }
}

async fn look(worker: &Worker) -> anyhow::Result<()> {
    if !*worker.kubo_ready.borrow() {
        return Ok(());
    }
    for content in uploads::overdue(&worker.db, worker.node, LOOK_MAX).await? {
        if verify::lacks_a_block(&worker.kubo, &content).await? {
            tracing::info!(%content, "an upload is less than what its root names, and is spared no longer");
            uploads::forget(&worker.db, worker.node, &content).await?;
        }
    }
    Ok(())
}
