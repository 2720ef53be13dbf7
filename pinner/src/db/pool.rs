//! Connection pools that survive a client hanging up.
//!
//! sqlx up to 0.9.0 can return a connection to its pool with a transaction still open, when the future of
//! `begin()` is dropped at the wrong moment; what the next user writes is then lost (HAZARDS 1). So a connection
//! is rolled back whenever it comes back, and is not kept if that fails. Writes run in tasks of their own besides,
//! see `crate::http::detached`.

use sqlx::{
    ConnectOptions, Executor, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::time::Duration;

/// How long a request waits for a connection before it is told that the database is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections beyond the first are given up after this long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Rolling back outside a transaction, which is the rule, is worth no warning. No statement is worth compiling.
pub(super) const QUIET: [(&str, &str); 2] = [("client_min_messages", "error"), ("jit", "off")];

/// Each statement is planned once, since what it is asked for differs, but the way through the indexes does not. None
/// reads all of a table because that is small when it is planned, or leaves an index's order because most orgs have few
/// pins.
pub(super) const BY_INDEX: [(&str, &str); 3] =
    [("plan_cache_mode", "force_generic_plan"), ("enable_seqscan", "off"), ("enable_bitmapscan", "off")];

/// A pool that connects when it is first used, with further settings of its sessions.
pub(super) fn lazy(url: &str, size: u32, settings: &[(&str, &str)]) -> sqlx::Result<PgPool> {
    let options: PgConnectOptions = url.parse()?;
    Ok(PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .after_release(|connection, _| Box::pin(async move { connection.execute("rollback").await.map(|_| true) }))
        .connect_lazy_with(
            options
                .application_name("anchorage")
                .options(QUIET)
                .options(settings.iter().copied())
                .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(2)),
        ))
}
