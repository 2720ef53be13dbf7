//! The lease of an office in NATS: who should lead. It protects nothing; the epoch does.
//!
//! A bucket whose values live for [`LEASE`] (HAZARDS 6: a lifetime per key is lost on the way), a key for each office.
//! A holder trusts its lease until shortly before the end that it would have if it were renewed the moment before it asked.

use crate::{
    db::lead::Role,
    nats::{Nats, NatsError},
};
use async_nats::jetstream::kv::{self, CreateErrorKind};
use pinner_core::id::NodeId;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until, timeout_at};
use uuid::Uuid;

/// How long a lease lasts that is not renewed.
const LEASE: Duration = Duration::from_secs(8);
/// Time between renewals.
const RENEW: Duration = Duration::from_millis(2_500);
/// So much before its end a lease is not trusted any more.
const MARGIN: Duration = Duration::from_secs(2);
/// Giving a lease back must not hold up the end of a pinner.
const RESIGN_MAX: Duration = Duration::from_secs(1);
/// A lease that for so long was neither renewed nor has ended is in a bucket that takes nothing and forgets nothing.
const STUCK: Duration = Duration::from_secs(20);
const BUCKET: &str = "anchorage_leader";

/// Gives out leases.
pub(super) struct Lessor {
    nats: Nats,
    fleet: Uuid,
    node: NodeId,
    seen: Mutex<Seen>,
}

/// A lease that was won.
pub(super) struct Lease {
    store: kv::Store,
    /// Of the fleet and the office.
    key: String,
    node: NodeId,
    revision: u64,
    trusted_until: Instant,
}

impl Lessor {
    /// For a node of a fleet.
    pub(super) fn new(nats: Nats, fleet: Uuid, node: NodeId) -> Self {
        Self { nats, fleet, node, seen: Mutex::default() }
    }

    /// The lease of an office, unless somebody else has it. What this node held before it was started again is its own.
    pub(super) async fn take(&self, role: Role) -> Result<Option<Lease>, NatsError> {
        let store = self.nats.bucket(BUCKET, LEASE).await?;
        let value = self.node.to_string().into_bytes();
        let key = format!("{}.{role}", self.fleet);
        let asked = Instant::now();
        let lease = |store, key, revision| {
            Some(Lease { store, key, node: self.node, revision, trusted_until: asked + LEASE - MARGIN })
        };
        let created = store.create(&key, value.clone().into()).await;
        let is_answered = !matches!(&created, Err(error) if error.kind() == CreateErrorKind::Publish);
        self.nats.note_write(&store.stream_name, is_answered).await;
        match created {
            Ok(revision) => return Ok(lease(store, key, revision)),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {}
            Err(error) => return Err(NatsError::server(error)),
        }
        let entry = store.entry(&key).await.map_err(NatsError::server)?;
        let is_stuck = entry.as_ref().is_some_and(|entry| {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).is_stuck(entry.revision, asked)
        });
        if is_stuck {
            self.nats.give_up(&store.stream_name).await;
        }
        let Some(own) = entry.filter(|entry| entry.value.as_ref() == value) else { return Ok(None) };
        match store.update(&key, value.into(), own.revision).await {
            Ok(revision) => Ok(lease(store, key, revision)),
            // Somebody was faster.
            Err(error) => {
                tracing::debug!(%error, %role, "cannot take up the lease that this node had");
                Ok(None)
            }
        }
    }
}

/// The revision that the lease was last seen to have, and since when.
#[derive(Debug, Default)]
struct Seen(Option<(u64, Instant)>);

impl Seen {
    /// Notes the revision that it has now. Gives whether it has had it for too long; the next one is looked at anew.
    fn is_stuck(&mut self, revision: u64, now: Instant) -> bool {
        let since = self.0.filter(|(last, _)| *last == revision).map_or(now, |(_, since)| since);
        let is_stuck = now.duration_since(since) >= STUCK;
        self.0 = (!is_stuck).then_some((revision, since));
        is_stuck
    }
}

impl Lease {
    /// Renews the lease for as long as that works. Ends when it may be somebody else's.
    pub(super) async fn keep(&mut self) {
        loop {
            let asked = Instant::now();
            let value = self.node.to_string().into_bytes();
            let renewed = self.store.update(&self.key, value.into(), self.revision);
            match timeout_at(self.trusted_until, renewed).await {
                Ok(Ok(revision)) => {
                    self.revision = revision;
                    self.trusted_until = asked + LEASE - MARGIN;
                }
                Ok(Err(error)) => tracing::debug!(%error, key = self.key, "the lease was not renewed"),
                Err(_) => {}
            }
            if Instant::now() >= self.trusted_until {
                return;
            }
            sleep_until((asked + RENEW).min(self.trusted_until)).await;
        }
    }

    /// Gives the lease back, if it is ours still.
    pub(super) async fn resign(self) {
        let given = tokio::time::timeout(RESIGN_MAX, self.give_back()).await;
        if let Ok(Err(error)) = given {
            tracing::debug!(%error, key = self.key, "the lease ends by itself");
        }
    }

    async fn give_back(&self) -> Result<(), NatsError> {
        let given = self.store.delete_expect_revision(&self.key, Some(self.revision)).await;
        let Err(error) = given else { return Ok(()) };
        // A renewal that was cut off may have been stored.
        let entry = self.store.entry(&self.key).await.map_err(NatsError::server)?;
        let own = self.node.to_string().into_bytes();
        let Some(ours) = entry.filter(|entry| entry.value.as_ref() == own) else {
            return Err(NatsError::server(error));
        };
        let given = self.store.delete_expect_revision(&self.key, Some(ours.revision)).await;
        given.map_err(NatsError::server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_neither_renewed_nor_ends_is_stuck() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let mut look = |revision, after| seen.is_stuck(revision, start + Duration::from_secs(after));
        assert!(!look(1, 0) && !look(1, 19) && !look(2, 21) && !look(2, 40), "renewed in between");
        assert!(look(2, 41));
        assert!(!look(2, 42) && look(2, 62), "from the start");
    }
}
