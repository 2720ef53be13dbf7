//! What was tried before and is tried again: it goes round by org, and what that costs.

use crate::stage::{
    cids,
    database::Database,
    fake_kubo::{Addition, FakeKubo},
    pinner::Setup,
    wait::{SOON, until},
};
use anchorage::db::placements;
use futures::{StreamExt, stream};
use pinner_core::{id::NodeId, lane::Room};
use sqlx::PgPool;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// 300 contents that nobody has keep two slots busy for more than ten minutes.
#[tokio::test]
async fn retries_of_one_org_do_not_wait_for_those_that_another_one_has_by_the_hundred() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let setup = Setup::new(&database, &kubo.url)
        .with("ANCHORAGE_WORKER_SLOTS", 4)
        .with("ANCHORAGE_WORKER_SLOW_SLOTS", 4)
        .with("ANCHORAGE_WORKER_RETRY_SLOTS", 2)
        .with("ANCHORAGE_WORKER_PATIENCE_SECONDS", 1)
        .with("ANCHORAGE_WORKER_STALL_SECONDS", 5);
    let pinner = setup.start().await;
    let (org, other) = (pinner.org("acme").await, pinner.org("another").await);
    let admin = database.pool("postgres");
    let dead: BTreeSet<_> = (0..300).map(|_| cids::fresh()).collect();
    let nowhere = dead.clone();
    kubo.plan(move |cid, before| match before {
        0 => Addition::Silence,
        _ if nowhere.contains(cid) => Addition::Silence,
        _ => Addition::After(Duration::ZERO),
    });
    stream::iter(&dead).map(|cid| org.pin(cid)).buffer_unordered(16).collect::<Vec<_>>().await;
    until("many wait for a second attempt", SOON, async || {
        let waiting = "select count(*) from placements where status = 'queued' and attempts > 0";
        (sqlx::query_scalar::<_, i64>(waiting).fetch_one(&admin).await.unwrap() >= 30).then_some(())
    })
    .await;
    for _ in 0..2 {
        let began = Instant::now();
        let pin = other.pin(&cids::fresh()).await;
        until("it is pinned", SOON, async || (other.status(&pin).await == "pinned").then_some(())).await;
        println!("pinned after {:?}", began.elapsed());
    }
    let waiting = "select count(*) from placements where status <> 'pinned'";
    assert_eq!(sqlx::query_scalar::<_, i64>(waiting).fetch_one(&admin).await.unwrap(), 300);
    kubo.check();
}

/// Retries by share, each with how many are due and how many are not yet. The first one is the leader's.
const WAITING: [(i32, i32, i32); 4] = [(0, 1, 1), (5, 20_000, 100), (7, 1, 0), (9, 0, 20_000)];
/// The most entries of indexes that a claim of some may read, of the placements.
const READ_MAX: i64 = 200;

async fn read_so_far(admin: &PgPool) -> i64 {
    let read = "select sum(idx_tup_read + idx_scan)::bigint from pg_stat_user_indexes where relname = 'placements'";
    sqlx::query_scalar(read).fetch_one(admin).await.unwrap()
}

#[tokio::test]
async fn a_claim_serves_each_share_in_turn_and_reads_little_of_what_waits() {
    let database = Database::new().await;
    let admin = database.pool("postgres");
    let node = NodeId::from_uuid(uuid::Uuid::from_u128(1));
    sqlx::query("insert into nodes (id, name) values ($1, 'node-0')").bind(node.uuid()).execute(&admin).await.unwrap();
    // One connection, whose plans are from when there was nothing.
    let service = database.service(1);
    let room = |retries| Room { oldest: 1, retries, unpins: 1, ..Room::default() };
    let claim = async |retries, share| {
        let lease = Duration::from_secs(60);
        placements::claim(&service, node, room(retries), lease, share).await.unwrap()
    };
    assert!(claim(4, 0).await.is_empty());
    for (share, due, not_due) in WAITING {
        let waiting = "
            with made as (
                insert into contents (key, refs)
                select '\\x01550008'::bytea || int4send($2) || int4send(i), 0 from generate_series(1, $3 + $4) i
                returning key
            )
            insert into placements (content, node_id, attempts, share, moved, next_attempt)
            select made.key, $1, 1, $2, $2 = 0, now()
                + make_interval(secs => n - $3 + case when n > $3 then 1000 else -1 end)
            from (select key, row_number() over (order by key) as n from made) made";
        let waiting = sqlx::query(waiting).bind(node.uuid()).bind(share).bind(due).bind(not_due);
        waiting.execute(&admin).await.unwrap();
    }
    let before = read_so_far(&admin).await;
    let first = claim(4, -1).await;
    let second = claim(2, first[0].share.unwrap()).await;
    service.close().await;
    // A session tells what it read when it ends.
    until("the session has ended", SOON, async || {
        let sessions =
            "select count(*) from pg_stat_activity where datname = current_database() and usename = 'anchorage_worker'";
        (sqlx::query_scalar::<_, i64>(sessions).fetch_one(&admin).await.unwrap() == 0).then_some(())
    })
    .await;
    let read = read_so_far(&admin).await - before;
    println!("{read} read");
    assert!((1..READ_MAX).contains(&read), "{read} read");

    let shares = async |jobs: &[placements::Job]| {
        let jobs: Vec<_> = jobs.iter().map(|job| job.ticket.job).collect();
        let shares = "select share from placements where job = any ($1) order by share";
        sqlx::query_scalar::<_, i32>(shares).bind(jobs).fetch_all(&admin).await.unwrap()
    };
    assert_eq!(shares(&first).await, [0, 5, 5, 7], "one of each, and one more where there are more");
    assert_eq!(shares(&second).await, [5, 5], "nobody else has any");
}
