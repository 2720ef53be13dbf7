//! Parts that die, are cut off or come late, and what was accepted meanwhile.

use crate::stage::{
    cids,
    client::ALL,
    containers::{nats_server, nats_url},
    database::Database,
    fake_kubo::{Addition, FakeKubo},
    map::wait_for_map_of,
    pinner::{Setup, free_port},
    proxy::Proxy,
    truth,
    wait::{SOON, until},
};
use futures::future::join_all;
use nix::sys::signal::Signal;
use serde_json::json;
use std::{
    net::TcpListener,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

#[tokio::test]
async fn what_was_accepted_before_a_kill_is_pinned_after_the_restart() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let admin = database.pool("postgres");
    let setup = Setup::new(&database, &kubo.url).with("ANCHORAGE_WORKER_SLOTS", 4);
    let pinned = async || -> i64 {
        sqlx::query_scalar("select count(*) from pins where status = 'pinned'").fetch_one(&admin).await.unwrap()
    };
    let mut accepted = 0;
    for _ in 0..3 {
        // Some get through and no more, so that it is in the middle of it whenever it is killed.
        let (done, through) = (pinned().await, AtomicUsize::new(0));
        kubo.plan(move |_, _| match through.fetch_add(1, Ordering::Relaxed) {
            0..10 => Addition::After(Duration::from_millis(120)),
            _ => Addition::Standstill,
        });
        let pinner = setup.start().await;
        let org = pinner.org("acme").await;
        let cids: Vec<_> = (0..30).map(|_| cids::fresh()).collect();
        join_all(cids.iter().map(|cid| org.pin(cid))).await;
        accepted += 30;
        until("it is in the middle of it", SOON, async || (pinned().await > done).then_some(())).await;
        pinner.kill().await;
    }
    kubo.plan(|_, _| Addition::After(Duration::ZERO));
    let pinner = setup.start().await;
    // Far quicker than a lease: a pinner that starts takes back what it had.
    truth::wait_for_rest(&admin, SOON).await;
    assert_eq!(pinner.org("acme").await.count("pinned").await, accepted);
    kubo.check();
}

#[tokio::test]
async fn a_pinner_told_to_stop_hands_its_work_back_and_ends_well() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let admin = database.pool("postgres");
    kubo.plan(|_, _| Addition::Standstill);
    let setup = Setup::new(&database, &kubo.url).with("ANCHORAGE_SHUTDOWN_GRACE_SECONDS", 8);
    let mut pinner = setup.start().await;
    let org = pinner.org("acme").await;
    let cids: Vec<_> = (0..20).map(|_| cids::fresh()).collect();
    join_all(cids.iter().map(|cid| org.pin(cid))).await;
    until("all slots are taken", SOON, async || kubo.look(|record| (record.additions_at_once >= 16).then_some(())))
        .await;
    pinner.signal(Signal::SIGTERM);
    let status = pinner.ended(Duration::from_secs(8)).await;
    assert_eq!(status.code(), Some(0));
    let leases: i64 =
        sqlx::query_scalar("select count(*) from placements where lease_until is not null or status <> 'queued'")
            .fetch_one(&admin)
            .await
            .unwrap();
    assert_eq!(leases, 0);
    let attempts: i32 = sqlx::query_scalar("select max(attempts) from placements").fetch_one(&admin).await.unwrap();
    assert_eq!(attempts, 0, "to be stopped is no failed attempt");
    let live: bool =
        sqlx::query_scalar("select seen > now() - presence_ttl() from nodes").fetch_one(&admin).await.unwrap();
    assert!(!live, "it took leave");
    truth::check(&admin).await;
    kubo.plan(|_, _| Addition::After(Duration::ZERO));
    let _next = setup.start().await;
    truth::wait_for_rest(&admin, SOON).await;
    kubo.check();
}

#[tokio::test]
async fn pins_finish_without_nats_and_with_a_nats_that_lost_everything() {
    let servers = [nats_server(), nats_server()];
    let proxy = Proxy::to(servers[0]).await;
    let database = Database::new().await;
    let admin = database.pool("postgres");
    let kubos = [FakeKubo::new().await, FakeKubo::new().await];
    let setup = Setup::new(&database, &kubos[0].url)
        .with("ANCHORAGE_NATS_URL", nats_url(proxy.port))
        .with("ANCHORAGE_REPLICATION_MIN", 2)
        .with("ANCHORAGE_REPLICATION_MAX", 2);
    let pinner = setup.start().await;
    let second = setup.sibling("node-1", &kubos[1].url).start().await;
    // Without NATS nobody leads: what is placed then must be where it belongs at once.
    wait_for_map_of(&[&pinner, &second]).await;
    let org = pinner.org("acme").await;
    let pin = async |count: usize| {
        let cids: Vec<_> = (0..count).map(|_| cids::fresh()).collect();
        join_all(cids.iter().map(|cid| org.pin(cid))).await;
        truth::wait_for_rest(&admin, SOON).await;
    };
    pin(10).await;
    proxy.cut();
    pinner.wait_for("[-]nats not connected", 200).await;
    pin(10).await;
    // Back, and everything it ever stored is gone: the stream, the consumers, the messages.
    proxy.point_to(servers[1]);
    proxy.mend();
    for one in [&pinner, &second] {
        one.wait_for("[+]nats ok", 200).await;
    }
    pin(10).await;
    assert_eq!(org.count("pinned").await, 30);
    kubos.iter().for_each(FakeKubo::check);
}

#[tokio::test]
async fn without_nats_at_the_start_pins_are_accepted_and_finished() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let setup =
        Setup::new(&database, &kubo.url).with("ANCHORAGE_NATS_URL", format!("nats://127.0.0.1:{}", free_port()));
    let pinner = setup.start().await;
    pinner.wait_for("[-]nats not connected", 200).await;
    let org = pinner.org("acme").await;
    let pin = org.pin(&cids::fresh()).await;
    // Nobody leads without NATS, so no map says that it is where it belongs; but pinned it is.
    until("it is pinned", SOON, async || (org.status(&pin).await == "pinned").then_some(())).await;
    truth::check(&database.pool("postgres")).await;
}

#[tokio::test]
async fn a_database_that_comes_late_is_waited_for_and_named() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let proxy = Proxy::to(database.port).await;
    proxy.cut();
    let pinner = Setup::new(&database.through(proxy.port), &kubo.url).launch();
    pinner.wait_for("the database does not answer", 503).await;
    let client = pinner.admin();
    assert_eq!(client.anonymous().get("/livez").await.status, 200, "it lives, though it cannot serve");
    assert_eq!(client.anonymous().get("/pins").await.reason(), "UNAUTHORIZED");
    assert_eq!(client.with_token("e.e.e").get("/pins").await.reason(), "SERVICE_UNAVAILABLE");
    assert_eq!(client.get("/admin/v1/nodes").await.reason(), "SERVICE_UNAVAILABLE");
    proxy.mend();
    pinner.wait_for("[+]kubo ok", 200).await;
    pinner.org("acme").await.pin(&cids::fresh()).await;
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
}

#[tokio::test]
async fn while_the_database_is_cut_off_requests_are_put_off_and_then_everything_goes_on() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let admin = database.pool("postgres");
    let proxy = Proxy::to(database.port).await;
    let pinner = Setup::new(&database.through(proxy.port), &kubo.url).start().await;
    let org = pinner.org("acme").await;
    kubo.plan(|_, _| Addition::After(Duration::from_millis(300)));
    let cids: Vec<_> = (0..12).map(|_| cids::fresh()).collect();
    join_all(cids.iter().map(|cid| org.pin(cid))).await;
    until("it is under way", SOON, async || kubo.look(|record| (record.additions_at_once > 4).then_some(()))).await;
    proxy.cut();
    pinner.wait_for("[-]database the database does not answer", 503).await;
    let put_off = org.post("/pins", &json!({"cid": cids::fresh()})).await;
    assert_eq!((put_off.status, put_off.reason().as_str()), (503, "SERVICE_UNAVAILABLE"));
    assert_eq!(org.get("/pins").await.status, 503);
    proxy.mend();
    pinner.wait_for("[+]database ok", 200).await;
    let later = org.pin(&cids::fresh()).await;
    until("new work is done", SOON, async || (org.status(&later).await == "pinned").then_some(())).await;
    // Work that ended while nobody could be told is not held up until its lease has run out.
    truth::wait_for_rest(&admin, SOON).await;
    assert_eq!(org.count(ALL).await, 13);
    kubo.check();
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_and_ends_the_program() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (variable, key) in [("ANCHORAGE_LISTEN", "listen"), ("ANCHORAGE_METRICS_LISTEN", "metrics.listen")] {
        let output = Setup::new(&database, &kubo.url).with(variable, &address).command().output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.contains(&address) && last.contains(key) && last.contains("Choose another"), "{said}");
    }
}

#[tokio::test]
async fn a_nats_setting_that_can_never_work_ends_the_program_with_its_name() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let setup = Setup::new(&database, &kubo.url).with("ANCHORAGE_NATS_CREDENTIALS", "this is no .creds file");
    let output = tokio::time::timeout(SOON, setup.command().output()).await.expect("it ends by itself").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{said}");
    assert!(said.lines().last().unwrap_or_default().contains("nats.credentials"), "{said}");
}

/// Has the database break off the first `times` statements that this trigger sees, as it does with a deadlock's victim.
async fn break_off(database: &Database, table: &str, event: &str, when: &str, times: i32) {
    let trigger = format!(
        "create sequence broken_{table};
         grant usage on sequence broken_{table} to public;
         create function break_off_{table}() returns trigger language plpgsql as $$
         begin
             if nextval('broken_{table}') <= {times} then
                 raise exception 'as if it were a deadlock' using errcode = 'deadlock_detected';
             end if;
             return new;
         end $$;
         create trigger break_off before {event} on {table} for each row when ({when}) execute function break_off_{table}()"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(trigger)).execute(&database.pool("postgres")).await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_the_database_breaks_off_is_run_again_by_the_api_and_by_the_worker() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let org = pinner.org("acme").await;
    break_off(&database, "pins", "insert", "true", 3).await;
    break_off(&database, "placements", "update", "new.status = 'pinned'", 3).await;
    org.pin(&cids::fresh()).await;
    // Well within a lease.
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    kubo.check();
}
