//! Connections that come back to their pool at the worst moment (HAZARDS 1).
//!
//! The library itself is used here, not the program: whether a future is dropped in the middle of `begin` cannot be
//! brought about from outside often enough to prove anything.

use crate::stage::{database::Database, proxy::Proxy};
use anchorage::{
    config::{self, Secret},
    db,
};
use std::time::{Duration, Instant};

/// How long the relay holds back each message, so that there is a middle to be cut off in.
const DELAY: Duration = Duration::from_millis(20);
/// At how many moments a transaction is cut off.
const MOMENTS: u32 = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_that_is_dropped_half_way_leaves_no_transaction_to_whoever_comes_next() {
    let database = Database::new().await;
    let slow = Proxy::slowly_to(database.port, DELAY).await;
    let url = |role: &str| Secret::new(database.through(slow.port).url(role));
    let urls = config::Database {
        api_url: url("anchorage_api"),
        worker_url: url("anchorage_worker"),
        metrics_url: url("anchorage_metrics"),
        pool_size: 1,
    };
    let service = db::Database::new(&urls).unwrap();
    let admin = database.pool("postgres");
    service.platform().await.unwrap().commit().await.unwrap();

    // Some of these moments lie before BEGIN is sent, some in its middle.
    let started = Instant::now();
    service.platform().await.unwrap().commit().await.unwrap();
    let whole = started.elapsed();
    for wait in (1..=MOMENTS).map(|moment| whole * moment / MOMENTS) {
        let dropped = tokio::time::timeout(wait, service.platform()).await.map(drop);
        // The next user of the only connection: once it was served, the connection had been in the pool and back.
        db::readiness::ping(&service).await.unwrap();
        let open: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and usename = 'anchorage_api' and state like 'idle in transaction%'",
        )
        .fetch_one(&admin)
        .await
        .unwrap();
        assert_eq!(open, 0, "a begin that was dropped after {wait:?} left its transaction to the next user");
        println!("dropped after {wait:?}, {}", if dropped.is_ok() { "begun" } else { "half way" });
    }
}
