//! Tokens: good for their time, their deployment and their scopes (HAZARDS 21).

use crate::stage::{
    cids,
    client::is,
    database::Database,
    fake_kubo::FakeKubo,
    pinner::{ADMIN_TOKEN, Setup, TOKENS_ROOT},
};
use anchorage::{
    db::tokens::SigningKeyRow,
    tokens::{Grant, TokenKeys},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use pinner_core::{
    id::{OrgId, TokenId},
    scope::Scope,
};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;
use time::OffsetDateTime;
use uuid::Uuid;

#[tokio::test]
async fn a_token_is_good_for_its_time_its_deployment_and_its_scopes_only() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let client = pinner.admin().anonymous();
    let rows: Vec<(String, String)> =
        sqlx::query_as("select kid, state from signing_keys").fetch_all(&database.pool("postgres")).await.unwrap();
    let rows: Vec<_> = rows.into_iter().map(|(kid, state)| SigningKeyRow { kid, state }).collect();
    let ours = TokenKeys::derive(TOKENS_ROOT, &rows);
    let now = OffsetDateTime::now_utc();
    let hour = Duration::from_secs(3600);
    let all = [Scope::PinsRead, Scope::PinsWrite];
    let grant = |scopes: &[Scope]| Grant {
        id: TokenId::from_uuid(Uuid::now_v7()),
        org: Some(OrgId::from_uuid(Uuid::now_v7())),
        scopes: scopes.iter().copied().collect(),
    };
    let sign = |keys: &TokenKeys, from, to| keys.sign(&grant(&all), from, to).expect("a key signs");

    let good = sign(&ours, now, now + hour);
    assert_eq!(client.with_token(&good).get("/pins").await.status, 200, "the table below would prove nothing");
    let [head, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let forged = |head: &str| format!("{}.{claims}.{signature}", BASE64_URL_SAFE_NO_PAD.encode(head));
    let kid = &rows[0].kid;
    let foreign = TokenKeys::derive("the root of some other deployment, long enough", &rows);
    let unknown = TokenKeys::derive(TOKENS_ROOT, &[SigningKeyRow { kid: "unknown".into(), state: "active".into() }]);
    let refused = [
        ("expired", sign(&ours, now - 2 * hour, now - hour)),
        ("not yet valid", sign(&ours, now + hour, now + 2 * hour)),
        ("of another deployment", sign(&foreign, now, now + hour)),
        ("of an unknown key", sign(&unknown, now, now + hour)),
        ("without its signature", format!("{head}.{claims}.")),
        (
            "with another's claims",
            format!("{head}.{}.{signature}", sign(&ours, now, now + 2 * hour).split('.').nth(1).unwrap()),
        ),
        ("without an algorithm", forged(&format!(r#"{{"typ":"at+jwt","alg":"none","kid":"{kid}"}}"#))),
        ("of another algorithm", forged(&format!(r#"{{"typ":"at+jwt","alg":"HS512","kid":"{kid}"}}"#))),
        ("with a path for a kid", forged(r#"{"typ":"at+jwt","alg":"HS256","kid":"../../etc/passwd"}"#)),
        ("no token", "purposefullyInvalid".into()),
        ("nearly the admin's", ADMIN_TOKEN[1..].into()),
        ("far too long", "a".repeat(6000)),
    ];
    let without = client.get("/pins").await;
    is(&without, 401, "UNAUTHORIZED", "Bearer", "no token");
    for (what, token) in &refused {
        for (method, path) in [(Method::GET, "/pins"), (Method::POST, "/pins"), (Method::GET, "/admin/v1/orgs")] {
            let answer =
                client.send(client.request(method, path).bearer_auth(token).json(&json!({"cid": cids::fresh()}))).await;
            is(&answer, 401, "UNAUTHORIZED", "Bearer", what);
            assert_eq!(answer.body, without.body, "{what}: nobody is told why");
        }
    }
    for header in ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Token x"] {
        let answer = client.send(client.request(Method::GET, "/pins").header("authorization", header)).await;
        is(&answer, 401, "UNAUTHORIZED", "Bearer", header);
    }
    let answer =
        client.send(client.request(Method::GET, "/pins").header("authorization", format!("bearer {good}"))).await;
    assert_eq!(answer.status, 200, "a scheme has no case");

    let reader = client.with_token(&ours.sign(&grant(&[Scope::PinsRead]), now, now + hour).unwrap());
    is(&reader.post("/pins", &json!({"cid": cids::fresh()})).await, 403, "FORBIDDEN", "pins:write", "reader");
    let writer = client.with_token(&ours.sign(&grant(&[Scope::PinsWrite]), now, now + hour).unwrap());
    is(&writer.get("/pins").await, 403, "FORBIDDEN", "pins:read", "writer");
    is(&client.with_token(&good).get("/admin/v1/nodes").await, 403, "FORBIDDEN", "platform:admin", "org at admin");
    is(&pinner.admin().get("/pins").await, 403, "FORBIDDEN", "pins:read", "admin at pins");
}
