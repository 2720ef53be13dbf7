//! The pinning API as clients use it.

use crate::stage::{
    cids,
    client::{ALL, id},
    containers::KUBOS,
    database::Database,
    fake_kubo::{Addition, FakeKubo},
    pinner::Setup,
    truth,
    wait::{SOON, until},
};
use futures::{StreamExt, stream};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[tokio::test]
async fn a_pin_is_held_by_kubo_when_it_says_pinned_and_let_go_after_its_delete() {
    let database = Database::new().await;
    let pinner = Setup::new(&database, &KUBOS[0]).start().await;
    let org = pinner.org("acme").await;
    let block = cids::fresh_block();
    let cid = cids::raw(&block);
    cids::put(&KUBOS[0], &block).await;

    let accepted = org.post("/pins", &json!({"cid": cid, "name": "a block", "meta": {"k": "v"}})).await.expect(202);
    assert_eq!(accepted["pin"], json!({"cid": cid, "name": "a block", "meta": {"k": "v"}}));
    let delegates = accepted["delegates"].as_array().expect("a list");
    assert!((1..=3).contains(&delegates.len()), "{delegates:?}");
    assert!(delegates.iter().all(|one| one.as_str().is_some_and(|text| text.contains("/p2p/12D3"))), "{delegates:?}");
    let id = id(&accepted);
    until("the pin is pinned", SOON, async || (org.status(&id).await == "pinned").then_some(())).await;
    assert!(cids::is_pinned(&KUBOS[0], &cid).await, "pinned by name only");
    let done = org.get(&format!("/pins/{id}")).await.expect(200);
    assert_eq!(done["created"], accepted["created"], "a time of acceptance does not change");
    assert_eq!(done["info"]["status_details"], "1 of 1 copies");

    let answer = org.delete(&format!("/pins/{id}")).await;
    assert_eq!((answer.status, answer.body.as_str()), (202, ""));
    assert_eq!(org.get(&format!("/pins/{id}")).await.reason(), "NOT_FOUND");
    until("Kubo lets it go", SOON, async || (!cids::is_pinned(&KUBOS[0], &cid).await).then_some(())).await;
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
}

/// The loop of boxo's client: `before` is the last `created` of a page, and it ends when `count` is the page's length.
#[tokio::test]
async fn a_pin_says_how_large_its_content_is_whether_kubo_fetched_or_held_it() {
    let database = Database::new().await;
    let pinner = Setup::new(&database, &KUBOS[0]).start().await;
    let org = pinner.org("acme").await;
    // A root with one leaf twice and another one: what it has twice it has once.
    let leaves = [cids::fresh_block(), cids::fresh_block().repeat(1_000)];
    let [once, twice] = [cids::raw(&leaves[0]), cids::raw(&leaves[1])];
    let (cid, root) = cids::node(&[&once, &twice, &twice]);
    for leaf in &leaves {
        cids::put(&KUBOS[0], leaf).await;
    }
    cids::put_node(&KUBOS[0], &root).await;
    let size = (root.len() + leaves[0].len() + leaves[1].len()).to_string();
    for held in [false, true] {
        if held {
            let pin = format!("{}/api/v0/pin/add?arg={cid}", KUBOS[0]);
            assert!(reqwest::Client::new().post(pin).send().await.unwrap().status().is_success());
        }
        let id = org.pin(&cid).await;
        until("it is pinned", SOON, async || (org.status(&id).await == "pinned").then_some(())).await;
        let info = org.get(&format!("/pins/{id}")).await.expect(200)["info"].clone();
        assert_eq!(info["dag_size"], size, "held: {held}: {info}");
        org.delete(&format!("/pins/{id}")).await.expect(202);
        truth::wait_for_rest(&database.pool("postgres"), SOON).await;
        assert!(!cids::is_pinned(&KUBOS[0], &cid).await);
    }
}

#[tokio::test]
async fn paging_as_kubo_does_shows_each_of_200_concurrent_pins_once() {
    const PINS: usize = 200;
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    kubo.plan(|_, _| Addition::Standstill);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let org = pinner.org("acme").await;
    let other = pinner.org("other").await;
    let accepted: BTreeSet<String> = stream::iter(0..PINS)
        .map(|n| {
            let (org, other) = (org.clone(), other.clone());
            async move {
                if n % 10 == 0 {
                    other.pin(&cids::fresh()).await;
                }
                org.pin(&cids::fresh()).await
            }
        })
        .buffer_unordered(8)
        .collect()
        .await;

    let (mut seen, mut times, mut before) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..PINS {
        let page = org.get(&format!("/pins?limit=10&status={ALL}{before}")).await.expect(200);
        let results = page["results"].as_array().expect("never null");
        assert!(!results.is_empty(), "a count without results: {page}");
        seen.extend(results.iter().map(id));
        times.extend(results.iter().map(|pin| pin["created"].as_str().expect("a text").to_owned()));
        if page["count"] == results.len() {
            break;
        }
        before = format!("&before={}", times.last().expect("not empty"));
    }
    assert_eq!(seen.len(), PINS, "some twice, some never");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), accepted);
    assert!(times.is_sorted_by(|a, b| a > b), "newest first, each at a millisecond of its own");
    assert_eq!(org.count(ALL).await, PINS as u64);
    assert_eq!(other.count(ALL).await, PINS as u64 / 10);
    truth::check(&database.pool("postgres")).await;
}

#[tokio::test]
async fn each_filter_of_a_list_finds_what_it_means_and_counts_it() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let org = pinner.org("acme").await;
    let pins = [
        json!({"cid": cids::fresh(), "name": "Straße 100%", "meta": {"app": "x", "n": "1"}}),
        json!({"cid": cids::fresh(), "name": "STRASSE 100%", "meta": {"app": "x"}}),
        json!({"cid": cids::fresh(), "name": "a_b", "meta": {}}),
        json!({"cid": cids::fresh()}),
    ];
    let mut accepted = Vec::new();
    for pin in &pins {
        accepted.push(org.post("/pins", pin).await.expect(202));
    }
    until("all are pinned", SOON, async || (org.count("pinned").await == 4).then_some(())).await;
    let cid = |n: usize| pins[n]["cid"].as_str().expect("a text").to_owned();
    let created = |n: usize| accepted[n]["created"].as_str().expect("a text").to_owned();

    let cases: [(String, &[usize]); 19] = [
        (String::new(), &[3, 2, 1, 0]),
        ("status=pinned".into(), &[3, 2, 1, 0]),
        ("status=queued,failed".into(), &[]),
        (format!("cid={}", cid(1)), &[1]),
        (format!("cid={},{}", cid(3), cid(0)), &[3, 0]),
        (format!("cid={}", cids::fresh()), &[]),
        ("name=a_b".into(), &[2]),
        ("name=A_B".into(), &[]),
        ("name=axb&match=partial".into(), &[]),
        ("name=stra%C3%9Fe%20100%25&match=iexact".into(), &[1, 0]),
        ("name=strasse&match=ipartial".into(), &[1, 0]),
        ("name=0%25&match=partial".into(), &[1, 0]),
        ("name=_&match=partial".into(), &[2]),
        ("meta=%7B%22app%22%3A%22x%22%7D".into(), &[1, 0]),
        ("meta=%7B%22app%22%3A%22x%22%2C%22n%22%3A%221%22%7D".into(), &[0]),
        ("meta=%7B%7D".into(), &[3, 2, 1, 0]),
        (format!("before={}", created(1)), &[0]),
        (format!("after={}", created(1)), &[3, 2]),
        (format!("after={}&before={}", created(0), created(3)), &[2, 1]),
    ];
    for (query, expected) in cases {
        let page = org.get(&format!("/pins?{query}")).await.expect(200);
        let found: Vec<_> = page["results"].as_array().expect("a list").iter().map(id).collect();
        let expected: Vec<_> = expected.iter().map(|n| id(&accepted[*n])).collect();
        assert_eq!(found, expected, "{query}");
        assert_eq!(page["count"], expected.len(), "{query}");
    }
}

#[tokio::test]
async fn a_replacement_has_a_new_id_and_what_it_replaces_is_gone() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let org = pinner.org("acme").await;
    let (first, second) = (cids::fresh(), cids::fresh());
    let old = org.pin(&first).await;
    let replaced = org.post(&format!("/pins/{old}"), &json!({"cid": second, "name": "new"})).await.expect(202);
    let new = id(&replaced);
    assert_ne!(new, old);
    assert_eq!(replaced["pin"], json!({"cid": second, "name": "new"}));
    assert_eq!(org.get(&format!("/pins/{old}")).await.reason(), "NOT_FOUND");
    assert_eq!(org.get(&format!("/pins/{new}")).await.status, 200);
    assert_eq!(org.post(&format!("/pins/{old}"), &json!({"cid": second})).await.reason(), "NOT_FOUND");
    assert_eq!(org.count(ALL).await, 1);
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    kubo.look(|record| assert_eq!(record.pinned, BTreeSet::from([second])));
    kubo.check();
}

#[tokio::test]
async fn another_orgs_pin_and_no_pin_look_the_same_to_the_byte() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let (org, other) = (pinner.org("acme").await, pinner.org("other").await);
    let theirs = other.pin(&cids::fresh()).await;
    let body = json!({"cid": cids::fresh()});
    let mut answers = Vec::new();
    for nobodys in
        [theirs.as_str(), "pin_01h455vb4pex5vsknk084sn02q", "org_01h455vb4pex5vsknk084sn02q", "pin_", "%00", "x"]
    {
        let path = format!("/pins/{nobodys}");
        for answer in [org.get(&path).await, org.post(&path, &body).await, org.delete(&path).await] {
            assert_eq!(answer.status, 404, "{path}");
            answers.push(answer.body);
        }
    }
    assert!(answers.iter().all(|body| *body == answers[0]), "{answers:?}");
    assert_eq!(org.count(ALL).await, 0);
    assert_eq!(other.get(&format!("/pins/{theirs}")).await.status, 200);
}

#[tokio::test]
async fn both_versions_of_a_cid_are_one_content_and_each_comes_back_as_it_was_spelled() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let org = pinner.org("acme").await;
    let (v0, v1) = cids::both_versions();
    let (first, second) = (org.pin(&v0).await, org.pin(&v1).await);
    assert_ne!(first, second, "two requests are two pins");
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    assert_eq!(truth::contents(&database.pool("postgres")).await.len(), 1);
    for (id, spelling) in [(&first, &v0), (&second, &v1)] {
        assert_eq!(org.get(&format!("/pins/{id}")).await.expect(200)["pin"]["cid"], spelling.as_str());
    }
    for spelling in [&v0, &v1] {
        assert_eq!(org.get(&format!("/pins?cid={spelling}")).await.expect(200)["count"], 2, "{spelling}");
    }
    assert_eq!(kubo.calls("pin/add", &v1), 1, "one content is fetched once");
}

#[tokio::test]
async fn the_description_names_every_operation() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let answer = pinner.admin().anonymous().get("/openapi.json").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    let document: Value = answer.expect(200);
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{}", document["openapi"]);
    let operations = [
        ("/pins", "get"),
        ("/pins", "post"),
        ("/pins/{requestid}", "get"),
        ("/pins/{requestid}", "post"),
        ("/pins/{requestid}", "delete"),
        ("/admin/v1/nodes", "get"),
        ("/admin/v1/nodes/{node}", "get"),
        ("/admin/v1/nodes/{node}/scheduling", "put"),
        ("/admin/v1/nodes/{node}/cordon", "post"),
        ("/admin/v1/nodes/{node}/uncordon", "post"),
        ("/admin/v1/nodes/{node}/drain", "post"),
        ("/admin/v1/orgs", "get"),
        ("/admin/v1/orgs", "post"),
        ("/admin/v1/tokens", "post"),
        ("/livez", "get"),
        ("/readyz", "get"),
    ];
    for (path, method) in operations {
        assert!(document["paths"][path][method].is_object(), "{method} {path} is not described");
    }
}
