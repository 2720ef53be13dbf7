//! What is refused, and how: always a Failure, never a fault of ours.

use crate::stage::{
    cids,
    client::is,
    database::Database,
    fake_kubo::FakeKubo,
    pinner::{Pinner, Setup},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Method;
use serde_json::json;
use tokio::process::Command;

async fn pinner() -> (Database, FakeKubo, Pinner) {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    (database, kubo, pinner)
}

#[tokio::test]
async fn every_bad_pin_is_refused_with_the_name_of_what_is_wrong() {
    let (database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    let existing = org.pin(&cids::fresh()).await;
    let cid = cids::fresh();
    let cases = [
        (String::new(), "JSON"),
        ("{".into(), "JSON"),
        ("[]".into(), "JSON"),
        ("null".into(), "JSON"),
        ("\u{0}".into(), "JSON"),
        (r#"{"name":"x"}"#.into(), "cid"),
        (r#"{"cid":null}"#.into(), "JSON"),
        (r#"{"cid":7}"#.into(), "JSON"),
        (r#"{"cid":""}"#.into(), "cid"),
        (r#"{"cid":"bafy"}"#.into(), "cid"),
        (r#"{"cid":"\u0000"}"#.into(), "cid"),
        (json!({"cid": format!("/ipfs/{cid}")}).to_string(), "cid"),
        (json!({"cid": format!("{cid} ")}).to_string(), "cid"),
        (json!({"cid": "b".repeat(600)}).to_string(), "cid"),
        (json!({"cid": cid, "name": 1}).to_string(), "JSON"),
        (json!({"cid": cid, "name": "ä".repeat(256)}).to_string(), "name"),
        (json!({"cid": cid, "name": "a\u{0}b"}).to_string(), "name"),
        (json!({"cid": cid, "origins": "x"}).to_string(), "JSON"),
        (json!({"cid": cid, "meta": []}).to_string(), "JSON"),
        (json!({"cid": cid, "meta": {"a": 1}}).to_string(), "JSON"),
        (json!({"cid": cid, "meta": {"a": "\u{0}"}}).to_string(), "meta"),
        (json!({"cid": cid, "meta": {"a": "x".repeat(17_000)}}).to_string(), "meta"),
        (format!(r#"{{"cid":"{cid}","cid":"{cid}"}}"#), "JSON"),
        ("[".repeat(100_000), "JSON"),
    ];
    for (body, says) in cases {
        for path in ["/pins".to_owned(), format!("/pins/{existing}")] {
            let answer = org.send(org.request(Method::POST, &path).body(body.clone())).await;
            is(&answer, 400, "BAD_REQUEST", says, &body.chars().take(80).collect::<String>());
        }
    }
    assert_eq!(org.get(&format!("/pins/{existing}")).await.status, 200, "what was there is still there");
    let pins: i64 =
        sqlx::query_scalar("select count(*) from pins").fetch_one(&database.pool("postgres")).await.unwrap();
    assert_eq!(pins, 1, "what was refused left nothing behind");
}

#[tokio::test]
async fn what_is_at_the_limit_is_accepted_and_comes_back_whole() {
    let (_database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    let name = "ä".repeat(255);
    let many: serde_json::Map<_, _> = (0..1000).map(|n| (format!("key-{n}"), json!("value"))).collect();
    let odd = [
        "not an address",
        "/ip4/10.0.0.1/tcp/1",
        "/ip4/1.2.3.4/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN",
    ];
    for pin in [
        json!({"cid": cids::fresh(), "name": name, "meta": many}),
        json!({"cid": cids::fresh(), "name": "", "meta": {}}),
        json!({"cid": cids::fresh(), "name": "%_\\'\"\u{1}\u{10ffff}", "meta": {"": ""}}),
    ] {
        assert_eq!(org.post("/pins", &pin).await.expect(202)["pin"], pin);
    }
    // Origins are hints: none is a reason to refuse, however odd or many.
    org.post("/pins", &json!({"cid": cids::fresh(), "origins": odd})).await.expect(202);
    org.post("/pins", &json!({"cid": cids::fresh(), "origins": vec!["x".repeat(600); 50]})).await.expect(202);
    // Fields that we do not know, and null for those that may be left out.
    let answer =
        org.post("/pins", &json!({"cid": cids::fresh(), "name": null, "origins": null, "meta": null, "x": 1})).await;
    assert_eq!(answer.expect(202)["pin"].as_object().map(serde_json::Map::len), Some(1), "null never comes back");
}

#[tokio::test]
async fn every_bad_query_is_refused_with_the_name_of_the_parameter() {
    let (_database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    let cases = [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=1&limit=2", "limit"),
        ("limit=", "limit"),
        ("status=done", "status"),
        ("status=", "status"),
        ("status=pinned,pinned", "status"),
        ("cid=x", "cid"),
        ("cid=", "cid"),
        ("cid=%00", "cid"),
        ("match=fuzzy&name=x", "match"),
        ("name=%00", "name"),
        ("before=yesterday", "before"),
        ("after=2026-02-30T00:00:00Z", "after"),
        ("before=12026-01-01T00:00:00Z", "before"),
        ("meta=map[a:b]", "meta"),
        ("meta=%7B%22a%22%3A1%7D", "meta"),
        ("meta=%7B%22a%22%3A%22%5Cu0000%22%7D", "meta"),
    ];
    for (query, says) in cases {
        is(&org.get(&format!("/pins?{query}")).await, 400, "BAD_REQUEST", says, query);
    }
    // Odd, but not wrong.
    for query in [
        "before=0000-01-01T00:00:00Z",
        "before=9999-12-31T23:59:59.999999999Z",
        "after=2026-11-22T16:35:00%2B14:00",
        "unknown=1",
        "name=%25_%5C",
        "name=%25&match=ipartial",
        "",
        "&&",
    ] {
        let answer = org.get(&format!("/pins?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
    }
}

#[tokio::test]
async fn a_path_or_method_that_is_not_there_is_refused_as_everything_is() {
    let (_database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    for path in
        ["/", "/pin", "/pins/", "/pins/a/b", "/api/v1/pins", "/admin", "/admin/v1/x", "/metrics", "/../etc/passwd"]
    {
        is(&org.get(path).await, 404, "NOT_FOUND", "openapi.json", path);
    }
    let wrong = [
        (Method::PUT, "/pins"),
        (Method::DELETE, "/pins"),
        (Method::PATCH, "/pins/x"),
        (Method::POST, "/livez"),
        (Method::POST, "/readyz"),
        (Method::DELETE, "/openapi.json"),
        (Method::POST, "/admin/v1/nodes"),
        (Method::DELETE, "/admin/v1/nodes/node-0"),
        (Method::GET, "/admin/v1/nodes/node-0/scheduling"),
        (Method::GET, "/admin/v1/nodes/node-0/drain"),
        (Method::PUT, "/admin/v1/orgs"),
        (Method::GET, "/admin/v1/tokens"),
    ];
    for (method, path) in wrong {
        let answer = org.send(org.request(method.clone(), path)).await;
        is(&answer, 405, "METHOD_NOT_ALLOWED", "openapi.json", &format!("{method} {path}"));
        let allowed = answer.headers["allow"].to_str().unwrap();
        assert!(!allowed.is_empty() && !allowed.contains(method.as_str()), "{method} {path}: {allowed:?}");
    }
}

#[tokio::test]
async fn a_body_beyond_a_mebibyte_is_refused_also_when_it_grows_only_by_inflation() {
    let (_database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    let large = vec![b' '; 1024 * 1024 + 1];
    let answer = org.send(org.request(Method::POST, "/pins").body(large)).await;
    is(&answer, 413, "PAYLOAD_TOO_LARGE", "1 MiB", "large");
    let bomb = Command::new("sh").args(["-c", "head -c 8388608 /dev/zero | gzip -9"]).output().await.unwrap().stdout;
    assert!(bomb.len() < 16 * 1024, "{} bytes", bomb.len());
    let answer = org.send(org.request(Method::POST, "/pins").header("content-encoding", "gzip").body(bomb)).await;
    is(&answer, 413, "PAYLOAD_TOO_LARGE", "1 MiB", "bomb");
    let answer = org.send(org.request(Method::POST, "/pins").header("content-encoding", "gzip").body("{}")).await;
    is(&answer, 400, "BAD_REQUEST", "body", "not gzip");
}

#[tokio::test]
async fn what_an_admin_gets_wrong_is_refused_too() {
    let (_database, _kubo, pinner) = pinner().await;
    let admin = pinner.admin();
    for (path, body, says) in [
        ("/admin/v1/tokens", json!({}), "JSON"),
        ("/admin/v1/tokens", json!({"org": "a", "scopes": []}), "scopes"),
        ("/admin/v1/tokens", json!({"org": "a", "scopes": ["pins:all"]}), "scopes"),
        ("/admin/v1/tokens", json!({"org": "A B", "scopes": ["pins:read"]}), "org"),
        ("/admin/v1/tokens", json!({"scopes": ["pins:read"]}), "org"),
        ("/admin/v1/tokens", json!({"org": "a", "scopes": ["pins:read"], "ttlSeconds": 0}), "ttlSeconds"),
        ("/admin/v1/tokens", json!({"org": "a", "scopes": ["pins:read"], "ttlSeconds": u64::MAX}), "ttlSeconds"),
        ("/admin/v1/orgs", json!({"name": "-"}), "name"),
        ("/admin/v1/orgs", json!({"name": "a".repeat(64)}), "name"),
    ] {
        is(&admin.post(path, &body).await, 400, "BAD_REQUEST", says, &body.to_string());
    }
    is(&admin.get("/admin/v1/nodes/nobody").await, 404, "NOT_FOUND", "nobody", "unknown node");
}

#[tokio::test]
async fn no_request_however_odd_is_answered_with_a_fault_of_ours() {
    let (_database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let parts = [
        "cid",
        "name",
        "match",
        "status",
        "before",
        "after",
        "limit",
        "meta",
        "=",
        "&",
        ",",
        "%00",
        "%ff",
        "+",
        "1",
        "pinned",
        "exact",
        "ipartial",
        "{",
        "}",
        "%22",
        "2026-11-22T00:00:00Z",
        "\u{fc}",
        "'",
        ";",
        "--",
        "bafkqaaa",
        "Qm",
        "-1",
        "1e9",
    ];
    for _ in 0..400 {
        let text: String =
            (0..random.random_range(0..12)).map(|_| parts[random.random_range(0..parts.len())]).collect();
        let (method, path, body) = match random.random_range(0..4) {
            0 => (Method::GET, format!("/pins?{text}"), String::new()),
            1 => (Method::GET, format!("/pins/{}", text.replace(['?', '#'], "")), String::new()),
            2 => (Method::POST, "/pins".into(), text),
            _ => (
                Method::POST,
                "/pins".into(),
                format!(r#"{{"cid":"bafkqaaa","meta":{{"{}":"{}"}}}}"#, text.replace('"', ""), text),
            ),
        };
        let Ok(answer) = org.try_send(org.request(method.clone(), &path).body(body.clone())).await else { continue };
        assert!(answer.status < 500, "{method} {path} {body}: {answer:?}");
    }

    assert_eq!(org.get("/pins").await.status, 200);
}
