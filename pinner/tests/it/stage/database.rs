//! A database for each test, copied from one that `anchorage migrate` made.

use super::{
    containers::{POSTGRES, POSTGRES_PASSWORD},
    pinner::program,
    wait::until,
};
use anchorage::{
    config::{self, Secret},
    db,
};
use pinner_core::id::OrgId;
use sqlx::{Connection, PgConnection, PgPool, postgres::PgPoolOptions};
use std::{
    process::Output,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tokio::sync::OnceCell;

/// The password of the service roles.
const SERVICE_PASSWORD: &str = "of-a-service";

/// A database.
#[derive(Clone)]
pub(crate) struct Database {
    /// Its name.
    pub(crate) name: String,
    /// The port of its Postgres, or of a proxy before it.
    pub(crate) port: u16,
}

impl Database {
    /// A migrated database that nobody else uses, on the shared Postgres.
    pub(crate) async fn new() -> Self {
        static TEMPLATE: OnceCell<Database> = OnceCell::const_new();
        TEMPLATE.get_or_init(|| Self::template(*POSTGRES)).await.copy().await
    }

    /// A copy of a database to which nobody is connected.
    pub(crate) async fn copy(&self) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let copy = Self { name, port: self.port };
        copy.on_server(&format!("create database {} template {}", copy.name, self.name)).await;
        copy
    }

    /// Throws a database away before its test ends, so that many do not fill the disk.
    pub(crate) async fn drop(self) {
        self.on_server(&format!("drop database {} with (force)", self.name)).await;
    }

    /// An empty database of the Postgres at `port`.
    pub(crate) async fn empty(name: &str, port: u16) -> Self {
        let database = Self { name: name.into(), port };
        until("Postgres answers", Duration::from_secs(60), async || {
            PgConnection::connect(&database.url_of("postgres", "postgres", POSTGRES_PASSWORD)).await.ok()
        })
        .await;
        database.on_server(&format!("create database {name}")).await;
        database
    }

    async fn template(port: u16) -> Self {
        let template = Self::empty("template_of_tests", port).await;
        let output = template.migrate().await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        template
    }

    /// Runs `anchorage migrate` as the superuser.
    pub(crate) async fn migrate(&self) -> Output {
        self.migrate_as(&self.url("postgres")).await
    }

    /// Runs `anchorage migrate` with another administrator.
    pub(crate) async fn migrate_as(&self, admin_url: &str) -> Output {
        let mut migrate = program("migrate");
        migrate.env("ANCHORAGE_DATABASE_ADMIN_URL", admin_url).envs(self.service_urls());
        migrate.kill_on_drop(true).output().await.expect("the program starts")
    }

    /// The variables that carry the URLs of the service roles.
    pub(crate) fn service_urls(&self) -> [(&'static str, String); 3] {
        [
            ("ANCHORAGE_DATABASE_API_URL", self.url("anchorage_api")),
            ("ANCHORAGE_DATABASE_WORKER_URL", self.url("anchorage_worker")),
            ("ANCHORAGE_DATABASE_METRICS_URL", self.url("anchorage_metrics")),
        ]
    }

    /// The URL for a role.
    pub(crate) fn url(&self, role: &str) -> String {
        let password = if role == "postgres" { POSTGRES_PASSWORD } else { SERVICE_PASSWORD };
        self.url_of(&self.name, role, password)
    }

    fn url_of(&self, database: &str, role: &str, password: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The same database through a proxy.
    pub(crate) fn through(&self, port: u16) -> Self {
        Self { port, ..self.clone() }
    }

    /// Connections of a role; `postgres` sees and may do everything.
    pub(crate) fn pool(&self, role: &str) -> PgPool {
        PgPoolOptions::new().max_connections(12).connect_lazy(&self.url(role)).expect("a well-formed URL")
    }

    /// The database as the service sees it, for tests of its statements, with so many connections of each role.
    pub(crate) fn service(&self, pool_size: u32) -> db::Database {
        let url = |role: &str| Secret::new(self.url(role));
        let urls = config::Database {
            api_url: url("anchorage_api"),
            worker_url: url("anchorage_worker"),
            metrics_url: url("anchorage_metrics"),
            pool_size,
        };
        db::Database::new(&urls).expect("well-formed URLs")
    }

    /// An org without a service to make it.
    pub(crate) async fn org(&self, n: u128) -> OrgId {
        let id = uuid::Uuid::from_u128(n);
        let org = sqlx::query("select admin_create_org($1, $2)").bind(id).bind(format!("org-{n}"));
        org.execute(&self.pool("postgres")).await.expect("the superuser may");
        OrgId::from_uuid(id)
    }

    /// Runs a statement of administration on the server.
    pub(crate) async fn on_server(&self, statement: &str) {
        let mut server = PgConnection::connect(&self.url_of("postgres", "postgres", POSTGRES_PASSWORD))
            .await
            .expect("Postgres answers");
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut server).await.expect("the superuser may");
    }
}
