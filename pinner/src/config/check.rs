//! Values that are well-formed each, but cannot both be meant.

use std::net::SocketAddr;

use super::{
    ConfigError, NetworkMode, Values,
    keys::{self, Key},
    layers::Settings,
};

/// Refuses what contradicts itself, naming both places.
pub(super) fn contradictions(settings: &Settings, values: &Values) -> Result<(), ConfigError> {
    let both = |first: &Key, second: &Key, cure| {
        Err(ConfigError::Contradiction { first: described(settings, first), second: described(settings, second), cure })
    };
    if collide(values.listen, values.metrics.listen) {
        return both(&keys::LISTEN, &keys::METRICS_LISTEN, "give the API and the metrics different ports");
    }
    if values.replication.min > values.replication.max {
        return both(&keys::REPLICATION_MIN, &keys::REPLICATION_MAX, "the minimum must not be above the maximum");
    }
    if values.worker.stall > values.worker.deadline {
        return both(
            &keys::WORKER_STALL_SECONDS,
            &keys::WORKER_DEADLINE_SECONDS,
            "a pin would reach its deadline before it could count as stalled",
        );
    }
    if values.network.mode == NetworkMode::Private && values.network.allow_cidrs.is_empty() {
        return both(
            &keys::NETWORK_MODE,
            &keys::NETWORK_ALLOW_CIDRS,
            "a private network without any range may dial nobody; name the ranges of its nodes",
        );
    }
    if values.token_root.is_some() && values.token_root == values.admin_token {
        return both(
            &keys::TOKENS_ROOT,
            &keys::ADMIN_TOKEN,
            "they hold the same secret; who sees the admin token could sign tokens of any org",
        );
    }
    Ok(())
}

/// Whether the two cannot both be bound. Port 0 is a free port, another one each time.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && (a.ip() == b.ip() || everywhere)
}

/// `replication.min = 3 (variable ANCHORAGE_REPLICATION_MIN)`; a secret without its value.
fn described(settings: &Settings, key: &Key) -> String {
    match settings.get(key) {
        Some(setting) if key.is_secret() => format!("{} ({})", key.path, setting.place),
        Some(setting) if setting.text.is_empty() => {
            format!("{} = none ({})", key.path, setting.place)
        }
        Some(setting) => format!("{} = {} ({})", key.path, setting.text, setting.place),
        None => key.path.to_owned(),
    }
}
