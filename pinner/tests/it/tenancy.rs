//! Tenants cannot see each other in the database itself, whatever the program above it does.

use crate::stage::{cids, database::Database};
use futures::StreamExt;
use pinner_core::content::SubmittedCid;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

/// Two orgs with a pin each, made as the service makes them.
async fn two_orgs(database: &Database) -> [(Uuid, Uuid); 2] {
    let admin = database.pool("postgres");
    let node = Uuid::from_u128(7);
    sqlx::query("insert into nodes (id, name) values ($1, 'n')").bind(node).execute(&admin).await.unwrap();
    let mut made = Vec::new();
    for (n, name) in [(1, "a"), (2, "b")] {
        let (org, pin) = (Uuid::from_u128(n), Uuid::from_u128(n + 100));
        let key = SubmittedCid::parse(&cids::fresh()).unwrap().key().as_bytes().to_vec();
        sqlx::query("select admin_create_org($1, $2)").bind(org).bind(name).execute(&admin).await.unwrap();
        let kid: String = sqlx::query_scalar("select kid from signing_keys").fetch_one(&admin).await.unwrap();
        sqlx::query("select admin_record_token($1, $1, '{pins:read}', $2, now())")
            .bind(org)
            .bind(kid)
            .execute(&admin)
            .await
            .unwrap();
        let mut tenant = tenant(database, &org.to_string()).await;
        insert(org, pin, &key).execute(&mut tenant).await.unwrap();
        sqlx::query("select place($1, 1, $2)").bind(&key).bind([node]).execute(&mut tenant).await.unwrap();
        sqlx::query("commit").execute(&mut tenant).await.unwrap();
        made.push((org, pin));
    }
    [made[0], made[1]]
}

fn insert(org: Uuid, pin: Uuid, key: &[u8]) -> sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments> {
    sqlx::query("insert into pins (org_id, id, created, cid, content, copies_min, copies_max) values ($1, $2, now(), 'x', $3, 1, 1)")
        .bind(org)
        .bind(pin)
        .bind(key.to_vec())
}

/// A transaction of `anchorage_api` with this context.
async fn tenant(database: &Database, context: &str) -> PgConnection {
    let mut connection = PgConnection::connect(&database.url("anchorage_api")).await.unwrap();
    sqlx::query("begin").execute(&mut connection).await.unwrap();
    sqlx::query("select set_config('anchorage.org', $1, true)").bind(context).execute(&mut connection).await.unwrap();
    connection
}

const TENANT_TABLES: [&str; 4] = ["orgs", "tokens", "pins", "pin_counts"];
const CLOSED_TABLES: [&str; 2] = ["contents", "placements"];

async fn visible(connection: &mut PgConnection, table: &str) -> i64 {
    let query = format!("select count(*) from {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn without_a_sound_context_there_are_no_rows() {
    let database = Database::new().await;
    let [(org, _), _] = two_orgs(&database).await;
    let org = org.to_string();
    for context in [
        "",
        " ",
        "garbage",
        "null",
        "%",
        "' or true --",
        &org.to_uppercase().replace('0', "A"),
        &format!("{org} "),
        &format!("{{{org}}}"),
    ] {
        let mut tenant = tenant(&database, context).await;
        for table in TENANT_TABLES {
            assert_eq!(visible(&mut tenant, table).await, 0, "{table} with context {context:?}");
        }
    }
    let mut without = PgConnection::connect(&database.url("anchorage_api")).await.unwrap();
    for _ in 0..2 {
        for table in TENANT_TABLES {
            assert_eq!(visible(&mut without, table).await, 0, "{table} without a context");
        }
        // Once more after a transaction that had one: what is left of a local setting is an empty text.
        sqlx::query("begin").execute(&mut without).await.unwrap();
        sqlx::query("select set_config('anchorage.org', $1, true)").bind(&org).execute(&mut without).await.unwrap();
        assert_eq!(visible(&mut without, "pins").await, 1, "or this proves nothing");
        sqlx::query("commit").execute(&mut without).await.unwrap();
    }
    // A setting that is not local to a transaction has no way to be made: forgetting BEGIN shows nothing.
    sqlx::query("select set_config('anchorage.org', $1, true)").bind(&org).execute(&mut without).await.unwrap();
    assert_eq!(visible(&mut without, "pins").await, 0);
}

#[tokio::test]
async fn no_statement_of_one_org_reaches_a_row_of_another() {
    let database = Database::new().await;
    let admin = database.pool("postgres");
    let [(a, own), (b, theirs)] = two_orgs(&database).await;
    let before: String = snapshot(&admin).await;
    let statements = [
        format!("select 1 from pins where id = '{theirs}'"),
        format!("select 1 from pins where org_id = '{b}'"),
        format!("select 1 from pins p join pins q on q.id = '{theirs}'"),
        format!("select 1 where exists (select from pins where id = '{theirs}')"),
        format!("delete from pins where id = '{theirs}' returning 1"),
        format!("delete from pins using pins as q where q.id = '{theirs}' returning 1"),
        format!("select 1 from orgs where id = '{b}'"),
        "select 1 from orgs where name = 'b'".to_owned(),
        format!("select 1 from tokens where org_id = '{b}'"),
        format!("select 1 from pin_counts where org_id = '{b}'"),
        format!("select 1 from pin_progress(array['{theirs}'::uuid])"),
        "select 1 from (table pins) p where org_id <> current_org()".to_owned(),
    ];
    for statement in statements {
        let mut tenant = tenant(&database, &a.to_string()).await;
        let rows = sqlx::query(sqlx::AssertSqlSafe(statement.as_str())).fetch_all(&mut tenant).await.unwrap();
        assert!(rows.is_empty(), "{statement}");
        sqlx::query("commit").execute(&mut tenant).await.unwrap();
    }
    let mut copying = tenant(&database, &a.to_string()).await;
    let mut copy = copying.copy_out_raw("copy (table pins) to stdout").await.unwrap();
    let mut copied = Vec::new();
    while let Some(part) = copy.next().await {
        copied.extend_from_slice(&part.unwrap());
    }
    let copied = String::from_utf8(copied).unwrap();
    assert!(copied.contains(&own.to_string()) && !copied.contains(&theirs.to_string()), "{copied}");
    drop(copy);

    let refused = [
        format!(
            "insert into pins (org_id, id, created, cid, content, copies_min, copies_max) values ('{b}', gen_random_uuid(), now(), 'x', 'x', 1, 1)"
        ),
        format!(
            "insert into pins select '{b}', gen_random_uuid(), status, created, cid, content, name, name_folded, origins, meta, 1, 1 from pins"
        ),
        format!("update pins set org_id = '{b}' where id = '{own}'"),
        format!("update pins set name = 'x' where id = '{theirs}'"),
        format!("select * from pins where id = '{theirs}' for update"),
        "truncate pins".to_owned(),
        format!(
            "insert into tokens (org_id, id, scopes, kid, expires) values ('{a}', gen_random_uuid(), '{{x}}', 'x', now())"
        ),
        "update orgs set name = 'c'".to_owned(),
        "update pin_counts set pins = 0".to_owned(),
        "select * from contents".to_owned(),
        "select * from placements".to_owned(),
        "delete from placements".to_owned(),
        "select place(content, 1, '{}') from (values ('\\x00'::bytea)) v (content)".to_owned(),
        format!("select claim('{}', 1, '1 s')", Uuid::from_u128(7)),
        "select settle('{x}')".to_owned(),
        "set row_security = off; select * from pins".to_owned(),
        "set role anchorage_owner".to_owned(),
        "set session authorization anchorage_owner".to_owned(),
        "alter table pins disable row level security".to_owned(),
        "create table public.mine ()".to_owned(),
        "create function public.f() returns int language sql as 'select 1'".to_owned(),
    ];
    for statement in refused {
        let mut tenant = tenant(&database, &a.to_string()).await;
        let refusal = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.as_str())).execute(&mut tenant).await;
        let code = refusal
            .err()
            .and_then(|error| error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "not refused for want of a right: {statement}");
    }
    assert_eq!(snapshot(&admin).await, before, "nothing changed");
}

/// Every tenant's rows as one text.
async fn snapshot(admin: &PgPool) -> String {
    let query = "select concat((select string_agg(p::text, ';' order by id) from pins p), (select string_agg(o::text, ';' order by id) from orgs o),
        (select string_agg(c::text, ';' order by c::text) from pin_counts c), (select string_agg(t::text, ';' order by id) from tokens t),
        (select string_agg(l::text, ';' order by job) from placements l))";
    sqlx::query_scalar(query).fetch_one(admin).await.unwrap()
}

#[tokio::test]
async fn an_id_that_another_org_uses_is_refused_as_any_doubled_id_and_nothing_more_is_learnt() {
    let database = Database::new().await;
    let [(a, own), (_, theirs)] = two_orgs(&database).await;
    let mut codes = Vec::new();
    for id in [own, theirs] {
        let mut tenant = tenant(&database, &a.to_string()).await;
        let error = insert(a, id, b"k").execute(&mut tenant).await.unwrap_err();
        codes.push(error.as_database_error().and_then(|error| error.constraint()).map(ToOwned::to_owned));
    }
    assert_eq!(codes[0], codes[1]);
}

#[tokio::test]
async fn the_other_roles_see_what_their_work_needs_and_no_more() {
    let database = Database::new().await;
    two_orgs(&database).await;
    for (role, sees) in
        [("anchorage_worker", &CLOSED_TABLES[..]), ("anchorage_metrics", &["placements", "pin_counts"][..])]
    {
        let pool = database.pool(role);
        for table in TENANT_TABLES.iter().chain(&CLOSED_TABLES).chain(&["signing_keys"]) {
            let query = format!("select count(*) from {table}");
            let rows = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(query)).fetch_one(&pool).await;
            if sees.contains(table) {
                assert!(rows.unwrap() > 0, "{role} on {table}");
            } else {
                let error = rows.unwrap_err();
                assert_eq!(
                    error.as_database_error().and_then(|e| e.code()).as_deref(),
                    Some("42501"),
                    "{role} on {table}"
                );
            }
            let change = format!("delete from {table}");
            assert!(
                sqlx::query(sqlx::AssertSqlSafe(change)).execute(&pool).await.is_err(),
                "{role} may delete from {table}"
            );
        }
    }
}

#[tokio::test]
async fn sql_and_rust_put_every_content_into_the_same_partition() {
    let database = Database::new().await;
    let admin = database.pool("postgres");
    let keys: Vec<_> = (0..1000).map(|_| SubmittedCid::parse(&cids::fresh()).unwrap().key().clone()).collect();
    let bytes: Vec<_> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    sqlx::query("insert into contents (key, refs) select key, 1 from unnest($1::bytea[]) key")
        .bind(bytes)
        .execute(&admin)
        .await
        .unwrap();
    for key in keys {
        let partition: i32 = sqlx::query_scalar("select partition from contents where key = $1")
            .bind(key.as_bytes())
            .fetch_one(&admin)
            .await
            .unwrap();
        assert_eq!(partition, i32::from(key.partition()), "{key}");
    }
}
