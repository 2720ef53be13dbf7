//! A fleet of two: copies on both, news by NATS, one leaving.

use crate::stage::{
    cids,
    client::id,
    containers::KUBOS,
    database::Database,
    fake_kubo::FakeKubo,
    map::{contents_of_each_node, wait_for_map_of},
    pinner::{Pinner, Setup},
    truth,
    wait::{SOON, until},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// Waits until a pinner sees so many live nodes with a Kubo.
async fn wait_for_nodes(pinner: &Pinner, live: usize) -> Vec<Value> {
    until(&format!("{} sees {live} live nodes", pinner.url), SOON, async || {
        let nodes = pinner.admin().get("/admin/v1/nodes").await.expect(200);
        let nodes = nodes["nodes"].as_array().expect("a list").clone();
        let ready = nodes.iter().filter(|node| node["live"] == true && node["kuboReady"] == true).count();
        (ready == live).then_some(nodes)
    })
    .await
}

/// The sweep comes once a minute, so whatever is quick came by NATS.
#[tokio::test]
async fn a_pin_is_on_both_kubos_long_before_any_sweep_and_so_is_its_end() {
    let database = Database::new().await;
    let setup = Setup::new(&database, &KUBOS[0])
        .with("ANCHORAGE_REPLICATION_MIN", 2)
        .with("ANCHORAGE_REPLICATION_MAX", 2)
        .with("ANCHORAGE_WORKER_SWEEP_SECONDS", 60);
    let pinners = [setup.start().await, setup.sibling("node-1", &KUBOS[1]).start().await];
    wait_for_map_of(&pinners.each_ref()).await;
    for pinner in &pinners {
        until("it listens to NATS", SOON, async || pinner.log().contains("connected to NATS").then_some(())).await;
    }
    let org = pinners[0].org("acme").await;
    for pinner in &pinners {
        // What it sees of the fleet is a beat old: a pin accepted before is one copy short until the leader looks.
        let org = org.at(&pinner.url);
        until("it places on both nodes", SOON, async || {
            let accepted = org.post("/pins", &json!({"cid": cids::fresh()})).await.expect(202);
            org.delete(&format!("/pins/{}", id(&accepted))).await.expect(202);
            (accepted["delegates"].as_array().map(Vec::len) == Some(2)).then_some(())
        })
        .await;
    }
    for round in 0..3 {
        let block = cids::fresh_block();
        let cid = cids::raw(&block);
        // Only one has the block: the other fetches it over the fleet's own connection.
        cids::put(&KUBOS[round % 2], &block).await;
        let began = Instant::now();
        let pin = org.at(&pinners[round % 2].url).pin(&cid).await;
        until("it is pinned", SOON, async || (org.status(&pin).await == "pinned").then_some(())).await;
        assert!(cids::is_pinned(&KUBOS[0], &cid).await && cids::is_pinned(&KUBOS[1], &cid).await);
        org.delete(&format!("/pins/{pin}")).await.expect(202);
        truth::wait_for_rest(&database.pool("postgres"), SOON).await;
        assert!(!cids::is_pinned(&KUBOS[0], &cid).await && !cids::is_pinned(&KUBOS[1], &cid).await);
        println!("round {round}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn when_a_pinner_leaves_in_order_the_others_go_on_and_it_is_welcome_back() {
    let (database, kubos) = (Database::new().await, [FakeKubo::new().await, FakeKubo::new().await]);
    let admin = database.pool("postgres");
    let setup = Setup::new(&database, &kubos[0].url);
    let stays = setup.start().await;
    let second = setup.sibling("node-1", &kubos[1].url);
    let mut leaves = second.start().await;
    // A node that leaves keeps its place in the map for a while: only so is there something that it is stood in for.
    wait_for_map_of(&[&stays, &leaves]).await;
    let before = wait_for_nodes(&stays, 2).await;
    let contents = contents_of_each_node(&admin, 10).await;
    leaves.signal(Signal::SIGTERM);
    assert_eq!(leaves.ended(SOON).await.code(), Some(0));
    wait_for_nodes(&stays, 1).await;
    // Every part of the one that stays still works: a beat later too.
    let seen = "select extract(epoch from max(seen) filter (where name = 'node-0'))::float8 from nodes";
    let then: f64 = sqlx::query_scalar(seen).fetch_one(&admin).await.unwrap();
    until("the one that stays still beats", SOON, async || {
        let now: f64 = sqlx::query_scalar(seen).fetch_one(&admin).await.unwrap();
        (now > then + 3.0).then_some(())
    })
    .await;
    let org = stays.org("acme").await;
    for cid in &contents {
        let pin = org.pin(cid).await;
        until("it is pinned", SOON, async || (org.status(&pin).await == "pinned").then_some(())).await;
    }
    kubos[0].look(|record| assert_eq!(record.pinned.len(), contents.len(), "nothing goes to who has left"));
    let back = second.start().await;
    wait_for_map_of(&[&stays, &back]).await;
    // What it stood in for goes to where it belongs.
    truth::wait_for_rest(&admin, SOON).await;
    let held = kubos.each_ref().map(|kubo| kubo.look(|record| record.pinned.len()));
    assert!(held[0] + held[1] == contents.len() && held[1] > 0, "{held:?}");
    let after = wait_for_nodes(&stays, 2).await;
    let ids = |nodes: &[Value]| nodes.iter().map(|node| node["id"].to_string()).collect::<Vec<_>>();
    assert_eq!(ids(&before), ids(&after), "under the same identity");
}

#[tokio::test]
async fn what_found_too_few_nodes_gets_its_copies_when_there_are_enough() {
    let (database, kubos) = (Database::new().await, [FakeKubo::new().await, FakeKubo::new().await]);
    let admin = database.pool("postgres");
    let setup =
        Setup::new(&database, &kubos[0].url).with("ANCHORAGE_REPLICATION_MIN", 2).with("ANCHORAGE_REPLICATION_MAX", 2);
    let first = setup.start().await;
    let org = first.org("acme").await;
    let mut pins = Vec::new();
    for _ in 0..20 {
        pins.push(org.pin(&cids::fresh()).await);
    }
    until("each is on the one node", SOON, async || kubos[0].look(|record| (record.pinned.len() == 20).then_some(())))
        .await;
    assert_eq!(org.count("pinned").await, 0, "one copy of two is not pinned");
    assert_eq!(org.status(&pins[0]).await, "pinning");
    let began = Instant::now();
    let _second = setup.sibling("node-1", &kubos[1].url).start().await;
    until("all are pinned", SOON, async || (org.count("pinned").await == 20).then_some(())).await;
    truth::wait_for_rest(&admin, SOON).await;
    kubos[1].look(|record| assert_eq!(record.pinned.len(), 20));
    println!("{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_cordoned_node_gets_nothing_new_until_it_is_uncordoned() {
    let (database, kubos) = (Database::new().await, [FakeKubo::new().await, FakeKubo::new().await]);
    let superuser = database.pool("postgres");
    let setup = Setup::new(&database, &kubos[0].url);
    let pinners = [setup.start().await, setup.sibling("node-1", &kubos[1].url).start().await];
    wait_for_map_of(&pinners.each_ref()).await;
    let contents = contents_of_each_node(&superuser, 20).await;
    let admin = pinners[0].admin();
    let cordoned = admin.post("/admin/v1/nodes/node-1/cordon", &json!({"reason": "test"})).await.expect(200);
    assert_eq!((&cordoned["scheduling"], &cordoned["reason"]), (&"Cordoned".into(), &"test".into()));
    let org = pinners[0].org("acme").await;
    // At once, although the other pinner's view of the fleet may be a beat old.
    for (n, cid) in contents.iter().enumerate() {
        org.at(&pinners[n % 2].url).pin(cid).await;
    }
    // No rest yet: what belongs on the cordoned node waits to go there.
    let all = contents.len();
    until("all are pinned", SOON, async || (org.count("pinned").await == all as u64).then_some(())).await;
    assert_eq!(kubos.each_ref().map(|kubo| kubo.look(|record| record.pinned.len())), [all, 0]);
    admin.post("/admin/v1/nodes/node-1/uncordon", &json!({})).await.expect(200);
    truth::wait_for_rest(&superuser, SOON).await;
    let [stayed, went] = kubos.each_ref().map(|kubo| kubo.look(|record| record.pinned.clone()));
    assert!(!went.is_empty() && stayed.is_disjoint(&went), "{stayed:?} {went:?}");
    assert_eq!(stayed.union(&went).cloned().collect::<BTreeSet<_>>(), contents.into_iter().collect());
    until("it is given new work again", SOON, async || {
        org.pin(&cids::fresh()).await;
        kubos[1].look(|record| (record.pinned.len() > went.len()).then_some(()))
    })
    .await;
}

#[tokio::test]
async fn a_pin_that_no_node_takes_waits_and_leaves_nothing_behind_when_it_is_deleted() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let admin = database.pool("postgres");
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let org = pinner.org("acme").await;
    pinner.admin().post("/admin/v1/nodes/node-0/cordon", &json!({})).await.expect(200);
    let pins = [org.pin(&cids::fresh()).await, org.pin(&cids::fresh()).await];
    let placed = "select count(*) from placements";
    assert_eq!(sqlx::query_scalar::<_, i64>(placed).fetch_one(&admin).await.unwrap(), 0);
    org.delete(&format!("/pins/{}", pins[0])).await.expect(202);
    truth::check(&admin).await;
    pinner.admin().post("/admin/v1/nodes/node-0/uncordon", &json!({})).await.expect(200);
    until("it has its turn", SOON, async || (org.status(&pins[1]).await == "pinned").then_some(())).await;
    truth::wait_for_rest(&admin, SOON).await;
}

#[tokio::test]
async fn what_is_new_goes_past_a_node_without_room_and_comes_home_when_there_is_some() {
    let database = Database::new().await;
    let kubos = [FakeKubo::new().await, FakeKubo::new().await, FakeKubo::new().await];
    let admin = database.pool("postgres");
    let setup =
        Setup::new(&database, &kubos[0].url).with("ANCHORAGE_REPLICATION_MIN", 2).with("ANCHORAGE_REPLICATION_MAX", 2);
    let pinners = [
        setup.start().await,
        setup.sibling("node-1", &kubos[1].url).start().await,
        setup.sibling("node-2", &kubos[2].url).start().await,
    ];
    wait_for_map_of(&pinners.each_ref()).await;
    let org = pinners[0].org("acme").await;
    kubos[2].look(|record| record.disk_is_full = true);
    until("all know that its disk is full", SOON, async || {
        // Until something is placed there, nobody can tell.
        org.pin(&cids::fresh()).await;
        for pinner in &pinners {
            let nodes = pinner.admin().get("/admin/v1/nodes").await.expect(200);
            let full =
                |node: &&Value| node["kuboDiskFull"] == true && node["kuboReady"] == true && node["live"] == true;
            let full: Vec<_> = nodes["nodes"].as_array()?.iter().filter(full).map(|node| &node["name"]).collect();
            if full != ["node-2"] {
                return None;
            }
        }
        Some(())
    })
    .await;
    let at_home = |contents: &[String]| kubos[2].look(|record| contents.iter().any(|cid| record.pinned.contains(cid)));
    let mut late = Vec::new();
    for n in 0..20 {
        late.push(cids::fresh());
        let pin = org.at(&pinners[n % 3].url).pin(&late[n]).await;
        until("it is pinned elsewhere", SOON, async || (org.status(&pin).await == "pinned").then_some(())).await;
    }
    assert!(!at_home(&late), "it has no room");
    for cid in &late {
        let held = [0, 1].map(|n| kubos[n].look(|record| record.pinned.contains(cid)));
        assert_eq!(held, [true, true], "{cid} has all its copies");
    }

    kubos[2].look(|record| record.disk_is_full = false);
    truth::wait_for_rest(&admin, SOON).await;
    assert!(at_home(&late), "what belongs there has come");
    kubos.iter().for_each(FakeKubo::check);
}
