//! Web pages that call the API, and clients that ask for the head of an answer.

use crate::stage::{
    cids,
    client::{Answer, Client, is},
    database::Database,
    fake_kubo::FakeKubo,
    pinner::Setup,
};
use reqwest::Method;

const PAGE: &str = "https://app.example";

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

async fn preflight(client: &Client, path: &str, method: &str, headers: &str) -> Answer {
    let request = client
        .request(Method::OPTIONS, path)
        .header("origin", PAGE)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", headers);
    client.send(request).await
}

#[tokio::test]
async fn a_page_of_any_origin_may_call_the_api_and_read_its_errors() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let org = pinner.org("acme").await;
    // A browser asks first, without a token.
    let browser = org.anonymous();
    for (path, methods) in [("/pins", "GET POST"), ("/pins/x", "GET POST DELETE")] {
        for method in methods.split(' ') {
            let answer = preflight(&browser, path, method, "authorization, content-type").await;
            assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
            assert_eq!(header(&answer, "access-control-allow-origin"), "*");
            assert!(header(&answer, "access-control-allow-methods").contains(method), "{answer:?}");
            let headers = header(&answer, "access-control-allow-headers").to_lowercase();
            assert!(headers.contains("authorization") && headers.contains("content-type"), "{answer:?}");
            assert_eq!(header(&answer, "access-control-allow-credentials"), "", "{answer:?}");
            assert!(header(&answer, "access-control-max-age").parse::<u32>().unwrap() > 60, "{answer:?}");
        }
    }
    is(&preflight(&browser, "/pins", "GET", "x-mine").await, 400, "BAD_REQUEST", "headers", "an unknown header");
    is(&preflight(&browser, "/pins", "TRACE", "").await, 400, "BAD_REQUEST", "method", "an unknown method");

    let with_origin = |client: &Client, method: Method, path: &str| client.request(method, path).header("origin", PAGE);
    let unknown = format!("/pins/{}", org.pin(&cids::fresh()).await.replace("pin_0", "pin_1"));
    for (client, method, path, status) in [
        (&org, Method::GET, "/pins", 200),
        (&browser, Method::GET, "/pins", 401),
        (&org, Method::GET, "/pins?limit=0", 400),
        (&org, Method::GET, unknown.as_str(), 404),
        (&org, Method::PUT, "/pins", 405),
        (&org, Method::GET, "/pins/a/b", 404),
    ] {
        let answer = client.send(with_origin(client, method, path)).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(header(&answer, "access-control-allow-origin"), "*", "{path}: {answer:?}");
        let exposed = header(&answer, "access-control-expose-headers").to_lowercase();
        for name in ["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"] {
            assert!(exposed.contains(name), "{path}: {answer:?}");
        }
    }
    // Administration and metrics are nobody's page's business.
    let admin = pinner.admin();
    let answer = admin.send(with_origin(&admin, Method::GET, "/admin/v1/nodes")).await;
    assert_eq!((answer.status, header(&answer, "access-control-allow-origin")), (200, ""));
    is(&preflight(&browser, "/admin/v1/nodes", "GET", "").await, 405, "METHOD_NOT_ALLOWED", "method", "admin");
    let metrics = Client::new(pinner.metrics_url.trim_end_matches("/metrics"), None);
    let answer = metrics.send(with_origin(&metrics, Method::GET, "/metrics")).await;
    assert_eq!((answer.status, header(&answer, "access-control-allow-origin")), (200, ""));
}

#[tokio::test]
async fn head_is_answered_as_get_without_the_body() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let org = pinner.org("acme").await;
    let pin = org.pin(&cids::fresh()).await;
    for path in ["/pins?status=queued,pinning,pinned,failed", &format!("/pins/{pin}"), "/openapi.json", "/livez"] {
        let whole = org.get(path).await;
        let head = org.send(org.request(Method::HEAD, path)).await;
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(header(&head, "content-type"), header(&whole, "content-type"), "{path}");
        assert!(header(&head, "content-length").parse::<usize>().unwrap() > 0, "{path}: {head:?}");
    }
    let head = |client: Client, path: &'static str| async move {
        let request = client.request(Method::HEAD, path);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(head(org.anonymous(), "/pins").await, 401);
    assert_eq!(head(org.clone(), "/pins?limit=0").await, 400);
    assert_eq!(head(org.clone(), "/nothing").await, 404);
}
