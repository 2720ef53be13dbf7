//! Tells the other pinners that something they keep a copy of has changed, and hears it from them.
//!
//! Core NATS on `anchorage.changed.<what>`, without content: whoever hears it reads Postgres again. A message may be
//! lost, doubled or overtaken, so each copy is read again now and then anyway, and at once after a moment in which
//! messages may have been missed: a new connection, or a subscription that was read too slowly (HAZARDS 10).

use crate::nats::{Nats, NatsError};
use futures::StreamExt;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long to wait before asking NATS again for what it just refused.
const RETRY: Duration = Duration::from_secs(3);
/// How long a connected server may take to read an announcement.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// What subjects of announcements begin with.
const PREFIX: &str = "anchorage.changed.";

/// What pinners keep copies of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The fleet: who is there and may take work.
    Nodes,
    /// The placement map.
    Map,
    /// Signing keys and the denylist.
    Tokens,
    /// Limits of orgs.
    Limits,
    /// Whether moves are paused.
    Maintenance,
}

impl Changed {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nodes, Self::Map, Self::Tokens, Self::Limits, Self::Maintenance];

    /// Its name, the last part of the subject.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Map => "map",
            Self::Tokens => "tokens",
            Self::Limits => "limits",
            Self::Maintenance => "maintenance",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }

    fn of_subject(subject: &str) -> Option<Self> {
        let name = subject.strip_prefix(PREFIX)?;
        Self::ALL.into_iter().find(|what| what.as_str() == name)
    }
}

/// What has changed, to announce and to wait for. Cheap to clone.
#[derive(Clone)]
pub struct Changes {
    heard: Arc<[watch::Sender<u64>; Changed::ALL.len()]>,
    /// The kinds that are still to be told to others, one bit each: many changes before they are sent are one.
    outbox: watch::Sender<u8>,
}

impl Default for Changes {
    fn default() -> Self {
        Self { heard: Arc::new(std::array::from_fn(|_| watch::Sender::new(0))), outbox: watch::Sender::new(0) }
    }
}

impl Changes {
    /// Tells everybody, this pinner first. To be called after the commit. Never waits, never fails; what cannot be
    /// sent now is sent when NATS is back.
    pub fn announce(&self, what: Changed) {
        self.note(what);
        self.outbox.send_modify(|kinds| *kinds |= what.bit());
    }

    /// Waits for changes of one kind from now on.
    pub fn watch(&self, what: Changed) -> Watch {
        Watch(self.heard[what as usize].subscribe())
    }

    fn note(&self, what: Changed) {
        self.heard[what as usize].send_modify(|number| *number += 1);
    }

    fn note_all(&self) {
        Changed::ALL.into_iter().for_each(|what| self.note(what));
    }
}

/// Waits for changes of one kind.
pub struct Watch(watch::Receiver<u64>);

impl Watch {
    /// Returns at the first change that was not waited for yet; many since the last time are one. Can be cancelled.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Sends announcements until told to stop.
pub async fn send(nats: Nats, changes: Changes, stop: CancellationToken) {
    let mut outbox = changes.outbox.subscribe();
    while stop.run_until_cancelled(async { outbox.wait_for(|kinds| *kinds != 0).await.is_ok() }).await == Some(true) {
        if let Err(kinds) = send_once(&nats, changes.outbox.send_replace(0)).await {
            changes.outbox.send_modify(|waiting| *waiting |= kinds);
            stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
        }
    }
}

/// Errors with the kinds that were not sent.
async fn send_once(nats: &Nats, kinds: u8) -> Result<(), u8> {
    // Without a connection the client would keep messages without an end.
    if !nats.is_connected() {
        return Err(kinds);
    }
    let subjects = Changed::ALL.into_iter().filter(|what| kinds & what.bit() != 0);
    let subjects = subjects.map(|what| format!("{PREFIX}{}", what.as_str())).collect();
    match tokio::time::timeout(SEND_WITHIN, nats.tell(subjects)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::debug!(%error, "an announcement was not sent; it is tried again");
            Err(kinds)
        }
        Err(_) => Err(kinds),
    }
}

/// Hears the announcements of all pinners until told to stop.
pub async fn receive(nats: Nats, changes: Changes, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Some(Err(error)) = stop.run_until_cancelled(receive_once(&nats, &changes)).await {
            tracing::debug!(%error, "announcements are not heard; copies are read again now and then");
        }
        stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
    }
}

async fn receive_once(nats: &Nats, changes: &Changes) -> Result<(), NatsError> {
    let mut missed = nats.missed();
    let mut messages = nats.hear(format!("{PREFIX}*")).await?;
    changes.note_all();
    loop {
        tokio::select! {
            message = messages.next() => {
                let Some(message) = message else { return Ok(()) };
                // A newer pinner may announce what this one does not know.
                if let Some(what) = Changed::of_subject(&message.subject) {
                    changes.note(what);
                }
            }
            Ok(()) = missed.changed() => changes.note_all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn a_subject_names_its_kind_and_foreign_ones_name_none() {
        for what in Changed::ALL {
            assert_eq!(Changed::of_subject(&format!("anchorage.changed.{}", what.as_str())), Some(what));
        }
        for other in ["anchorage.changed.", "anchorage.changed.weather", "anchorage.work.map", "map"] {
            assert_eq!(Changed::of_subject(other), None, "{other}");
        }
    }

    #[test]
    fn many_announcements_are_heard_once_and_only_by_who_waits_for_their_kind() {
        let changes = Changes::default();
        let (mut map, mut nodes) = (changes.watch(Changed::Map), changes.watch(Changed::Nodes));
        assert_eq!(map.changed().now_or_never(), None, "what was before nobody waits for");
        changes.announce(Changed::Map);
        changes.announce(Changed::Map);
        assert_eq!(map.changed().now_or_never(), Some(()));
        assert_eq!(map.changed().now_or_never(), None);
        assert_eq!(nodes.changed().now_or_never(), None);
        assert_eq!(*changes.outbox.borrow(), Changed::Map.bit());
    }
}
