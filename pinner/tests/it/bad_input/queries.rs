//! Queries of `GET /pins` and ids in paths, one table each.

use super::Scene;
use crate::stage::{cids, client::is};
use reqwest::{Method, Url};
use serde_json::json;

/// The query of one parameter, escaped.
fn escaped(parameter: &str, value: &str) -> String {
    Url::parse_with_params("http://x/", [(parameter, value)]).unwrap().query().unwrap().to_owned()
}

fn cids(count: usize) -> String {
    (0..count).map(|_| cids::fresh()).collect::<Vec<_>>().join(",")
}

fn pairs(count: usize) -> String {
    json!((0..count).map(|n| (n.to_string(), json!(""))).collect::<serde_json::Map<_, _>>()).to_string()
}

/// Queries, and the parameter that is named when they are refused.
fn cases() -> Vec<(String, Option<&'static str>)> {
    let (v0, v1) = cids::both_versions();
    let valid = [
        ("limit", "1"),
        ("limit", "1000"),
        // As every reader of numbers takes them.
        ("limit", "010"),
        ("name", &"ü".repeat(255)),
        ("name", "%"),
        ("cid", &cids(10)),
        ("cid", &format!("{v0},{v1}")),
        ("meta", &pairs(1_000)),
        ("meta", &json!({"k": "v".repeat(16 * 1024 - 1)}).to_string()),
        ("meta", r#"{"a":"1","a":"2"}"#),
        ("meta", "{}"),
        ("before", "2026-11-22T16:35:00.123456789Z"),
        ("after", "2026-11-22T16:35:00.123456789-23:59"),
        ("before", "0001-01-01T00:00:00Z"),
        ("after", "0000-01-01T00:00:00+23:59"),
        ("after", "9999-12-31T23:59:59-23:59"),
        ("before", "9999-12-31T23:59:59.999999999-23:59"),
    ];
    let invalid = [
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "1.0"),
        ("limit", "0x10"),
        ("limit", "1\u{0}"),
        ("limit", "\u{661}"),
        ("name", &"ü".repeat(256)),
        ("cid", &cids(11)),
        ("cid", &format!("{v1},")),
        ("cid", &format!("{v1}, {v0}")),
        ("cid", &format!("/ipfs/{v1}")),
        ("status", "PINNED"),
        ("status", "pinned,"),
        ("status", "\u{0}"),
        ("match", ""),
        ("meta", "map[a:b]"),
        ("meta", ""),
        ("meta", "null"),
        ("meta", r#"{"a":null}"#),
        ("meta", &pairs(1_001)),
        ("meta", &json!({"k": "v".repeat(16 * 1024)}).to_string()),
        ("meta", &"[".repeat(20_000)),
        ("before", ""),
        ("before", "2026-11-22"),
        ("before", "2026-11-22T24:00:00Z"),
        ("before", "2026-11-22T16:35:00"),
        ("before", "1700000000"),
        ("after", "-0001-01-01T00:00:00Z"),
        ("after", "10000-01-01T00:00:00Z"),
        ("after", "294277-01-01T00:00:00Z"),
        ("after", "2026-11-22T16:35:00+99:99"),
        ("after", "infinity"),
    ];
    let mut cases: Vec<_> = valid.into_iter().map(|(parameter, value)| (escaped(parameter, value), None)).collect();
    cases.extend(invalid.into_iter().map(|(parameter, value)| (escaped(parameter, value), Some(parameter))));
    for parameter in ["cid", "name", "match", "status", "before", "after", "limit", "meta"] {
        cases.push((format!("{parameter}=a&{parameter}=a"), Some(parameter)));
    }
    for (query, named) in [
        ("limit=%31", None),
        ("limit=%zz", Some("limit")),
        ("limit=1%", Some("limit")),
        ("limit=%ff", Some("limit")),
        ("cid=%E2%28%A1", Some("cid")),
        ("name=%ff%fe", None),
        ("name=%", None),
        ("%ff=1&%=%&=&==", None),
        ("LIMIT=0&Limit=0&limit[]=0", None),
        ("unknown=1&unknown=2", None),
        ("page=2;limit=0", None),
    ] {
        cases.push((query.to_owned(), named));
    }
    cases
}

#[tokio::test]
async fn every_query_is_answered_or_refused_under_the_name_of_the_parameter() {
    let scene = Scene::new().await;
    for (query, named) in cases() {
        let answer = scene.org.get(&format!("/pins?{query}")).await;
        let what: String = query.chars().take(120).collect();
        match named {
            Some(parameter) => is(&answer, 400, "BAD_REQUEST", parameter, &what),
            None => assert_eq!(answer.status, 200, "{what}: {answer:?}"),
        }
    }
    scene.check(0).await;
}

#[tokio::test]
async fn an_id_that_is_none_is_nobodys_pin() {
    let scene = Scene::new().await;
    let long = "x".repeat(50_000);
    for id in ["%", "%ff", "%00", "%zz", "..%2f..", "%20", "'", "pin_", "pin_01h455vb4pex5vsknk084sn02Q", "-1", &long] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let request = scene.org.request(method.clone(), &format!("/pins/{id}"));
            let answer = scene.org.send(request.body(json!({"cid": cids::fresh()}).to_string())).await;
            let what: String = id.chars().take(80).collect();
            is(&answer, 404, "NOT_FOUND", "requestid", &format!("{method} {what}"));
        }
    }
    scene.check(0).await;
}
