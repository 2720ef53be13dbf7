//! What orgs may hold, for requests that ask before anything is written. What is accepted is held to the limits of that
//! moment by the statement that writes it; here a limit may be [`MAX_AGE`] old where NATS is away.

use crate::{
    cache::{Cache, Tally},
    changed::Watch,
    db::{Database, orgs},
};
use pinner_core::id::OrgId;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// The oldest copy that is used.
const MAX_AGE: Duration = Duration::from_secs(5);
/// Orgs whose limits are kept.
const ORGS_MAX: u64 = 10_000;

/// Limits of orgs.
pub struct OrgLimits {
    /// The most bytes, or none for no limit.
    bytes: Cache<OrgId, Option<i64>>,
}

impl OrgLimits {
    /// Of no org yet.
    pub fn new(tally: Tally) -> Self {
        Self { bytes: Cache::new(ORGS_MAX, MAX_AGE, tally) }
    }

    /// The most bytes that an org may hold, if there is a limit.
    ///
    /// # Errors
    /// What the database says; `RowNotFound` when there is no such org.
    pub async fn bytes(&self, db: &Database, org: OrgId) -> sqlx::Result<Option<i64>> {
        if let Some(bytes) = self.bytes.get(&org) {
            return Ok(bytes);
        }
        let asked = self.bytes.asked();
        let mut tx = db.tenant(org).await?;
        let bytes = orgs::own(&mut tx).await?.max_bytes;
        tx.commit().await?;
        self.bytes.put(asked, org, bytes);
        Ok(bytes)
    }

    /// Forgets what is kept, now that some limit has changed.
    pub fn changed(&self) {
        self.bytes.invalidate();
    }

    /// How many orgs' limits are kept.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no org's limits are kept.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How old a copy may be.
    pub fn max_age(&self) -> Duration {
        self.bytes.max_age()
    }

    /// Forgets whenever a change is announced, until told to stop.
    pub async fn forget(self: Arc<Self>, mut announced: Watch, stop: CancellationToken) {
        while stop.run_until_cancelled(announced.changed()).await.is_some() {
            self.changed();
        }
    }
}
