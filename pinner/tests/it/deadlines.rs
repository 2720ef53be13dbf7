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
