//! Garbage collection by the pinner, on a real Kubo: what was let go goes, what is needed stays, and nobody is held up for
//! long by it.

use crate::stage::{
    cids, containers,
    database::Database,
    pinner::Setup,
    wait::{SOON, until},
};

pub(crate) async fn has_block(kubo: &str, cid: &str) -> bool {
    let url = format!("{kubo}/api/v0/block/stat?arg={cid}&offline=true");
    reqwest::Client::new().post(url).send().await.expect("Kubo answers").status().is_success()
}

/// Fetches that hang hold Kubo's lock: without room made for it a collection would freeze every pin for good.
#[tokio::test]
async fn garbage_is_collected_while_fetches_hang_and_pins_go_on() {
    let (database, kubo) = (Database::new().await, containers::kubo());
    let pinner = Setup::new(&database, &kubo).with("ANCHORAGE_WORKER_GC_SECONDS", 2).start().await;
    // Who knows what was there before: the first collection is for nothing, and takes what nobody has pinned yet.
    let collections = || pinner.log().matches("collected garbage").count();
    until("the first collection is over", SOON * 2, async || (collections() > 0).then_some(())).await;
    let org = pinner.org("acme").await;
    let pinned = |pin: String| {
        let org = org.clone();
        async move { until("it is pinned", SOON * 2, async || (org.status(&pin).await == "pinned").then_some(())).await }
    };
    let (kept, dropped) = (cids::fresh_block(), cids::fresh_block());
    for block in [&kept, &dropped] {
        cids::put(&kubo, block).await;
    }
    pinned(org.pin(&cids::raw(&kept)).await).await;
    let pin = org.pin(&cids::raw(&dropped)).await;
    pinned(pin.clone()).await;
    // Roots that are there, children that nobody has: each is a fetch without end.
    let mut hanging = Vec::new();
    for _ in 0..3 {
        let (cid, node) = cids::node(&[&cids::fresh()]);
        cids::put_node(&kubo, &node).await;
        hanging.push(org.pin(&cid).await);
    }
    for pin in &hanging {
        until("it hangs", SOON, async || (org.status(pin).await == "pinning").then_some(())).await;
    }
    // Nothing was let go since, so there is no other one before the one that takes this.
    let before = collections();
    org.delete(&format!("/pins/{pin}")).await.expect(202);
    until("what was let go is gone", SOON * 4, async || (!has_block(&kubo, &cids::raw(&dropped)).await).then_some(()))
        .await;
    // A block is swept that comes while it goes on and is not pinned yet.
    until("its collection is over", SOON, async || (collections() > before).then_some(())).await;
    assert!(has_block(&kubo, &cids::raw(&kept)).await);
    // Right after it, and through the next ones.
    for _ in 0..3 {
        let block = cids::fresh_block();
        cids::put(&kubo, &block).await;
        pinned(org.pin(&cids::raw(&block)).await).await;
    }
    for pin in &hanging {
        assert_eq!(org.get(&format!("/pins/{pin}")).await.expect(200)["status"], "pinning", "none was given up for it");
    }
}
