//! What the operator counts about itself. Labels are closed sets.

use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::kind::Kind;

/// One of the two controllers; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Of AnchorageClusters.
    Cluster,
    /// Of PinNodes.
    PinNode,
}

impl Controller {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Controller::Cluster => "cluster",
            Controller::PinNode => "pin_node",
        }
    }
}

/// The operator's metrics.
pub struct Metrics {
    registry: Registry,
    reconciles: IntCounterVec,
    reconcile_seconds: HistogramVec,
    applies: IntCounterVec,
    deletes: IntCounterVec,
    status_writes: IntCounterVec,
    pauses_expired: IntCounter,
    objects: IntGaugeVec,
    leader: IntGauge,
}

impl Metrics {
    /// Registers all of them.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels).expect("metric names are constants");
            registry.register(Box::new(counter.clone())).expect("each metric is registered once");
            counter
        };
        let reconciles = counter(
            "anchorage_operator_reconciles_total",
            "Reconciliations by controller and result (ok, error, timeout).",
            &["controller", "result"],
        );
        let applies = counter("anchorage_operator_applies_total", "Objects written by server-side apply.", &["kind"]);
        let deletes = counter("anchorage_operator_deletes_total", "Objects deleted.", &["kind"]);
        let status_writes =
            counter("anchorage_operator_status_writes_total", "Status updates written.", &["controller"]);
        let buckets = vec![0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0];
        let opts = HistogramOpts::new("anchorage_operator_reconcile_duration_seconds", "Time of one reconciliation.")
            .buckets(buckets);
        let reconcile_seconds = HistogramVec::new(opts, &["controller"]).expect("metric names are constants");
        let opts = Opts::new("anchorage_operator_objects", "Objects known, by kind.");
        let objects = IntGaugeVec::new(opts, &["kind"]).expect("metric names are constants");
        let leader = IntGauge::new("anchorage_operator_leader", "1 while this process acts, 0 while it stands by.")
            .expect("metric names are constants");
        let pauses_expired = IntCounter::new(
            "anchorage_operator_pauses_expired_total",
            "Pauses for maintenance that nobody ended and that were seen to end by themselves.",
        )
        .expect("metric names are constants");
        for collector in [
            Box::new(reconcile_seconds.clone()) as Box<dyn prometheus::core::Collector>,
            Box::new(pauses_expired.clone()),
            Box::new(objects.clone()),
            Box::new(leader.clone()),
        ] {
            registry.register(collector).expect("each metric is registered once");
        }
        Self {
            registry,
            reconciles,
            reconcile_seconds,
            applies,
            deletes,
            status_writes,
            pauses_expired,
            objects,
            leader,
        }
    }

    /// A reconciliation ended with `result`: `ok`, `error` or `timeout`.
    pub fn reconciled(&self, controller: Controller, result: &'static str, took: Duration) {
        self.reconciles.with_label_values(&[controller.as_str(), result]).inc();
        self.reconcile_seconds.with_label_values(&[controller.as_str()]).observe(took.as_secs_f64());
    }

    /// An object was applied.
    pub fn applied(&self, kind: Kind) {
        self.applies.with_label_values(&[kind.as_str()]).inc();
    }

    /// An object was deleted.
    pub fn deleted(&self, kind: Kind) {
        self.deletes.with_label_values(&[kind.as_str()]).inc();
    }

    /// A status was written.
    pub fn status_written(&self, controller: Controller) {
        self.status_writes.with_label_values(&[controller.as_str()]).inc();
    }

    /// A pause was seen to have ended by itself.
    pub fn pause_expired(&self) {
        self.pauses_expired.inc();
    }

    /// Everything that was written so far: applies, deletes and status updates together.
    #[must_use]
    pub fn writes(&self) -> u64 {
        [&self.applies, &self.deletes, &self.status_writes].into_iter().map(sum).sum()
    }

    /// Reconciliations of one controller so far that came through.
    #[must_use]
    pub fn reconciliations(&self, controller: Controller) -> u64 {
        self.reconciles.with_label_values(&[controller.as_str(), "ok"]).get()
    }

    /// How many objects of our kinds are known.
    pub fn known(&self, clusters: usize, pin_nodes: usize) {
        for (kind, count) in [("AnchorageCluster", clusters), ("PinNode", pin_nodes)] {
            self.objects.with_label_values(&[kind]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Whether this process acts.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            Err(error) => format!("# metrics cannot be written: {error}\n"),
        }
    }
}

/// The sum over all labels of a counter.
fn sum(counter: &IntCounterVec) -> u64 {
    let families = prometheus::core::Collector::collect(counter);
    let values = families.iter().flat_map(|family| family.get_metric()).map(|metric| metric.get_counter().get_value());
    // Counters of integers: nothing is cut off.
    values.sum::<f64>() as u64
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
