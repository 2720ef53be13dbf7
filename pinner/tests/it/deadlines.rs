//! When a content is given up, what does not count towards that, and what becomes of those who hold it.

use crate::stage::{
    cids,
    client::{Client, id},
    database::Database,
    fake_kubo::{Addition, FakeKubo},
    pinner::{Pinner, Setup},
    truth,
    wait::{SOON, until},
};
use serde_json::json;
use std::time::Duration;

async fn stage(setup: impl FnOnce(Setup) -> Setup) -> (Database, FakeKubo, Pinner, Client) {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = setup(Setup::new(&database, &kubo.url)).start().await;
    let org = pinner.org("acme").await;
    (database, kubo, pinner, org)
}

#[tokio::test]
async fn a_pin_whose_last_copy_is_lost_is_pinned_while_that_is_sought_then_failed_and_may_be_asked_for_again() {
    let (database, kubo, _pinner, org) = stage(|setup| {
        setup
            .with("ANCHORAGE_WORKER_RECONCILE_SECONDS", 1)
            .with("ANCHORAGE_WORKER_STALL_SECONDS", 1)
            .with("ANCHORAGE_WORKER_DEADLINE_SECONDS", 3)
    })
    .await;
    let admin = database.pool("postgres");
    let cid = cids::fresh();
    let pin = org.pin(&cid).await;
    truth::wait_for_rest(&admin, SOON).await;
    kubo.plan(|_, _| Addition::Silence);
    kubo.look(|record| record.pinned.remove(&cid));
    until("it is sought", SOON, async || (kubo.calls("pin/add", &cid) > 1).then_some(())).await;
    assert_eq!(org.status(&pin).await, "pinned");
    until("nobody holds it and nobody seeks it", SOON, async || {
        let status = org.status(&pin).await;
        assert!(["pinned", "failed"].contains(&&*status), "it is {status}");
        (status == "failed").then_some(())
    })
    .await;
    truth::check(&admin).await;

    kubo.plan(|_, _| Addition::After(Duration::ZERO));
    let again = id(&org.post(&format!("/pins/{pin}"), &json!({"cid": cid})).await.expect(202));
    until("it is pinned", SOON, async || (org.status(&again).await == "pinned").then_some(())).await;
    kubo.look(|record| assert!(record.pinned.contains(&cid)));
    truth::wait_for_rest(&admin, SOON).await;
    kubo.check();
}

/// The first one's attempt gets on until its deadline; the second one asks while it is under way.
#[tokio::test]
async fn what_is_asked_for_while_it_is_under_way_is_not_given_up_at_the_deadline_of_who_asked_before() {
    let (database, kubo, pinner, org) =
        stage(|setup| setup.with("ANCHORAGE_WORKER_STALL_SECONDS", 2).with("ANCHORAGE_WORKER_DEADLINE_SECONDS", 10))
            .await;
    let other = pinner.org("another").await;
    kubo.plan(|_, before| match before {
        0 => Addition::Drip(Duration::from_millis(300)),
        _ => Addition::After(Duration::ZERO),
    });
    let cid = cids::fresh();
    let early = org.pin(&cid).await;
    until("it has come some way", SOON, async || {
        let blocks = &org.get(&format!("/pins/{early}")).await.expect(200)["info"]["blocks"];
        (blocks.as_str().unwrap().parse::<u32>().unwrap() >= 15).then_some(())
    })
    .await;
    let late = other.pin(&cid).await;
    both_end_pinned([(&org, &early), (&other, &late)]).await;
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    assert_eq!(kubo.calls("pin/add", &cid), 2);
    kubo.check();
}

/// After the second attempt there is no time for a third one until the first one's deadline.
#[tokio::test]
async fn what_is_asked_for_while_it_waits_is_not_given_up_at_the_deadline_of_who_asked_before() {
    let (database, kubo, pinner, org) =
        stage(|setup| setup.with("ANCHORAGE_WORKER_STALL_SECONDS", 1).with("ANCHORAGE_WORKER_DEADLINE_SECONDS", 12))
            .await;
    let other = pinner.org("another").await;
    kubo.plan(|_, before| if before < 2 { Addition::Silence } else { Addition::After(Duration::ZERO) });
    let cid = cids::fresh();
    let early = org.pin(&cid).await;
    until("it waits for its second attempt", SOON, async || {
        let info = &org.get(&format!("/pins/{early}")).await.expect(200)["info"];
        (info["phase"] == "waiting").then_some(())
    })
    .await;
    let late = other.pin(&cid).await;
    both_end_pinned([(&org, &early), (&other, &late)]).await;
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    assert_eq!(kubo.calls("pin/add", &cid), 3);
    kubo.check();
}

async fn both_end_pinned(pins: [(&Client, &String); 2]) {
    for (org, pin) in pins {
        until("it is pinned", SOON * 2, async || {
            let status = org.status(pin).await;
            assert_ne!(status, "failed", "{}", org.get(&format!("/pins/{pin}")).await.body);
            (status == "pinned").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_asked_for_again_does_not_wait_for_a_back_off_and_asking_often_brings_it_no_nearer() {
    let (database, kubo, pinner, org) = stage(|setup| setup.with("ANCHORAGE_WORKER_STALL_SECONDS", 1)).await;
    let other = pinner.org("another").await;
    let admin = database.pool("postgres");
    kubo.plan(|_, before| if before == 0 { Addition::Silence } else { Addition::After(Duration::ZERO) });
    let cid = cids::fresh();
    org.pin(&cid).await;
    until("it waits", SOON, async || {
        let waits = "update placements set next_attempt = now() + interval '15 minutes' where status = 'queued' and attempts > 0";
        (sqlx::query(waits).execute(&admin).await.unwrap().rows_affected() == 1).then_some(())
    })
    .await;
    let next = async || {
        let next = "select extract(epoch from next_attempt)::float8 from placements";
        sqlx::query_scalar::<_, f64>(next).fetch_one(&admin).await.unwrap()
    };
    let before = next().await;
    other.pin(&cid).await;
    let once = next().await;
    assert!(once < before, "{once} is not before {before}");
    for org in [&org, &other] {
        org.pin(&cid).await;
    }
    // Claimed or not, that is when it is due.
    assert_eq!(next().await, once);
    truth::wait_for_rest(&admin, SOON).await;
    assert_eq!(kubo.calls("pin/add", &cid), 2);
    kubo.check();
}

/// As after a loss that the node has noticed and its pins have not: nothing is told of it by a status.
#[tokio::test]
async fn a_replace_keeps_what_some_node_holds_and_has_sought_what_none_does() {
    let (database, kubo, _pinner, org) = stage(|setup| setup.with("ANCHORAGE_WORKER_STALL_SECONDS", 1)).await;
    let admin = database.pool("postgres");
    let cid = cids::fresh();
    let pin = org.pin(&cid).await;
    truth::wait_for_rest(&admin, SOON).await;
    kubo.look(|record| record.pinned.remove(&cid));
    sqlx::query("update placements set status = 'failed', reason = 'DEADLINE', error = 'given up'")
        .execute(&admin)
        .await
        .unwrap();
    assert_eq!(org.status(&pin).await, "pinned");
    let replaced = org.post(&format!("/pins/{pin}"), &json!({"cid": cid})).await.expect(202);
    assert_eq!(replaced["status"], "queued");
    truth::wait_for_rest(&admin, SOON).await;
    assert_eq!(kubo.calls("pin/add", &cid), 2);
    kubo.check();
}

/// Both that was never tried and what has one attempt behind it wait for longer than they may be tried.
#[tokio::test]
async fn what_waits_for_a_node_that_cannot_work_does_not_reach_its_deadline_by_that() {
    let (database, kubo, pinner, org) = stage(|setup| {
        setup
            .with("ANCHORAGE_WORKER_PATIENCE_SECONDS", 1)
            .with("ANCHORAGE_WORKER_STALL_SECONDS", 3)
            .with("ANCHORAGE_WORKER_DEADLINE_SECONDS", 6)
    })
    .await;
    let admin = database.pool("postgres");
    kubo.plan(|_, before| if before == 0 { Addition::Silence } else { Addition::After(Duration::ZERO) });
    let tried = cids::fresh();
    let mut pins = vec![org.pin(&tried).await];
    until("it is tried", SOON, async || (kubo.calls("pin/add", &tried) > 0).then_some(())).await;
    kubo.look(|record| record.disk_is_full = true);
    for _ in 0..3 {
        pins.push(org.pin(&cids::fresh()).await);
    }
    until("they have waited for longer than their deadline", SOON, async || {
        let waited = "select bool_and(created < now() - interval '9 s') from pins";
        sqlx::query_scalar::<_, bool>(waited).fetch_one(&admin).await.unwrap().then_some(())
    })
    .await;
    let attempts: Vec<i32> =
        sqlx::query_scalar("select attempts from placements order by job").fetch_all(&admin).await.unwrap();
    let (first, others) = attempts.split_first().unwrap();
    // Some may have no place yet: what is new is kept off a full disk.
    assert!(*first == 1 && others.iter().all(|attempts| *attempts == 0), "{attempts:?}");

    kubo.look(|record| record.disk_is_full = false);
    kubo.plan(|_, _| Addition::After(Duration::ZERO));
    for pin in &pins {
        until("it is pinned", SOON, async || {
            let status = org.status(pin).await;
            assert_ne!(status, "failed", "{}", org.get(&format!("/pins/{pin}")).await.body);
            (status == "pinned").then_some(())
        })
        .await;
    }
    drop(pinner);
    truth::check(&admin).await;
    kubo.check();
}

/// Its sweeps have ended with it.
#[tokio::test]
async fn what_waits_for_a_pinner_that_is_away_does_not_reach_its_deadline_by_that() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let setup = Setup::new(&database, &kubo.url)
        .with("ANCHORAGE_WORKER_PATIENCE_SECONDS", 1)
        .with("ANCHORAGE_WORKER_STALL_SECONDS", 3)
        .with("ANCHORAGE_WORKER_DEADLINE_SECONDS", 6);
    let admin = database.pool("postgres");
    kubo.plan(|_, before| if before == 0 { Addition::Silence } else { Addition::Standstill });
    let pinner = setup.start().await;
    let cid = cids::fresh();
    pinner.org("acme").await.pin(&cid).await;
    until("it is tried again", SOON, async || (kubo.calls("pin/add", &cid) > 1).then_some(())).await;
    pinner.kill().await;
    until("it has waited for longer than its deadline", SOON, async || {
        let waited = "select bool_and(created < now() - interval '9 s') from pins";
        sqlx::query_scalar::<_, bool>(waited).fetch_one(&admin).await.unwrap().then_some(())
    })
    .await;
    kubo.plan(|_, _| Addition::After(Duration::ZERO));
    let _back = setup.start().await;
    truth::wait_for_rest(&admin, SOON).await;
    kubo.check();
}
