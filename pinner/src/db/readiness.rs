//! Whether the database is as the service must find it. A pinner does not serve otherwise (HAZARDS 2).

use super::{Database, migrate::MIGRATOR};
use sqlx::PgPool;

/// What is wrong with the database, with the cure.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// It does not answer, or refuses to.
    #[error("the database does not answer as {role}")]
    Unreachable {
        /// The role that tried.
        role: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// Somebody else is logged in.
    #[error("logged in as {found}, which must be {expected}: set {key} to a URL of that role")]
    WrongRole {
        /// Who it is.
        found: String,
        /// Who it must be.
        expected: &'static str,
        /// The configuration key to change.
        key: &'static str,
    },
    /// The role could see everything.
    #[error(
        "{role} is a superuser, bypasses row-level security or may become the owner: take that from it (alter role {role} nosuperuser nobypassrls)"
    )]
    TooPowerful {
        /// The role.
        role: String,
    },
    /// The schema is older than the program.
    #[error("the database has schema version {found}, this program needs {needed}: run `anchorage migrate`")]
    OldSchema {
        /// The newest migration applied; 0 for none.
        found: i64,
        /// The newest that this program was built with.
        needed: i64,
    },
    /// A table lets tenants see each other.
    #[error("row-level security is not forced on {tables}: run `alter table … force row level security`")]
    NoRowSecurity {
        /// The tables, separated by commas.
        tables: String,
    },
}

/// Tables that hold tenants' rows or must be closed to them.
const PROTECTED: [&str; 8] =
    ["orgs", "tokens", "pins", "contents", "placements", "pin_counts", "count_changes", "org_usage"];

/// Checks roles, schema version and row-level security. Cheap enough to be asked again while it fails.
pub async fn check(database: &Database) -> Result<(), NotReady> {
    check_role(&database.api, "anchorage_api", "database.apiUrl").await?;
    check_role(&database.worker, "anchorage_worker", "database.workerUrl").await?;
    check_role(&database.metrics, "anchorage_metrics", "database.metricsUrl").await?;
    check_schema(&database.api).await
}

/// Whether the database answers at all: what a probe asks once [`check`] has passed.
pub async fn ping(database: &Database) -> sqlx::Result<()> {
    sqlx::query("select 1").execute(&database.api).await.map(|_| ())
}

async fn check_role(pool: &PgPool, expected: &'static str, key: &'static str) -> Result<(), NotReady> {
    let (found, powerful): (String, bool) = sqlx::query_as(
        "select session_user::text,
            rolsuper or rolbypassrls or pg_has_role(session_user, 'anchorage_owner', 'member')
         from pg_roles where rolname = session_user",
    )
    .fetch_one(pool)
    .await
    .map_err(|source| NotReady::Unreachable { role: expected, source })?;
    if found != expected {
        return Err(NotReady::WrongRole { found, expected, key });
    }
    if powerful {
        return Err(NotReady::TooPowerful { role: found });
    }
    Ok(())
}

async fn check_schema(pool: &PgPool) -> Result<(), NotReady> {
    let unreachable = |source| NotReady::Unreachable { role: "anchorage_api", source };
    let needed = MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0);
    let readable: bool = sqlx::query_scalar(
        "select coalesce(has_table_privilege(to_regclass('public._sqlx_migrations'), 'select'), false)",
    )
    .fetch_one(pool)
    .await
    .map_err(unreachable)?;
    let found = if readable {
        sqlx::query_scalar("select coalesce(max(version), 0) from public._sqlx_migrations where success")
            .fetch_one(pool)
            .await
            .map_err(unreachable)?
    } else {
        0
    };
    if found < needed {
        return Err(NotReady::OldSchema { found, needed });
    }
    let open: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
         where relnamespace = 'public'::regnamespace and relname = any ($1)
             and not (relrowsecurity and relforcerowsecurity)
         order by relname",
    )
    .bind(PROTECTED)
    .fetch_all(pool)
    .await
    .map_err(unreachable)?;
    if open.is_empty() { Ok(()) } else { Err(NotReady::NoRowSecurity { tables: open.join(", ") }) }
}
