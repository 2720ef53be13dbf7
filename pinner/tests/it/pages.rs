//! What a page of a list costs: which index each kind of page walks and how far, and how long a search may go on.

use crate::stage::{
    cids,
    client::{ALL, is},
    database::Database,
    fake_kubo::FakeKubo,
    pinner::Setup,
    truth,
    wait::{SOON, until},
};
use anchorage::db::pins;
use pinner_core::filter::Filter;
use serde_json::json;
use sqlx::PgPool;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// Pins of the org that is asked, and of others; three have a name in common, four a content.
const PINS: &str = "
    insert into pins (org_id, id, status, created, cid, content, name, name_folded, meta, copies_min, copies_max)
    select
        lpad(case when i % 5 = 0 then '2' else '1' end, 32, '0')::uuid,
        gen_random_uuid(),
        (case when i % 100 < 90 then 'pinned' when i % 100 < 94 then 'queued' when i % 100 < 97 then 'pinning' else 'failed'
        end)::pin_status,
        '2026-01-01T00:00:00Z'::timestamptz + i * interval '100 ms',
        'x',
        '\\x01550008'::bytea || int8send(i / 5 % 5000),
        'name-' || i / 3,
        'name-' || i / 3,
        case when i % 3 = 0 then '{\"app\": \"test\"}'::jsonb end,
        1,
        1
    from generate_series(1, 25000) i";
/// The most entries of indexes that a page of ten may read, with its count, the pins of eight seconds included. The org has
/// 20,000 pins.
const READ_MAX: i64 = 150;

/// Entries read of each index of the pins that was used, and rows by walking through the table.
async fn read_so_far(admin: &PgPool) -> BTreeMap<String, i64> {
    let read = "select indexrelname::text, idx_tup_read + idx_scan from pg_stat_user_indexes where relname = 'pins'
                union all
                select 'the whole table', coalesce(seq_tup_read + seq_scan, 0) from pg_stat_user_tables where relname = 'pins'";
    let rows: Vec<(String, i64)> = sqlx::query_as(read).fetch_all(admin).await.unwrap();
    rows.into_iter().collect()
}

/// What listing by this query reads, and how many pins it counts.
async fn reads(database: &Database, admin: &PgPool, query: &[(&str, &str)]) -> (BTreeMap<String, i64>, i64) {
    let (service, org) = (database.service(8), pinner_core::id::OrgId::from_uuid(uuid::Uuid::from_u128(1)));
    let before = read_so_far(admin).await;
    let page = pins::list(&service, org, &Filter::parse(query.iter().copied()).unwrap()).await.unwrap();
    // A session tells what it read when it ends.
    service.close().await;
    until("the sessions have ended", SOON, async || {
        let sessions =
            "select count(*) from pg_stat_activity where datname = current_database() and usename = 'anchorage_api'";
        let sessions: i64 = sqlx::query_scalar(sessions).fetch_one(admin).await.unwrap();
        (sessions == 0).then_some(())
    })
    .await;
    let mut read = read_so_far(admin).await;
    read.iter_mut().for_each(|(index, read)| *read -= before[index]);
    read.retain(|_, read| *read > 0);
    (read, page.count)
}

#[tokio::test]
async fn every_kind_of_page_walks_its_own_index_and_no_further_than_its_end() {
    let database = Database::new().await;
    let admin = database.pool("postgres");
    for n in [1, 2] {
        database.org(n).await;
    }
    for statement in [PINS, "analyze pins", "analyze count_changes"] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&admin).await.unwrap();
    }
    let middle = "2026-01-01T00:20:00Z";
    let (all, waiting) = (("status", ALL), ("status", "queued,pinning,failed"));
    let cid = "f0155000800000000000004d2";
    for (query, indexes, count) in [
        (&[("status", "pinned")][..], &["pins_pinned"][..], 18_000),
        (&[("status", "queued")], &["pins_queued"], 750),
        (&[("status", "pinning")], &["pins_pinning"], 500),
        (&[("status", "failed")], &["pins_failed"], 750),
        (&[("status", "failed"), ("before", middle)], &["pins_failed", "pins_org_id_created_key"], 360),
        (&[waiting], &["pins_queued", "pins_pinning", "pins_failed"], 2_000),
        (&[all], &["pins_org_id_created_key"], 20_000),
        (&[all, ("before", middle)], &["pins_org_id_created_key"], 9_600),
        (&[("cid", cid), all], &["pins_by_content"], 4),
        (&[("cid", cid), ("status", "pinned")], &["pins_by_content"], 4),
        (&[("name", "name-2000")], &["pins_by_name"], 2),
        (&[("name", "NAME-2000"), ("match", "iexact")], &["pins_by_name"], 2),
        (&[("name", "name-2000"), ("status", "pinned")], &["pins_by_name"], 2),
    ] {
        let (read, counted) = reads(&database, &admin, query).await;
        println!("{query:?}: {counted} of {read:?}");
        assert_eq!(counted, count, "{query:?}");
        // Progress is asked for by id.
        let used: BTreeSet<_> = read.keys().map(String::as_str).filter(|index| *index != "pins_pkey").collect();
        assert_eq!(used, indexes.iter().copied().collect(), "{query:?} reads {read:?}");
        assert!(read.values().sum::<i64>() < READ_MAX, "{query:?} reads {read:?}");
    }
}

/// Each pin that a search goes through takes so long, as if there were a hundred thousand of them.
const SLOWNESS: &str = "create policy slowly on pins as restrictive for select to anchorage_api
    using (pg_sleep(0.4) is not null)";

#[tokio::test]
async fn a_search_through_too_many_pins_is_given_up_after_five_seconds_and_nothing_else_is() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    // One connection, so that what a search leaves behind would show.
    let pinner = Setup::new(&database, &kubo.url).with("ANCHORAGE_DATABASE_POOL_SIZE", 1).start().await;
    let (org, admin) = (pinner.org("acme").await, database.pool("postgres"));
    let mut last = json!(null);
    for n in 0..16 {
        let pin = json!({"cid": cids::fresh(), "name": format!("name {n}"), "meta": {"app": "test"}});
        last = org.post("/pins", &pin).await.expect(202);
    }
    truth::wait_for_rest(&admin, SOON).await;
    sqlx::raw_sql(SLOWNESS).execute(&admin).await.unwrap();
    for search in ["name=other&match=partial", "name=OTHER&match=ipartial", "meta=%7B%22app%22%3A%22other%22%7D"] {
        let began = Instant::now();
        let answer = org.get(&format!("/pins?{search}&status={ALL}")).await;
        is(&answer, 400, "FILTER_TOO_BROAD", "narrow it with before and after", search);
        assert!(began.elapsed() > Duration::from_millis(4_900), "after {:?}", began.elapsed());
    }
    // Narrowed as the error says.
    let after = last["created"].as_str().unwrap();
    let narrowed = org.get(&format!("/pins?name=nam&match=partial&status={ALL}&after={after}")).await;
    assert_eq!(narrowed.expect(200)["count"], 0);
    // As slow, and no search.
    let began = Instant::now();
    let page = org.get(&format!("/pins?status={ALL}&limit=16")).await.expect(200);
    assert_eq!(page["results"].as_array().map(Vec::len), Some(16));
    assert!(began.elapsed() > Duration::from_secs(5), "after {:?}: this proves nothing", began.elapsed());
    truth::wait_for_no_open_transaction(&admin).await;
}
