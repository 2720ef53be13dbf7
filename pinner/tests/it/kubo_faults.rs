//! Kubo failing in each way that it is known to, and being away.

use crate::stage::{
    cids,
    client::Client,
    database::Database,
    fake_kubo::{Addition, FakeKubo},
    pinner::{Pinner, Setup},
    truth,
    wait::{SOON, until},
};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;

async fn stage(setup: impl FnOnce(Setup) -> Setup) -> (Database, FakeKubo, Pinner, Client) {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = setup(Setup::new(&database, &kubo.url)).start().await;
    let org = pinner.org("acme").await;
    (database, kubo, pinner, org)
}

async fn wait_for(org: &Client, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    until(what, SOON, async || Some(org.get(&format!("/pins/{id}")).await.expect(200)).filter(&is)).await
}

#[tokio::test]
async fn what_kubo_holds_already_is_never_added_again() {
    let (database, kubo, _pinner, org) = stage(|setup| setup).await;
    let cid = cids::fresh();
    kubo.look(|record| record.pinned.insert(cid.clone()));
    let id = org.pin(&cid).await;
    wait_for(&org, &id, "pinned", |pin| pin["status"] == "pinned").await;
    org.pin(&cid).await;
    org.post(&format!("/pins/{id}"), &json!({"cid": cid})).await.expect(202);
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    assert_eq!(kubo.calls("pin/add", &cid), 0);
    kubo.check();
}

#[tokio::test]
async fn what_kubo_holds_already_is_measured_if_that_can_be_and_pinned_anyway() {
    let (_database, kubo, _pinner, org) = stage(|setup| setup).await;
    for (measures_nothing, size) in [(false, json!("100")), (true, json!(null))] {
        let cid = cids::fresh();
        kubo.look(|record| {
            record.pinned.insert(cid.clone());
            record.measures_nothing = measures_nothing;
        });
        let id = org.pin(&cid).await;
        let pin = wait_for(&org, &id, "pinned", |pin| pin["status"] == "pinned").await;
        assert_eq!((&pin["info"]["dag_size"], kubo.calls("dag/stat", &cid)), (&size, 1), "{pin}");
    }
    // What is fetched is measured on the way: two calls, no more.
    let cid = cids::fresh();
    let id = org.pin(&cid).await;
    wait_for(&org, &id, "pinned", |pin| pin["status"] == "pinned").await;
    assert_eq!(kubo.look(|record| record.calls.iter().filter(|(_, arg)| *arg == cid).count()), 2);
    kubo.check();
}

#[tokio::test]
async fn an_addition_that_ends_without_naming_the_pin_is_a_failure_and_is_tried_again() {
    for fault in [Addition::EndsWithoutPin, Addition::ErrorLine, Addition::BreaksOff] {
        let (database, kubo, _pinner, org) = stage(|setup| setup).await;
        kubo.plan(move |_, before| if before == 0 { fault } else { Addition::After(Duration::ZERO) });
        let cid = cids::fresh();
        let id = org.pin(&cid).await;
        let waiting = wait_for(&org, &id, "the failure is told", |pin| pin["info"]["attempts"] == "1").await;
        assert_eq!(waiting["status"], "pinning", "{fault:?}: {waiting}");
        assert_eq!(waiting["info"]["phase"], "waiting", "{fault:?}: {waiting}");
        assert!(waiting["info"]["next_retry"].is_string(), "{fault:?}: {waiting}");
        wait_for(&org, &id, "pinned at the second attempt", |pin| pin["status"] == "pinned").await;
        assert_eq!(kubo.calls("pin/add", &cid), 2, "{fault:?}");
        kubo.check();
        truth::check(&database.pool("postgres")).await;
    }
}

#[tokio::test]
async fn an_addition_without_progress_is_given_up_and_its_slot_serves_the_next() {
    for fault in [Addition::Standstill, Addition::Silence] {
        let (_database, kubo, _pinner, org) =
            stage(|setup| setup.with("ANCHORAGE_WORKER_SLOTS", 1).with("ANCHORAGE_WORKER_STALL_SECONDS", 1)).await;
        let stuck = cids::fresh();
        let bad = stuck.clone();
        kubo.plan(move |cid, _| if cid == bad { fault } else { Addition::After(Duration::ZERO) });
        let first = org.pin(&stuck).await;
        until("the bad one is under way", SOON, async || (kubo.calls("pin/add", &stuck) > 0).then_some(())).await;
        let second = org.pin(&cids::fresh()).await;
        wait_for(&org, &second, "the next in line is pinned", |pin| pin["status"] == "pinned").await;
        let waiting = wait_for(&org, &first, "the stall is told", |pin| pin["info"]["attempts"].is_string()).await;
        assert!(
            waiting["info"]["status_details"].as_str().unwrap().contains("no block arrived for 1 s"),
            "{fault:?}: {waiting}"
        );
        kubo.check();
    }
}

/// A content that makes Kubo fall over must not make it do so for ever.
#[tokio::test]
async fn attempts_in_which_kubo_breaks_off_are_counted_and_end_at_the_deadline() {
    let (_database, kubo, _pinner, org) =
        stage(|setup| setup.with("ANCHORAGE_WORKER_STALL_SECONDS", 1).with("ANCHORAGE_WORKER_DEADLINE_SECONDS", 3))
            .await;
    kubo.plan(|_, _| Addition::BreaksOff);
    let id = org.pin(&cids::fresh()).await;
    let failed = wait_for(&org, &id, "failed", |pin| pin["status"] == "failed").await;
    assert_eq!(failed["info"]["phase"], "failed");
    assert!(failed["info"]["status_details"].is_string(), "{failed}");
}

#[tokio::test]
async fn a_pin_that_failed_is_tried_anew_when_it_is_asked_for_again() {
    let (database, kubo, _pinner, org) =
        stage(|setup| setup.with("ANCHORAGE_WORKER_STALL_SECONDS", 1).with("ANCHORAGE_WORKER_DEADLINE_SECONDS", 2))
            .await;
    kubo.plan(|_, before| if before == 0 { Addition::EndsWithoutPin } else { Addition::After(Duration::ZERO) });
    let cid = cids::fresh();
    let id = org.pin(&cid).await;
    wait_for(&org, &id, "failed", |pin| pin["status"] == "failed").await;
    org.post(&format!("/pins/{id}"), &json!({"cid": cid})).await.expect(202);
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    assert_eq!(kubo.calls("pin/add", &cid), 2);
}

#[tokio::test]
async fn a_pin_deleted_while_it_is_fetched_is_cancelled_in_kubo_and_leaves_nothing() {
    let (database, kubo, _pinner, org) = stage(|setup| setup).await;
    kubo.plan(|_, _| Addition::Standstill);
    let cid = cids::fresh();
    let id = org.pin(&cid).await;
    until("it is under way", SOON, async || (kubo.calls("pin/add", &cid) > 0).then_some(())).await;
    org.delete(&format!("/pins/{id}")).await.expect(202);
    let admin = database.pool("postgres");
    truth::wait_for_rest(&admin, SOON).await;
    assert!(truth::contents(&admin).await.is_empty());
    kubo.check();
}

#[tokio::test]
async fn a_pin_deleted_and_asked_for_again_while_it_is_fetched_ends_pinned() {
    let (database, kubo, _pinner, org) = stage(|setup| setup).await;
    kubo.plan(|_, before| if before == 0 { Addition::Standstill } else { Addition::After(Duration::from_millis(50)) });
    let cid = cids::fresh();
    let mut id = org.pin(&cid).await;
    until("it is under way", SOON, async || (kubo.calls("pin/add", &cid) > 0).then_some(())).await;
    for _ in 0..5 {
        org.delete(&format!("/pins/{id}")).await.expect(202);
        id = org.pin(&cid).await;
    }
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    kubo.look(|record| assert!(record.pinned.contains(&cid)));
    kubo.check();
}

#[tokio::test]
async fn no_more_additions_run_at_once_than_there_are_slots_and_all_get_their_turn() {
    let (database, kubo, _pinner, org) = stage(|setup| setup.with("ANCHORAGE_WORKER_SLOTS", 4)).await;
    kubo.plan(|_, _| Addition::After(Duration::from_millis(30)));
    let requests: Vec<_> = (0..60).map(|_| cids::fresh()).collect();
    join_all(requests.iter().map(|cid| org.pin(cid))).await;
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    kubo.look(|record| assert_eq!((record.pinned.len(), record.additions_at_once), (60, 4)));
    kubo.check();
}

#[tokio::test]
async fn while_kubo_is_away_pins_are_accepted_and_when_it_is_back_they_are_pinned() {
    let (database, kubo, pinner, org) = stage(|setup| setup).await;
    kubo.set_present(false);
    pinner.wait_for("[-]kubo does not answer", 200).await;
    let cids: Vec<_> = (0..5).map(|_| cids::fresh()).collect();
    join_all(cids.iter().map(|cid| org.pin(cid))).await;
    assert_eq!(org.count("queued").await, 5);
    kubo.set_present(true);
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    kubo.check();
}

#[tokio::test]
async fn a_first_start_without_kubo_says_so_and_catches_up() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    kubo.set_present(false);
    let pinner = Setup::new(&database, &kubo.url).launch();
    pinner.wait_for("[-]kubo does not answer", 200).await;
    let org = pinner.org("acme").await;
    let early = org.post("/pins", &json!({"cid": cids::fresh()})).await;
    assert_eq!(
        (early.status, early.reason().as_str()),
        (503, "SERVICE_UNAVAILABLE"),
        "there is no delegate to name yet"
    );
    assert!(early.headers.contains_key("retry-after"));
    kubo.set_present(true);
    pinner.wait_for("[+]kubo ok", 200).await;
    let id = org.pin(&cids::fresh()).await;
    wait_for(&org, &id, "pinned", |pin| pin["status"] == "pinned").await;
}

#[tokio::test]
async fn work_under_way_when_kubo_goes_away_is_finished_when_it_is_back() {
    let (database, kubo, pinner, org) = stage(|setup| setup).await;
    kubo.plan(|_, before| if before == 0 { Addition::Standstill } else { Addition::After(Duration::ZERO) });
    let cid = cids::fresh();
    org.pin(&cid).await;
    until("it is under way", SOON, async || (kubo.calls("pin/add", &cid) > 0).then_some(())).await;
    kubo.set_present(false);
    pinner.wait_for("[-]kubo does not answer", 200).await;
    kubo.set_present(true);
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    kubo.check();
}

#[tokio::test]
async fn on_a_full_disk_pins_wait_and_kubo_is_started_again_when_it_does_not_notice_that_there_is_room() {
    let (database, kubo, pinner, org) = stage(|setup| setup).await;
    kubo.look(|record| record.disk_is_full = true);
    let first = org.pin(&cids::fresh()).await;
    let says = async |line: &str| {
        let metrics = reqwest::get(&pinner.metrics_url).await.unwrap().text().await.unwrap();
        metrics.contains(line).then_some(())
    };
    until("the disk is found to be full", SOON, async || says("anchorage_kubo_disk_full 1").await).await;
    let late = cids::fresh();
    org.pin(&late).await;
    assert_eq!(org.count("queued").await + org.count("pinning").await, 2, "nobody is to blame");

    // There is room, and Kubo does not see it.
    kubo.look(|record| record.disk_is_full = false);
    wait_for(&org, &first, "pinned", |pin| pin["status"] == "pinned").await;
    let admin = database.pool("postgres");
    truth::wait_for_rest(&admin, SOON).await;
    assert_eq!(kubo.calls("shutdown", ""), 1);
    says("anchorage_kubo_disk_full 0").await.expect("there is room");
    let failed = "select count(*) from placements where attempts > 0";
    assert_eq!(sqlx::query_scalar::<_, i64>(failed).fetch_one(&admin).await.unwrap(), 0);
    kubo.check();
}

/// A crash may have kept the record of a pin without its blocks, and Kubo may go away again while that is looked at.
#[tokio::test]
async fn what_was_pinned_last_is_verified_to_the_end_though_kubo_goes_away_meanwhile() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let setup = Setup::new(&database, &kubo.url);
    let pinner = setup.start().await;
    let org = pinner.org("acme").await;
    let cids = [cids::fresh(), cids::fresh(), cids::fresh()];
    for cid in &cids {
        let id = org.pin(cid).await;
        wait_for(&org, &id, "pinned", |pin| pin["status"] == "pinned").await;
    }
    pinner.kill().await;
    // The last are looked at first.
    kubo.look(|record| {
        record.lacking.extend([cids[0].clone(), cids[2].clone()]);
        record.breaks_at = Some(cids[1].clone());
    });
    let pinner = setup.start().await;
    until("both are counted", SOON, async || {
        let text = reqwest::get(&pinner.metrics_url).await.unwrap().text().await.unwrap();
        text.contains("anchorage_reconciled_total{result=\"broken\"} 2").then_some(())
    })
    .await;
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    let calls = |call| cids.each_ref().map(|cid| kubo.calls(call, cid));
    assert_eq!((calls("pin/add"), calls("dag/stat")[1]), ([2, 1, 2], 2));
    kubo.check();
}
