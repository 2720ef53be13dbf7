//! What orgs cannot do in the database beyond what the belt tries on every table, and what the other roles see.

use crate::{
    belt::seed::Seeded,
    stage::{cids, database::Database},
};
use pinner_core::content::SubmittedCid;
use uuid::Uuid;

const TENANT_TABLES: [&str; 7] = ["orgs", "tokens", "members", "pins", "pin_counts", "count_changes", "org_usage"];
const CLOSED_TABLES: [&str; 2] = ["contents", "placements"];

#[tokio::test]
async fn an_org_has_no_power_over_roles_tables_or_functions() {
    let seeded = Seeded::new().await;
    let refused = [
        "truncate pins".to_owned(),
        format!("select claim('{}', 1, 1, 1, 1, 1, '1 s', 0)", Uuid::from_u128(7)),
        "select settle('{x}')".to_owned(),
        "set row_security = off; select * from pins".to_owned(),
        "set role anchorage_owner".to_owned(),
        "set session authorization anchorage_owner".to_owned(),
        "alter table pins disable row level security".to_owned(),
        "create table public.mine ()".to_owned(),
        "create function public.f() returns int language sql as 'select 1'".to_owned(),
    ];
    for statement in refused {
        let mut tenant = seeded.tenant(&seeded.a.to_string()).await;
        let refusal = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.as_str())).execute(&mut tenant).await;
        let code = refusal
            .err()
            .and_then(|error| error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned()));
        assert_eq!(code.as_deref(), Some("42501"), "not refused for want of a right: {statement}");
    }
}

#[tokio::test]
async fn an_id_that_another_org_uses_is_refused_as_any_doubled_id_and_nothing_more_is_learnt() {
    let seeded = Seeded::new().await;
    let mut superuser = seeded.superuser().await;
    let mut codes = Vec::new();
    for org in [seeded.a, seeded.b] {
        let taken: Uuid = sqlx::query_scalar("select id from pins where org_id = $1 limit 1")
            .bind(org)
            .fetch_one(&mut superuser)
            .await
            .unwrap();
        let mut tenant = seeded.tenant(&seeded.a.to_string()).await;
        let insert = "insert into pins (org_id, id, created, cid, content, copies_min, copies_max) values ($1, $2, now(), 'x', 'k', 1, 1)";
        let error = sqlx::query(insert).bind(seeded.a).bind(taken).execute(&mut tenant).await.unwrap_err();
        codes.push(error.as_database_error().and_then(|error| error.constraint()).map(ToOwned::to_owned));
    }
    assert_eq!(codes[0], codes[1]);
}

#[tokio::test]
async fn the_other_roles_see_what_their_work_needs_and_no_more() {
    let seeded = Seeded::new().await;
    for (role, sees) in
        [("anchorage_worker", &CLOSED_TABLES[..]), ("anchorage_metrics", &["placements", "pin_counts"][..])]
    {
        let pool = seeded.database.pool(role);
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
