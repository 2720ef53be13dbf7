//! Uploads that only the node has to which they were sent: nothing may take them before another node has fetched them.

use crate::{
    garbage::has_block,
    stage::{
        cids,
        client::{Answer, Client, id, is},
        containers,
        containers::KUBOS,
        database::Database,
        fake_kubo::{Addition, FakeKubo},
        map::wait_for_map_of,
        pinner::{Pinner, Setup},
        wait::{SOON, until},
    },
    uploads::car,
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// A node on a real Kubo, and another one that fetches nothing.
struct Stage {
    database: Database,
    elsewhere: FakeKubo,
    pinner: Pinner,
    _other: Pinner,
    org: Client,
}

async fn stage(kubo: &str, with: impl FnOnce(Setup) -> Setup) -> Stage {
    let (database, elsewhere) = (Database::new().await, FakeKubo::new().await);
    elsewhere.plan(|_, _| Addition::Silence);
    let setup = with(Setup::new(&database, kubo));
    let pinner = setup.start().await;
    // One node collects at a time, and this one would have to wait for what hangs.
    let other = setup.sibling("node-1", &elsewhere.url).with("ANCHORAGE_WORKER_GC_SECONDS", 3600).start().await;
    let org = pinner.org_with("acme", &["pins:read", "pins:write", "uploads:write"]).await;
    wait_for_map_of(&[&pinner, &other]).await;
    Stage { database, elsewhere, pinner, _other: other, org }
}

impl Stage {
    async fn upload(&self, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.org.request(Method::POST, "/api/v1/uploads").header("content-type", kind);
        self.org.send(request.body(body)).await
    }

    /// Uploads until one is placed on the other node, and gives the CID of that.
    async fn waiting(&self) -> String {
        until("one is placed elsewhere", SOON * 2, async || {
            let answer = self.upload("text/plain", cids::fresh()).await.expect(202);
            let cid = answer["pin"]["cid"].as_str().unwrap().to_owned();
            until("it is decided where", SOON, async || {
                let status = self.org.status(&id(&answer)).await;
                if self.elsewhere.look(|record| record.under_way(&cid) > 0) {
                    Some(Some(cid.clone()))
                } else {
                    (status == "pinned").then_some(None)
                }
            })
            .await
        })
        .await
    }

    async fn node(&self) -> Value {
        self.pinner.admin().get("/admin/v1/nodes/node-0").await.expect(200)
    }
}

#[tokio::test]
async fn an_upload_that_no_node_holds_yet_is_spared() {
    let kubo = containers::kubo();
    let stage = stage(&kubo, |setup| setup.with("ANCHORAGE_WORKER_GC_SECONDS", 1)).await;
    let waiting = stage.waiting().await;
    // Something to collect: a pin on this node that is let go.
    until("a collection was put off for it", SOON * 2, async || {
        let block = cids::fresh_block();
        cids::put(&kubo, &block).await;
        let pin = stage.org.pin(&cids::raw(&block)).await;
        until("it is somewhere", SOON, async || (stage.org.status(&pin).await != "queued").then_some(())).await;
        stage.org.delete(&format!("/pins/{pin}")).await.expect(202);
        stage.pinner.log().contains("fetches or uploads under way did not make room").then_some(())
    })
    .await;
    assert!(has_block(&kubo, &waiting).await);
}

#[tokio::test]
async fn a_node_is_drained_once_another_has_fetched_what_was_uploaded_to_it() {
    let stage = stage(&KUBOS[0], |setup| setup).await;
    let waiting = stage.waiting().await;
    let silent = waiting.clone();
    stage.elsewhere.plan(move |cid, _| if cid == silent { Addition::Silence } else { Addition::After(Duration::ZERO) });
    let drained = stage.pinner.admin().post("/admin/v1/nodes/node-0/drain", &json!({})).await.expect(200);
    assert_eq!(drained["state"], "draining");

    // Whoever asks it may know of the drain before it does.
    let says = "this node is being drained";
    is(&stage.upload("text/plain", cids::fresh()).await, 503, "SERVICE_UNAVAILABLE", says, "an upload during a drain");
    let empty = until("no placement names it", SOON * 2, async || {
        Some(stage.node().await).filter(|node| node["drain"]["placementsRemaining"] == 0)
    })
    .await;
    assert_eq!(empty["state"], "draining", "{empty}");
    assert_eq!(empty["drain"]["blockedBy"], json!(["1 upload waits until another node has fetched it"]));

    stage.elsewhere.plan(|_, _| Addition::After(Duration::ZERO));
    for present in [false, true] {
        stage.elsewhere.set_present(present);
    }
    let empty =
        until("it is drained", SOON * 2, async || Some(stage.node().await).filter(|node| node["state"] == "drained"))
            .await;
    assert_eq!(empty["drain"]["blockedBy"], json!([]));
    assert!(stage.elsewhere.look(|record| record.pinned.contains(&waiting)));
    is(&stage.upload("text/plain", cids::fresh()).await, 503, "SERVICE_UNAVAILABLE", says, "an upload after it");
}

/// Nobody can fetch the rest of a part from here: it must not keep a node from collecting garbage, or from being drained.
#[tokio::test]
async fn after_an_hour_only_what_is_whole_is_spared_still() {
    let stage = stage(&KUBOS[0], |setup| setup).await;
    let whole = stage.waiting().await;
    let (part, root) = cids::node(&[&cids::fresh()]);
    stage.upload("application/vnd.ipld.car", car(&[&part], &[(&part, &root)])).await.expect(202);
    let admin = stage.database.pool("postgres");
    let waits = "select waiting_uploads(id) from nodes where name = 'node-0'";
    assert_eq!(sqlx::query_scalar::<_, i64>(waits).fetch_one(&admin).await.unwrap(), 2);
    sqlx::query("update uploads set noted = noted - interval '2 hours', look_after = look_after - interval '2 hours'")
        .execute(&admin)
        .await
        .unwrap();
    until("all were looked at", SOON, async || {
        let log = stage.pinner.log();
        let due = "select count(*) from uploads where look_after < now()";
        let due: i64 = sqlx::query_scalar(due).fetch_one(&admin).await.unwrap();
        (due == 0 && log.contains("an upload is less than what its root names")).then_some(())
    })
    .await;
    let kept = until("the part is forgotten", SOON, async || {
        let kept: Vec<Vec<u8>> = sqlx::query_scalar("select content from uploads").fetch_all(&admin).await.unwrap();
        (kept.len() == 1).then_some(kept)
    })
    .await;
    let key = pinner_core::content::SubmittedCid::parse(&whole).unwrap().key().as_bytes().to_vec();
    assert_eq!(kept, [key]);
    assert_eq!(sqlx::query_scalar::<_, i64>(waits).fetch_one(&admin).await.unwrap(), 1);
}
