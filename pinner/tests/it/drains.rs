//! Drains that something stands in the way of: pins that were refused, nodes that take nothing.

use crate::stage::{
    cids,
    client::id,
    database::Database,
    fake_kubo::{Addition, FakeKubo},
    map::wait_for_map_of,
    pinner::{Pinner, Setup},
    truth,
    wait::{SOON, until},
};
use pinner_core::id::PinId;
use serde_json::json;
use std::time::Duration;

/// So many nodes with fake Kubos, each content on two, once all are in the map.
async fn fleet<const N: usize>(database: &Database) -> ([Pinner; N], [FakeKubo; N]) {
    let mut kubos = Vec::new();
    let mut pinners: Vec<Pinner> = Vec::new();
    for n in 0..N {
        let kubo = FakeKubo::new().await;
        let setup = Setup::new(database, &kubo.url)
            .with("ANCHORAGE_NODE_NAME", format!("node-{n}"))
            .with("ANCHORAGE_REPLICATION_MIN", 2)
            .with("ANCHORAGE_REPLICATION_MAX", 2);
        pinners.push(setup.start().await);
        kubos.push(kubo);
    }
    wait_for_map_of(&pinners.iter().collect::<Vec<_>>()).await;
    let (Ok(pinners), Ok(kubos)) = (pinners.try_into(), kubos.try_into()) else { unreachable!("there are N") };
    (pinners, kubos)
}

async fn wait_until_drained(pinner: &Pinner, node: &str) {
    until(&format!("{node} is drained"), SOON, async || {
        let nodes = pinner.admin().get("/admin/v1/nodes").await.expect(200);
        nodes["nodes"].as_array()?.iter().any(|one| one["name"] == node && one["state"] == "drained").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_is_emptied_though_another_that_should_have_its_contents_is_cordoned() {
    let database = Database::new().await;
    let (pinners, kubos) = fleet::<4>(&database).await;
    let admin = pinners[0].admin();
    admin.post("/admin/v1/nodes/node-2/cordon", &json!({})).await.expect(200);
    let org = pinners[0].org("acme").await;
    for n in 0..30 {
        org.at(&pinners[n % 4].url).pin(&cids::fresh()).await;
    }
    until("all are pinned", SOON, async || (org.count("pinned").await == 30).then_some(())).await;
    assert!(kubos[3].look(|record| !record.pinned.is_empty()), "this proves nothing");
    admin.post("/admin/v1/nodes/node-3/drain", &json!({})).await.expect(200);
    wait_until_drained(&pinners[0], "node-3").await;
    assert_eq!(org.count("pinned").await, 30);
    let held = kubos.each_ref().map(|kubo| kubo.look(|record| record.pinned.len()));
    assert_eq!((held[0] + held[1] + held[2], held[3]), (60, 0), "{held:?}");

    // When it takes again what is its own, nobody stands in for it any more.
    admin.post("/admin/v1/nodes/node-2/uncordon", &json!({})).await.expect(200);
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    let held = kubos.each_ref().map(|kubo| kubo.look(|record| record.pinned.len()));
    assert_eq!((held[0] + held[1] + held[2], held[3]), (60, 0), "{held:?}");
    kubos.iter().for_each(FakeKubo::check);
}

#[tokio::test]
async fn a_pin_that_was_refused_for_its_size_keeps_no_node_from_being_emptied() {
    let database = Database::new().await;
    let (pinners, kubos) = fleet::<3>(&database).await;
    kubos[2].plan(|_, _| Addition::Drip(Duration::from_millis(100)));
    let org = pinners[0].org("acme").await;
    let database = database.pool("postgres");
    // One that another node holds, and that grows beyond its org's limit while node-2 fetches it.
    let (refused, holder) = until("one is on its way to node-2", SOON, async || {
        let pin = org.post("/pins", &json!({"cid": cids::fresh()})).await.expect(202);
        let others =
            "select n.name from pins join placements p on p.content = pins.content join nodes n on n.id = p.node_id
            where pins.id = $1 and n.name <> 'node-2' and exists (
                select from placements o join nodes on nodes.id = o.node_id
                where o.content = p.content and nodes.name = 'node-2'
            )";
        let pin = id(&pin);
        let uuid = pin.parse::<PinId>().unwrap().uuid();
        let holder: Option<String> = sqlx::query_scalar(others).bind(uuid).fetch_optional(&database).await.unwrap();
        holder.map(|holder| (pin, holder))
    })
    .await;
    let held = "select exists (select from placements join nodes on id = node_id where name = $1 and status = 'pinned'
        and content = (select content from pins where id = $2))";
    let uuid = refused.parse::<PinId>().unwrap().uuid();
    until("the other one holds it", SOON, async || {
        sqlx::query_scalar::<_, bool>(held).bind(&holder).bind(uuid).fetch_one(&database).await.unwrap().then_some(())
    })
    .await;
    sqlx::query("update orgs set max_bytes = 500 where name = 'acme'").execute(&database).await.unwrap();
    until("it is refused", SOON, async || (org.status(&refused).await == "failed").then_some(())).await;
    let info = org.get(&format!("/pins/{refused}")).await.expect(200)["info"].clone();
    assert_eq!(info["reason"], "QUOTA", "{info}");
    sqlx::query("update orgs set max_bytes = null").execute(&database).await.unwrap();
    kubos[2].plan(|_, _| Addition::After(Duration::ZERO));
    pinners[0].admin().post(&format!("/admin/v1/nodes/{holder}/drain"), &json!({})).await.expect(200);
    wait_until_drained(&pinners[0], &holder).await;
    kubos.iter().for_each(FakeKubo::check);
}
