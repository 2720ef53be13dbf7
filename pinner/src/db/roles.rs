//! The five roles of the database, made before the first migration.
//!
//! | role | for |
//! |---|---|
//! | `anchorage_owner` | owns everything; nobody logs in as it |
//! | `anchorage_migrator` | may become the owner, to migrate |
//! | `anchorage_api` | serves tenants, under row-level security |
//! | `anchorage_worker` | works off placements; sees no token |
//! | `anchorage_metrics` | counts |

use percent_encoding::percent_decode_str;
use sqlx::{PgConnection, postgres::PgConnectOptions};

/// The roles that services log in as, with the limits that every session of theirs has.
const SERVICE_ROLES: [(&str, &str); 3] =
    [("anchorage_api", "15s"), ("anchorage_worker", "30s"), ("anchorage_metrics", "10s")];

/// Why the roles are not as they must be.
#[derive(Debug, thiserror::Error)]
pub enum RolesError {
    /// The administrator may not create roles and they are not there yet.
    #[error(
        "the role {user} of database.adminUrl may not create roles, and {missing} is not there: \
         run this once as a role with CREATEROLE, or create the role"
    )]
    MayNotCreate {
        /// Who tried.
        user: String,
        /// Which role.
        missing: String,
    },
    /// A service URL logs in as somebody else.
    #[error("{key} logs in as {found:?}; it must log in as {expected}")]
    WrongUser {
        /// The configuration key.
        key: &'static str,
        /// The user in the URL.
        found: String,
        /// The role it should be.
        expected: &'static str,
    },
    /// A service URL that is none.
    #[error("{key} is not a Postgres URL such as postgres://user:password@host:5432/database")]
    NotAUrl {
        /// The configuration key.
        key: &'static str,
    },
    /// The database said no.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// A service role's URL, for its password.
pub struct ServiceUrl<'a> {
    /// The configuration key that holds it.
    pub key: &'static str,
    /// The role that it must log in as.
    pub role: &'static str,
    /// The URL.
    pub url: &'a str,
}

/// Creates the roles that are missing and sets the passwords of the service roles to those of their URLs.
/// Can be run any number of times.
pub async fn ensure(connection: &mut PgConnection, urls: &[ServiceUrl<'_>]) -> Result<(), RolesError> {
    let (user, may_create): (String, bool) = sqlx::query_as(
        "select current_user::text, rolsuper or rolcreaterole from pg_roles where rolname = current_user",
    )
    .fetch_one(&mut *connection)
    .await?;
    let wanted = ["anchorage_owner", "anchorage_migrator"].into_iter().chain(SERVICE_ROLES.map(|(role, _)| role));
    for role in wanted {
        let found: bool = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
            .bind(role)
            .fetch_one(&mut *connection)
            .await?;
        if !found && !may_create {
            return Err(RolesError::MayNotCreate { user, missing: role.to_owned() });
        }
        if !found {
            let login = if role == "anchorage_owner" { "nologin" } else { "login" };
            execute(
                connection,
                format!("create role {role} {login} nosuperuser nobypassrls nocreaterole nocreatedb noinherit"),
            )
            .await?;
        }
    }
    if may_create {
        become_member(connection, &user).await?;
        configure(connection, urls).await?;
    }
    Ok(())
}

/// Lets the migrator, and whoever runs this, become the owner; lets the owner create tables.
async fn become_member(connection: &mut PgConnection, user: &str) -> Result<(), RolesError> {
    execute(connection, "grant anchorage_owner to anchorage_migrator".to_owned()).await?;
    let superuser: bool = sqlx::query_scalar("select rolsuper from pg_roles where rolname = $1")
        .bind(user)
        .fetch_one(&mut *connection)
        .await?;
    if !superuser {
        execute(connection, format!("grant anchorage_owner to {}", quote_identifier(user))).await?;
    }
    execute(connection, "grant create, usage on schema public to anchorage_owner with grant option".to_owned()).await?;
    execute(connection, "revoke all on schema public from public".to_owned()).await?;
    Ok(())
}

/// Sets what every session of a service role starts with, and its password.
async fn configure(connection: &mut PgConnection, urls: &[ServiceUrl<'_>]) -> Result<(), RolesError> {
    for (role, statement_timeout) in SERVICE_ROLES {
        execute(connection, format!("alter role {role} set idle_in_transaction_session_timeout = '5s'")).await?;
        execute(connection, format!("alter role {role} set statement_timeout = '{statement_timeout}'")).await?;
    }
    for ServiceUrl { key, role, url } in urls {
        let options: PgConnectOptions = url.parse().map_err(|_| RolesError::NotAUrl { key })?;
        if options.get_username() != *role {
            return Err(RolesError::WrongUser { key, found: options.get_username().to_owned(), expected: role });
        }
        if let Some(password) = password(url) {
            // ALTER ROLE takes no parameters, so the server is asked to quote.
            let quoted: String =
                sqlx::query_scalar("select quote_literal($1)").bind(password).fetch_one(&mut *connection).await?;
            execute(connection, format!("alter role {role} password {quoted}")).await?;
        }
    }
    Ok(())
}

/// The password of a URL, decoded.
fn password(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    percent_decode_str(url.password()?).decode_utf8().ok().map(Into::into)
}

fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn execute(connection: &mut PgConnection, statement: String) -> sqlx::Result<()> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(connection).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_decoded_once_and_keeps_its_signs() {
        for (url, expected) in [
            ("postgres://u:p%40ss@h/d", Some("p@ss")),
            ("postgres://u:a+b@h/d", Some("a+b")),
            ("postgres://u:a%2525@h/d", Some("a%25")),
            ("postgres://u@h/d", None),
        ] {
            assert_eq!(password(url).as_deref(), expected, "{url}");
        }
    }
}
