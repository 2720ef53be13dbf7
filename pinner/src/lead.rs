//! Leading the fleet: four offices that one pinner at a time holds.
//!
//! An office is taken in two steps. The lease in NATS ([`lease`]) says who should; the epoch that the winner then mints in
//! Postgres says who does: every transaction of an office checks it (HAZARDS 6, 7). Two pinners may both believe to hold a
//! lease; what one of them commits after the other has minted is refused. Without NATS nobody leads: pins are accepted and
//! worked off, and nothing moves.
//!
//! - [`scheduler`] plans maps and, with [`mover`], brings contents to where the map wants them.
//! - [`rebalance`] shows what a plan moves, and applies it by hand.
//! - [`sweeper`], [`watchdog`] and [`pruner`] look after what is left over.

mod lease;
mod mover;
mod pruner;
pub mod rebalance;
pub mod scheduler;
mod sweeper;
mod watchdog;

use crate::{
    changed::Changes,
    db::{
        Database,
        lead::{self, LeadError, Office, Role},
        nodes::NodeRow,
    },
    fleet::Fleet,
    metrics::Metrics,
    nats::Nats,
    wake::Waker,
};
use futures::{FutureExt, future::BoxFuture};
use lease::{Lease, Lessor};
use pinner_core::id::NodeId;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Time between two tries to get an office that somebody else has.
const RETRY: Duration = Duration::from_millis(1_500);
/// How long a holder may fail in everything before it leaves office.
const TROUBLE_MAX: Duration = Duration::from_secs(4);
/// How many nodes stand for office.
const CANDIDATES: usize = 5;

/// What an office needs.
#[derive(Clone)]
pub struct Leader {
    /// The database.
    pub db: Database,
    /// Where leases are kept.
    pub nats: Nats,
    /// Tells the fleet from others that share its NATS.
    pub fleet_id: Uuid,
    /// The fleet as last seen.
    pub fleet: Fleet,
    /// Which node we are.
    pub node: NodeId,
    /// Where to announce and hear of what others keep copies of.
    pub changes: Changes,
    /// Where to announce jobs that an office made.
    pub waker: Waker,
    /// Who leads, and what it did.
    pub metrics: Arc<Metrics>,
    /// The offices that this pinner holds.
    pub offices: Offices,
    /// What the scheduler goes by.
    pub settings: scheduler::Settings,
}

/// The offices that a pinner holds, for its pulse to tell.
#[derive(Clone, Default)]
pub struct Offices {
    held: Arc<Mutex<BTreeSet<Role>>>,
}

impl Offices {
    /// Their names.
    pub fn held(&self) -> Vec<&'static str> {
        self.held.lock().expect("nobody panics while holding this lock").iter().map(|role| role.as_str()).collect()
    }

    fn set(&self, role: Role, is_held: bool) {
        let mut held = self.held.lock().expect("nobody panics while holding this lock");
        held.remove(&role);
        held.extend(is_held.then_some(role));
    }
}

/// Stands for every office until told to stop.
pub async fn run(leader: Leader, stop: CancellationToken) {
    let leader = Arc::new(leader);
    let mut offices = JoinSet::new();
    for role in Role::ALL {
        offices.spawn(stand(Arc::clone(&leader), role, stop.clone()));
    }
    while let Some(ended) = offices.join_next().await {
        ended.expect("an office does not panic");
    }
}

/// Whether a node stands for office: a few do, so that a large fleet does not keep NATS busy. Those are the first by id of
/// who lives; whoever knows of nobody stands.
fn stands(nodes: &[NodeRow], own: NodeId) -> bool {
    nodes.iter().filter(|node| node.live && node.id < own.uuid()).count() < CANDIDATES
}

/// Takes an office whenever it is free, and holds it for as long as the lease and the epoch last.
async fn stand(leader: Arc<Leader>, role: Role, stop: CancellationToken) {
    let lessor = Lessor::new(leader.nats.clone(), leader.fleet_id, leader.node);
    leader.metrics.leads(role.as_str(), false);
    while !stop.is_cancelled() {
        if !stands(&leader.fleet.nodes(), leader.node) {
            stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
            continue;
        }
        match stop.run_until_cancelled(lessor.take(role)).await {
            Some(Ok(Some(lease))) => hold(&leader, lease, role, &stop).await,
            Some(Ok(None)) | None => {}
            Some(Err(error)) => tracing::debug!(%error, %role, "cannot ask for the lease"),
        }
        stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
    }
}

async fn hold(leader: &Leader, mut lease: Lease, role: Role, stop: &CancellationToken) {
    let office = match lead::take_office(&leader.db, role, leader.node).await {
        Ok(office) => office,
        Err(error) => {
            tracing::warn!(%error, %role, "has the lease and cannot take office");
            lease.resign().await;
            // Somebody else may have a database.
            stop.run_until_cancelled(tokio::time::sleep(TROUBLE_MAX)).await;
            return;
        }
    };
    tracing::info!(%role, epoch = office.epoch, "took office");
    leader.offices.set(role, true);
    leader.metrics.leads(role.as_str(), true);
    let why = tokio::select! {
        () = stop.cancelled() => "stopping",
        () = lease.keep() => "the lease was lost",
        () = work(leader, office) => "somebody else took office, or the database does not answer",
    };
    leader.offices.set(role, false);
    leader.metrics.leads(role.as_str(), false);
    tracing::info!(%role, epoch = office.epoch, why, "left office");
    lease.resign().await;
}

/// Does what the office is for, until somebody else has it.
fn work(leader: &Leader, office: Office) -> BoxFuture<'_, ()> {
    match office.role {
        Role::Scheduler => scheduler::run(leader, office).boxed(),
        Role::Sweeper => sweeper::run(leader, office).boxed(),
        Role::Watchdog => watchdog::run(leader, office).boxed(),
        Role::Pruner => pruner::run(leader, office).boxed(),
    }
}

/// Does something every so often, until somebody else has the office. What fails is said and tried again.
async fn every<F: Future<Output = Result<(), LeadError>>>(
    period: Duration,
    what: &'static str,
    mut task: impl FnMut() -> F,
) {
    let mut tick = tokio::time::interval(period);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut trouble = Trouble::default();
    loop {
        tick.tick().await;
        match task().await {
            Ok(()) => trouble = Trouble::default(),
            Err(LeadError::Superseded) => return,
            Err(error) => {
                tracing::warn!(%error, "cannot {what}; tries again");
                if trouble.is_lasting() {
                    return;
                }
            }
        }
    }
}

/// Since when nothing has worked. Who has an office and cannot do anything leaves it to somebody who perhaps can.
#[derive(Default)]
struct Trouble {
    since: Option<Instant>,
}

impl Trouble {
    /// To be asked after a failure.
    fn is_lasting(&mut self) -> bool {
        self.since.get_or_insert_with(Instant::now).elapsed() >= TROUBLE_MAX
    }
}
