//! Tokens, keys, the denylist and the caches as tables.

use super::{or_dash, render};
use serde::Deserialize;

/// The record of a token.
#[derive(Debug, Deserialize)]
pub(in crate::admin) struct Token {
    id: String,
    #[serde(default)]
    org: Option<String>,
    scopes: Vec<String>,
    expires: String,
    #[serde(default)]
    revoked: Option<String>,
}

/// The signing keys.
#[derive(Debug, Deserialize)]
pub(in crate::admin) struct Keys {
    keys: Vec<Key>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    kid: String,
    state: String,
    created: String,
    since: String,
    #[serde(default)]
    signs_from: Option<String>,
}

impl Keys {
    /// The key that is announced, and from when on it signs.
    pub(in crate::admin) fn next(&self) -> Option<(&str, &str)> {
        self.keys.iter().find_map(|key| Some((key.kid.as_str(), key.signs_from.as_deref()?)))
    }
}

/// What was cleared away.
#[derive(Debug, Deserialize)]
pub(in crate::admin) struct Pruned {
    pruned: u64,
    remaining: u64,
}

/// The caches of one pinner.
#[derive(Debug, Deserialize)]
pub(in crate::admin) struct CacheStats {
    node: String,
    caches: Vec<Cache>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cache {
    name: String,
    hits: u64,
    misses: u64,
    entries: u64,
    #[serde(default)]
    version: Option<u64>,
    #[serde(default)]
    max_age_seconds: Option<u64>,
}

/// One line.
pub(in crate::admin) fn token(token: &Token) -> String {
    let row = [
        token.id.clone(),
        or_dash(token.org.as_deref()),
        token.scopes.join(","),
        token.expires.clone(),
        or_dash(token.revoked.as_deref()),
    ];
    render(["ID", "ORG", "SCOPES", "EXPIRES", "REVOKED"], std::iter::once(row))
}

/// One line a key.
pub(in crate::admin) fn keys(keys: &Keys) -> String {
    let rows = keys.keys.iter().map(|key| {
        let signs_from = or_dash(key.signs_from.as_deref());
        [key.kid.clone(), key.state.clone(), key.since.clone(), signs_from, key.created.clone()]
    });
    render(["KID", "STATE", "SINCE", "SIGNS-FROM", "CREATED"], rows)
}

/// One line.
pub(in crate::admin) fn pruned(pruned: &Pruned) -> String {
    let row = [pruned.pruned.to_string(), pruned.remaining.to_string()];
    render(["PRUNED", "REMAINING"], std::iter::once(row))
}

/// One line a cache.
pub(in crate::admin) fn caches(stats: &CacheStats) -> String {
    let rows = stats.caches.iter().map(|cache| {
        let looks = cache.hits + cache.misses;
        [
            stats.node.clone(),
            cache.name.clone(),
            cache.hits.to_string(),
            cache.misses.to_string(),
            if looks == 0 { "-".to_owned() } else { format!("{:.1}%", cache.hits as f64 * 100.0 / looks as f64) },
            cache.entries.to_string(),
            or_dash(cache.version.map(|version| version.to_string()).as_deref()),
            or_dash(cache.max_age_seconds.map(|age| format!("{age}s")).as_deref()),
        ]
    });
    render(["NODE", "CACHE", "HITS", "MISSES", "HIT-RATE", "ENTRIES", "VERSION", "MAX-AGE"], rows)
}
