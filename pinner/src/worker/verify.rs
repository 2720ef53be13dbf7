//! Whether Kubo has the blocks of what it says is pinned.
//!
//! Kubo writes a pin's record and its blocks one after the other, and a crash may keep the one without the other (HAZARDS
//! 15). So when Kubo comes back, what was placed here last is walked block by block, and at every comparison some of the
//! rest. What lacks a block is unpinned and fetched again, from the other holders.

use super::{Running, Worker};
use crate::{
    db::placements,
    kubo::{Kubo, KuboError},
};
use pinner_core::content::ContentKey;
use std::time::Duration;
use tokio::time::sleep;

/// What a Kubo that comes back has to prove: more than it can have had under way.
const LATEST: usize = 256;
/// Time between two tries to reach a Kubo that is away.
pub(super) const LOOK: Duration = Duration::from_millis(250);

/// What was placed here last and is pinned.
pub(super) async fn latest(worker: &Worker) -> Vec<ContentKey> {
    placements::latest_pinned(&worker.db, worker.node, LATEST).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot tell what was pinned last, to verify it");
        Vec::new()
    })
}

/// Verifies these contents. Kubo may go away meanwhile: then the rest waits until it is back, and what it went away at has
/// one more try after that.
pub(super) async fn all(running: &Running, contents: &[ContentKey]) {
    let (mut broken, mut again) = (0, Vec::new());
    for content in contents {
        match verify(running, content).await {
            Ok(is_whole) => broken += i64::from(!is_whole),
            Err(error) => {
                tracing::warn!(%error, %content, "cannot verify what was pinned last; tries once more");
                again.push(content);
                answers(&running.worker.kubo).await;
            }
        }
    }
    for content in again {
        match verify(running, content).await {
            Ok(is_whole) => broken += i64::from(!is_whole),
            Err(error) => tracing::warn!(%error, %content, "cannot verify what was pinned last"),
        }
    }
    if broken > 0 {
        tracing::warn!(broken, of = contents.len(), "Kubo lacked blocks of what it had pinned; they are fetched again");
        running.worker.metrics.reconciled("broken", broken);
    }
}

/// Waits until Kubo answers.
pub(super) async fn answers(kubo: &Kubo) {
    while kubo.identity().await.is_err() {
        sleep(LOOK).await;
    }
}

/// Whether a content is whole. If not, it is let go and fetched again.
pub(super) async fn verify(running: &Running, content: &ContentKey) -> anyhow::Result<bool> {
    let _alone = running.exclusive.lock(content).await;
    let _working = running.worker.gates.pins.read().await;
    if !lacks_a_block(&running.worker.kubo, content).await? || !running.worker.kubo.is_pinned(content).await? {
        return Ok(true);
    }
    running.worker.kubo.unpin(content).await?;
    placements::lose(&running.worker.db, running.worker.node, std::slice::from_ref(content)).await?;
    running.lanes.look();
    Ok(false)
}

/// Whether a walk through the content ended at a block that is not there. One that takes too long proves nothing.
pub(super) async fn lacks_a_block(kubo: &Kubo, content: &ContentKey) -> Result<bool, KuboError> {
    match kubo.measure(content).await {
        Ok(_) => Ok(false),
        Err(KuboError::Refused(why)) => Ok(why.contains("could not find") || why.contains("not found")),
        Err(KuboError::Unreachable(error)) if error.is_timeout() => Ok(false),
        Err(error) => Err(error),
    }
}
