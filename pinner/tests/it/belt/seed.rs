//! Two orgs with a row in every table: made by the service, and where it leaves a table empty, by the superuser.

use crate::stage::{
    cids,
    database::Database,
    fake_kubo::FakeKubo,
    pinner::Setup,
    wait::{SOON, until},
};
use sqlx::{Connection, PgConnection};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// A database with two orgs, of which A tries to reach what is B's.
pub(crate) struct Seeded {
    pub(crate) database: Database,
    pub(crate) a: Uuid,
    pub(crate) b: Uuid,
}

impl Seeded {
    /// A copy that nobody else uses.
    pub(crate) async fn new() -> Self {
        static TEMPLATE: OnceCell<Seeded> = OnceCell::const_new();
        let template = TEMPLATE.get_or_init(seed).await;
        Self { database: template.database.copy().await, ..*template }
    }

    /// A connection that may do everything.
    pub(crate) async fn superuser(&self) -> PgConnection {
        PgConnection::connect(&self.database.url("postgres")).await.unwrap()
    }

    /// A connection of the API in a transaction with this context.
    pub(crate) async fn tenant(&self, context: &str) -> PgConnection {
        let mut connection = PgConnection::connect(&self.database.url("anchorage_api")).await.unwrap();
        sqlx::query("begin").execute(&mut connection).await.unwrap();
        enter(&mut connection, context).await;
        connection
    }
}

/// Gives the present transaction a context: the org, and the only org of a batch.
pub(crate) async fn enter(connection: &mut PgConnection, context: &str) {
    sqlx::query("select set_config('anchorage.org', $1, true), set_config('anchorage.orgs', $1, true)")
        .bind(context)
        .execute(connection)
        .await
        .unwrap();
}

async fn seed() -> Seeded {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let (a, b) = (pinner.org("org-a").await, pinner.org("org-b").await);
    let shared = cids::fresh();
    for org in [&a, &b] {
        for cid in [&shared, &cids::fresh()] {
            let pin = org.pin(cid).await;
            until("it is pinned", SOON, async || (org.status(&pin).await == "pinned").then_some(())).await;
        }
    }
    for org in ["org-a", "org-b"] {
        let admin = pinner.org_with(org, &["org:admin"]).await;
        let put =
            admin.request(reqwest::Method::PUT, "/api/v1/members/somebody").json(&serde_json::json!({"role": "admin"}));
        admin.send(put).await.expect(200);
        let revoked = admin.post("/api/v1/tokens", &serde_json::json!({"scopes": ["pins:read"]})).await.expect(201);
        admin.delete(&format!("/api/v1/tokens/{}", revoked["id"].as_str().unwrap())).await.expect(200);
    }
    // And a content that nobody holds any more and that a node has not let go yet.
    let dropped = b.pin(&cids::fresh()).await;
    kubo.set_present(false);
    b.delete(&format!("/pins/{dropped}")).await.expect(202);
    pinner.kill().await;

    let mut superuser = PgConnection::connect(&database.url("postgres")).await.unwrap();
    // What counts has rows of both kinds: folded ones by this, others by `fill`.
    sqlx::query("select fold_counts(1000)").execute(&mut superuser).await.unwrap();
    // What the leader is soon done with, and what is there only until a node has fetched it.
    sqlx::raw_sql(
        "insert into changed_partitions values (7);
         insert into placement_maps (version, map, planned_for) values (1000, '', '');
         insert into uploads (content, node_id) select key, id from contents cross join nodes limit 1",
    )
    .execute(&mut superuser)
    .await
    .unwrap();
    let mut ids = Vec::new();
    for name in ["org-a", "org-b"] {
        let id: Uuid = sqlx::query_scalar("select id from orgs where name = $1")
            .bind(name)
            .fetch_one(&mut superuser)
            .await
            .unwrap();
        fill(&mut superuser, id).await;
        ids.push(id);
    }
    // What is B's alone waits for a node, so that there is somebody to wake.
    sqlx::query(
        "update placements set status = 'queued' where content in (
            select content from pins where org_id = $2 except select content from pins where org_id = $1
         )",
    )
    .bind(ids[0])
    .bind(ids[1])
    .execute(&mut superuser)
    .await
    .unwrap();
    superuser.close().await.unwrap();
    until("nobody is connected", SOON, async || {
        let others = "select count(*) from pg_stat_activity where datname = $1";
        let mut server =
            PgConnection::connect(&Database { name: "postgres".into(), ..database.clone() }.url("postgres"))
                .await
                .unwrap();
        let others: i64 = sqlx::query_scalar(others).bind(&database.name).fetch_one(&mut server).await.unwrap();
        (others == 0).then_some(())
    })
    .await;
    Seeded { database, a: ids[0], b: ids[1] }
}

/// Puts a row of the org into every table with an org that has none: the simplest row that the columns' types allow.
async fn fill(superuser: &mut PgConnection, org: Uuid) {
    let tables: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.attname = 'org_id'",
    )
    .fetch_all(&mut *superuser)
    .await
    .unwrap();
    for table in tables {
        let any = format!("select exists (select from {table} where org_id = '{org}')");
        if sqlx::query_scalar(sqlx::AssertSqlSafe(any)).fetch_one(&mut *superuser).await.unwrap() {
            continue;
        }
        let columns: Vec<(String, String)> = sqlx::query_as(
            "select a.attname::text, case
                when a.attname = 'org_id' then quote_literal($2)
                when t.typname = 'uuid' then 'gen_random_uuid()'
                when t.typtype = 'e' then quote_literal((select min(enumlabel) from pg_enum where enumtypid = t.oid))
                when t.typcategory = 'N' then '1'
                when t.typcategory = 'D' then 'now()'
                when t.typcategory = 'A' then quote_literal('{}')
                when t.typcategory = 'B' then 'true'
                when t.typname = 'jsonb' then quote_literal('{}')
                when t.typname = 'bytea' then 'sha256(''x'')'
                else quote_literal('x')
             end
             from pg_attribute a join pg_type t on t.oid = a.atttypid
             where a.attrelid = $1::regclass and a.attnum > 0 and not a.attisdropped
                and a.attnotnull and not a.atthasdef and a.attidentity = ''",
        )
        .bind(&table)
        .bind(org.to_string())
        .fetch_all(&mut *superuser)
        .await
        .unwrap();
        let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        // Neither triggers nor foreign keys: what else would have to be there is for the service to make.
        let insert = format!(
            "set session_replication_role = replica; insert into {table} ({}) values ({}); reset session_replication_role",
            names.join(", "),
            values.join(", ")
        );
        let filled = sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&mut *superuser).await;
        filled.unwrap_or_else(|error| panic!("no row for {table}, have the service make one in belt/seed.rs: {error}"));
    }
}
