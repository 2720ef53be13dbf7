//! What Prometheus reads. Every label comes from a closed set.

use crate::cache::{CacheName, Tally};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Every status that a placement can have.
const PLACEMENT_STATUSES: [&str; 5] = ["queued", "pinning", "pinned", "failed", "unpinning"];

/// The service's metrics, owned by whoever counts.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    accepted: IntCounter,
    finished: IntCounterVec,
    cache_hits: IntCounterVec,
    cache_misses: IntCounterVec,
    /// Nodes that live, as of the last look at the fleet.
    pub nodes_live: IntGauge,
    placements: IntGaugeVec,
    /// Whether the database, NATS and Kubo answer: 1 or 0.
    pub dependency_up: IntGaugeVec,
    leader: IntGaugeVec,
    /// Placement maps that this pinner committed.
    pub maps_committed: IntCounter,
    /// Changes to placements that this pinner made so that contents come to where the map wants them.
    pub steps: IntCounter,
    /// Contents that are on their way there.
    pub moving: IntGauge,
    /// Pauses that outlived their end.
    pub maintenance_overdue: IntCounter,
    reconciled: IntCounterVec,
    /// Garbage collections of this node's Kubo.
    pub garbage_collections: IntCounter,
    /// Whether the disk of this node's Kubo is full: 1 or 0.
    pub disk_full: IntGauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels below are well-formed")
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name, help), labels).expect("names and labels below are well-formed")
        };
        let counter = |name: &str, help: &str| IntCounter::new(name, help).expect("names below are well-formed");
        let duration =
            HistogramOpts::new("anchorage_http_request_duration_seconds", "Time to answer, by method and route.")
                .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]);
        let metrics = Self {
            registry: Registry::new(),
            requests: counters("anchorage_http_requests_total", "Requests answered.", &["method", "route", "status"]),
            duration: HistogramVec::new(duration, &["method", "route"]).expect("names and labels are well-formed"),
            accepted: counter("anchorage_pins_accepted_total", "Pin requests answered with 202."),
            finished: counters(
                "anchorage_pins_finished_total",
                "Jobs of this node that ended, by result.",
                &["result"],
            ),
            cache_hits: counters("anchorage_cache_hits_total", "Looks that the copy at hand answered.", &["cache"]),
            cache_misses: counters(
                "anchorage_cache_misses_total",
                "Looks for which there was no copy that is young enough.",
                &["cache"],
            ),
            nodes_live: IntGauge::new("anchorage_nodes_live", "Nodes seen within the presence TTL.")
                .expect("the name is well-formed"),
            placements: gauges("anchorage_placements", "Placements of all nodes by status.", &["status"]),
            dependency_up: gauges("anchorage_dependency_up", "Whether a dependency answers.", &["dependency"]),
            leader: gauges("anchorage_leader", "Whether this pinner holds an office of the fleet.", &["role"]),
            maps_committed: counter(
                "anchorage_scheduler_maps_committed_total",
                "Placement maps that this pinner committed as scheduler.",
            ),
            steps: counter(
                "anchorage_scheduler_steps_total",
                "Placements added, released or brought back so that contents are where the map wants them.",
            ),
            moving: IntGauge::new("anchorage_scheduler_moving", "Contents on their way to where the map wants them.")
                .expect("the name is well-formed"),
            maintenance_overdue: counter(
                "anchorage_maintenance_overdue_total",
                "Pauses that this pinner ended because they outlived their end.",
            ),
            reconciled: counters(
                "anchorage_reconciled_total",
                "Contents that Kubo did not hold (missing), not whole (broken), or beyond its placements (extra), set right.",
                &["result"],
            ),
            garbage_collections: counter("anchorage_garbage_collections_total", "Garbage collections of this Kubo."),
            disk_full: IntGauge::new("anchorage_kubo_disk_full", "Whether the disk of this node's Kubo is full.")
                .expect("the name is well-formed"),
        };
        let all: [Box<dyn prometheus::core::Collector>; 15] = [
            Box::new(metrics.requests.clone()),
            Box::new(metrics.duration.clone()),
            Box::new(metrics.accepted.clone()),
            Box::new(metrics.finished.clone()),
            Box::new(metrics.nodes_live.clone()),
            Box::new(metrics.placements.clone()),
            Box::new(metrics.dependency_up.clone()),
            Box::new(metrics.leader.clone()),
            Box::new(metrics.maps_committed.clone()),
            Box::new(metrics.steps.clone()),
            Box::new(metrics.moving.clone()),
            Box::new(metrics.maintenance_overdue.clone()),
            Box::new(metrics.reconciled.clone()),
            Box::new(metrics.garbage_collections.clone()),
            Box::new(metrics.disk_full.clone()),
        ];
        for collector in all {
            metrics.registry.register(collector).expect("each name is registered once");
        }
        for counters in [&metrics.cache_hits, &metrics.cache_misses] {
            metrics.registry.register(Box::new(counters.clone())).expect("each name is registered once");
        }
        // What was never looked at reads 0.
        CacheName::ALL.into_iter().for_each(|name| drop(metrics.cache(name)));
        metrics
    }
}

impl Metrics {
    /// Counts an answered request. `route` is the pattern, never the path.
    pub fn request(&self, method: &str, route: &str, status: u16, seconds: f64) {
        self.requests.with_label_values(&[method, route, &status.to_string()]).inc();
        self.duration.with_label_values(&[method, route]).observe(seconds);
    }

    /// Counts accepted pins.
    pub fn pins_accepted(&self, pins: u64) {
        self.accepted.inc_by(pins);
    }

    /// Counts contents that were set right: `missing`, `broken` or `extra`.
    pub fn reconciled(&self, result: &'static str, contents: i64) {
        self.reconciled.with_label_values(&[result]).inc_by(u64::try_from(contents).unwrap_or(0));
    }

    /// Notes whether this pinner holds an office.
    pub fn leads(&self, role: &'static str, leads: bool) {
        self.leader.with_label_values(&[role]).set(leads.into());
    }

    /// Counts an ended job: `pinned`, `retried`, `failed` or `unpinned`.
    pub fn pins_finished(&self, result: &'static str) {
        self.finished.with_label_values(&[result]).inc();
    }

    /// Sets the placements of all nodes by status. A status that none has any more disappears.
    pub fn set_placements(&self, counts: &[(String, i64)]) {
        for status in PLACEMENT_STATUSES {
            match counts.iter().find(|(name, _)| name == status) {
                Some((_, count)) => self.placements.with_label_values(&[status]).set(*count),
                // It fails on what is not there, which is what is wanted.
                None => drop(self.placements.remove_label_values(&[status])),
            }
        }
    }

    /// Counts the looks at a cache.
    pub fn cache(&self, name: CacheName) -> Tally {
        let of = |counters: &IntCounterVec| counters.with_label_values(&[name.as_str()]);
        Tally::new(of(&self.cache_hits), of(&self.cache_misses))
    }

    /// Everything, in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory cannot fail");
        text
    }
}
