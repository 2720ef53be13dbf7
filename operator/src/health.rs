//! How the watches fare: what `/livez`, `/readyz` and the metrics tell.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use kube::runtime::watcher;

/// A watch that has failed without a break for so long makes the process unfit: a restart makes new connections.
const UNFIT_AFTER: Duration = Duration::from_secs(300);

/// The state of all watches, by kind.
#[derive(Default)]
pub struct WatchHealth(Mutex<BTreeMap<&'static str, Watch>>);

#[derive(Default)]
struct Watch {
    synced: bool,
    failing_since: Option<Instant>,
}

impl WatchHealth {
    /// A watch begins; the operator is not ready until it was heard of.
    pub fn begin(&self, kind: &'static str) {
        self.locked().insert(kind, Watch::default());
    }

    /// A watch is not needed any more.
    pub fn end(&self, kind: &'static str) {
        self.locked().remove(kind);
    }

    /// A watch delivered.
    pub fn well(&self, kind: &'static str) {
        self.locked().insert(kind, Watch { synced: true, failing_since: None });
    }

    /// A watch failed and will try again. Logged at the first failure of a row only.
    pub fn ill(&self, kind: &'static str, error: &watcher::Error) {
        let mut watches = self.locked();
        let watch = watches.entry(kind).or_default();
        if watch.failing_since.is_none() {
            tracing::warn!(kind, error = %describe(error), "watch interrupted; trying again");
            watch.failing_since = Some(Instant::now());
        }
    }

    /// The kinds whose watches have not delivered anything yet.
    #[must_use]
    pub fn unsynced(&self) -> Vec<&'static str> {
        self.locked().iter().filter(|(_, watch)| !watch.synced).map(|(kind, _)| *kind).collect()
    }

    /// The kinds whose watches have failed for too long.
    #[must_use]
    pub fn stuck(&self) -> Vec<&'static str> {
        let too_long = |watch: &Watch| watch.failing_since.is_some_and(|since| since.elapsed() > UNFIT_AFTER);
        self.locked().iter().filter(|(_, watch)| too_long(watch)).map(|(kind, _)| *kind).collect()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Watch>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

/// An error with its causes: kube's own first line often hides the reason.
#[must_use]
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut error = error;
    while let Some(source) = error.source() {
        let line = source.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        error = source;
    }
    text
}
