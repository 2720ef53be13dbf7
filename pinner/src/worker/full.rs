//! What is done while Kubo's disk is full, and when there is room again.
//!
//! Whatever would write waits, and is no failed attempt: neither the content nor whoever asked for it is to blame. What is
//! let go goes on, and garbage is collected at once, since both make room. And Kubo's database does not trust itself after
//! a write that failed: it refuses each one with the error of the first, long after there is room, until Kubo is started
//! again (goleveldb, the datastore of Kubo's pins, does so by design). So a Kubo that refuses for want of room while there
//! is some is asked to end; what runs it, be it a kubelet, starts it again.

use super::Running;
use crate::kubo::KuboError;
use pinner_core::lane::Room;
use std::{sync::atomic::Ordering, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// Between two looks whether there is room.
const LOOK: Duration = Duration::from_secs(2);
/// A refusal may have been on its way for so long after there was room.
const LATE: Duration = Duration::from_secs(1);
/// Between two times that Kubo is asked to end: it must have come back and been tried.
const BETWEEN_ENDS: Duration = Duration::from_secs(30);

/// What jobs say of the disk, and what they hear of it.
pub(super) struct Full {
    /// When Kubo last refused something for want of room.
    refused: watch::Sender<Option<Instant>>,
    is_full: watch::Sender<bool>,
}

impl Full {
    /// One that tells `is_full`.
    pub(super) fn new(is_full: watch::Sender<bool>) -> Self {
        Self { refused: watch::Sender::new(None), is_full }
    }

    /// Of what slots have room for, what the disk has room for.
    pub(super) fn limit(&self, room: Room) -> Room {
        if self.is_full() { Room { unpins: room.unpins, ..Room::default() } } else { room }
    }

    /// Whether the disk is full.
    pub(super) fn is_full(&self) -> bool {
        *self.is_full.borrow()
    }

    /// Ends when the disk is found to be full.
    pub(super) async fn found(&self) {
        let mut is_full = self.is_full.subscribe();
        while is_full.changed().await.is_ok() {
            if *is_full.borrow() {
                return;
            }
        }
        unreachable!("its sender is as old as it")
    }
}

/// Notes that Kubo refused something for want of room. What came of it before is garbage.
pub(super) fn note(running: &Running) {
    running.has_garbage.store(true, Ordering::Relaxed);
    running.full.refused.send_replace(Some(Instant::now()));
}

/// Looks after the disk until told to stop.
pub(super) async fn run(running: &Running) {
    let mut refused = running.full.refused.subscribe();
    // Since when there is room, as far as anybody knows.
    let mut roomy_since = Instant::now();
    while refused.changed().await.is_ok() {
        if !has_room(running).await {
            wait_for_room(running).await;
            roomy_since = Instant::now();
        } else if refused.borrow().is_some_and(|at| at > roomy_since + LATE) {
            start_again(running).await;
        }
    }
}

/// A Kubo that cannot say has nothing written to it anyway.
async fn has_room(running: &Running) -> bool {
    match running.worker.kubo.disk().await {
        Ok(disk) => disk.has_room(),
        Err(error) => {
            tracing::debug!(%error, "Kubo does not say how full its disk is");
            false
        }
    }
}

async fn wait_for_room(running: &Running) {
    tracing::warn!(
        "the disk of this node's Kubo is full: nothing is fetched to it until there is room. Give it a larger volume, \
         drain the node, or delete pins"
    );
    let began = Instant::now();
    running.full.is_full.send_replace(true);
    running.worker.metrics.disk_full.set(1);
    while !has_room(running).await {
        sleep(LOOK).await;
    }
    running.full.is_full.send_replace(false);
    running.worker.metrics.disk_full.set(0);
    running.lanes.look();
    tracing::info!(after = ?began.elapsed(), "there is room on the disk of this node's Kubo again");
}

async fn start_again(running: &Running) {
    tracing::warn!(
        "Kubo refuses to write for want of room, though there is some, and does so until it is started again: it is asked \
         to end"
    );
    match running.worker.kubo.shut_down().await {
        // Its last words may be lost with it.
        Ok(()) | Err(KuboError::Unreachable(_)) => {}
        Err(error) => tracing::warn!(%error, "Kubo does not end"),
    }
    sleep(BETWEEN_ENDS).await;
}
