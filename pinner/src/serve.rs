//! `anchorage serve`: puts the parts together, in the order in which they can fail, and takes them apart again.
//!
//! Sockets first, so that a port that is taken is said at once and probes are answered from the start. Then the
//! database, waited for as long as it takes. NATS and Kubo may be away: work waits, pins are accepted.

use crate::{
    accept::lanes::Lanes,
    bell::Bell,
    cache::CacheName,
    changed::{self, Changed, Changes},
    config::{NetworkMode, ServeConfig},
    count,
    db::{Database, fleet, nodes, readiness},
    explain::explain,
    fleet::Fleet,
    fold, http,
    kubo::Kubo,
    lead::{self, Leader, Offices},
    limits::OrgLimits,
    metrics::Metrics,
    nats::Nats,
    pulse::Pulse,
    service::{Ready, Service},
    tokens::checker::{self, Checker},
    wake::{self, Waker},
    worker::{self, Worker},
};
use anyhow::{Context, bail};
use pinner_core::{address::AddressRule, id::NodeId, retry::RetryPolicy};
use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The longest wait between two looks at a database that is not as it must be.
const DATABASE_RETRY_MAX: Duration = Duration::from_secs(5);
/// How long a Kubo that does not answer may hold up the start; one that is not there does not.
const FIRST_BEAT: Duration = Duration::from_secs(3);

/// Serves until SIGTERM or SIGINT.
pub async fn run(config: ServeConfig) -> anyhow::Result<()> {
    let listener = bind(config.listen, "listen")?;
    let metrics_listener = bind(config.metrics.listen, "metrics.listen")?;
    let metrics = Arc::new(Metrics::default());
    let db = Database::new(&config.database)?;
    let service = Arc::new(Service::new(
        db.clone(),
        Handle::current(),
        Arc::clone(&metrics),
        config.admin_token.clone(),
        config.replication,
        config.rebalance,
        config.upload_max,
    ));
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;

    let api = http::serve(Arc::clone(&service), listener, config.shutdown_grace / 2)?;
    let api_handle = api.handle();
    let scrape = http::metrics::serve(metrics, config.metrics.allow_cidrs.clone(), metrics_listener)?;
    let scrape_handle = scrape.handle();
    let (api, scrape) = (tokio::spawn(api), tokio::spawn(scrape));
    tracing::info!(listen = %config.listen, metrics = %config.metrics.listen, node = config.node.name, "anchorage listens");

    let stop = CancellationToken::new();
    let mut parts = tokio::spawn(run_parts(config.clone(), Arc::clone(&service), stop.clone()));
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: handing work back"),
        _ = interrupt.recv() => tracing::info!("interrupted: handing work back"),
        // A pinner that lacks a part looks alive and is not: better to end and be started again.
        ended = &mut parts => return ended.context("a part ended in a panic")?.and_then(|()| bail!("the parts ended by themselves")),
    }
    service.stop();
    stop.cancel();
    let end = async {
        api_handle.stop(true).await;
        if let Ok(ready) = service.ready() {
            // Nobody asks any more; what waits is written.
            ready.lanes.close();
        }
        parts.await.context("the parts ended in a panic")??;
        scrape_handle.stop(false).await;
        db.close().await;
        drop((api.await, scrape.await));
        anyhow::Ok(())
    };
    match tokio::time::timeout(config.shutdown_grace, end).await {
        Ok(result) => result,
        Err(_) => {
            tracing::warn!("not done within shutdown.graceSeconds; leases of unfinished work will run out");
            Ok(())
        }
    }
}

fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| {
        format!("cannot listen on {address}, which is what {key} says: is the port taken? Choose another with {key}")
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Everything behind the sockets, from the first look at the database to the last job handed back.
async fn run_parts(config: ServeConfig, service: Arc<Service>, stop: CancellationToken) -> anyhow::Result<()> {
    let Some(Entered { node, fleet: fleet_id, checker }) =
        stop.run_until_cancelled(wait_for_database(&config, &service)).await
    else {
        return Ok(());
    };
    let nats = Nats::connect(&config.nats, &config.node.name).await?;
    let kubo = Kubo::new(config.kubo_url.clone());
    let tally = |name| service.metrics.cache(name);
    let fleet = Fleet::new(address_rule(&config), tally(CacheName::LiveNodes), tally(CacheName::PlacementMap));
    let bell = Bell::default();
    let (waker, wakes) = Waker::new(node, bell.clone());
    let changes = Changes::default();
    let limits = Arc::new(OrgLimits::new(tally(CacheName::OrgLimits)));
    let (tokens_changed, limits_changed) = (changes.watch(Changed::Tokens), changes.watch(Changed::Limits));
    let (kubo_ready, kubo_state) = watch::channel(false);
    let (disk_full, disk_state) = watch::channel(false);
    let turn = Arc::new(AtomicI64::new(0));
    let db = service.db.clone();

    let worker = Worker {
        db: db.clone(),
        kubo: kubo.clone(),
        node,
        fleet: fleet.clone(),
        waker: waker.clone(),
        kubo_ready: kubo_state.clone(),
        kubo_disk_full: disk_full,
        turn: Arc::clone(&turn),
        settings: worker::Settings {
            slots: worker::Slots {
                fresh: config.worker.slots,
                slow: config.worker.slow_slots,
                copies: config.worker.copy_slots,
                retries: config.worker.retry_slots,
                unpins: config.worker.unpin_slots,
            },
            sweep: config.worker.sweep,
            patience: config.worker.patience,
            stall: config.worker.stall,
            retry: RetryPolicy { deadline: config.worker.deadline, ..RetryPolicy::default() },
            reconcile: config.worker.reconcile,
            gc: config.worker.gc,
        },
        gates: service.gates.clone(),
        metrics: Arc::clone(&service.metrics),
    };
    let offices = Offices::default();
    let pulse = Pulse {
        db: db.clone(),
        kubo: kubo.clone(),
        node,
        fleet: fleet.clone(),
        kubo_ready,
        kubo_disk_full: disk_state,
        turn,
        capacity: AtomicU64::new(0),
        offices: offices.clone(),
    };
    let news = [Changed::Nodes, Changed::Map, Changed::Maintenance].map(|what| changes.watch(what));
    let leader = Leader {
        db: db.clone(),
        nats: nats.clone(),
        changes: changes.clone(),
        fleet_id,
        fleet: fleet.clone(),
        node,
        waker: waker.clone(),
        metrics: Arc::clone(&service.metrics),
        offices,
        settings: service.scheduling(),
    };
    // So that the very first request knows where to place a pin and whom to name as delegate.
    let first = async {
        pulse.weigh().await;
        pulse.beat().await
    };
    drop(tokio::time::timeout(FIRST_BEAT, first).await);
    let counting = count::Sources {
        db,
        nats: nats.clone(),
        kubo_ready: kubo_state.clone(),
        metrics: Arc::clone(&service.metrics),
    };
    let (lanes, each_lane) = Lanes::new(&counting.db, &waker, &service.metrics);
    service.set_ready(Ready {
        node,
        fleet,
        waker,
        lanes,
        kubo_ready: kubo_state,
        kubo,
        nats: nats.clone(),
        changes: changes.clone(),
        limits: Arc::clone(&limits),
        checker: Arc::clone(&checker),
        node_name: config.node.name.clone(),
    });
    tracing::info!(node = %node, "ready");

    let mut parts = JoinSet::new();
    parts.spawn(pulse.run(news, stop.clone()));
    parts.spawn(wake::send(nats.clone(), wakes, stop.clone()));
    parts.spawn(wake::receive(nats.clone(), node, bell.clone(), stop.clone()));
    parts.spawn(changed::send(nats.clone(), changes.clone(), stop.clone()));
    parts.spawn(changed::receive(nats, changes, stop.clone()));
    parts.spawn(lead::run(leader, stop.clone()));
    parts.spawn(fold::run(service.db.clone(), stop.clone()));
    for lane in each_lane {
        parts.spawn(lane.run());
    }
    parts.spawn(count::run(counting, stop.clone()));
    parts.spawn(checker::run(checker, service.db.clone(), tokens_changed, stop.clone()));
    parts.spawn(limits.forget(limits_changed, stop.clone()));
    parts.spawn(async move { worker::run(worker, &bell, stop).await });
    while let Some(ended) = parts.join_next().await {
        ended.context("a part ended in a panic")?;
    }
    Ok(())
}

fn address_rule(config: &ServeConfig) -> AddressRule {
    let ranges = config.network.allow_cidrs.clone();
    match config.network.mode {
        NetworkMode::Public => AddressRule::public(ranges),
        NetworkMode::Private => AddressRule::private(ranges),
    }
}

/// Looks at the database until it is as it must be; says what is wrong, to probes and, once per problem, to the log.
async fn wait_for_database(config: &ServeConfig, service: &Service) -> Entered {
    let mut wait = Duration::from_millis(100);
    let mut said = String::new();
    loop {
        match enter(config, service).await {
            Ok(entered) => return entered,
            Err(error) => {
                let problem = explain(&error);
                if problem != said {
                    tracing::warn!("not ready: {problem}");
                    said.clone_from(&problem);
                }
                service.set_problem(problem);
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(DATABASE_RETRY_MAX);
    }
}

/// What the database told at the start.
struct Entered {
    node: NodeId,
    fleet: Uuid,
    checker: Arc<Checker>,
}

/// Checks the database, registers this node and reads which tokens are good.
async fn enter(config: &ServeConfig, service: &Service) -> anyhow::Result<Entered> {
    readiness::check(&service.db).await?;
    let mut tx = service.db.worker().await?;
    let zone = config.node.zone.as_deref().unwrap_or("");
    let node = nodes::register(&mut tx, NodeId::from_uuid(Uuid::now_v7()), &config.node.name, zone).await?;
    let fleet = fleet::id(&mut tx).await?;
    tx.commit().await?;
    let checker = Checker::new(config.token_root.clone(), service.metrics.cache(CacheName::TokenDenylist));
    checker.read(&mut service.db.lane().await?).await?;
    Ok(Entered { node, fleet, checker: Arc::new(checker) })
}
