//! What every request shares, and whether the service is ready for any.

use crate::{
    accept::lanes::Lanes,
    changed::Changes,
    config::{Rebalance, Replication, Secret},
    db::Database,
    fleet::Fleet,
    http::error::ApiError,
    kubo::Kubo,
    lead::scheduler,
    limits::OrgLimits,
    metrics::Metrics,
    placed::Placed,
    tokens::checker::Checker,
    wake::Waker,
};
use pinner_core::id::NodeId;
use std::sync::{
    Arc, OnceLock, RwLock,
    atomic::{AtomicBool, Ordering},
};
use tokio::{runtime::Handle, sync::watch};

/// The service, from the moment its socket is bound.
pub struct Service {
    /// The database; may still be away.
    pub db: Database,
    /// Where work runs that outlives its request.
    pub runtime: Handle,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The deployment's own token.
    pub admin_token: Secret,
    /// How many copies a pin gets.
    pub replication: Replication,
    /// How contents move between nodes.
    pub rebalance: Rebalance,
    /// The most bytes of an uploaded file.
    pub upload_max: u64,
    /// What garbage collection waits for.
    pub gates: Gates,
    /// How many placements each node has.
    pub placed: Placed,
    /// Set once, when the database was found as it must be.
    ready: OnceLock<Ready>,
    /// What keeps it from being ready.
    problem: RwLock<String>,
    stopping: AtomicBool,
}

/// Held in share by what garbage collection must wait for, and alone by garbage collection.
#[derive(Clone, Default)]
pub struct Gates {
    /// Uploads under way, whose blocks nothing spares yet.
    pub uploads: Arc<tokio::sync::RwLock<()>>,
    /// Whatever pins and unpins in Kubo.
    pub pins: Arc<tokio::sync::RwLock<()>>,
}

/// What is known only once the database was found as it must be.
pub struct Ready {
    /// Which node we are.
    pub node: NodeId,
    /// The fleet as last seen.
    pub fleet: Fleet,
    /// Where commits leave the jobs they made.
    pub waker: Waker,
    /// Where new pins are written.
    pub lanes: Lanes,
    /// Whether Kubo answered when it was last asked.
    pub kubo_ready: watch::Receiver<bool>,
    /// The Kubo beside us, for what is uploaded.
    pub kubo: Kubo,
    /// Whether NATS is connected.
    pub nats: crate::nats::Nats,
    /// Where commits announce that what pinners keep copies of has changed.
    pub changes: Changes,
    /// What orgs may hold, where requests ask for it themselves.
    pub limits: Arc<OrgLimits>,
    /// Says whether a token is good.
    pub checker: Arc<Checker>,
    /// The name of this node.
    pub node_name: String,
}

impl Service {
    /// A service that is not ready yet.
    pub fn new(
        db: Database,
        runtime: Handle,
        metrics: Arc<Metrics>,
        admin_token: Secret,
        replication: Replication,
        rebalance: Rebalance,
        upload_max: u64,
    ) -> Self {
        Self {
            db,
            runtime,
            metrics,
            admin_token,
            replication,
            rebalance,
            upload_max,
            gates: Gates::default(),
            placed: Placed::default(),
            ready: OnceLock::new(),
            problem: RwLock::new("the database has not been checked yet".into()),
            stopping: AtomicBool::new(false),
        }
    }

    /// What placement maps are planned by.
    pub fn scheduling(&self) -> scheduler::Settings {
        scheduler::Settings {
            grace: self.rebalance.grace,
            rebalances: self.rebalance.enabled,
            moves_max: self.rebalance.max_concurrent_moves,
            copies: self.replication.max,
        }
    }

    /// What is needed to serve, or the reason why nothing can be served yet.
    pub fn ready(&self) -> Result<&Ready, ApiError> {
        self.ready.get().ok_or_else(|| ApiError::Unavailable("the service is starting; try again".into()))
    }

    /// Declares the service ready. Only the first call counts.
    pub fn set_ready(&self, ready: Ready) {
        if self.ready.set(ready).is_err() {
            tracing::error!("declared ready twice");
        }
    }

    /// Says what keeps the service from being ready.
    pub fn set_problem(&self, problem: String) {
        *self.problem.write().expect("nobody panics while holding this lock") = problem;
    }

    /// What keeps the service from being ready.
    pub fn problem(&self) -> String {
        self.problem.read().expect("nobody panics while holding this lock").clone()
    }

    /// From now on probes say that no further request should come here.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Whether it is about to end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
