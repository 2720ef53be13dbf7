//! Limits of an org as whoever runs the platform sets them, what an org uses, and the page that describes all of it.

use crate::stage::{
    cids,
    client::{Answer, is},
    database::Database,
    fake_kubo::FakeKubo,
    pinner::{ADMIN_TOKEN, Pinner, Setup, program},
    wait::{SOON, until},
};
use reqwest::Method;
use serde_json::{Value, json};

async fn pinner() -> (Database, FakeKubo, Pinner) {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    (database, kubo, pinner)
}

async fn limit(pinner: &Pinner, org: &str, limits: &Value) -> Answer {
    let admin = pinner.admin();
    admin.send(admin.request(Method::PATCH, &format!("/admin/v1/orgs/{org}")).json(limits)).await
}

#[tokio::test]
async fn limits_are_set_one_by_one_and_taken_away_by_null() {
    let (_database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    pinner.org("other").await;
    for (change, limits) in [
        (json!({"maxPins": 0}), json!({"maxPins": 0, "maxBytes": null})),
        (json!({"maxBytes": i64::MAX}), json!({"maxPins": 0, "maxBytes": i64::MAX})),
        (json!({"maxPins": null}), json!({"maxPins": null, "maxBytes": i64::MAX})),
        (json!({"maxPins": 7, "maxBytes": null}), json!({"maxPins": 7, "maxBytes": null})),
    ] {
        assert_eq!(limit(&pinner, "acme", &change).await.expect(200)["limits"], limits, "{change}");
        assert_eq!(org.get("/api/v1/org").await.expect(200)["limits"], limits);
    }
    org.pin(&cids::fresh()).await;
    let orgs = pinner.admin().get("/admin/v1/orgs").await.expect(200)["orgs"].clone();
    assert_eq!(orgs[0]["limits"], json!({"maxPins": 7, "maxBytes": null}));
    assert_eq!((&orgs[0]["usage"]["pins"], &orgs[1]["usage"]), (&json!(1), &json!({"pins": 0, "bytes": 0})));
    assert_eq!(orgs[1]["limits"], json!({"maxPins": null, "maxBytes": null}), "another org's");
    for (change, says) in [
        (json!({}), "at least one"),
        (json!({"maxPins": -1}), "maxPins"),
        (json!({"maxBytes": -1}), "maxBytes"),
        (json!({"maxPins": 1.5}), "JSON"),
        (json!({"maxPins": "7"}), "JSON"),
        (json!({"maxPins": u64::MAX}), "JSON"),
        (json!({"pins": 7}), "JSON"),
    ] {
        is(&limit(&pinner, "acme", &change).await, 400, "BAD_REQUEST", says, &change.to_string());
    }
    for unknown in ["nobody", "ACME", "%00"] {
        is(&limit(&pinner, unknown, &json!({"maxPins": 1})).await, 404, "NOT_FOUND", "org", unknown);
    }
    let request = org.request(Method::PATCH, "/admin/v1/orgs/acme").json(&json!({"maxPins": null}));
    is(&org.send(request).await, 403, "FORBIDDEN", "platform:admin", "an org of itself");
}

/// `anchorage admin set-limits` with this token: exit code, stdout and stderr.
async fn set_limits(pinner: &Pinner, token: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program("admin");
    command.env("ANCHORAGE_SERVER", &pinner.url).env("ANCHORAGE_TOKEN", token).arg("set-limits").args(args);
    let output = command.kill_on_drop(true).output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn whoever_runs_the_platform_sets_limits_from_a_terminal() {
    let (_database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    let pin = org.pin(&cids::fresh()).await;
    until("the usage to be what it stays", SOON, async || (org.status(&pin).await == "pinned").then_some(())).await;

    let (code, shown, said) =
        set_limits(&pinner, ADMIN_TOKEN, &["--org", "acme", "--max-pins", "1", "--max-bytes", "10GiB"]).await;
    assert_eq!((code, said.as_str()), (Some(0), ""));
    let lines: Vec<Vec<_>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let [head, acme] = &lines[..] else { panic!("{shown}") };
    assert_eq!(head[..], ["NAME", "ID", "PINS", "MAX-PINS", "BYTES", "MAX-BYTES", "CREATED"]);
    assert_eq!((acme[0], acme[2], acme[3], acme[5]), ("acme", "1", "1", "10.0GiB"), "{shown}");
    let refused = org.post("/pins", &json!({"cid": cids::fresh()})).await;
    is(&refused, 409, "INSUFFICIENT_FUNDS", "limit is 1 pins", "over the limit");

    // What is not named stays; as JSON it is what the admin API has.
    let (code, shown, _) =
        set_limits(&pinner, ADMIN_TOKEN, &["--org", "acme", "--max-pins", "none", "-o", "json"]).await;
    let listed = pinner.admin().get("/admin/v1/orgs").await.expect(200)["orgs"][0].clone();
    assert_eq!((code, serde_json::from_str::<Value>(&shown).unwrap()), (Some(0), listed.clone()));
    assert_eq!(listed["limits"], json!({"maxPins": null, "maxBytes": 10_u64 << 30}));
    org.pin(&cids::fresh()).await;

    let org_token = pinner.admin().post("/admin/v1/tokens", &json!({"org": "acme", "scopes": ["org:admin"]})).await;
    let org_token = org_token.expect(201)["token"].as_str().unwrap().to_owned();
    for (token, args, code, says) in [
        (ADMIN_TOKEN, &["--org", "nobody", "--max-pins", "1"][..], 3, "no org of this name"),
        (&org_token, &["--org", "acme", "--max-pins", "1"], 3, "platform:admin"),
        ("nonsense", &["--org", "acme", "--max-pins", "1"], 3, "token"),
        (ADMIN_TOKEN, &["--org", "acme"], 2, "--max-pins"),
        (ADMIN_TOKEN, &["--max-pins", "1"], 2, "--org"),
        (ADMIN_TOKEN, &["--org", "acme", "--max-pins", "-1"], 2, "--max-pins"),
        (ADMIN_TOKEN, &["--org", "acme", "--max-pins", "1.5"], 2, "a whole number, or none"),
        (ADMIN_TOKEN, &["--org", "acme", "--max-bytes", "10 apples"], 2, "1048576, 500MB or 10GiB"),
    ] {
        let (ended, shown, said) = set_limits(&pinner, token, args).await;
        assert_eq!((ended, shown.as_str()), (Some(code), ""), "{args:?}: {said}");
        assert!(said.contains(says), "{args:?} should say {says:?}: {said}");
    }
    let limits = org.get("/api/v1/usage").await.expect(200)["limits"].clone();
    assert_eq!(limits, json!({"maxPins": null, "maxBytes": 10_u64 << 30}), "what was refused changed nothing");
}

#[tokio::test]
async fn usage_counts_an_orgs_pins_by_status_and_nobody_elses() {
    let (_database, _kubo, pinner) = pinner().await;
    let [org, other] = [pinner.org("acme").await, pinner.org("other").await];
    let cid = cids::fresh();
    for _ in 0..3 {
        org.pin(&cid).await;
    }
    until("all are pinned", SOON, async || (org.count("pinned").await == 3).then_some(())).await;
    let usage = org.get("/api/v1/usage").await.expect(200);
    assert_eq!(usage["pins"], json!({"total": 3, "queued": 0, "pinning": 0, "pinned": 3, "failed": 0}));
    assert_eq!(usage["limits"], json!({"maxPins": null, "maxBytes": null}));
    assert_eq!(other.get("/api/v1/usage").await.expect(200)["pins"]["total"], 0);
    let writer = pinner.org_with("acme", &["pins:write"]).await;
    is(&writer.get("/api/v1/usage").await, 403, "FORBIDDEN", "pins:read", "a writer");
}

#[tokio::test]
async fn the_page_of_documentation_asks_nobody_else_for_anything() {
    let (_database, _kubo, pinner) = pinner().await;
    let page = pinner.admin().anonymous().get("/docs").await;
    assert_eq!((page.status, page.headers["content-type"].to_str().unwrap()), (200, "text/html; charset=utf-8"));
    assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert!(!page.body.contains("http://") && !page.body.contains("https://") && !page.body.contains(" src="));
    assert!(page.body.contains("fetch(\"openapi.json\")"));
    let paths = pinner.admin().get("/openapi.json").await.expect(200)["paths"].clone();
    for path in ["org", "usage", "members", "members/{subject}", "pins/delete", "pins/export", "pins/import", "uploads"]
    {
        assert!(paths[format!("/api/v1/{path}")].is_object(), "{path} is not described");
    }
}
