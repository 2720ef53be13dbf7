//! What Prometheus reads. Every label comes from a closed set.

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// The service's metrics, owned by whoever counts.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    accepted: IntCounter,
    finished: IntCounterVec,
    /// Nodes that live, as of the last look at the fleet.
    pub nodes_live: IntGauge,
    /// Placements of all nodes by status.
    pub placements: IntGaugeVec,
    /// Whether the database, NATS and Kubo answer: 1 or 0.
    pub dependency_up: IntGaugeVec,
}

impl Default for Metrics {
    fn default() -> Self {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels below are well-formed")
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            IntGaugeVec::new(Opts::new(name, help), labels).expect("names and labels below are well-formed")
        };
        let duration =
            HistogramOpts::new("anchorage_http_request_duration_seconds", "Time to answer, by method and route.")
                .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]);
        let metrics = Self {
            registry: Registry::new(),
            requests: counters("anchorage_http_requests_total", "Requests answered.", &["method", "route", "status"]),
            duration: HistogramVec::new(duration, &["method", "route"]).expect("names and labels are well-formed"),
            accepted: IntCounter::new("anchorage_pins_accepted_total", "Pin requests answered with 202.")
                .expect("the name is well-formed"),
            finished: counters(
                "anchorage_pins_finished_total",
                "Jobs of this node that ended, by result.",
                &["result"],
            ),
            nodes_live: IntGauge::new("anchorage_nodes_live", "Nodes seen within the presence TTL.")
                .expect("the name is well-formed"),
            placements: gauges("anchorage_placements", "Placements of all nodes by status.", &["status"]),
            dependency_up: gauges("anchorage_dependency_up", "Whether a dependency answers.", &["dependency"]),
        };
        let all: [Box<dyn prometheus::core::Collector>; 7] = [
            Box::new(metrics.requests.clone()),
            Box::new(metrics.duration.clone()),
            Box::new(metrics.accepted.clone()),
            Box::new(metrics.finished.clone()),
            Box::new(metrics.nodes_live.clone()),
            Box::new(metrics.placements.clone()),
            Box::new(metrics.dependency_up.clone()),
        ];
        for collector in all {
            metrics.registry.register(collector).expect("each name is registered once");
        }
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

    /// Counts an ended job: `pinned`, `retried`, `failed` or `unpinned`.
    pub fn pins_finished(&self, result: &'static str) {
        self.finished.with_label_values(&[result]).inc();
    }

    /// Everything, in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("writing to memory cannot fail");
        text
    }
}
