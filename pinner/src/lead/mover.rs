//! The mover: looks after contents that are astray, so many at a time, until each is where the map wants it.
//!
//! What is on its way is looked at again and again; what gets nowhere makes room for others and has another turn when all
//! the others had theirs. Which contents are on the way is known here alone and found again by whoever leads next: all
//! that matters is in the placements.

use super::Leader;
use crate::db::{
    lead::{self, LeadError, Office},
    nodes,
};
use pinner_core::{
    arrange::{Arrangement, arrange},
    content::ContentKey,
    map::PlacementMap,
};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// Contents that one transaction looks at: their locks are held that long.
const BATCH: usize = 200;
/// A content for which nothing was to be done for this long makes room.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is on its way.
pub(super) struct Mover {
    max: usize,
    /// Since when nothing was to be done for each.
    under_way: HashMap<ContentKey, Instant>,
    after: Option<ContentKey>,
}

impl Mover {
    /// One that has at most `max` contents on the way.
    pub(super) fn new(max: usize) -> Self {
        Self { max, under_way: HashMap::new(), after: None }
    }

    /// Looks at what is on its way, and takes on more. Gives whether anything is.
    pub(super) async fn step(
        &mut self,
        leader: &Leader,
        office: Office,
        map: &PlacementMap,
    ) -> Result<bool, LeadError> {
        self.take_on(leader).await?;
        let contents: Vec<_> = self.under_way.keys().cloned().collect();
        let mut is_moving = false;
        for batch in contents.chunks(BATCH) {
            is_moving |= self.arrange(leader, office, map, batch).await?;
        }
        leader.metrics.moving.set(i64::try_from(self.under_way.len()).unwrap_or(i64::MAX));
        Ok(is_moving)
    }

    async fn take_on(&mut self, leader: &Leader) -> sqlx::Result<()> {
        let room = self.max.saturating_sub(self.under_way.len());
        if room == 0 {
            return Ok(());
        }
        let found = lead::astray(&leader.db, self.after.as_ref(), room).await?;
        // From the beginning again, once the end was reached.
        self.after = found.last().filter(|_| found.len() == room).cloned();
        let now = Instant::now();
        for content in found {
            self.under_way.entry(content).or_insert(now);
        }
        Ok(())
    }

    /// Decides about a batch and does what was decided, in one transaction.
    async fn arrange(
        &mut self,
        leader: &Leader,
        office: Office,
        map: &PlacementMap,
        batch: &[ContentKey],
    ) -> Result<bool, LeadError> {
        let mut tx = lead::begin(&leader.db, office).await?;
        let placed = lead::look_at(&mut tx, office, map.version(), batch).await?;
        // As they are until we commit: a node that was drained or cordoned since the map was read is given nothing.
        let nodes = nodes::standings(&mut tx).await?;
        let decided: Vec<(ContentKey, Arrangement)> = placed
            .into_iter()
            .map(|placed| {
                let homes: Vec<_> = map.holders(placed.partition).collect();
                let arrangement =
                    arrange(&homes, placed.need, &placed.copies, |id| nodes.of(id), || nodes.spares(placed.partition));
                (placed.content, arrangement)
            })
            .collect();
        let wakes = lead::arrange(&mut tx, office, &decided).await?;
        tx.commit().await?;
        leader.waker.wake(&wakes);
        let mut steps = 0;
        let mut waiting: HashMap<_, _> =
            batch.iter().filter_map(|content| self.under_way.remove_entry(content)).collect();
        let now = Instant::now();
        for (content, arrangement) in decided.into_iter().filter(|(_, arrangement)| !arrangement.is_settled) {
            steps += arrangement.steps.len();
            let since = if arrangement.steps.is_empty() { waiting.remove(&content).unwrap_or(now) } else { now };
            if now - since < PATIENCE {
                self.under_way.insert(content, since);
            }
        }
        leader.metrics.steps.inc_by(steps as u64);
        Ok(steps > 0)
    }
}
