//! Kubo's garbage collection, which belongs to the pinner alone.
//!
//! Kubo lets nobody pin while it collects, and begins to collect only when nobody pins: a single fetch that hangs would
//! hold up everything (HAZARDS 12). So fetches under way have a moment to end and are then put back, uploads are waited
//! for, and only one node of the fleet collects at a time. It is asked for when something was let go since the last time.
//! What is put back loses its blocks, so while there is room fetches that get on are waited for ([`pinner_core::garbage`]).

use super::Running;
use crate::{
    db::{fleet, uploads},
    kubo::KuboError,
};
use pinner_core::{attempt::spread, garbage::Situation};
use std::{sync::atomic::Ordering, time::Duration};
use tokio::time::{Instant, sleep, timeout};

/// How long fetches under way have to end by themselves.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long all may take together to make room, before collecting is put off.
const ROOM_MAX: Duration = Duration::from_secs(40);
/// How long uploads under way may take to end, before collecting is put off.
const UPLOADS_MAX: Duration = Duration::from_secs(5);
/// How long a collection may take; nobody else collects meanwhile.
const COLLECT_MAX: Duration = Duration::from_secs(30 * 60);
/// Time to the next try when it is somebody else's turn, or a pause, or fetches get on.
const TURN: Duration = Duration::from_secs(10);
/// Time to the next try after one that came to nothing: it may have held up pins for some seconds.
const RETRY: Duration = Duration::from_secs(60);

/// Collects from time to time until told to stop.
pub(super) async fn run(running: &Running) {
    let every = running.worker.settings.gc;
    loop {
        tokio::select! {
            () = sleep(spread(every, rand::random())) => {}
            () = running.full.found() => {}
        }
        let due = Instant::now();
        let mut was_put_off = false;
        while running.has_garbage.load(Ordering::Relaxed) {
            let wait = if is_put_off(running, due).await {
                if !was_put_off {
                    tracing::info!(
                        "garbage collection is put off: there is room, and fetches get on that would begin anew"
                    );
                }
                was_put_off = true;
                TURN
            } else {
                match collect(running).await {
                    Ok(true) => break,
                    Ok(false) => TURN,
                    Err(error) => {
                        tracing::warn!(%error, "cannot collect garbage; tries again");
                        RETRY
                    }
                }
            };
            sleep(spread(wait, rand::random())).await;
        }
    }
}

/// Whether a collection that was `due` then has to wait for fetches.
async fn is_put_off(running: &Running, due: Instant) -> bool {
    let advanced = running.reports.advanced();
    // Without a fetch nothing depends on the rest.
    if advanced.is_none() {
        return false;
    }
    let repo = running.worker.kubo.repo().await.inspect_err(|error| {
        tracing::debug!(%error, "Kubo does not say how much it stores");
    });
    let situation = Situation {
        due_for: due.elapsed(),
        deadline: running.worker.settings.retry.deadline,
        advanced,
        repo: repo.ok(),
        is_disk_full: running.full.is_full(),
    };
    situation.is_put_off()
}

/// Why nothing was collected.
#[derive(Debug, thiserror::Error)]
enum CollectError {
    #[error(transparent)]
    Kubo(#[from] KuboError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("fetches or uploads under way did not make room")]
    NoRoom,
}

/// Collects if it is our turn. Gives whether it was.
async fn collect(running: &Running) -> Result<bool, CollectError> {
    let worker = &running.worker;
    if !*worker.kubo_ready.borrow() || !fleet::begin_gc(&worker.db, worker.node, ROOM_MAX + COLLECT_MAX).await? {
        return Ok(false);
    }
    let collected = with_room(running).await;
    fleet::end_gc(&worker.db, worker.node).await?;
    collected.map(|()| true)
}

async fn with_room(running: &Running) -> Result<(), CollectError> {
    // First: a slow upload must hold up no pin.
    let ended = timeout(UPLOADS_MAX, running.worker.gates.uploads.write()).await;
    let _no_uploads = ended.map_err(|_| CollectError::NoRoom)?;
    if uploads::any(&running.worker.db, running.worker.node).await? {
        return Err(CollectError::NoRoom);
    }
    let began = Instant::now();
    // From now on nothing begins; what does not end in time is put back.
    let room = async {
        let cut_off = async {
            sleep(PATIENCE).await;
            running.make_room.send_replace(true);
            std::future::pending().await
        };
        tokio::select! {
            room = running.worker.gates.pins.write() => room,
            () = cut_off => unreachable!("it never ends"),
        }
    };
    let room = timeout(ROOM_MAX, room).await;
    running.make_room.send_replace(false);
    let _room = room.map_err(|_| CollectError::NoRoom)?;
    let waited = began.elapsed();
    // What is let go from now on is for the next time.
    running.has_garbage.store(false, Ordering::Relaxed);
    let removed = running.worker.kubo.collect_garbage(COLLECT_MAX).await;
    if removed.is_err() {
        running.has_garbage.store(true, Ordering::Relaxed);
    }
    let removed = removed?;
    running.worker.metrics.garbage_collections.inc();
    tracing::info!(removed, ?waited, took = ?began.elapsed() - waited, "collected garbage");
    Ok(())
}
