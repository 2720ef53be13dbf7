//! Garbage collection throws back every fetch under way: it waits for those that get on, while there is room.

use crate::stage::{
    cids,
    client::Client,
    database::Database,
    fake_kubo::{Addition, FakeKubo},
    pinner::{Pinner, Setup},
    wait::{SOON, until},
};
use std::time::Duration;

const DRIP: Addition = Addition::Drip(Duration::from_millis(100));
const AT_ONCE: Addition = Addition::After(Duration::ZERO);

struct Stage {
    _database: Database,
    kubo: FakeKubo,
    pinner: Pinner,
    org: Client,
    /// The CID and the pin of a fetch that takes long and gets on.
    long: (String, String),
    /// Collections so far.
    collected: usize,
}

/// A fetch that takes long, and garbage, when a collection is always due.
async fn stage(repo_size: u64) -> Stage {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).with("ANCHORAGE_WORKER_GC_SECONDS", 1).start().await;
    let org = pinner.org("acme").await;
    let garbage = org.pin(&cids::fresh()).await;
    until("it is pinned", SOON, async || (org.status(&garbage).await == "pinned").then_some(())).await;
    // Who knows what was there before: the first collection is for nothing.
    until("the first is over", SOON, async || pinner.log().contains("collected garbage").then_some(())).await;
    let collected = kubo.calls("repo/gc", "");
    kubo.look(|record| record.repo_size = repo_size);
    let cid = cids::fresh();
    let slow = cid.clone();
    kubo.plan(move |cid, before| if cid == slow && before == 0 { DRIP } else { AT_ONCE });
    let pin = org.pin(&cid).await;
    until("it gets on", SOON, async || {
        let blocks = org.get(&format!("/pins/{pin}")).await.expect(200)["info"]["blocks"].as_str()?.parse::<u64>();
        (blocks.ok()? > 20).then_some(())
    })
    .await;
    org.delete(&format!("/pins/{garbage}")).await.expect(202);
    Stage { _database: database, kubo, pinner, org, long: (cid, pin), collected }
}

#[tokio::test]
async fn a_fetch_that_takes_longer_than_the_time_between_collections_ends() {
    let Stage { kubo, pinner, org, long: (cid, pin), collected, _database } = stage(7_900_000_000).await;
    until("it is decided about the garbage", SOON * 2, async || {
        (pinner.log().contains("garbage collection is put off") || kubo.calls("pin/add", &cid) > 1).then_some(())
    })
    .await;
    kubo.plan(|_, _| AT_ONCE);
    until("it is pinned", SOON, async || (org.status(&pin).await == "pinned").then_some(())).await;
    assert_eq!(kubo.calls("pin/add", &cid), 1, "it was never thrown back");
    until("the garbage is collected", SOON * 2, async || (kubo.calls("repo/gc", "") > collected).then_some(())).await;
    kubo.check();
}

#[tokio::test]
async fn what_is_nearly_full_collects_garbage_whatever_that_costs() {
    let Stage { kubo, org, long: (cid, pin), collected, pinner: _pinner, _database } = stage(8_000_000_000).await;
    until("the garbage is collected", SOON * 3, async || (kubo.calls("repo/gc", "") > collected).then_some(())).await;
    until("it is pinned", SOON, async || (org.status(&pin).await == "pinned").then_some(())).await;
    assert_eq!(kubo.calls("pin/add", &cid), 2, "it began anew");
    kubo.check();
}
