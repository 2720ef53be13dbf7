//! Clients that hang up at the worst moment (HAZARDS 1).
//!
//! `CUTS=100000` is the full size, `SEED=…` repeats a run; `ANCHORAGE_PROGRAM=…` has another build tested.

mod history;
mod wire;

use crate::stage::{cids, client::ALL, database::Database, fake_kubo::FakeKubo, pinner::Setup, truth, wait::SOON};
use futures::future::join_all;
use history::History;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};
use uuid::Uuid;
use wire::Cut;

const ORGS: usize = 5;
const CLIENTS: usize = 20;

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// A connection's fate.
fn cut(random: &mut StdRng, length: usize) -> Cut {
    let (bytes, after) = match random.random_range(0..6) {
        // In the middle of what is sent.
        0 => (random.random_range(0..length), Duration::from_micros(random.random_range(0..4_000))),
        // In the middle of the work, mostly.
        1 => (length, Duration::from_micros(random.random_range(0..3_000))),
        2 => (length, Duration::from_micros(random.random_range(0..60_000))),
        _ => (length, SOON),
    };
    Cut { bytes, after, reset: random.random_bool(0.5), pipelined: random.random_bool(0.6) }
}

/// Sends so many requests over connections that are cut, one after the other.
async fn client(address: &str, token: &str, contents: &[String], history: &mut History, requests: u64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut sent = 0;
    while sent < requests {
        let operations: Vec<_> =
            (0..random.random_range(1..=6)).map(|_| history.choose(contents, &mut random)).collect();
        sent += operations.len() as u64;
        let bytes: Vec<_> = operations
            .iter()
            .map(|operation| {
                let (method, path, body) = operation.parts();
                wire::request(method, &path, token, body.as_ref())
            })
            .collect();
        let cut = cut(&mut random, bytes.iter().map(Vec::len).sum());
        let answers = wire::send(address, &bytes, cut).await;
        assert!(cut.after < SOON || answers.len() == operations.len(), "not all were answered: {answers:?}");
        for (operation, answer) in operations.iter().zip(&answers) {
            history.learn(operation, answer);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_requests_cut_at_random_moments_every_acknowledged_one_is_stored_and_no_connection_is_poisoned() {
    let (requests, seed) = (variable("CUTS", 600), variable("SEED", rand::random()));
    println!("SEED={seed} CUTS={requests}");
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let admin = database.pool("postgres");
    let setup = Setup::new(&database, &kubo.url).with("ANCHORAGE_DATABASE_POOL_SIZE", 4);
    let pinner = setup.with("ANCHORAGE_LOG_LEVEL", "info").start().await;
    let address = pinner.url.strip_prefix("http://").unwrap();
    let mut tokens = Vec::new();
    for org in 0..ORGS {
        let wanted = json!({"org": format!("org-{org}"), "scopes": ["pins:read", "pins:write"]});
        let minted = pinner.admin().post("/admin/v1/tokens", &wanted).await.expect(201);
        tokens.push(minted["token"].as_str().unwrap().to_owned());
    }
    let contents: Vec<_> = (0..100).map(|_| cids::fresh()).collect();
    let mut histories: Vec<_> = (0..CLIENTS).map(|n| History::new(n % ORGS, n)).collect();

    let began = Instant::now();
    join_all(histories.iter_mut().enumerate().map(|(n, history)| {
        let share = requests.div_ceil(CLIENTS as u64);
        client(address, &tokens[n % ORGS], &contents, history, share, seed.wrapping_add(n as u64))
    }))
    .await;
    let took = began.elapsed();

    // Right away, and through the same few connections.
    for (n, history) in histories.iter().enumerate() {
        let org = pinner.admin().with_token(&tokens[n % ORGS]);
        for pin in history.held.iter().take(5) {
            assert_eq!(org.get(&format!("/pins/{pin}")).await.status, 200, "{pin} was acknowledged and is not there");
        }
    }
    let rows: Vec<(Uuid, String)> = sqlx::query_as("select id, name from pins").fetch_all(&admin).await.unwrap();
    let total = rows.len();
    let mut stored: HashMap<String, BTreeMap<Uuid, String>> = HashMap::new();
    for (id, name) in rows {
        let who = name.rsplit_once('-').expect("a client's name and a number").0.to_owned();
        stored.entry(who).or_default().insert(id, name);
    }
    for history in &histories {
        history.check(stored.get(&history.who).unwrap_or(&BTreeMap::new()));
    }
    let answered: u64 = histories.iter().map(|history| history.answered).sum();
    let held: usize = histories.iter().map(|history| history.held.len()).sum();
    println!(
        "{requests} requests in {took:.1?} ({:.0}/s), {answered} answered; {held} pins acknowledged, {total} stored",
        requests as f64 / took.as_secs_f64()
    );
    assert!(answered > requests / 4 && answered < requests, "too few or too many were cut: this proves nothing");
    assert!(total > held, "none was cut after it was accepted: this proves little");
    truth::wait_for_no_open_transaction(&admin).await;
    truth::wait_for_rest(&admin, SOON + Duration::from_millis(requests * 5)).await;
    for (org, token) in tokens.iter().enumerate() {
        let counted = pinner.admin().with_token(token).count(ALL).await;
        let name = format!("org-{org}-%");
        let rows: i64 = sqlx::query_scalar("select count(*) from pins where name like $1")
            .bind(name)
            .fetch_one(&admin)
            .await
            .unwrap();
        assert_eq!(counted, rows.unsigned_abs(), "the count of org-{org}");
    }
    kubo.check();
}
