//! Compares what Kubo holds with what its placements say, from time to time: what should be there and is not is fetched
//! again, what is there and should not be is let go.
//!
//! Kubo's list and the table are both read as streams; eight bytes for each pin are kept. Neither is true for longer than
//! a moment, so whatever differs is looked at once more by itself, with nobody else working on it. What is too much is let
//! go when it was too much the last time, too: it may be an upload that no node has fetched yet. Of each thousand contents
//! one is walked block by block ([`verify`]).

use super::{Running, verify};
use crate::{
    db::placements,
    kubo::{KuboError, pins::Pin},
};
use pinner_core::{attempt::spread, content::ContentKey};
use rand::seq::IndexedRandom as _;
use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::atomic::Ordering,
    time::Duration,
};
use tokio::time::sleep;

/// The first comparison comes this long after the start: what a crash left behind should not wait for an hour.
const FIRST: Duration = Duration::from_secs(60);
/// Contents that are asked about at a time.
const BATCH: usize = 1_000;
/// The empty directory, which Kubo pins itself when it is first started.
const KUBOS_OWN: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
/// What is too much is remembered up to here; the rest has its turn later.
const EXTRA_MAX: usize = 100_000;

/// Why a comparison was not finished.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Kubo(#[from] KuboError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What a comparison found.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    missing: i64,
    extra: i64,
}

/// Compares until told to stop. First of all verifies `before`, what was pinned before this pinner started, once Kubo is
/// there.
pub(super) async fn run(running: &Running, before: &[ContentKey]) {
    let every = running.worker.settings.reconcile;
    let mut suspects = HashSet::new();
    let mut wait = FIRST.min(every);
    if running.worker.kubo_ready.clone().wait_for(|ready| *ready).await.is_ok() {
        verify::all(running, before).await;
    }
    let mut back = Box::pin(comes_back(running));
    loop {
        let due = sleep(spread(wait, rand::random()));
        tokio::select! {
            () = due => {}
            () = &mut back => {
                verify::all(running, &verify::latest(&running.worker).await).await;
                back = Box::pin(comes_back(running));
            }
        }
        wait = every;
        if !*running.worker.kubo_ready.borrow() {
            continue;
        }
        match compare(running, &mut suspects).await {
            Ok(Found { missing: 0, extra: 0 }) => tracing::debug!("Kubo holds what its placements say"),
            Ok(Found { missing, extra }) => {
                tracing::warn!(missing, extra, "Kubo did not hold what its placements say; set right");
                running.worker.metrics.reconciled("missing", missing);
                running.worker.metrics.reconciled("extra", extra);
            }
            Err(error) => tracing::warn!(%error, "cannot compare Kubo with its placements; tries again later"),
        }
    }
}

/// Waits until Kubo has ended and answers again, though it may have been away for a moment only.
async fn comes_back(running: &Running) {
    while !running.worker.kubo.ends().await {
        sleep(verify::LOOK).await;
    }
    verify::answers(&running.worker.kubo).await;
}

/// One comparison. `suspects` are what was too much the last time; then what is too much now.
async fn compare(running: &Running, suspects: &mut HashSet<String>) -> Result<Found, ReconcileError> {
    let worker = &running.worker;
    let hasher = RandomState::new();
    let mut held = HashSet::new();
    let mut extra = Vec::new();
    let mut batch = Vec::new();
    let mut pins = worker.kubo.pins().await?;
    loop {
        let pin = pins.next().await?;
        let is_end = pin.is_none();
        if let Some(pin) = pin.filter(|pin| pin.cid != KUBOS_OWN) {
            held.insert(hasher.hash_one(&pin.content));
            batch.push(pin);
        }
        if batch.len() >= BATCH || is_end {
            let contents: Vec<_> = batch.iter().map(|pin| pin.content.clone()).collect();
            let found: HashSet<_> =
                placements::surplus(&worker.db, worker.node, &contents).await?.into_iter().collect();
            let found = batch.drain(..).filter(|pin| found.contains(&pin.content));
            extra.extend(found.take(EXTRA_MAX.saturating_sub(extra.len())));
        }
        if is_end {
            break;
        }
    }
    let mut found = Found::default();
    let (again, new): (Vec<_>, Vec<_>) = extra.into_iter().partition(|pin| suspects.contains(&pin.cid));
    *suspects = new.into_iter().map(|pin| pin.cid).collect();
    for pin in again {
        found.extra += i64::from(let_go(running, &pin).await?);
    }
    found.missing = fetch_missing(running, |content| held.contains(&hasher.hash_one(content))).await?;
    Ok(found)
}

/// Lets go of what is too much, if it still is.
async fn let_go(running: &Running, pin: &Pin) -> Result<bool, ReconcileError> {
    let worker = &running.worker;
    let _alone = running.exclusive.lock(&pin.content).await;
    let _working = running.worker.gates.pins.read().await;
    if placements::surplus(&worker.db, worker.node, std::slice::from_ref(&pin.content)).await?.is_empty() {
        return Ok(false);
    }
    worker.kubo.unpin_cid(&pin.cid).await?;
    running.has_garbage.store(true, Ordering::Relaxed);
    Ok(true)
}

/// Has every content fetched again that is pinned by its placement and not in Kubo.
async fn fetch_missing(running: &Running, is_held: impl Fn(&ContentKey) -> bool) -> Result<i64, ReconcileError> {
    let worker = &running.worker;
    let mut missing = 0;
    let mut after = None;
    loop {
        let page = placements::pinned(&worker.db, worker.node, after.as_ref(), BATCH).await?;
        let mut lost = Vec::new();
        let sample = page.choose(&mut rand::rng()).filter(|content| is_held(content));
        if let Some(sample) = sample
            && !verify::verify(running, sample).await.unwrap_or(true)
        {
            missing += 1;
        }
        for content in page.iter().filter(|content| !is_held(content)) {
            let _alone = running.exclusive.lock(content).await;
            if !worker.kubo.is_pinned(content).await? {
                lost.push(content.clone());
            }
        }
        if !lost.is_empty() {
            missing += placements::lose(&worker.db, worker.node, &lost).await?;
            running.lanes.look();
        }
        after = page.last().cloned();
        if page.len() < BATCH {
            return Ok(missing);
        }
    }
}
