//! `anchorage migrate`: brings the database to the schema that this binary was built with.

use super::{
    pool::QUIET,
    roles::{self, RolesError, ServiceUrl},
};
use crate::config::MigrateConfig;
use sqlx::{Connection, PgConnection, migrate::Migrator, postgres::PgConnectOptions};

/// The migrations, compiled in.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Held while roles are made, so that two migrations do not make the same one at once. Any fixed number.
const ROLES_LOCK: i64 = 0x616e_6368_6f72;

/// Why a migration did not happen.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The roles could not be made.
    #[error(transparent)]
    Roles(#[from] RolesError),
    /// No connection.
    #[error("cannot connect with database.adminUrl")]
    Connect(#[source] sqlx::Error),
    /// A statement failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// A migration failed or the database has one that this binary does not know.
    #[error(transparent)]
    Migrate(#[from] sqlx::migrate::MigrateError),
}

/// Makes the roles and applies every migration that is missing. Any number of them may run at once and again.
pub async fn run(config: &MigrateConfig) -> Result<(), MigrateError> {
    let options: PgConnectOptions = config.admin_url.expose().parse().map_err(MigrateError::Connect)?;
    let mut connection = PgConnection::connect_with(&options.options(QUIET)).await.map_err(MigrateError::Connect)?;
    sqlx::query("select pg_advisory_lock($1)").bind(ROLES_LOCK).execute(&mut connection).await?;
    let url = |key, role, url| ServiceUrl { key, role, url };
    roles::ensure(
        &mut connection,
        &[
            url("database.apiUrl", "anchorage_api", config.api_url.expose()),
            url("database.workerUrl", "anchorage_worker", config.worker_url.expose()),
            url("database.metricsUrl", "anchorage_metrics", config.metrics_url.expose()),
        ],
    )
    .await?;
    sqlx::query("set role anchorage_owner").execute(&mut connection).await?;
    MIGRATOR.run(&mut connection).await?;
    sqlx::query("grant select on _sqlx_migrations to anchorage_api").execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}
