//! What becomes of pins over time: none keeps another from its turn, each says how far it is, each ends.

use crate::stage::{
    cids,
    client::{Client, id},
    database::Database,
    fake_kubo::{Addition, FakeKubo},
    pinner::{Pinner, Setup},
    truth,
    wait::{SOON, until},
};
use futures::{StreamExt, stream};
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

async fn stage(setup: impl FnOnce(Setup) -> Setup) -> (Database, FakeKubo, Pinner, Client) {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = setup(Setup::new(&database, &kubo.url)).start().await;
    let org = pinner.org("acme").await;
    (database, kubo, pinner, org)
}

/// Pins these and gives the requestids.
async fn pin_all(org: &Client, cids: &BTreeSet<String>) -> Vec<String> {
    stream::iter(cids).map(|cid| org.pin(cid)).buffer_unordered(16).collect().await
}

/// 300 contents that nobody has are work for 75 s here, 8 at a time for 2 s each; and then there are the retries.
#[tokio::test]
async fn contents_that_nobody_has_delay_no_other_pin_of_the_same_or_of_another_org() {
    let (_database, kubo, pinner, org) = stage(|setup| {
        setup
            .with("ANCHORAGE_WORKER_SLOTS", 4)
            .with("ANCHORAGE_WORKER_SLOW_SLOTS", 4)
            .with("ANCHORAGE_WORKER_RETRY_SLOTS", 2)
            .with("ANCHORAGE_WORKER_PATIENCE_SECONDS", 2)
    })
    .await;
    let dead: BTreeSet<_> = (0..300).map(|_| cids::fresh()).collect();
    let nowhere = dead.clone();
    kubo.plan(move |cid, _| if nowhere.contains(cid) { Addition::Silence } else { Addition::After(Duration::ZERO) });
    pin_all(&org, &dead).await;
    until("all slots are taken", SOON, async || kubo.look(|record| (record.additions_at_once == 10).then_some(())))
        .await;
    for org in [&org, &pinner.org("another").await] {
        for _ in 0..3 {
            let began = Instant::now();
            let pin = org.pin(&cids::fresh()).await;
            until("it is pinned", SOON, async || (org.status(&pin).await == "pinned").then_some(())).await;
            println!("pinned after {:?}", began.elapsed());
            assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
        }
    }
    let tried = kubo.look(|record| record.calls.iter().filter(|(call, _)| call == "pin/add").count());
    assert!(tried < 250, "there was no queue any more: this proves nothing");
    kubo.look(|record| assert_eq!(record.additions_at_once, 10));
    kubo.check();
}

#[tokio::test]
async fn a_pin_that_is_not_found_quickly_says_so_and_goes_on_with_more_patience() {
    let (_database, kubo, _pinner, org) = stage(|setup| {
        // Nothing but the end of the first attempt can begin the second one.
        setup.with("ANCHORAGE_WORKER_PATIENCE_SECONDS", 1).with("ANCHORAGE_WORKER_SWEEP_SECONDS", 60)
    })
    .await;
    kubo.plan(|_, before| if before == 0 { Addition::Silence } else { Addition::Standstill });
    let cid = cids::fresh();
    let pin = org.pin(&cid).await;
    let info = until("it is tried again", SOON, async || {
        let pin = org.get(&format!("/pins/{pin}")).await.expect(200);
        (pin["info"]["blocks"] == "1").then(|| pin["info"].clone())
    })
    .await;
    assert_eq!(
        (&info["phase"], &info["attempts"], &info["copies"]),
        (&"fetching".into(), &"1".into(), &"0 of 1".into())
    );
    assert_eq!(kubo.calls("pin/add", &cid), 2);
    assert!(info["reason"].is_null(), "it is under way again: {info}");
}

#[tokio::test]
async fn progress_is_seen_within_two_seconds() {
    let (_database, kubo, _pinner, org) = stage(|setup| setup).await;
    kubo.plan(|_, _| Addition::Drip(Duration::from_secs(4)));
    let cid = cids::fresh();
    let pin = org.pin(&cid).await;
    let mut began = until("it is under way", SOON, async || (kubo.calls("pin/add", &cid) > 0).then(Instant::now)).await;
    for blocks in 1..=3 {
        let seen = until("the next block is seen", SOON, async || {
            let pin = org.get(&format!("/pins/{pin}")).await.expect(200);
            (pin["info"]["blocks"].as_str() == Some(&blocks.to_string())).then(Instant::now)
        })
        .await;
        println!("block {blocks} after {:?}", seen - began);
        assert!(seen - began < Duration::from_millis(2_500), "with half a second for a busy machine");
        began += Duration::from_secs(4);
    }
}

#[tokio::test]
async fn a_fetch_that_drips_ends_at_the_deadline() {
    let (_database, kubo, _pinner, org) =
        // A stall would come before the deadline, unless each block puts it off; and no pause of a busy machine is one.
        stage(|setup| setup.with("ANCHORAGE_WORKER_STALL_SECONDS", 5).with("ANCHORAGE_WORKER_DEADLINE_SECONDS", 6))
            .await;
    kubo.plan(|_, _| Addition::Drip(Duration::from_millis(300)));
    let cid = cids::fresh();
    let pin = org.pin(&cid).await;
    until("it has failed", SOON, async || (org.status(&pin).await == "failed").then_some(())).await;
    let info = org.get(&format!("/pins/{pin}")).await.expect(200)["info"].clone();
    assert_eq!((&info["reason"], &info["phase"]), (&"DEADLINE".into(), &"failed".into()), "{info}");
    assert_eq!(kubo.calls("pin/add", &cid), 1);
}

#[tokio::test]
async fn a_slow_unpin_keeps_its_lease() {
    let (database, kubo, _pinner, org) = stage(|setup| setup).await;
    let admin = database.pool("postgres");
    let cid = cids::fresh();
    let pin = org.pin(&cid).await;
    truth::wait_for_rest(&admin, SOON).await;
    kubo.hold_removals(true);
    org.delete(&format!("/pins/{pin}")).await.expect(202);
    let lease = async || {
        sqlx::query_scalar::<_, Option<f64>>(
            "select max(extract(epoch from least(lease_until, next_attempt)))::float8 from placements where lease_until is not null",
        )
        .fetch_one(&admin)
        .await
        .unwrap()
    };
    let first = until("the unpin is claimed", SOON, lease).await;
    until("its lease is renewed", SOON, async || lease().await.filter(|later| *later > first)).await;
    assert!(kubo.look(|record| record.is_removing(&cid)), "it goes on all the while");
    kubo.hold_removals(false);
    truth::wait_for_rest(&admin, SOON).await;
    kubo.check();
}

#[tokio::test]
async fn what_is_replaced_is_let_go_only_when_the_new_content_is_there() {
    let (database, kubo, _pinner, org) = stage(|setup| setup).await;
    let cids: Vec<_> = (0..3).map(|_| cids::fresh()).collect();
    let [first, second] = [0, 1].map(|n| cids[n].clone());
    kubo.plan(move |cid, _| match cid {
        cid if cid == first => Addition::After(Duration::ZERO),
        // Replaced before it is there.
        cid if cid == second => Addition::Standstill,
        _ => Addition::After(Duration::from_secs(1)),
    });
    let mut pin = org.pin(&cids[0]).await;
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    // Twice: what the first replacement keeps is kept for the second.
    for cid in &cids[1..] {
        pin = id(&org.post(&format!("/pins/{pin}"), &json!({"cid": cid})).await.expect(202));
        until("it is fetched", SOON, async || (kubo.calls("pin/add", cid) > 0).then_some(())).await;
    }
    until("the first is let go", SOON, async || {
        let (gone, there) = kubo.look(|record| (!record.pinned.contains(&cids[0]), record.pinned.contains(&cids[2])));
        assert!(there || !gone, "let go before the last one was there");
        gone.then_some(())
    })
    .await;
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    kubo.check();
}

#[tokio::test]
async fn an_expired_pin_is_deleted_and_its_content_let_go_unless_somebody_else_holds_it() {
    let (database, kubo, pinner, org) = stage(|setup| setup).await;
    let admin = database.pool("postgres");
    let other = pinner.org("another").await;
    let (own, shared) = (cids::fresh(), cids::fresh());
    let expiring = [org.pin(&own).await, org.pin(&shared).await];
    let stays = other.pin(&shared).await;
    truth::wait_for_rest(&admin, SOON).await;
    let expire = async |within: &str| {
        let expire = "update pins set expires = now() + $1::interval
             where org_id = (select id from orgs where name = 'acme')";
        sqlx::query(expire).bind(within).execute(&admin).await.unwrap();
    };
    expire("1 h").await;
    let info = org.get(&format!("/pins/{}", expiring[0])).await.expect(200)["info"].clone();
    assert!(info["pinned_until"].is_string(), "{info}");
    expire("0 s").await;
    for pin in &expiring {
        until("it is gone", SOON, async || (org.get(&format!("/pins/{pin}")).await.status == 404).then_some(())).await;
    }
    truth::wait_for_rest(&admin, SOON).await;
    assert_eq!(other.status(&stays).await, "pinned");
    kubo.look(|record| assert_eq!(record.pinned, BTreeSet::from([shared.clone()])));
    kubo.check();
}

/// Kubo goes on with a `pin/rm` whose caller is gone. What is pinned meanwhile it would unpin unseen.
#[tokio::test]
async fn an_unpin_that_outlives_its_pinner_takes_nothing_that_was_pinned_again() {
    let (database, kubos) = (Database::new().await, [FakeKubo::new().await, FakeKubo::new().await]);
    let admin = database.pool("postgres");
    // The second node is there to be asked, not to be moved to.
    let setup = Setup::new(&database, &kubos[0].url).with("ANCHORAGE_REBALANCE_ENABLED", false);
    let killed = setup.start().await;
    let org = killed.org("acme").await;
    let cid = cids::fresh();
    let pin = org.pin(&cid).await;
    truth::wait_for_rest(&admin, SOON).await;
    let stays = setup.sibling("node-1", &kubos[1].url).start().await;
    kubos[0].look(|record| record.removal_takes = Duration::from_secs(4));
    org.delete(&format!("/pins/{pin}")).await.expect(202);
    until("Kubo is told", SOON, async || (kubos[0].calls("pin/rm", &cid) > 0).then_some(())).await;
    killed.kill().await;
    let pin = org.at(&stays.url).pin(&cid).await;
    let back = setup.start().await;
    until("it is pinned", SOON, async || (org.at(&back.url).status(&pin).await == "pinned").then_some(())).await;
    kubos[0].look(|record| assert!(record.pinned.contains(&cid)));
    until("the removal has ended", SOON, async || kubos[0].look(|record| (!record.is_removing(&cid)).then_some(())))
        .await;
    kubos[0].look(|record| assert!(record.pinned.contains(&cid), "pinned says the service, and Kubo does not hold it"));
    kubos[0].check();
}

#[tokio::test]
async fn a_fetch_that_takes_its_org_over_the_limit_ends_and_goes_on_for_an_org_that_has_none() {
    let (database, kubo, pinner, org) = stage(|setup| setup).await;
    let admin = database.pool("postgres");
    let other = pinner.org("another").await;
    sqlx::query("update orgs set max_bytes = 500 where name = 'acme'").execute(&admin).await.unwrap();
    let (own, shared) = (cids::fresh(), cids::fresh());
    // A hundred bytes each time.
    kubo.plan(|_, _| Addition::Drip(Duration::from_millis(250)));
    let alone = org.pin(&own).await;
    until("it is over the limit", SOON, async || (org.status(&alone).await == "failed").then_some(())).await;
    let info = org.get(&format!("/pins/{alone}")).await.expect(200)["info"].clone();
    assert_eq!(info["reason"], "QUOTA", "{info}");
    assert!(info["status_details"].as_str().unwrap().contains("may hold 500"), "{info}");
    until("Kubo is told to stop", SOON, async || kubo.look(|record| (record.under_way(&own) == 0).then_some(()))).await;
    // At the same time, or the first alone might be over the limit before the second holds it too.
    let (with_another, of_another) = tokio::join!(org.pin(&shared), other.pin(&shared));
    until("it is over the limit", SOON, async || (org.status(&with_another).await == "failed").then_some(())).await;
    assert_eq!((other.status(&of_another).await, kubo.look(|record| record.under_way(&shared))), ("pinning".into(), 1));
    kubo.check();
}
