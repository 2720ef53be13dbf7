//! Puts the operator together and runs it: leadership, watches, both controllers, probes, and an orderly end.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use kube::runtime::applier;
use kube::runtime::controller::{Action, Config, ReconcileReason, ReconcileRequest};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::admin_api::AdminApi;
use crate::context::{Context, Failures, ReconcileError};
use crate::crd::{AnchorageCluster, PinNode};
use crate::health::{WatchHealth, describe};
use crate::kind::{Kind, OPTIONAL};
use crate::metrics::{Controller, Metrics};
use crate::pin_node::rollout::Rollouts;
use crate::secrets::SecretReader;
use crate::served::ServedKinds;
use crate::triggers::Triggers;
use crate::world::{Eyes, World};
use crate::{cluster, pin_node};

/// A reconciliation takes at most this long; single calls to the API server have no limit of their own.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many objects of one kind are reconciled at a time.
const CONCURRENCY: u16 = 16;
/// Changes that come so close together are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How often the API server is usually asked whether optional kinds came or went.
pub const DISCOVERY_EVERY: Duration = Duration::from_secs(20);

/// What the operator needs to know to run.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The namespace whose clusters it runs.
    pub namespace: String,
    /// Image of pinners where a cluster names none.
    pub default_image: String,
    /// Whether it may read Kubernetes Nodes.
    pub node_access: bool,
    /// Begins the address of a cluster's admin API.
    pub admin_url: String,
    /// How often the API server is asked whether optional kinds came or went.
    pub discovery_every: Duration,
}

/// Why the operator cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Our kinds are not installed.
    #[error(
        "the API server does not know {0} of anchorage.dev/v1alpha1. Install the CRDs: `helm upgrade --install` with \
         crds.install=true, or `anchorage-operator crds | kubectl apply --server-side -f -`"
    )]
    CrdMissing(&'static str),
    /// The API server refuses.
    #[error(
        "not allowed to list {kind} in namespace {namespace}: {message}. Bind the chart's Role to the operator's \
         ServiceAccount in that namespace"
    )]
    Forbidden {
        /// What.
        kind: &'static str,
        /// Where.
        namespace: String,
        /// The API server's words.
        message: String,
    },
    /// The API server does not answer.
    #[error("the API server does not answer: {0}")]
    Unreachable(String),
    /// The HTTP client for admin APIs cannot be built.
    #[error("HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// Checks that both kinds can be listed, so that a missing CRD or Role is one clear message and not a loop.
///
/// # Errors
/// What is missing, with its cure.
pub async fn check_access(client: &Client, namespace: &str) -> Result<(), StartError> {
    let one = kube::api::ListParams::default().limit(1);
    let clusters = Api::<AnchorageCluster>::namespaced(client.clone(), namespace);
    let pin_nodes = Api::<PinNode>::namespaced(client.clone(), namespace);
    let judge = |kind: &'static str, error: kube::Error| match error {
        kube::Error::Api(status) if status.code == 404 => StartError::CrdMissing(kind),
        kube::Error::Api(status) if status.code == 403 => {
            StartError::Forbidden { kind, namespace: namespace.to_owned(), message: status.message.clone() }
        }
        error => StartError::Unreachable(describe(&error)),
    };
    clusters.list_metadata(&one).await.map_err(|error| judge("AnchorageCluster", error))?;
    pin_nodes.list_metadata(&one).await.map_err(|error| judge("PinNode", error))?;
    Ok(())
}

/// Runs both controllers until `stop`. Reconciliations under way are finished first.
///
/// # Errors
/// When the operator cannot begin; once it runs, errors are handled where they happen.
pub async fn run(
    client: Client,
    scope: Scope,
    metrics: Arc<Metrics>,
    health: Arc<WatchHealth>,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let eyes = Eyes {
        client: client.clone(),
        namespace: scope.namespace.clone(),
        node_access: scope.node_access,
        health: health.clone(),
    };
    let (world, watches) = World::new(&eyes);
    let served = Arc::new(ServedKinds::default());
    let context = Arc::new(Context {
        recorder: Recorder::new(client.clone(), Reporter::from("anchorage-operator")),
        secrets: SecretReader::new(client.clone(), &scope.namespace),
        client,
        world: world.clone(),
        served,
        admin: AdminApi::new()?,
        admin_url: scope.admin_url,
        default_image: scope.default_image,
        rollouts: Rollouts::default(),
        metrics,
        failures: Failures::default(),
    });
    let (clusters, cluster_requests) = mpsc::unbounded_channel();
    let (pin_nodes, pin_node_requests) = mpsc::unbounded_channel();
    let triggers = Triggers::new(world.clone(), clusters, pin_nodes);
    // First the world must be whole: half of it would look as if objects were missing.
    let (complete_tx, complete) = tokio::sync::watch::channel(false);
    let looking = look(watches, eyes, scope.discovery_every, context.clone(), triggers);
    let waiting = async {
        world.wait_until_complete().await;
        let _ = complete_tx.send(true);
    };
    let controlling = async {
        let mut complete = complete;
        tokio::select! {
            _ = complete.wait_for(|complete| *complete) => {}
            () = stop.cancelled() => return,
        }
        tracing::info!(namespace = world.namespace, "watching");
        tokio::join!(
            control(
                Controller::Cluster,
                context.clone(),
                world.clusters.clone(),
                cluster_requests,
                &stop,
                cluster::reconcile
            ),
            control(
                Controller::PinNode,
                context.clone(),
                world.pin_nodes.clone(),
                pin_node_requests,
                &stop,
                pin_node::reconcile
            ),
        );
    };
    // The watches end only when dropped: they live as long as the controllers, so that reconciliations under way have a
    // true picture to their end.
    tokio::select! {
        () = async { tokio::join!(looking, waiting); } => {}
        () = controlling => {}
    }
    Ok(())
}

/// Follows all watches and passes on what they touch; begins and ends watches of optional kinds.
async fn look(
    mut watches: crate::world::Watches,
    eyes: Eyes,
    discovery_every: Duration,
    context: Arc<Context>,
    mut triggers: Triggers,
) {
    let mut discovery = tokio::time::interval(discovery_every);
    discovery.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut watched = std::collections::BTreeSet::new();
    loop {
        tokio::select! {
            Some(touched) = watches.next() => triggers.pull(&touched),
            _ = discovery.tick() => {
                discover(&context, &eyes, &mut watched, &mut watches, &triggers).await;
                context.metrics.known(context.world.clusters.len(), context.world.pin_nodes.len());
            }
        }
    }
}

async fn discover(
    context: &Context,
    eyes: &Eyes,
    watched: &mut std::collections::BTreeSet<Kind>,
    watches: &mut crate::world::Watches,
    triggers: &Triggers,
) {
    let asked = tokio::time::timeout(RECONCILE_TIMEOUT, context.served.refresh(&eyes.client)).await;
    match asked {
        Ok(Ok(false)) => return,
        Ok(Ok(true)) => {}
        Ok(Err(error)) => return tracing::warn!(error = %describe(&error), "discovery failed; trying again"),
        Err(_) => return tracing::warn!("discovery took too long; trying again"),
    }
    let served = context.served.now();
    for kind in OPTIONAL {
        if served.has(kind) && watched.insert(kind) {
            tracing::info!(kind = kind.as_str(), "served now");
            watches.push(context.world.watch_children(eyes, kind));
        } else if !served.has(kind) && watched.remove(&kind) {
            tracing::info!(kind = kind.as_str(), "not served any more");
            context.world.forget_children(kind);
            eyes.health.end(kind.as_str());
        }
    }
    triggers.all_clusters();
}

/// Runs one controller until `stop`.
async fn control<K, F>(
    controller: Controller,
    context: Arc<Context>,
    store: Store<K>,
    requests: mpsc::UnboundedReceiver<ObjectRef<K>>,
    stop: &CancellationToken,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F + Clone + Send + 'static,
) where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + 'static,
    F: Future<Output = Result<Action, ReconcileError>> + Send + 'static,
{
    let queue = stream::unfold(requests, async |mut requests| Some((requests.recv().await?, requests)))
        .map(|obj_ref| {
            let reason = ReconcileReason::Unknown;
            Ok::<_, std::convert::Infallible>(ReconcileRequest { obj_ref, reason })
        })
        .take_until(stop.clone().cancelled_owned());
    let attempt = move |object: Arc<K>, context: Arc<Context>| {
        let reconcile = reconcile.clone();
        Box::pin(bounded(controller, object, context, reconcile))
    };
    let on_error = move |object: Arc<K>, error: &ReconcileError, context: Arc<Context>| {
        let wait = context.failures.another(&key(controller, object.as_ref()));
        let object = object.name_any();
        tracing::warn!(controller = controller.as_str(), object, error = %describe(error), ?wait, "reconcile failed");
        Action::requeue(wait)
    };
    let config = Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE);
    // Errors were handled by `on_error`; objects that are gone need nothing.
    applier(attempt, on_error, context, store, queue, config).for_each(|_| std::future::ready(())).await;
}

async fn bounded<K, F>(
    controller: Controller,
    object: Arc<K>,
    context: Arc<Context>,
    reconcile: impl Fn(Arc<K>, Arc<Context>) -> F,
) -> Result<Action, ReconcileError>
where
    K: Resource<DynamicType = ()>,
    F: Future<Output = Result<Action, ReconcileError>>,
{
    let began = Instant::now();
    let key = key(controller, object.as_ref());
    let outcome = tokio::time::timeout(RECONCILE_TIMEOUT, reconcile(object, context.clone())).await;
    let result = match &outcome {
        Ok(Ok(_)) => "ok",
        Ok(Err(_)) => "error",
        Err(_) => "timeout",
    };
    context.metrics.reconciled(controller, result, began.elapsed());
    if result == "ok" {
        context.failures.none(&key);
    }
    outcome.unwrap_or(Err(ReconcileError::Timeout(RECONCILE_TIMEOUT)))
}

fn key<K: Resource<DynamicType = ()>>(controller: Controller, object: &K) -> String {
    format!("{}/{}", controller.as_str(), object.name_any())
}
