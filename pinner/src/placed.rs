//! How many placements each node has, counted no more often than counting is cheap.
//!
//! Counting walks all of them: a moment for thousands, seconds for tens of millions, and whoever looks at a fleet looks every
//! few seconds. So a count is good for [`COST`] times as long as it took: a small fleet is always told how it is now, and
//! in a large one counting takes a fiftieth of one session's time at most. What is decided is never decided by it.

use crate::db::{
    Database,
    nodes::{self, PlacementCounts},
};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use uuid::Uuid;

/// How many times as long as a count took it is good for.
pub const COST: u32 = 50;

/// Counts by node. A node without placements is left out.
pub type Counts = Arc<HashMap<Uuid, PlacementCounts>>;

/// The last count.
#[derive(Debug, Default)]
pub struct Placed(Mutex<Option<Count>>);

#[derive(Debug)]
struct Count {
    counts: Counts,
    good_until: Instant,
}

impl Placed {
    /// The counts. Whoever asks while they are counted waits for just that count.
    ///
    /// # Errors
    /// When the database does not count.
    pub async fn counts(&self, db: &Database) -> sqlx::Result<Counts> {
        let mut last = self.0.lock().await;
        if let Some(count) = last.as_ref().filter(|count| Instant::now() < count.good_until) {
            return Ok(Arc::clone(&count.counts));
        }
        let began = Instant::now();
        let mut tx = db.worker().await?;
        let counts = Arc::new(nodes::all_placements(&mut tx).await?.into_iter().collect());
        tx.commit().await?;
        *last = Some(Count { counts: Arc::clone(&counts), good_until: good_until(began, Instant::now()) });
        Ok(counts)
    }
}

/// Until when a count is good that began and ended then.
pub fn good_until(began: Instant, ended: Instant) -> Instant {
    began + COST * ended.saturating_duration_since(began).max(Duration::from_micros(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_takes_a_fiftieth_of_the_time() {
        let began = Instant::now();
        let good_for = |took: Duration| good_until(began, began + took) - began;
        assert_eq!(good_for(Duration::from_millis(2)), Duration::from_millis(100));
        assert_eq!(good_for(Duration::from_secs(5)), Duration::from_secs(250));
    }
}
