//! Clients that hang up at the worst moment (HAZARDS 1).

use crate::stage::{
    cids,
    client::ALL,
    database::Database,
    fake_kubo::FakeKubo,
    pinner::Setup,
    truth,
    wait::{SOON, until},
};
use futures::{StreamExt, stream};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const REQUESTS: u64 = 450;

/// Where and when a client hangs up.
struct Cut {
    bytes: usize,
    after: Duration,
}

/// Sends a POST, hangs up as told; gives the requestid if it was acknowledged before that.
async fn post(address: &str, token: &str, body: &str, cut: Cut) -> Option<String> {
    let request = format!(
        "POST /pins HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(&request.as_bytes()[..cut.bytes.min(request.len())]).await.ok()?;
    let mut answer = Vec::new();
    drop(tokio::time::timeout(cut.after, stream.read_to_end(&mut answer)).await);
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 202") || head.starts_with("HTTP/1.1 4"), "{answer}");
    let pin: serde_json::Value = serde_json::from_str(body).ok()?;
    pin["requestid"].as_str().map(ToOwned::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_requests_cut_at_random_moments_every_acknowledged_one_is_stored_and_no_connection_is_poisoned() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let admin = database.pool("postgres");
    let pinner = Setup::new(&database, &kubo.url).with("ANCHORAGE_DATABASE_POOL_SIZE", 4).start().await;
    let minted = pinner
        .admin()
        .post("/admin/v1/tokens", &json!({"org": "acme", "scopes": ["pins:read", "pins:write"]}))
        .await
        .expect(201);
    let token = minted["token"].as_str().unwrap().to_owned();
    let org = pinner.admin().with_token(&token);
    let address = pinner.url.strip_prefix("http://").unwrap().to_owned();

    let seed: u64 = rand::random();
    println!("seed {seed}");
    let acknowledged: BTreeSet<String> = stream::iter(0..REQUESTS)
        .map(|n| {
            let (address, token) = (address.clone(), token.clone());
            async move {
                let mut random = StdRng::seed_from_u64(seed.wrapping_add(n));
                let body = json!({"cid": cids::fresh()}).to_string();
                let cut = match n % 3 {
                    0 => Cut { bytes: random.random_range(0..1500), after: Duration::ZERO },
                    1 => Cut { bytes: usize::MAX, after: Duration::from_micros(random.random_range(0..60_000)) },
                    _ => Cut { bytes: usize::MAX, after: Duration::from_millis(random.random_range(0..4_000)) },
                };
                post(&address, &token, &body, cut).await
            }
        })
        .buffer_unordered(12)
        .filter_map(async |acknowledged| acknowledged)
        .collect()
        .await;
    assert!(acknowledged.len() > 20, "only {} were acknowledged: this proves nothing", acknowledged.len());

    // Right away, and each through the same few connections.
    for id in &acknowledged {
        assert_eq!(org.get(&format!("/pins/{id}")).await.status, 200, "{id} was acknowledged and is not there");
    }
    until("no connection is left inside a transaction", SOON, async || {
        let open: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'",
        )
        .fetch_one(&admin)
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
    let stored = org.count(ALL).await;
    println!("{} acknowledged, {stored} stored", acknowledged.len());
    assert!(stored > acknowledged.len() as u64, "none was cut after it was accepted: this proves little");
    truth::wait_for_rest(&admin, SOON).await;
}
