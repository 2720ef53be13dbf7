//! A fleet and what is asked of it: through its admin API, of its database, and of its Kubos.

use crate::running::{Dev, PATIENCE, pause};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Every content with the nodes that hold it.
pub(crate) type Placements = BTreeMap<String, Vec<String>>;

/// A running fleet.
pub(crate) struct Fleet {
    http: reqwest::Client,
    endpoint: String,
    admin: String,
    org: String,
    database: String,
    kubos: Vec<String>,
    metrics: Vec<String>,
}

/// Samples how many nodes hold each pinned content, until it is ended.
pub(crate) struct Watch {
    stop: CancellationToken,
    samples: JoinHandle<usize>,
}

impl Watch {
    /// Fails if any sample saw a content below its minimum. Gives how many there were.
    pub(crate) async fn end(self) -> usize {
        self.stop.cancel();
        let samples = self.samples.await.unwrap();
        assert!(samples > 5, "too few samples to say anything: {samples}");
        samples
    }
}

/// Removes the files of all blocks below a directory. Gives how many those were.
pub(crate) fn remove_blocks(directory: &Path) -> usize {
    let mut removed = 0;
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            removed += remove_blocks(&path);
        } else if path.extension().is_some_and(|extension| extension == "data") {
            fs::remove_file(path).unwrap();
            removed += 1;
        }
    }
    removed
}

/// Waits for something, as long as real programs on a busy machine may take.
pub(crate) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        pause().await;
    }
}

/// A metric in what a node tells of itself; 0 while it was never counted.
fn value(metrics: &str, name: &str) -> f64 {
    metrics.lines().find_map(|line| line.strip_prefix(name)).map_or(0.0, |value| value.trim().parse().unwrap())
}

impl Fleet {
    /// The fleet that an `anchorage dev` announced.
    pub(crate) async fn of(dev: &Dev) -> Self {
        let all = |pointer| dev.texts(pointer).into_iter().map(str::to_owned).collect();
        Self {
            // A connection that is kept may be ended by the other side just when it is to be used again.
            http: reqwest::Client::builder()
                .timeout(std::time::Duration::from_secs(20))
                .pool_max_idle_per_host(0)
                .build()
                .unwrap(),
            endpoint: dev.text("/endpoint").to_owned(),
            admin: dev.text("/adminToken").to_owned(),
            org: dev.text("/orgs/demo").to_owned(),
            database: dev.text("/databaseUrl").to_owned(),
            kubos: all("/kubo"),
            metrics: all("/metrics"),
        }
    }

    /// What the admin API answers; or status, reason and details of its refusal.
    async fn try_send(&self, method: Method, path: &str, body: &Value) -> Result<Value, String> {
        let url = format!("{}/admin/v1/{path}", self.endpoint);
        let request = self.http.request(method, url).bearer_auth(&self.admin);
        let request = if body.is_null() { request } else { request.json(body) };
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        if status.is_success() { Ok(serde_json::from_str(&text).unwrap()) } else { Err(format!("{status}: {text}")) }
    }

    /// Why the admin API does not do so, once it is not too busy to say.
    pub(crate) async fn refusal(&self, method: Method, path: &str, body: &Value) -> String {
        until("a refusal", async || {
            let refusal = self.try_send(method.clone(), path, body).await.unwrap_err();
            Some(refusal).filter(|refusal| refusal.starts_with('4'))
        })
        .await
    }

    /// The same, where it must succeed; the pinner may be started again meanwhile.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Value {
        let mut last = String::new();
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.try_send(method.clone(), path, body).await {
                Ok(answer) => return answer,
                Err(why) if why.starts_with("4") => panic!("{path}: {why}"),
                Err(why) => last = why,
            }
            pause().await;
        }
        panic!("{path}: {last}")
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, &Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        self.send(Method::POST, path, body).await
    }

    /// What `anchorage admin` prints as JSON for these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_anchorage"));
        command.env("ANCHORAGE_SERVER", &self.endpoint).env("ANCHORAGE_TOKEN", &self.admin);
        let done = command.args(["admin", "-o", "json"]).args(arguments).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    }

    pub(crate) async fn node(&self, name: &str) -> Value {
        self.get(&format!("nodes/{name}")).await
    }

    pub(crate) async fn wait_state(&self, node: &str, state: &str) {
        until(&format!("{node} is {state}"), async || (self.node(node).await["state"] == state).then_some(())).await;
    }

    /// The number of the node that moves contents.
    pub(crate) async fn leader(&self) -> usize {
        until("somebody leads", async || {
            let presences = self.get("presences").await["presences"].as_array().unwrap().clone();
            let leads = |presence: &Value| presence["roles"].as_array().unwrap().contains(&json!("scheduler"));
            let leader = presences.into_iter().find(leads)?;
            leader["name"].as_str().unwrap().strip_prefix("node-")?.parse().ok()
        })
        .await
    }

    /// Adds contents to the Kubos in turn, unpinned, pins each and waits until all are pinned.
    pub(crate) async fn pin(&self, count: usize) {
        let mut ids = Vec::new();
        for number in 0..count {
            let url = format!("{}/api/v0/add?cid-version=1&pin=false", self.kubos[number % self.kubos.len()]);
            let content: u128 = rand::random();
            let body = format!(
                "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n{content}\r\n--b--\r\n"
            );
            let request = self.http.post(url).header("content-type", "multipart/form-data; boundary=b").body(body);
            let added: Value = request.send().await.unwrap().json().await.unwrap();
            let pin = until("it is accepted", async || {
                let request = self.http.post(format!("{}/pins", self.endpoint)).bearer_auth(&self.org);
                let answer = request.json(&json!({"cid": added["Hash"]})).send().await.unwrap();
                let (status, text) = (answer.status(), answer.text().await.unwrap());
                // As it says itself: on a busy machine it may not know for some seconds which tokens are revoked.
                assert!(status == 202 || status == 503, "{status}: {text}");
                (status == 202).then(|| serde_json::from_str::<Value>(&text).unwrap())
            })
            .await;
            ids.push(pin["requestid"].as_str().unwrap().to_owned());
        }
        for id in ids {
            until("it is pinned", async || {
                let url = format!("{}/pins/{id}", self.endpoint);
                let pin: Value = self.http.get(url).bearer_auth(&self.org).send().await.ok()?.json().await.ok()?;
                (pin["status"] == "pinned").then_some(())
            })
            .await;
        }
    }

    /// Waits until so many nodes are in the map, every content is where it belongs, and nothing is under way.
    pub(crate) async fn wait_settled(&self, nodes: usize) {
        let mut database = PgConnection::connect(&self.database).await.unwrap();
        until(&format!("all is settled on {nodes} nodes"), async || {
            // In one statement: a map that is committed between two looks would seem to have changed nothing.
            let (open, map): (i64, Option<Vec<u8>>) = sqlx::query_as(
                "select (select count(*) from contents where astray) + (select count(*) from changed_partitions)
                    + (select count(*) from placements p join nodes n on n.id = p.node_id
                        where p.status <> 'pinned' and (n.kubo_seen > now() - presence_ttl() or p.status <> 'unpinning')),
                    (select map from placement_maps join fleet on version = map_version)",
            )
            .fetch_one(&mut database)
            .await
            .unwrap();
            let map = pinner_core::map::PlacementMap::decode(&map?).unwrap();
            (open == 0 && map.nodes().len() == nodes).then_some(())
        })
        .await;
    }

    /// Where every content is pinned.
    pub(crate) async fn placements(&self) -> Placements {
        let mut database = PgConnection::connect(&self.database).await.unwrap();
        let rows: Vec<(String, Vec<String>)> = sqlx::query_as(
            "select encode(content, 'hex'), array_agg(name order by name) from placements join nodes on id = node_id
             where status = 'pinned' group by content",
        )
        .fetch_all(&mut database)
        .await
        .unwrap();
        rows.into_iter().collect()
    }

    /// Placements of these nodes: what must be copied to them, or from them, and no more.
    pub(crate) async fn least_moved(&self, nodes: &[&str]) -> usize {
        let placements = self.placements().await;
        placements.values().flatten().filter(|node| nodes.contains(&node.as_str())).count()
    }

    /// Copies that were fetched since the pinners started.
    pub(crate) async fn fetched(&self) -> usize {
        let mut fetched = 0.0;
        for node in 0..self.metrics.len() {
            let text = until("its metrics are told", async || self.metrics_of(node).await).await;
            fetched += value(&text, "anchorage_pins_finished_total{result=\"pinned\"}");
        }
        fetched as usize
    }

    /// A metric of a node; 0 while it is not there.
    pub(crate) async fn metric(&self, node: usize, name: &str) -> f64 {
        self.metrics_of(node).await.map_or(0.0, |text| value(&text, name))
    }

    async fn metrics_of(&self, node: usize) -> Option<String> {
        let answer = self.http.get(&self.metrics[node]).send().await.ok()?;
        answer.error_for_status().ok()?.text().await.ok()
    }

    /// Samples, until it is ended, on how many nodes each content is that a pin calls pinned.
    pub(crate) fn watch(&self) -> Watch {
        let (stop, database) = (CancellationToken::new(), self.database.clone());
        let ended = stop.clone();
        let samples = tokio::spawn(async move {
            let mut database = PgConnection::connect(&database).await.unwrap();
            let mut samples = 0;
            while !ended.is_cancelled() {
                let low: Vec<(String, i64)> = sqlx::query_as(
                    "select pins.cid, held.nodes from pins cross join lateral (
                        select count(*) as nodes from placements p where p.content = pins.content and p.status = 'pinned'
                     ) held where pins.status = 'pinned' and held.nodes < pins.copies_min",
                )
                .fetch_all(&mut database)
                .await
                .unwrap();
                assert!(low.is_empty(), "below their minimum: {low:?}");
                samples += 1;
                pause().await;
            }
            samples
        });
        Watch { stop, samples }
    }

    /// What a Kubo holds, as Kubo says.
    async fn kubo_pins(&self, node: usize) -> Vec<String> {
        let url = format!("{}/api/v0/pin/ls?type=recursive", self.kubos[node]);
        let answer: Value = self.http.post(url).send().await.unwrap().json().await.unwrap();
        answer["Keys"].as_object().map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
    }

    pub(crate) async fn kubo_holds(&self, node: usize, cid: &str) -> bool {
        self.kubo_pins(node).await.contains(&cid.to_owned())
    }

    /// How many contents of the service a node's Kubo holds. An empty Kubo has a pin of its own.
    pub(crate) async fn held(&self, node: &str) -> usize {
        let node: usize = node.strip_prefix("node-").unwrap().parse().unwrap();
        let asked = self.cids().await;
        self.kubo_pins(node).await.iter().filter(|cid| asked.contains(cid)).count()
    }

    async fn cids(&self) -> Vec<String> {
        let mut database = PgConnection::connect(&self.database).await.unwrap();
        sqlx::query_scalar("select distinct cid from pins").fetch_all(&mut database).await.unwrap()
    }

    /// Unpins everything behind the service's back, as a disk does that was wiped.
    pub(crate) async fn forget_pins(&self, node: usize) {
        for cid in self.kubo_pins(node).await {
            let url = format!("{}/api/v0/pin/rm?arg={cid}", self.kubos[node]);
            self.http.post(url).send().await.unwrap();
        }
        self.http.post(format!("{}/api/v0/repo/gc", self.kubos[node])).send().await.unwrap().text().await.unwrap();
    }

    /// Fails unless a Kubo has every block of what it has pinned through the service.
    pub(crate) async fn check_blocks(&self, node: usize) {
        let asked = self.cids().await;
        for cid in self.kubo_pins(node).await.into_iter().filter(|cid| asked.contains(cid)) {
            let url = format!("{}/api/v0/dag/stat?arg={cid}&progress=false&offline=true", self.kubos[node]);
            let answer = self.http.post(url).send().await.unwrap();
            assert!(answer.status().is_success(), "{cid} is not whole: {}", answer.text().await.unwrap());
        }
    }

    /// How many contents of the service are held by a Kubo beyond its placements.
    pub(crate) async fn strays(&self) -> usize {
        let (placements, asked) = (self.placed_cids().await, self.cids().await);
        let mut strays = 0;
        for node in 0..self.kubos.len() {
            let placed = |cid: &String| placements.contains(&(format!("node-{node}"), cid.clone()));
            strays += self.kubo_pins(node).await.iter().filter(|cid| asked.contains(cid) && !placed(cid)).count();
        }
        strays
    }

    async fn placed_cids(&self) -> Vec<(String, String)> {
        let mut database = PgConnection::connect(&self.database).await.unwrap();
        sqlx::query_as(
            "select distinct n.name, pins.cid from placements p join nodes n on n.id = p.node_id
             join pins on pins.content = p.content where p.status = 'pinned' order by 1, 2",
        )
        .fetch_all(&mut database)
        .await
        .unwrap()
    }

    /// Fails unless every Kubo holds exactly what the placements say.
    pub(crate) async fn check_kubos(&self) {
        let placements = self.placed_cids().await;
        for node in 0..self.kubos.len() {
            let name = format!("node-{node}");
            let mut placed: Vec<_> =
                placements.iter().filter(|(node, _)| *node == name).map(|(_, cid)| cid.clone()).collect();
            let asked = self.cids().await;
            let mut held: Vec<_> = self.kubo_pins(node).await.into_iter().filter(|cid| asked.contains(cid)).collect();
            placed.sort();
            held.sort();
            assert_eq!(held, placed, "node-{node}");
        }
    }
}
