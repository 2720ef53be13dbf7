//! Connection pools under torture: many tasks of many orgs on few connections, each dropped at any of its awaits, and
//! every row that comes back is of the org that asked (HAZARDS 1).
//!
//! `TORTURE=n` sets how many transactions are run; the default is a slice.

use crate::stage::{
    database::Database,
    wait::{SOON, until},
};
use anchorage::db;
use futures::future::join_all;
use pinner_core::{
    filter::Filter,
    id::{OrgId, PinId},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
};
use uuid::Uuid;

const ORGS: u128 = 50;
const TASKS: u64 = 64;

/// Polls a future so often and then drops it, wherever it is.
async fn cut_after<T>(polls: u32, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut left = polls;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// What an org sees in its list, by a statement that sets the org itself. Each pin has the id of its org.
async fn page(service: &db::Database, org: Uuid) -> sqlx::Result<Vec<Uuid>> {
    let every_status = Filter::parse([("status", "queued,pinning,pinned,failed")]).unwrap();
    let org = OrgId::from_uuid(org);
    match db::pins::list(service, org, &every_status).await {
        Ok(page) => {
            assert_eq!(page.count, page.rows.len() as i64, "the count is another org's");
            let one = db::pins::read(service, org, PinId::from_uuid(org.uuid())).await?;
            Ok(page.rows.into_iter().chain(one).map(|(pin, _)| pin.id).collect())
        }
        Err(db::pins::ListError::Database(error)) => Err(error),
        Err(db::pins::ListError::TooBroad) => panic!("a list of one pin is not broad"),
    }
}

/// What an org asks: its list, its own row, its tokens, or whether it may write into its own name; gives the orgs of what it saw.
async fn ask(service: &db::Database, org: Uuid, what: u32) -> sqlx::Result<Vec<Uuid>> {
    if what.is_multiple_of(3) {
        return page(service, org).await;
    }
    let mut tx = service.tenant(OrgId::from_uuid(org)).await?;
    let query = match what % 2 {
        0 => "select id from orgs",
        _ => "select org_id from tokens",
    };
    let mut seen: Vec<Uuid> = sqlx::query_scalar(query).fetch_all(&mut *tx).await?;
    if what.is_multiple_of(5) {
        tokio::task::yield_now().await;
        seen.extend(sqlx::query_scalar::<_, Option<Uuid>>("select current_org()").fetch_one(&mut *tx).await?);
    }
    match what % 4 {
        0 => drop(tx),
        _ => tx.commit().await?,
    }
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_give_each_org_its_own_rows_whoever_is_cut_off() {
    let database = Database::new().await;
    let admin = database.pool("postgres");
    for n in 1..=ORGS {
        sqlx::query(
            "with made as (insert into orgs (id, name) values ($1, $2))
             insert into tokens (org_id, id, scopes, kid, expires) select $1, $1, '{x}', kid, now() from signing_keys",
        )
        .bind(Uuid::from_u128(n))
        .bind(format!("org-{n}"))
        .execute(&admin)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
        sqlx::query(
            "insert into pins (org_id, id, created, cid, content, name, copies_min, copies_max)
             values ($1, $1, now(), 'x', 'x', $2, 1, 1)",
        )
        .bind(Uuid::from_u128(n))
        .bind(format!("org-{n}"))
        .execute(&admin)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    }
    let service = database.service(5);
    let times: u64 = std::env::var("TORTURE").map_or(4_000, |times| times.parse().expect("TORTURE is a number"));
    let seed: u64 =
        std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("SEED is a number"));
    println!("SEED={seed} TORTURE={times}");
    let (whole, rows) = (AtomicU64::new(0), AtomicU64::new(0));
    join_all((0..TASKS).map(|task| {
        let (service, whole, rows) = (&service, &whole, &rows);
        async move {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(task));
            for _ in 0..times.div_ceil(TASKS) {
                let org = Uuid::from_u128(random.random_range(1..=ORGS));
                let polls = if random.random_bool(0.5) { u32::MAX } else { random.random_range(1..12) };
                if let Some(seen) = cut_after(polls, ask(service, org, random.random())).await {
                    let seen = seen.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                    assert!(!seen.is_empty(), "seed {seed}: org {org} does not see itself");
                    assert!(seen.iter().all(|of| *of == org), "seed {seed}: org {org} sees {seen:?}");
                    whole.fetch_add(1, Ordering::Relaxed);
                    rows.fetch_add(seen.len() as u64, Ordering::Relaxed);
                }
            }
        }
    }))
    .await;
    let whole = whole.into_inner();
    println!("{whole} of {times} went through, {} rows, each of the org that asked", rows.into_inner());
    assert!(whole > times / 3 && whole < times * 9 / 10, "too few or too many were cut off: this proves nothing");
    until("no connection is left inside a transaction", SOON, async || {
        let open: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and usename = 'anchorage_api' and state like 'idle in transaction%'",
        )
        .fetch_one(&admin)
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
    // And nobody inherits anything from whoever was cut off.
    let mut tx = service.platform().await.unwrap();
    let left: Option<Uuid> = sqlx::query_scalar("select current_org()").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(left, None);
}
