//! Refreshes the metrics that are counted rather than observed: every 15 s and at once on start.
//!
//! Each is a query of its own. One that fails keeps its last good value, says so in the log, and keeps no other from
//! being counted. Placements are counted as often as that is cheap ([`placed`]): every 15 s if it takes 0.3 s, every five
//! minutes if it takes six seconds.

use crate::{
    db::{Database, counts},
    metrics::Metrics,
    nats::Nats,
    placed,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Time between two counts.
const EVERY: Duration = Duration::from_secs(15);

/// Where the numbers come from and go to.
pub struct Sources {
    /// The database.
    pub db: Database,
    /// NATS.
    pub nats: Nats,
    /// Whether Kubo answered when it was last asked.
    pub kubo_ready: watch::Receiver<bool>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// Counts until told to stop.
pub async fn run(sources: Sources, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut good_until = Instant::now();
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let counted = refresh(&sources.db, &sources.metrics, &mut good_until).await;
        let up = |name: &str, up: bool| sources.metrics.dependency_up.with_label_values(&[name]).set(up.into());
        up("database", counted);
        up("nats", sources.nats.is_connected());
        up("kubo", *sources.kubo_ready.borrow());
    }
}

/// Counts once; placements only from `good_until` on, and notes there until when their new count is good. Gives whether
/// everything could be counted.
pub async fn refresh(db: &Database, metrics: &Metrics, good_until: &mut Instant) -> bool {
    let live = kept("live nodes", live_nodes(db).await);
    if let Some(live) = live {
        metrics.nodes_live.set(live);
    }
    let began = Instant::now();
    if began < *good_until {
        return live.is_some();
    }
    let placements = kept("placements", placements(db).await);
    if let Some(placements) = &placements {
        metrics.set_placements(placements);
        *good_until = placed::good_until(began, Instant::now());
    }
    live.is_some() && placements.is_some()
}

async fn live_nodes(db: &Database) -> sqlx::Result<i64> {
    let mut tx = db.metrics().await?;
    let live = counts::live_nodes(&mut tx).await?;
    tx.commit().await?;
    Ok(live)
}

async fn placements(db: &Database) -> sqlx::Result<Vec<(String, i64)>> {
    let mut tx = db.metrics().await?;
    let placements = counts::placements(&mut tx).await?;
    tx.commit().await?;
    Ok(placements)
}

fn kept<T>(what: &str, counted: sqlx::Result<T>) -> Option<T> {
    counted.inspect_err(|error| tracing::warn!(%error, what, "cannot count; the metric keeps its last value")).ok()
}
