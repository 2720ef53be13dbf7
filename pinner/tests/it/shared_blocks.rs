//! Blocks that two DAGs share, in a real Kubo whose garbage is really collected: they outlive the DAG that is let go.

use crate::stage::{
    cids,
    client::{Client, id},
    containers,
    database::Database,
    pinner::Setup,
    truth,
    wait::{SOON, until},
};
use reqwest::Method;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// A Kubo and every block that the test has made.
struct Store {
    kubo: String,
    blocks: BTreeMap<String, Vec<u8>>,
}

/// A root with a leaf of its own, and what else it links to.
struct Dag {
    root: String,
    leaf: String,
}

impl Store {
    fn leaf(&mut self) -> String {
        let block = cids::fresh_block();
        let cid = cids::raw(&block);
        self.blocks.insert(cid.clone(), block);
        cid
    }

    fn node(&mut self, links: &[&str]) -> String {
        let (cid, block) = cids::node(links);
        self.blocks.insert(cid.clone(), block);
        cid
    }

    fn dag(&mut self, links: &[&str]) -> Dag {
        let leaf = self.leaf();
        Dag { root: self.node(&[links, &[&leaf]].concat()), leaf }
    }

    async fn put(&self, cid: &str) {
        let block = &self.blocks[cid];
        if cid.parse::<cid::Cid>().unwrap().codec() == 0x55 {
            cids::put(&self.kubo, block).await;
        } else {
            cids::put_node(&self.kubo, block).await;
        }
    }

    async fn call(&self, call: &str) -> reqwest::Response {
        let request = reqwest::Client::new().request(Method::POST, format!("{}/api/v0/{call}", self.kubo));
        request.send().await.expect("Kubo answers")
    }

    /// What is left of all blocks after a collection of garbage.
    async fn collect(&self) -> BTreeSet<String> {
        let collection = self.call("repo/gc?quiet=true").await;
        assert!(collection.status().is_success());
        let said = collection.text().await.unwrap();
        assert!(!said.contains("Error\":\"") || said.contains("Error\":\"\""), "{said}");
        let mut left = BTreeSet::new();
        for cid in self.blocks.keys() {
            if self.call(&format!("block/stat?arg={cid}&offline=true")).await.status().is_success() {
                left.insert(cid.clone());
            }
        }
        left
    }
}

async fn wait_for(org: &Client, pin: &str, status: &str) {
    until(&format!("{pin} is {status}"), SOON, async || (org.status(pin).await == status).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_that_two_dags_share_survive_a_collection_after_a_replace_and_after_anothers_delete() {
    let mut store = Store { kubo: containers::kubo(), blocks: BTreeMap::new() };
    let database = Database::new().await;
    let admin = database.pool("postgres");
    let pinner = Setup::new(&database, &store.kubo).start().await;
    let (org, other) = (pinner.org("acme").await, pinner.org("other").await);

    // A leaf, and a node with two leaves.
    let [one, two, three] = [store.leaf(), store.leaf(), store.leaf()];
    let inner = store.node(&[&two, &three]);
    let [first, second, third] = [(); 3].map(|()| store.dag(&[&one, &inner]));
    let shared = [one.as_str(), &two, &three, &inner];
    let held = |dag: &Dag| -> BTreeSet<String> {
        shared.into_iter().chain([dag.root.as_str(), &dag.leaf]).map(str::to_owned).collect()
    };
    for cid in shared.into_iter().chain([first.root.as_str(), &first.leaf, &second.root]) {
        store.put(cid).await;
    }

    let pin = org.pin(&first.root).await;
    wait_for(&org, &pin, "pinned").await;
    // The second lacks its leaf for now. What it shares with the first must not be let go meanwhile.
    let replaced = org.post(&format!("/pins/{pin}"), &json!({"cid": second.root})).await.expect(202);
    wait_for(&org, &id(&replaced), "pinning").await;
    assert!(cids::is_pinned(&store.kubo, &first.root).await, "let go before its successor is there");
    store.put(&second.leaf).await;
    wait_for(&org, &id(&replaced), "pinned").await;
    truth::wait_for_rest(&admin, SOON).await;
    assert!(!cids::is_pinned(&store.kubo, &first.root).await);
    assert_eq!(store.collect().await, held(&second), "after the replace");

    for cid in [&third.root, &third.leaf] {
        store.put(cid).await;
    }
    let of_other = other.pin(&third.root).await;
    wait_for(&other, &of_other, "pinned").await;
    org.delete(&format!("/pins/{}", id(&replaced))).await.expect(202);
    truth::wait_for_rest(&admin, SOON).await;
    assert_eq!(store.collect().await, held(&third), "after the other's delete");

    other.delete(&format!("/pins/{of_other}")).await.expect(202);
    truth::wait_for_rest(&admin, SOON).await;
    assert_eq!(store.collect().await, BTreeSet::new(), "after the last delete");
}
