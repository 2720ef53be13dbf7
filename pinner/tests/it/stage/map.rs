//! The placement map by which contents are placed. That a node is seen is less: a map of it may not be planned yet, or not
//! be known yet to those that place.

use super::{
    cids,
    pinner::Pinner,
    wait::{SOON, until},
};
use pinner_core::{content::SubmittedCid, map::PlacementMap};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::collections::BTreeSet;

/// Waits until these pinners, with their Kubos, are the fleet, a map of all of them is committed, and each places by it.
pub(crate) async fn wait_for_map_of(pinners: &[&Pinner]) {
    let count = pinners.len();
    until(&format!("{count} pinners place by a map of all of them"), SOON * 2, async || {
        let admin = pinners[0].admin();
        // Before the plan, which is for whoever is there when it is asked for.
        let all = admin.get("/admin/v1/presences").await.expect(200);
        let ready = |one: &&Value| one["live"] == true && one["kuboReady"] == true;
        if all["presences"].as_array()?.iter().filter(ready).count() != count {
            return None;
        }
        let plan = admin.get("/admin/v1/rebalance").await;
        if plan.status != 200 {
            // The fleet changes at this moment.
            return None;
        }
        let plan = plan.json();
        if plan["moves"] != json!([]) || plan["mapVersion"] == 0 {
            return None;
        }
        for pinner in pinners {
            let stats = pinner.admin().get("/admin/v1/cache-stats").await.expect(200);
            let of = |name: &str| stats["caches"].as_array()?.iter().find(|cache| cache["name"] == name).cloned();
            if of("placement_map")?["version"] != plan["mapVersion"] || of("live_nodes")?["entries"] != count {
                return None;
            }
        }
        Some(())
    })
    .await;
}

/// So many contents that no other test has, or more: of each node of the map at least one that belongs there.
pub(crate) async fn contents_of_each_node(admin: &PgPool, count: usize) -> Vec<String> {
    let map: Vec<u8> = sqlx::query_scalar("select map from placement_maps join fleet on version = map_version")
        .fetch_one(admin)
        .await
        .expect("there is a map");
    let map = PlacementMap::decode(&map).expect("the service wrote it");
    let (mut homes, mut contents) = (BTreeSet::new(), Vec::new());
    while contents.len() < count || homes.len() < map.nodes().len() {
        assert!(contents.len() < 50 * count, "nothing belongs on some of {:?}: {homes:?}", map.nodes());
        let cid = cids::fresh();
        let content = SubmittedCid::parse(&cid).expect("it can be pinned");
        homes.extend(map.holders(content.key().partition()).next().map(|node| node.uuid()));
        contents.push(cid);
    }
    contents
}
