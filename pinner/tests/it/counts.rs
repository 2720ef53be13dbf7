//! Counts, pages, usage and limits against what `count(*)` and plain sums say, over random histories with several
//! writers at a time and folding in between.

use crate::stage::{database::Database, truth};
use anchorage::db::{self, batch, pins, usage};
use futures::future::join_all;
use pinner_core::{
    content::SubmittedCid,
    filter::Filter,
    id::{OrgId, PinId},
    options::Copies,
    pin::{NewPin, RawPin, Status},
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use sqlx::Connection;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

const STATUSES: [&str; 4] = ["queued", "pinning", "pinned", "failed"];
const NAMES: [Option<&str>; 4] = [None, Some("Straße"), Some("STRASSE"), Some("other")];

fn cid(n: u8) -> String {
    // Identity hashes are short and legal: f, version 1, raw, identity, one byte.
    format!("f01550001{n:02x}")
}

fn new_row(org: OrgId, content: u8, name: Option<&str>) -> batch::NewRow {
    let raw = RawPin { cid: cid(content), name: name.map(Into::into), origins: None, meta: None };
    batch::NewRow {
        org,
        id: PinId::from_uuid(Uuid::now_v7()),
        pin: NewPin::parse(raw).unwrap(),
        copies: Copies { min: 1, max: 1 },
        expires: None,
        choice: batch::Choice::default(),
    }
}

/// A writer's history: batches of several orgs, deletes, changes of status, of size and of refusal, and folds.
async fn history(database: &Database, orgs: &[OrgId], seed: u64, steps: usize) {
    let mut random = StdRng::seed_from_u64(seed);
    let (service, admin) = (database.service(8), database.pool("postgres"));
    let mut lane = service.lane().await.unwrap();
    for _ in 0..steps {
        match random.random_range(0..10) {
            0..4 => {
                let rows: Vec<_> = (0..random.random_range(1..12))
                    .map(|_| {
                        let name = NAMES.choose(&mut random).copied().unwrap();
                        new_row(*orgs.choose(&mut random).unwrap(), random.random_range(0..9), name)
                    })
                    .collect();
                let written = batch::write(&mut lane, &rows.iter().collect::<Vec<_>>()).await.unwrap();
                assert_eq!(written.verdicts.len(), rows.len());
            }
            4..6 => {
                let org = *orgs.choose(&mut random).unwrap();
                let any = "select id from pins where org_id = $1 order by random() limit 1";
                let any: Option<Uuid> = sqlx::query_scalar(any).bind(org.uuid()).fetch_optional(&admin).await.unwrap();
                let Some(id) = any else { continue };
                let mut tx = service.tenant(org).await.unwrap();
                batch::delete(&mut tx, org, PinId::from_uuid(id)).await.unwrap();
                tx.commit().await.unwrap();
            }
            6..8 => {
                // As the worker does: the content is locked, then its pins change and its bytes grow.
                let key = SubmittedCid::parse(&cid(random.random_range(0..9))).unwrap().key().as_bytes().to_vec();
                let mut tx = admin.begin().await.unwrap();
                sqlx::query("select 1 from contents where key = $1 for no key update")
                    .bind(&key)
                    .execute(&mut *tx)
                    .await
                    .unwrap();
                sqlx::query("update pins set status = $2::pin_status where content = $1")
                    .bind(&key)
                    .bind(STATUSES.choose(&mut random).unwrap())
                    .execute(&mut *tx)
                    .await
                    .unwrap();
                sqlx::query("select note_bytes(array[$1], array[$2::bigint])")
                    .bind(&key)
                    .bind(random.random_range(0..1_000_i64))
                    .execute(&mut *tx)
                    .await
                    .unwrap();
                tx.commit().await.unwrap();
            }
            8 => {
                let org = orgs.choose(&mut random).unwrap().uuid();
                let key = SubmittedCid::parse(&cid(random.random_range(0..9))).unwrap().key().as_bytes().to_vec();
                let mut tx = admin.begin().await.unwrap();
                for statement in [
                    "select 1 from contents where key = $1 and $2::uuid is not null for no key update",
                    "update pins set refused = 'over the limit', status = 'failed' where content = $1 and org_id = $2",
                ] {
                    sqlx::query(statement).bind(&key).bind(org).execute(&mut *tx).await.unwrap();
                }
                tx.commit().await.unwrap();
            }
            _ => {
                let mut tx = service.worker().await.unwrap();
                db::counts::fold(&mut tx, random.random_range(1..40)).await.unwrap();
                tx.commit().await.unwrap();
            }
        }
    }
    lane.close().await.unwrap();
}

/// A random query with what plain SQL says to it.
fn query(random: &mut StdRng, times: &[OffsetDateTime]) -> (Vec<(&'static str, String)>, String) {
    let (mut pairs, mut sql) = (vec![("limit", "1000".to_owned())], String::from("org_id = $1"));
    let chosen: Vec<_> = STATUSES.into_iter().filter(|_| random.random_bool(0.5)).collect();
    let chosen = if chosen.is_empty() { STATUSES.to_vec() } else { chosen };
    pairs.push(("status", chosen.join(",")));
    sql += &format!(" and status in ('{}')", chosen.join("','"));
    for (bound, sign) in [("before", "<"), ("after", ">")] {
        if random.random_bool(0.5) {
            let near =
                *times.choose(random).unwrap() + Duration::nanoseconds(random.random_range(-2_000_000..2_000_000));
            // What Postgres keeps of a time.
            let near = near.replace_nanosecond(near.nanosecond() / 1_000 * 1_000).unwrap();
            let text = near.format(&Rfc3339).unwrap();
            sql += &format!(" and created {sign} '{text}'");
            pairs.push((bound, text));
        }
    }
    match random.random_range(0..6) {
        0 => {
            pairs.push(("cid", cid(3)));
            sql += " and content = '\\x0155000103'";
        }
        1 => {
            pairs.push(("name", "Straße".into()));
            sql += " and name = 'Straße'";
        }
        2 => {
            pairs.extend([("name", "straße".into()), ("match", "iexact".into())]);
            sql += " and name in ('Straße', 'STRASSE')";
        }
        3 => {
            pairs.extend([("name", "the".into()), ("match", "partial".into())]);
            sql += " and name = 'other'";
        }
        _ => {}
    }
    (pairs, sql)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_pages_and_usage_are_exact_whatever_is_written_and_folded_meanwhile() {
    let database = Database::new().await;
    let admin = database.pool("postgres");
    let seed: u64 =
        std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("SEED is a number"));
    println!("SEED={seed}");
    let orgs = [database.org(1).await, database.org(2).await, database.org(3).await];
    let service = database.service(8);
    for round in 0..6 {
        // Some pins of long ago, so that every level of buckets is cut somewhere.
        for (n, org) in orgs.iter().enumerate() {
            sqlx::query(
                "insert into pins (org_id, id, created, cid, content, copies_min, copies_max)
                 select $1, gen_random_uuid(), now() - g * $2 * interval '7 hours', 'x', '\\x0155000103', 1, 1
                 from generate_series(1, 40) g",
            )
            .bind(org.uuid())
            .bind((round * 3 + n + 1) as i32)
            .execute(&admin)
            .await
            .unwrap();
        }
        join_all((0..3).map(|writer| history(&database, &orgs, seed.wrapping_add(round as u64 * 10 + writer), 25)))
            .await;
        truth::check(&admin).await;
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(round as u64 * 10 + 7));
        for org in &orgs {
            let times: Vec<OffsetDateTime> = sqlx::query_scalar("select created from pins where org_id = $1")
                .bind(org.uuid())
                .fetch_all(&admin)
                .await
                .unwrap();
            for _ in 0..25 {
                let (pairs, sql) = query(&mut random, &times);
                let filter = Filter::parse(pairs.iter().map(|(key, value)| (*key, value.as_str()))).unwrap();
                let ids: Vec<Uuid> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                    "select id from pins where {sql} order by created desc"
                )))
                .bind(org.uuid())
                .fetch_all(&admin)
                .await
                .unwrap();
                let page = pins::list(&service, *org, &filter).await.unwrap();
                assert_eq!(page.count, ids.len() as i64, "SEED={seed} {pairs:?}");
                let listed: Vec<Uuid> = page.rows.iter().map(|(row, _)| row.id).collect();
                assert_eq!(listed, ids[..ids.len().min(1_000)], "SEED={seed} {pairs:?}");
            }
            let usage = usage::of(&service, *org).await.unwrap();
            let pins: i64 = sqlx::query_scalar("select count(*) from pins where org_id = $1")
                .bind(org.uuid())
                .fetch_one(&admin)
                .await
                .unwrap();
            assert_eq!(usage.pins.values().sum::<i64>(), pins);
            assert_eq!(usage.pins.len(), Status::ALL.len());
        }
    }
}

#[tokio::test]
async fn a_batch_refuses_what_is_over_its_orgs_limit_and_nothing_else() {
    let database = Database::new().await;
    let admin = database.pool("postgres");
    let (full, free) = (database.org(1).await, database.org(2).await);
    let service = database.service(8);
    let mut lane = service.lane().await.unwrap();
    sqlx::query("update orgs set max_pins = 2, max_bytes = 100 where id = $1")
        .bind(full.uuid())
        .execute(&admin)
        .await
        .unwrap();
    let gone = OrgId::from_uuid(Uuid::from_u128(99));
    let rows = [(full, 1), (free, 1), (gone, 1), (full, 2), (full, 3), (free, 3)].map(|(org, n)| new_row(org, n, None));
    let verdicts = batch::write(&mut lane, &rows.each_ref()).await.unwrap().verdicts;
    let told: Vec<_> = verdicts
        .iter()
        .map(|verdict| match verdict {
            batch::Verdict::Accepted { .. } => "accepted".to_owned(),
            batch::Verdict::OverLimit { limit, most, used } => format!("{used} of {most} {limit}"),
            batch::Verdict::NoSuchOrg => "no such org".to_owned(),
        })
        .collect();
    assert_eq!(told, ["accepted", "accepted", "no such org", "accepted", "2 of 2 pins", "accepted"]);

    // Replacing is no addition.
    let mut tx = service.tenant(full).await.unwrap();
    let replaced = batch::replace(&mut tx, rows[0].id, &new_row(full, 1, Some("renamed"))).await.unwrap();
    assert!(matches!(replaced.verdicts[..], [batch::Verdict::Accepted { .. }]), "{replaced:?}");
    tx.commit().await.unwrap();

    sqlx::query("update orgs set max_pins = null where id = $1").bind(full.uuid()).execute(&admin).await.unwrap();
    for (n, bytes) in [(1, 60), (3, 41)] {
        let key = SubmittedCid::parse(&cid(n)).unwrap().key().as_bytes().to_vec();
        sqlx::query("select note_bytes(array[$1], array[$2::bigint])")
            .bind(key)
            .bind(bytes)
            .execute(&admin)
            .await
            .unwrap();
    }
    // What it holds already costs nothing; what is known to be too large is refused, what nobody knows is not.
    let rows = [1, 3, 4].map(|n| new_row(full, n, None));
    let verdicts = batch::write(&mut lane, &rows.each_ref()).await.unwrap().verdicts;
    assert!(
        matches!(
            verdicts[..],
            [
                batch::Verdict::Accepted { .. },
                batch::Verdict::OverLimit { most: 100, used: 60, .. },
                batch::Verdict::Accepted { .. }
            ]
        ),
        "{verdicts:?}"
    );
    // What a replaced pin holds makes room once no other one holds it.
    let key = SubmittedCid::parse(&cid(1)).unwrap().key().as_bytes().to_vec();
    sqlx::query("select note_bytes(array[$1], array[100::bigint])").bind(key).execute(&admin).await.unwrap();
    let held = "select id from pins where org_id = $1 and cid = $2";
    let held: Vec<Uuid> = sqlx::query_scalar(held).bind(full.uuid()).bind(cid(1)).fetch_all(&admin).await.unwrap();
    let [one, other] = held[..] else { panic!("{held:?}") };
    let mut tx = service.tenant(full).await.unwrap();
    let replaced = batch::replace(&mut tx, PinId::from_uuid(one), &new_row(full, 3, None)).await.unwrap();
    assert!(matches!(replaced.verdicts[..], [batch::Verdict::OverLimit { .. }]), "{replaced:?}");
    assert!(batch::delete(&mut tx, full, PinId::from_uuid(one)).await.unwrap().is_some(), "it is still there");
    let replaced = batch::replace(&mut tx, PinId::from_uuid(other), &new_row(full, 3, None)).await.unwrap();
    assert!(matches!(replaced.verdicts[..], [batch::Verdict::Accepted { .. }]), "{replaced:?}");
    tx.commit().await.unwrap();
    truth::check(&admin).await;
}
