//! Refreshes the metrics that are counted rather than observed: every 15 s and at once on start.
//! A query that fails keeps the last good value.

use crate::{
    db::{Database, counts},
    metrics::Metrics,
    nats::Nats,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Time between two counts.
const EVERY: Duration = Duration::from_secs(15);
/// Every status a placement can have, so that one that vanished reads 0.
const STATUSES: [&str; 5] = ["queued", "pinning", "pinned", "failed", "unpinning"];

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
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let counted = count(&sources).await;
        if let Err(error) = &counted {
            tracing::warn!(%error, "cannot count; the metrics keep their last values");
        }
        let up = |name: &str, up: bool| sources.metrics.dependency_up.with_label_values(&[name]).set(up.into());
        up("database", counted.is_ok());
        up("nats", sources.nats.is_connected());
        up("kubo", *sources.kubo_ready.borrow());
    }
}

async fn count(sources: &Sources) -> sqlx::Result<()> {
    let mut tx = sources.db.metrics().await?;
    let live = counts::live_nodes(&mut tx).await?;
    let placements = counts::placements(&mut tx).await?;
    tx.commit().await?;
    sources.metrics.nodes_live.set(live);
    for status in STATUSES {
        let count = placements.iter().find(|(name, _)| name == status).map_or(0, |(_, count)| *count);
        sources.metrics.placements.with_label_values(&[status]).set(count);
    }
    Ok(())
}
