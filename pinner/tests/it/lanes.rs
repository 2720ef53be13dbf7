//! Lanes whose connection breaks at the worst moment, and one whose queue is full: every pin that was answered 202 is
//! stored once, and the lane goes on.
//!
//! A transaction of the test holds the org's row, so that a statement of the lane stands still for as long as it takes to
//! break it.

use crate::stage::{
    cids,
    client::{ALL, Answer, Client, id, is},
    database::Database,
    fake_kubo::FakeKubo,
    pinner::{Pinner, Setup},
    proxy::Proxy,
    truth,
    wait::{SOON, until},
};
use futures::{StreamExt, future::join_all, stream::FuturesUnordered};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{PgPool, Postgres, Transaction};
use std::collections::{BTreeMap, BTreeSet};
use tokio::{sync::mpsc, task::JoinHandle};

/// How often a lane tries a batch.
const TRIES: usize = 4;
/// Pins that wait together behind a first one.
const OTHERS: usize = 30;
/// Imports and lines of each: more than a lane has room for, and no more lines than are accepted at a time.
const IMPORTS: usize = 560;
const LINES: usize = 16;

/// A pinner whose lanes reach Postgres by a proxy of their own.
struct Scene {
    admin: PgPool,
    proxy: Proxy,
    pinner: Pinner,
    org: Client,
    kubo: FakeKubo,
}

impl Scene {
    async fn new() -> Self {
        let (database, kubo) = (Database::new().await, FakeKubo::new().await);
        let proxy = Proxy::to(database.port).await;
        let setup = Setup::new(&database, &kubo.url)
            .with("ANCHORAGE_DATABASE_API_URL", database.through(proxy.port).url("anchorage_api"));
        let pinner = setup.start().await;
        let org = pinner.org("acme").await;
        // What nobody works on stays as its commit wrote it.
        pinner.admin().post("/admin/v1/nodes/node-0/cordon", &json!({})).await.expect(200);
        Self { admin: database.pool("postgres"), proxy, pinner, org, kubo }
    }

    /// Keeps every pin of the org from being written, until the transaction ends.
    async fn hold(&self) -> Transaction<'static, Postgres> {
        let mut transaction = self.admin.begin().await.unwrap();
        sqlx::query("select 1 from orgs for update").execute(&mut *transaction).await.unwrap();
        transaction
    }

    /// Asks for pins of these names, each of a content of its own, and does not wait for the answers.
    fn ask(&self, names: impl IntoIterator<Item = String>) -> Vec<JoinHandle<Answer>> {
        let ask = |name: String| {
            let org = self.org.clone();
            tokio::spawn(async move { org.post("/pins", &json!({"cid": cids::fresh(), "name": name})).await })
        };
        names.into_iter().map(ask).collect()
    }

    /// Asks for the [`OTHERS`] while the lane is busy, and waits until they wait for it: they go into one batch.
    async fn ask_others(&self) -> Vec<JoinHandle<Answer>> {
        let before = self.placed().await;
        let asked = self.ask((0..OTHERS).map(|n| format!("other {n}")));
        until("they wait in the lane", SOON, async || (self.placed().await == before + OTHERS as u64).then_some(()))
            .await;
        asked
    }

    /// For how many pins nodes were chosen, which is the last thing before they are in a lane.
    async fn placed(&self) -> u64 {
        let stats = self.pinner.admin().get("/admin/v1/cache-stats").await.expect(200);
        let caches = stats["caches"].as_array().unwrap();
        let map = caches.iter().find(|cache| cache["name"] == "placement_map").expect("each tells of this one");
        map["hits"].as_u64().unwrap() + map["misses"].as_u64().unwrap()
    }

    /// Waits until so many statements of lanes stand still, and gives their backends.
    async fn waiting(&self, statements: usize) -> Vec<i32> {
        until(&format!("{statements} statements of lanes wait for the org"), SOON, async || {
            let waiting: Vec<i32> = sqlx::query_scalar(
                "select pid from pg_stat_activity
                 where datname = current_database() and query like '%accept_pins%' and wait_event_type = 'Lock'",
            )
            .fetch_all(&self.admin)
            .await
            .unwrap();
            (waiting.len() == statements).then_some(waiting)
        })
        .await
    }

    /// Ends the backend of the one statement that stands still, as an administrator would.
    async fn kill_the_waiting(&self) {
        let waiting = self.waiting(1).await[0];
        // Waits for its end, so that it is not taken for the next one.
        let ended: bool = sqlx::query_scalar("select pg_terminate_backend($1, 20000)")
            .bind(waiting)
            .fetch_one(&self.admin)
            .await
            .unwrap();
        assert!(ended, "backend {waiting} goes on");
    }

    /// Every pin that is stored, by name, with the number of its commit.
    async fn stored(&self) -> BTreeMap<String, (String, String)> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("select name, id::text, xmin::text from pins").fetch_all(&self.admin).await.unwrap();
        let count = rows.len();
        let stored: BTreeMap<_, _> = rows.into_iter().map(|(name, id, commit)| (name, (id, commit))).collect();
        assert_eq!(stored.len(), count, "one was written twice");
        stored
    }

    /// Checks that each of these was answered 202 and is stored under the id that was answered, many by one commit.
    async fn check_accepted(&self, asked: Vec<JoinHandle<Answer>>) {
        let mut commits = BTreeSet::new();
        let (stored, count) = (self.stored().await, asked.len());
        for answer in join_all(asked).await {
            let pin = answer.unwrap().expect(202);
            let name = pin["pin"]["name"].as_str().unwrap();
            let (stored, commit) =
                stored.get(name).unwrap_or_else(|| panic!("{name} was acknowledged and is not there"));
            let requestid: pinner_core::id::PinId = id(&pin).parse().unwrap();
            assert_eq!(requestid.uuid().to_string(), *stored, "{name}");
            commits.insert(commit);
        }
        assert!(commits.len() * 2 < count, "{} commits of {count} pins: too few share one", commits.len());
    }

    /// Checks that the lane goes on and that nothing is left half done.
    async fn check_after(&self, stored: usize) {
        self.org.pin(&cids::fresh()).await;
        assert_eq!(self.org.count(ALL).await, stored as u64 + 1);
        self.pinner.admin().post("/admin/v1/nodes/node-0/uncordon", &json!({})).await.expect(200);
        truth::wait_for_rest(&self.admin, SOON).await;
        truth::wait_for_no_open_transaction(&self.admin).await;
        self.kubo.check();
    }
}

/// What a client is told whose pin could not be written for sure.
async fn is_unavailable(answer: JoinHandle<Answer>) {
    let answer = answer.await.unwrap();
    is(&answer, 503, "SERVICE_UNAVAILABLE", "try again", "the first");
    assert_eq!(answer.headers["retry-after"], "2");
}

#[tokio::test]
async fn a_lane_that_is_killed_in_the_middle_of_its_statement_writes_each_pin_once() {
    let scene = Scene::new().await;
    let held = scene.hold().await;
    let first = scene.ask(["first".to_owned()]).remove(0);
    scene.waiting(1).await;
    let others = scene.ask_others().await;
    for _ in 0..TRIES {
        scene.kill_the_waiting().await;
    }
    is_unavailable(first).await;
    for _ in 1..TRIES {
        scene.kill_the_waiting().await;
    }
    scene.waiting(1).await;
    held.rollback().await.unwrap();
    until("all are stored", SOON, async || (scene.stored().await.len() == OTHERS).then_some(())).await;
    scene.check_accepted(others).await;
    scene.check_after(OTHERS).await;
}

#[tokio::test]
async fn a_lane_whose_connection_breaks_while_its_statement_goes_on_writes_each_pin_once() {
    let scene = Scene::new().await;
    let held = scene.hold().await;
    let first = scene.ask(["first".to_owned()]).remove(0);
    scene.waiting(1).await;
    let others = scene.ask_others().await;
    for broken in 1..=TRIES {
        // Postgres does not notice that nobody listens any more: it will write the pins when it can.
        scene.proxy.break_off();
        scene.waiting(broken + 1).await;
    }
    is_unavailable(first).await;
    scene.proxy.break_off();
    scene.waiting(TRIES + 2).await;
    held.rollback().await.unwrap();
    // The first is stored as well: nobody could know.
    until("all are stored", SOON, async || (scene.stored().await.len() == OTHERS + 1).then_some(())).await;
    scene.check_accepted(others).await;
    scene.check_after(OTHERS + 1).await;
}

/// The second statement finds the org's limit reached by what the first one wrote.
#[tokio::test]
async fn a_pin_that_was_written_unseen_is_not_refused_for_the_room_that_it_takes_itself() {
    let scene = Scene::new().await;
    sqlx::query("update orgs set max_pins = 1").execute(&scene.admin).await.unwrap();
    let held = scene.hold().await;
    let first = scene.ask(["first".to_owned()]).remove(0);
    scene.waiting(1).await;
    scene.proxy.break_off();
    scene.waiting(2).await;
    held.rollback().await.unwrap();
    let accepted = first.await.unwrap().expect(202);
    assert_eq!(scene.org.get(&format!("/pins/{}", id(&accepted))).await.status, 200);
    let refused = scene.org.post("/pins", &json!({"cid": cids::fresh()})).await;
    is(&refused, 409, "INSUFFICIENT_FUNDS", "limit is 1 pins", "another one");
}

#[tokio::test]
async fn pins_whose_commit_was_never_confirmed_are_looked_up_and_not_written_again() {
    let scene = Scene::new().await;
    let held = scene.hold().await;
    let first = scene.ask(["first".to_owned()]);
    scene.waiting(1).await;
    let others = scene.ask_others().await;
    scene.proxy.hold_answers();
    held.rollback().await.unwrap();
    until("the first is stored", SOON, async || (scene.stored().await.len() == 1).then_some(())).await;
    assert!(!first[0].is_finished(), "its answer is held");
    let held = scene.hold().await;
    scene.proxy.break_off();
    // The first is answered, and the others are at it.
    first.into_iter().next().unwrap().await.unwrap().expect(202);
    scene.waiting(1).await;
    scene.proxy.hold_answers();
    held.rollback().await.unwrap();
    until("all are stored", SOON, async || (scene.stored().await.len() == OTHERS + 1).then_some(())).await;
    let before = scene.stored().await;
    assert!(others.iter().all(|other| !other.is_finished()), "their answers are held");
    scene.proxy.break_off();
    scene.check_accepted(others).await;
    assert_eq!(scene.stored().await, before);
    scene.check_after(OTHERS + 1).await;
}

/// Sends an import and gives each line's answer as it comes.
async fn import(org: &Client, lines: String, answers: mpsc::UnboundedSender<Value>) {
    let mut response = org.request(Method::POST, "/api/v1/pins/import").body(lines).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut text = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        text.extend_from_slice(&chunk);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            answers.send(serde_json::from_slice(&line).unwrap()).unwrap();
        }
    }
    assert!(text.is_empty(), "half a line");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_is_full_refuses_further_pins_and_loses_none_of_those_that_wait() {
    let scene = Scene::new().await;
    let held = scene.hold().await;
    let (told, mut answers) = mpsc::unbounded_channel();
    let imports: FuturesUnordered<_> = (0..IMPORTS)
        .map(|_| {
            let lines: String = (0..LINES).map(|_| format!("{{\"cid\":\"{}\"}}\n", cids::fresh())).collect();
            let (org, told) = (scene.org.clone(), told.clone());
            tokio::spawn(async move { import(&org, lines, told).await })
        })
        .collect();
    drop(told);
    // Nothing is written, so a refusal says that the lane is full, and it stays so.
    let mut lines = vec![tokio::time::timeout(SOON, answers.recv()).await.expect("a line is refused").unwrap()];
    let refused = scene.org.post("/pins", &json!({"cid": cids::fresh()})).await;
    is(&refused, 503, "SERVICE_UNAVAILABLE", "too many pins are waiting", "one more");
    assert_eq!(refused.headers["retry-after"], "2");
    held.rollback().await.unwrap();

    imports.for_each(|import| async { import.unwrap() }).await;
    while let Some(line) = answers.recv().await {
        lines.push(line);
    }
    let (accepted, refused): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| line["error"].is_null());
    println!("{} accepted, {} refused", accepted.len(), refused.len());
    assert_eq!(accepted.len() + refused.len(), IMPORTS * LINES);
    assert!(accepted.len() > 8_000, "{} found room", accepted.len());
    for line in refused {
        assert_eq!(line["error"]["reason"], "SERVICE_UNAVAILABLE", "{line}");
    }
    let ids = |line: &Value| id(&line["status"]).parse::<pinner_core::id::PinId>().unwrap().uuid();
    let acknowledged: BTreeSet<_> = accepted.iter().map(ids).collect();
    let stored: Vec<uuid::Uuid> = sqlx::query_scalar("select id from pins").fetch_all(&scene.admin).await.unwrap();
    assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), acknowledged);
    assert_eq!(acknowledged.len(), accepted.len());
    assert_eq!(scene.org.count(ALL).await, accepted.len() as u64);
    assert_eq!(scene.pinner.log().matches(" ERROR ").count(), 0);
    scene.org.pin(&cids::fresh()).await;
    truth::check(&scene.admin).await;
}
