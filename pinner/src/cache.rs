//! Copies of what Postgres holds, in memory: bounded in number and age, with every look counted once.
//!
//! The age of a copy counts from before the database was asked, not from when the answer came; and an answer to a
//! question asked before an invalidation is not kept. So a copy is never older than its cache allows, whatever comes
//! in which order, and however long this process was held up in between.

use prometheus::IntCounter;
use std::{
    hash::Hash,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// The caches there are: a closed set, for it is a metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheName {
    /// Revoked tokens and the names of signing keys.
    TokenDenylist,
    /// The fleet.
    LiveNodes,
    /// Which nodes hold which partition.
    PlacementMap,
    /// How much orgs may hold.
    OrgLimits,
}

impl CacheName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TokenDenylist, Self::LiveNodes, Self::PlacementMap, Self::OrgLimits];

    /// Its name in metrics and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenDenylist => "token_denylist",
            Self::LiveNodes => "live_nodes",
            Self::PlacementMap => "placement_map",
            Self::OrgLimits => "org_limits",
        }
    }
}

/// Counts the looks at one cache. Cheap to clone; clones count together.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Answered by the copy at hand.
    hits: IntCounter,
    /// Not answered by it: there was none, or it was too old.
    misses: IntCounter,
}

impl Tally {
    /// A tally of these counters.
    pub fn new(hits: IntCounter, misses: IntCounter) -> Self {
        Self { hits, misses }
    }

    /// Counts a look that was answered by the copy at hand.
    pub fn hit(&self) {
        self.hits.inc();
    }

    /// Counts a look that was not.
    pub fn miss(&self) {
        self.misses.inc();
    }

    /// Looks that were answered.
    pub fn hits(&self) -> u64 {
        self.hits.get()
    }

    /// Looks that were not.
    pub fn misses(&self) -> u64 {
        self.misses.get()
    }
}

/// A cache of values by key.
pub struct Cache<K, V> {
    entries: mini_moka::sync::Cache<K, Entry<V>>,
    max_age: Duration,
    tally: Tally,
    invalidations: AtomicU64,
}

#[derive(Clone)]
struct Entry<V> {
    value: V,
    as_of: Instant,
}

/// The moment before the database was asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    at: Instant,
    invalidations: u64,
}

impl<K, V> Cache<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// An empty cache of at most `max_entries`, none older than `max_age`.
    pub fn new(max_entries: u64, max_age: Duration, tally: Tally) -> Self {
        let entries = mini_moka::sync::Cache::builder().max_capacity(max_entries).time_to_live(max_age).build();
        Self { entries, max_age, tally, invalidations: AtomicU64::new(0) }
    }

    /// To be taken before the database is asked for what [`Self::put`] then keeps.
    pub fn asked(&self) -> Asked {
        Asked { at: Instant::now(), invalidations: self.invalidations.load(Ordering::SeqCst) }
    }

    /// Keeps what the database answered, unless an invalidation came in between.
    pub fn put(&self, asked: Asked, key: K, value: V) {
        if asked.invalidations == self.invalidations.load(Ordering::SeqCst) {
            self.entries.insert(key, Entry { value, as_of: asked.at });
        }
    }

    /// The copy, if there is one that is young enough. Counts one hit or one miss.
    pub fn get(&self, key: &K) -> Option<V> {
        let found = self.peek(key);
        if found.is_some() {
            self.tally.hit()
        } else {
            self.tally.miss()
        }
        found
    }

    /// As [`Self::get`], without counting: for whoever waits for a copy after a look that was counted.
    pub fn peek(&self, key: &K) -> Option<V> {
        let entry = self.entries.get(key)?;
        (entry.as_of.elapsed() < self.max_age).then_some(entry.value)
    }

    /// Forgets everything, and what is being asked for at this moment.
    pub fn invalidate(&self) {
        self.invalidations.fetch_add(1, Ordering::SeqCst);
        self.entries.invalidate_all();
    }

    /// How many copies are kept; some may be too old and not yet thrown away.
    pub fn len(&self) -> usize {
        self.entries.iter().count()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How old a copy may be.
    pub fn max_age(&self) -> Duration {
        self.max_age
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn tally() -> Tally {
        let counter = |name: &str| IntCounter::new(name, "help").unwrap();
        Tally::new(counter("hits"), counter("misses"))
    }

    fn cache(max_entries: u64, max_age: Duration) -> (Cache<u32, &'static str>, Tally) {
        let tally = tally();
        (Cache::new(max_entries, max_age, tally.clone()), tally)
    }

    #[test]
    fn each_look_counts_once_whatever_is_put_and_peeked_in_between() {
        let (cache, tally) = cache(10, LONG);
        assert_eq!(cache.get(&1), None);
        let asked = cache.asked();
        assert_eq!(cache.peek(&1), None);
        cache.put(asked, 1, "one");
        assert_eq!((cache.peek(&1), cache.get(&1), cache.get(&2)), (Some("one"), Some("one"), None));
        assert_eq!((tally.hits(), tally.misses()), (1, 2));
    }

    #[test]
    fn looks_of_many_threads_add_up() {
        let (cache, tally) = cache(100, LONG);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    for n in 0..1_000_u32 {
                        if cache.get(&(n % 150)).is_none() {
                            cache.put(cache.asked(), n % 150, "x");
                        }
                        if n % 100 == thread {
                            cache.invalidate();
                        }
                    }
                });
            }
        });
        assert_eq!(tally.hits() + tally.misses(), 4_000);
        assert!(tally.hits() > 0 && tally.misses() >= 150, "or this proves nothing");
    }

    #[test]
    fn age_counts_from_before_the_question() {
        let (cache, _) = cache(10, Duration::from_millis(40));
        let asked = cache.asked();
        std::thread::sleep(Duration::from_millis(50));
        cache.put(asked, 1, "an answer that took too long");
        assert_eq!(cache.get(&1), None);
        let (cache, _) = self::cache(10, LONG);
        cache.put(cache.asked(), 1, "young");
        assert_eq!(cache.get(&1), Some("young"));
    }

    #[test]
    fn what_was_asked_before_an_invalidation_is_not_kept() {
        let (cache, _) = cache(10, LONG);
        cache.put(cache.asked(), 1, "old");
        let asked = cache.asked();
        cache.invalidate();
        cache.put(asked, 2, "also old");
        assert_eq!((cache.get(&1), cache.get(&2)), (None, None));
        cache.put(cache.asked(), 1, "new");
        assert_eq!(cache.get(&1), Some("new"), "an invalidation is not for good");
    }

    #[test]
    fn it_holds_no_more_than_it_may() {
        let (cache, _) = cache(100, LONG);
        for n in 0..10_000 {
            cache.put(cache.asked(), n, "x");
        }
        // mini-moka throws away a batch at a time.
        assert!(cache.len() < 1_000, "{}", cache.len());
    }
}
