//! Postgres: the only truth. Every statement of the service is in the files below, one function each.
//!
//! There is no way to a tenant's table but with an org, to which row-level security holds whatever is done: in a
//! [`TenantTx`], or in a statement that sets it itself ([`pins`], [`usage`], [`batch`]). A [`WorkerTx`] sees placements
//! of all orgs but no token and no name. A third role reads counts for metrics.

pub mod batch;
pub mod bulk;
pub mod counts;
pub mod fleet;
pub mod lead;
pub mod members;
pub mod migrate;
pub mod nodes;
pub mod orgs;
mod page;
pub mod pins;
pub mod placements;
mod pool;
pub mod readiness;
pub mod roles;
pub mod tokens;
pub mod uploads;
pub mod usage;

use crate::config;
use pinner_core::id::OrgId;
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction, postgres::types::PgInterval};
use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

/// The service's connections, one pool for each role.
#[derive(Clone)]
pub struct Database {
    api: PgPool,
    worker: PgPool,
    metrics: PgPool,
}

impl Database {
    /// Prepares the pools; connects when a connection is first needed. Errors on URLs that are none.
    pub fn new(config: &config::Database) -> Result<Self, DatabaseUrlError> {
        let pool = |url: &config::Secret, key, size, settings: &[_]| {
            pool::lazy(url.expose(), size, settings).map_err(|source| DatabaseUrlError { key, source })
        };
        Ok(Self {
            api: pool(&config.api_url, "database.apiUrl", config.pool_size, &pool::BY_INDEX)?,
            worker: pool(&config.worker_url, "database.workerUrl", config.pool_size, &pool::BY_INDEX)?,
            metrics: pool(&config.metrics_url, "database.metricsUrl", 1, &[])?,
        })
    }

    /// Begins a transaction of `org`.
    pub async fn tenant(&self, org: OrgId) -> sqlx::Result<TenantTx> {
        let mut tx = self.api.begin().await?;
        sqlx::query("select set_config('anchorage.org', $1, true)")
            .bind(org.uuid().to_string())
            .execute(&mut *tx)
            .await?;
        Ok(TenantTx(tx))
    }

    /// Opens a connection of the API that belongs to the caller alone: to write batches of pins with, see
    /// [`batch::write`], or to look at something that requests must not keep from being seen.
    pub async fn lane(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect_with(&self.api.connect_options()).await
    }

    /// Begins a transaction of the API without an org: it sees the fleet, the signing keys and no tenant.
    pub async fn platform(&self) -> sqlx::Result<PlatformTx> {
        Ok(PlatformTx(self.api.begin().await?))
    }

    /// Begins a transaction of the pinner's own work.
    pub async fn worker(&self) -> sqlx::Result<WorkerTx> {
        Ok(WorkerTx(self.worker.begin().await?))
    }

    /// Begins a transaction that may only count.
    pub async fn metrics(&self) -> sqlx::Result<MetricsTx> {
        Ok(MetricsTx(self.metrics.begin().await?))
    }

    /// Ends all connections.
    pub async fn close(&self) {
        futures::join!(self.api.close(), self.worker.close(), self.metrics.close());
    }
}

fn interval(duration: Duration) -> PgInterval {
    // Whole microseconds; nobody waits for 292,000 years.
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}

/// A database URL that is not one.
#[derive(Debug, thiserror::Error)]
#[error("{key} is not a Postgres URL such as postgres://user:password@host:5432/database")]
pub struct DatabaseUrlError {
    key: &'static str,
    source: sqlx::Error,
}

macro_rules! transaction {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(Transaction<'static, Postgres>);

        impl $name {
            /// Makes everything done in it true, durably. Without this nothing was.
            pub async fn commit(self) -> sqlx::Result<()> {
                self.0.commit().await
            }
        }

        impl Deref for $name {
            type Target = PgConnection;
            fn deref(&self) -> &PgConnection {
                &self.0
            }
        }

        impl DerefMut for $name {
            fn deref_mut(&mut self) -> &mut PgConnection {
                &mut self.0
            }
        }
    };
}

transaction!(
    /// A transaction of one org, as `anchorage_api`. Row-level security shows it that org alone.
    TenantTx
);
transaction!(
    /// A transaction of the API without an org, as `anchorage_api`.
    PlatformTx
);
transaction!(
    /// A transaction of a pinner's own work, as `anchorage_worker`.
    WorkerTx
);
transaction!(
    /// A transaction that counts, as `anchorage_metrics`.
    MetricsTx
);
