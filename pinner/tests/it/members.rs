//! The org itself and who belongs to it.

use crate::stage::{
    client::{Client, is},
    database::Database,
    fake_kubo::FakeKubo,
    pinner::{Pinner, Setup},
};
use reqwest::Method;
use serde_json::{Value, json};

async fn pinner() -> (Database, FakeKubo, Pinner) {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    (database, kubo, pinner)
}

async fn put(org: &Client, subject: &str, body: &Value) -> crate::stage::client::Answer {
    org.send(org.request(Method::PUT, &format!("/api/v1/members/{subject}")).json(body)).await
}

#[tokio::test]
async fn any_token_of_an_org_may_read_what_the_org_is_and_no_other_may() {
    let (_database, _kubo, pinner) = pinner().await;
    for scope in ["pins:read", "pins:write", "uploads:write", "org:admin"] {
        let org = pinner.org_with("acme", &[scope]).await.get("/api/v1/org").await.expect(200);
        assert_eq!(org["name"], "acme", "{scope}");
        assert!(org["id"].as_str().unwrap().starts_with("org_"), "{org}");
        assert_eq!(org["limits"], json!({"maxPins": null, "maxBytes": null}));
    }
    assert_eq!(pinner.org("other").await.get("/api/v1/org").await.expect(200)["name"], "other");
    is(&pinner.admin().get("/api/v1/org").await, 403, "FORBIDDEN", "org", "the platform");
    is(&pinner.admin().anonymous().get("/api/v1/org").await, 401, "UNAUTHORIZED", "token", "nobody");
}

#[tokio::test]
async fn members_are_added_changed_listed_in_pages_and_taken_out() {
    let (_database, _kubo, pinner) = pinner().await;
    let [org, other] = [pinner.org_with("acme", &["org:admin"]).await, pinner.org_with("other", &["org:admin"]).await];
    // Subjects are texts of an identity provider's making.
    let longest = "x".repeat(255);
    let subjects = ["a", "auth0%7C1%2F2%20%2B%25", "%C3%A4", longest.as_str()];
    for subject in subjects {
        let member = put(&org, subject, &json!({"role": "member"})).await.expect(200);
        assert_eq!(member["role"], "member");
        put(&other, subject, &json!({"role": "admin"})).await.expect(200);
    }
    let created = put(&org, "a", &json!({"role": "member"})).await.expect(200)["created"].clone();
    let admin = put(&org, "a", &json!({"role": "admin"})).await.expect(200);
    assert_eq!(admin, json!({"subject": "a", "role": "admin", "created": created}), "since then, and now admin");

    let all = org.get("/api/v1/members").await.expect(200);
    let listed: Vec<_> = all["members"].as_array().unwrap().iter().map(|m| m["subject"].as_str().unwrap()).collect();
    assert_eq!(listed, ["a", "auth0|1/2 +%", longest.as_str(), "ä"], "by their bytes");
    assert_eq!(all.get("next"), None);
    let (mut paged, mut after) = (Vec::new(), String::new());
    loop {
        let request = org.request(Method::GET, "/api/v1/members").query(&[("limit", "1"), ("after", &after)]);
        let page = org.send(request).await.expect(200);
        paged.extend(page["members"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        after = next.to_owned();
    }
    assert_eq!(json!(paged), all["members"]);

    for subject in subjects {
        org.delete(&format!("/api/v1/members/{subject}")).await.expect(204);
        is(&org.delete(&format!("/api/v1/members/{subject}")).await, 404, "NOT_FOUND", "member", subject);
    }
    assert_eq!(org.get("/api/v1/members").await.expect(200)["members"], json!([]));
    let theirs = other.get("/api/v1/members").await.expect(200);
    assert_eq!(theirs["members"].as_array().unwrap().len(), 4, "another org's stay");
    assert!(theirs["members"].as_array().unwrap().iter().all(|member| member["role"] == "admin"));
}

#[tokio::test]
async fn what_is_wrong_about_a_member_is_refused() {
    let (_database, _kubo, pinner) = pinner().await;
    let org = pinner.org_with("acme", &["org:admin"]).await;
    for (subject, body, says) in [
        ("a", json!({"role": "owner"}), "role"),
        ("a", json!({"role": ""}), "role"),
        ("a", json!({"role": 1}), "JSON"),
        ("a", json!({}), "JSON"),
        ("a", json!({"role": "admin", "x": 1}), "JSON"),
        (&"x".repeat(256), json!({"role": "admin"}), "subject"),
        (&"%C3%A4".repeat(128), json!({"role": "admin"}), "subject"),
        ("a%00", json!({"role": "admin"}), "subject"),
        ("a%0Ab", json!({"role": "admin"}), "subject"),
    ] {
        is(&put(&org, subject, &body).await, 400, "BAD_REQUEST", says, &format!("{subject} {body}"));
    }
    for (query, says) in
        [("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("after=%00", "after"), ("x=1", "query")]
    {
        is(&org.get(&format!("/api/v1/members?{query}")).await, 400, "BAD_REQUEST", says, query);
    }
    org.get("/api/v1/members?limit=1000").await.expect(200);
    is(&org.delete("/api/v1/members/%00").await, 404, "NOT_FOUND", "member", "NUL");
    is(&org.delete("/api/v1/members/").await, 404, "NOT_FOUND", "openapi.json", "no subject");
    let weaker = pinner.org_with("acme", &["pins:read", "pins:write", "uploads:write"]).await;
    is(&weaker.get("/api/v1/members").await, 403, "FORBIDDEN", "org:admin", "list");
    is(&put(&weaker, "a", &json!({"role": "admin"})).await, 403, "FORBIDDEN", "org:admin", "put");
    is(&weaker.delete("/api/v1/members/a").await, 403, "FORBIDDEN", "org:admin", "delete");
}
