//! The pinner's pulse: asks Kubo how it is, tells the fleet, looks at the fleet, keeps Kubo connected to it.

use crate::{
    changed::Watch,
    db::{
        Database,
        fleet::{self, MapError},
        nodes::{self, Heartbeat, NodeRow},
    },
    fleet::{Fleet, View},
    kubo::{Identity, Kubo, KuboError},
    lead::Offices,
};
use pinner_core::{address::Target, id::NodeId, members};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Time between two beats. A node is given up after 30 s (`presence_ttl` in the database).
const BEAT: Duration = Duration::from_secs(2);
/// Peerings are asked for again after so many beats, since Kubo forgets them when it restarts, and what it may store.
const PEERING_BEATS: u64 = 15;

/// Whose pulse it is.
pub struct Pulse {
    /// The database.
    pub db: Database,
    /// The Kubo beside us.
    pub kubo: Kubo,
    /// Which node we are.
    pub node: NodeId,
    /// The view to keep fresh.
    pub fleet: Fleet,
    /// Told whether Kubo answers.
    pub kubo_ready: watch::Sender<bool>,
    /// Whether Kubo's disk is full, as the worker finds it.
    pub kubo_disk_full: watch::Receiver<bool>,
    /// How far the worker has come in the queue of turns.
    pub turn: Arc<AtomicI64>,
    /// How many bytes Kubo may store, roughly; 0 before it was asked.
    pub capacity: AtomicU64,
    /// The offices of the fleet that this pinner holds.
    pub offices: Offices,
}

impl Pulse {
    /// Beats until told to stop, and at once when there is `news` of the fleet or of Kubo's disk; then takes the node out of placement.
    pub async fn run(self, mut news: [Watch; 3], stop: CancellationToken) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut peered = HashMap::new();
        let mut disk_full = self.kubo_disk_full.clone();
        let mut count = 0_u64;
        loop {
            let [nodes, map, maintenance] = &mut news;
            tokio::select! {
                () = stop.cancelled() => break,
                _ = beat.tick() => {}
                () = nodes.changed() => {}
                () = map.changed() => {}
                () = maintenance.changed() => {}
                Ok(()) = disk_full.changed() => {}
            }
            if count.is_multiple_of(PEERING_BEATS) {
                peered.clear();
                self.weigh().await;
            }
            count += 1;
            if self.beat().await {
                self.peer(&mut peered).await;
            }
        }
        if let Err(error) = self.leave().await {
            tracing::warn!(%error, "cannot take leave of the fleet; it notices by itself");
        }
    }

    /// One beat. Gives whether Kubo answered and the fleet was told.
    pub async fn beat(&self) -> bool {
        let answer = self.kubo.identity().await;
        let told = self.tell(answer.as_ref().ok()).await;
        // After the fleet knows the addresses: whoever sees that Kubo is ready can name delegates.
        self.note(&answer);
        if let Err(error) = &told {
            tracing::warn!(%error, "cannot tell the fleet that this node lives");
        }
        told.is_ok() && answer.is_ok()
    }

    /// Asks Kubo how much it may store, for the next beat to tell.
    pub async fn weigh(&self) {
        match self.kubo.repo().await {
            Ok(repo) => self.capacity.store(members::coarse(repo.most), Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, "Kubo does not say how much it may store"),
        }
    }

    /// Tells the other parts, and the log when it is news, whether Kubo answers.
    fn note(&self, answer: &Result<Identity, KuboError>) {
        let ready = answer.is_ok();
        let changed = self.kubo_ready.send_if_modified(|was| std::mem::replace(was, ready) != ready);
        match answer {
            Ok(identity) if changed => tracing::info!(peer = identity.peer_id, "Kubo answers"),
            Err(error) if changed => tracing::warn!(%error, "work waits until Kubo is back"),
            _ => {}
        }
    }

    /// One transaction: our own sign of life, and everybody else's.
    async fn tell(&self, identity: Option<&Identity>) -> sqlx::Result<()> {
        let (before, asked) = (self.fleet.view(), self.fleet.asked());
        let beat = Heartbeat {
            peer_id: identity.map(|identity| identity.peer_id.clone()),
            addresses: identity.map(|identity| identity.addresses.clone()).unwrap_or_default(),
            kubo_ready: identity.is_some(),
            kubo_disk_full: *self.kubo_disk_full.borrow(),
            turn: self.turn.load(Ordering::Relaxed),
            capacity: i64::try_from(self.capacity.load(Ordering::Relaxed)).ok().filter(|bytes| *bytes > 0),
            map_version: i64::try_from(before.map.version()).unwrap_or(i64::MAX),
            roles: self.offices.held(),
        };
        let mut tx = self.db.worker().await?;
        nodes::heartbeat(&mut tx, self.node, &beat).await?;
        let nodes = Arc::new(nodes::fleet(&mut tx).await?);
        let fleet = fleet::read(&mut tx).await?;
        let map = if fleet.map_version == beat.map_version {
            before.map
        } else {
            match fleet::map(&mut tx, fleet.map_version).await {
                Ok(Some(map)) => Arc::new(map),
                // Committed and struck out again since: the next beat has a newer one.
                Ok(None) => before.map,
                Err(MapError::Database(error)) => return Err(error),
                Err(error @ MapError::Unreadable(_)) => {
                    tracing::error!(%error, version = fleet.map_version, "goes on by the placement map it had");
                    before.map
                }
            }
        };
        tx.commit().await?;
        self.fleet.update(asked, View { nodes, fleet, map });
        Ok(())
    }

    /// Connects Kubo to the other nodes, so that a second copy comes from the first and not from far away.
    async fn peer(&self, peered: &mut HashMap<NodeId, Vec<String>>) {
        for node in self.fleet.nodes().iter().filter(|node| node.live && node.id != self.node.uuid()) {
            let id = NodeId::from_uuid(node.id);
            if peered.get(&id) == Some(&node.addresses) {
                continue;
            }
            for address in reachable(node) {
                if let Err(error) = self.kubo.peer_with(&address).await {
                    tracing::debug!(%error, node = node.name, "cannot peer");
                }
            }
            peered.insert(id, node.addresses.clone());
        }
    }

    async fn leave(&self) -> sqlx::Result<()> {
        let mut tx = self.db.worker().await?;
        nodes::leave(&mut tx, self.node).await?;
        tx.commit().await
    }
}

/// Addresses of a node that another host of the fleet may reach: all but loopback, unless it has only that.
fn reachable(node: &NodeRow) -> Vec<String> {
    let (far, near): (Vec<_>, Vec<_>) = node
        .addresses
        .iter()
        .filter_map(|text| match Target::parse(text)? {
            Target::Ip { ip, .. } => Some((text.clone(), ip.to_canonical().is_loopback())),
            Target::Dns { .. } => None,
        })
        .partition(|(_, loopback)| !loopback);
    let chosen = if far.is_empty() { near } else { far };
    chosen.into_iter().map(|(text, _)| text).take(4).collect()
}
