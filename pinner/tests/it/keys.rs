//! Keys that sign tokens, changed while tokens are in use: a good one is never refused, a retired one never accepted.

use crate::stage::{
    client::{Client, is},
    database::Database,
    fake_kubo::FakeKubo,
    pinner::{Pinner, Setup},
    wait::{SOON, until},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::collections::BTreeMap;

/// Mints a token; gives the name of the key that signed it and a client with it.
async fn mint(pinner: &Pinner) -> (String, Client) {
    let minted =
        pinner.admin().post("/admin/v1/tokens", &json!({"org": "acme", "scopes": ["pins:read"]})).await.expect(201);
    let token = minted["token"].as_str().unwrap();
    let head = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let head: Value = serde_json::from_slice(&head).unwrap();
    (head["kid"].as_str().unwrap().to_owned(), Client::new(&pinner.url, Some(token)))
}

async fn rotate(pinner: &Pinner) -> Value {
    pinner.admin().post("/admin/v1/keys/rotate", &json!({})).await.expect(200)
}

/// The state of each key.
fn states(keys: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    keys["keys"].as_array().unwrap().iter().map(|key| (text(&key["kid"]), text(&key["state"]))).collect()
}

/// Waits until these pinners have read the state of tokens as it is: within seconds, and so before a key's time comes.
async fn all_know(pinners: &[Pinner], superuser: &PgPool) {
    let version: i64 = sqlx::query_scalar("select version from token_state").fetch_one(superuser).await.unwrap();
    for pinner in pinners {
        until("it has read the newest state", SOON, async || {
            let stats = pinner.admin().get("/admin/v1/cache-stats").await.expect(200);
            let caches = stats["caches"].as_array().unwrap();
            let cache = caches.iter().find(|cache| cache["name"] == "token_denylist").expect("each tells of this one");
            (cache["version"].as_i64() >= Some(version)).then_some(())
        })
        .await;
    }
}

/// What time does: everything that waits for it has waited long enough.
async fn let_time_pass(superuser: &PgPool) {
    let past = "update signing_keys set since = since - interval '1 minute' where state in ('next', 'verify-only')";
    sqlx::query(past).execute(superuser).await.unwrap();
}

/// Waits until a key signs; tokens are minted all the while.
async fn signs(pinner: &Pinner, kid: &str) -> Client {
    until("the new key signs", SOON, async || {
        let (signed_by, client) = mint(pinner).await;
        (signed_by == kid).then_some(client)
    })
    .await
}

#[tokio::test]
async fn a_key_signs_once_all_pinners_know_it_and_is_retired_once_nothing_of_it_is_left() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let superuser = database.pool("postgres");
    let setup = Setup::new(&database, &kubo.url);
    let pinners = [setup.start().await, setup.sibling("node-1", &kubo.url).start().await];
    let [here, there] = &pinners;
    let (old, first) = mint(here).await;

    let announced = rotate(here).await;
    let new = states(&announced).into_iter().find(|(_, state)| state == "next").expect("a key is announced").0;
    assert!(announced["keys"][0]["signsFrom"].is_string(), "{announced}");
    assert_eq!(rotate(there).await, announced, "asking again while one is announced changes nothing");
    assert_eq!(mint(here).await.0, old, "nobody signs with a key that some pinner may not know");
    assert_eq!(here.admin().get("/admin/v1/keys").await.expect(200), announced);

    all_know(&pinners, &superuser).await;
    let_time_pass(&superuser).await;
    let second = signs(there, &new).await;
    signs(here, &new).await;
    for pinner in &pinners {
        for client in [&first, &second] {
            assert_eq!(client.at(&pinner.url).get("/pins").await.status, 200);
        }
    }
    let keys = here.admin().get("/admin/v1/keys").await.expect(200);
    assert_eq!(states(&keys), [(old.clone(), "verify-only".into()), (new.clone(), "active".into())].into());

    // A token of it is left; then none.
    let prune = async || here.admin().post("/admin/v1/denylist/prune", &json!({})).await.expect(200);
    let_time_pass(&superuser).await;
    prune().await;
    let keys = here.admin().get("/admin/v1/keys").await.expect(200);
    assert_eq!(states(&keys)[&old], "verify-only", "a key is not retired before its last token");
    assert_eq!(first.get("/pins").await.status, 200);
    sqlx::query("update tokens set expires = now() - interval '1 hour' where kid = $1")
        .bind(&old)
        .execute(&superuser)
        .await
        .unwrap();
    prune().await;
    let keys = here.admin().get("/admin/v1/keys").await.expect(200);
    assert_eq!(states(&keys)[&old], "retired");
    for pinner in &pinners {
        until("what it signed is refused", SOON, async || {
            (first.at(&pinner.url).get("/pins").await.status == 401).then_some(())
        })
        .await;
        assert_eq!(second.at(&pinner.url).get("/pins").await.status, 200);
    }
}

#[tokio::test]
async fn of_keys_changed_under_load_no_good_token_is_refused_and_each_change_is_one() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let superuser = database.pool("postgres");
    let setup = Setup::new(&database, &kubo.url);
    let pinners = [setup.start().await, setup.sibling("node-1", &kubo.url).start().await];
    let mut tokens: Vec<Client> = Vec::new();
    let (mut keys, mut used) = (1, vec![mint(&pinners[0]).await.0]);
    for round in 0..5 {
        let mut new = None;
        // Both at once, and twice.
        let asked: Vec<_> = pinners.iter().chain(&pinners).map(rotate).collect();
        futures::future::join_all(asked).await;
        keys += 1;
        all_know(&pinners, &superuser).await;
        let_time_pass(&superuser).await;
        for pinner in &pinners {
            let active: String = loop {
                let (kid, client) = mint(pinner).await;
                tokens.push(client);
                for token in &tokens {
                    for pinner in &pinners {
                        assert_eq!(token.at(&pinner.url).get("/pins").await.status, 200, "round {round}");
                    }
                }
                if !used.contains(&kid) {
                    break kid;
                }
            };
            new = Some(active);
        }
        used.extend(new);
        let states: Vec<(String, i64)> =
            sqlx::query_as("select state, count(*) from signing_keys group by 1 order by 1")
                .fetch_all(&superuser)
                .await
                .unwrap();
        assert_eq!(states, [("active".to_owned(), 1), ("verify-only".to_owned(), keys - 1)], "round {round}");
    }
}

#[tokio::test]
async fn only_administrators_of_the_platform_see_and_change_keys() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let org = pinner.org_with("acme", &["org:admin"]).await;
    for answer in [
        org.get("/admin/v1/keys").await,
        org.post("/admin/v1/keys/rotate", &json!({})).await,
        org.post("/admin/v1/denylist/prune", &json!({})).await,
        org.get("/admin/v1/cache-stats").await,
        org.delete("/admin/v1/tokens/token_01h455vb4pex5vsknk084sn02q").await,
    ] {
        is(&answer, 403, "FORBIDDEN", "platform:admin", "an org");
    }
}
