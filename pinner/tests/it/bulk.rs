//! Many pins by one request: deleted, exported, imported.

use crate::stage::{
    cids,
    client::{ALL, Client, id, is},
    database::Database,
    fake_kubo::FakeKubo,
    pinner::{Pinner, Setup},
    truth,
    wait::{SOON, until},
};
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn pinner() -> (Database, FakeKubo, Pinner) {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    (database, kubo, pinner)
}

async fn import(org: &Client, lines: impl Into<reqwest::Body>) -> Vec<Value> {
    let answer = org.send(org.request(Method::POST, "/api/v1/pins/import").body(lines)).await;
    assert_eq!((answer.status, answer.headers["content-type"].to_str().unwrap()), (200, "application/x-ndjson"));
    answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn export(org: &Client) -> Vec<Value> {
    let answer = org.get("/api/v1/pins/export").await;
    assert_eq!((answer.status, answer.headers["content-type"].to_str().unwrap()), (200, "application/x-ndjson"));
    answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Lines that ask for so many new pins.
fn pins(many: usize) -> String {
    (0..many).map(|n| format!("{}\n", json!({"cid": cids::fresh(), "name": format!("n{n}")}))).collect()
}

#[tokio::test]
async fn a_pin_that_no_longer_matches_the_filter_when_its_turn_comes_stays() {
    let (database, kubo, pinner) = pinner().await;
    let admin = database.pool("postgres");
    let org = pinner.org("acme").await;
    kubo.set_present(false);
    let [stays, goes] = [org.pin(&cids::fresh()).await, org.pin(&cids::fresh()).await];
    // Whoever holds the contents' locks decides when the deletion, which has chosen its pins by then, goes on.
    let mut holder = admin.begin().await.unwrap();
    sqlx::query("select from contents for no key update").execute(&mut *holder).await.unwrap();
    let filter = json!({"filter": {"status": "queued,pinning"}});
    let deletion = tokio::spawn(async move { (org.post("/api/v1/pins/delete", &filter).await.expect(200), org) });
    until("the deletion waits for the lock", SOON, async || {
        let query = "select exists (select from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock' and query like '%lock_contents%')";
        sqlx::query_scalar::<_, bool>(query).fetch_one(&admin).await.unwrap().then_some(())
    })
    .await;
    let pinned = "update pins set status = 'pinned' where created = (select min(created) from pins)";
    assert_eq!(sqlx::query(pinned).execute(&mut *holder).await.unwrap().rows_affected(), 1);
    holder.commit().await.unwrap();
    let (answer, org) = deletion.await.unwrap();
    assert_eq!(answer["deleted"], 1);
    assert_eq!(org.get(&format!("/pins/{stays}")).await.status, 200);
    assert_eq!(org.get(&format!("/pins/{goes}")).await.status, 404);
}

#[tokio::test]
async fn pins_are_deleted_by_id_and_what_is_not_the_orgs_is_not_found() {
    let (database, _kubo, pinner) = pinner().await;
    let [org, other] = [pinner.org("acme").await, pinner.org("other").await];
    let shared = cids::fresh();
    let theirs = other.pin(&shared).await;
    let mut own = vec![org.pin(&shared).await];
    for _ in 0..20 {
        own.push(org.pin(&cids::fresh()).await);
    }
    let stays = own.split_off(15);
    let mut asked = own.clone();
    asked.extend([theirs.clone(), own[0].clone(), "nonsense".into(), "pin_01h455vb4pex5vsknk084sn02q".into()]);
    let answer = org.post("/api/v1/pins/delete", &json!({"requestids": asked})).await.expect(200);
    assert_eq!((&answer["deleted"], &answer["more"]), (&json!(15), &json!(false)));
    let not_found: BTreeSet<&str> =
        answer["notFound"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(not_found, [theirs.as_str(), "nonsense", "pin_01h455vb4pex5vsknk084sn02q"].into());
    assert_eq!((org.count(ALL).await, other.count(ALL).await), (stays.len() as u64, 1));
    let again = org.post("/api/v1/pins/delete", &json!({"requestids": own})).await.expect(200);
    assert_eq!(again["deleted"], 0);
    // What nobody holds any more is let go, what the other org holds is not.
    truth::wait_for_rest(&database.pool("postgres"), Duration::from_secs(60)).await;
    assert_eq!(other.status(&theirs).await, "pinned");
    assert_eq!(truth::contents(&database.pool("postgres")).await.len(), stays.len() + 1);
}

#[tokio::test]
async fn a_filter_deletes_what_a_list_would_show_a_bounded_number_at_a_time() {
    let (database, _kubo, pinner) = pinner().await;
    let [org, other] = [pinner.org("acme").await, pinner.org("other").await];
    assert_eq!(import(&org, pins(25)).await.len(), 25);
    assert_eq!(import(&other, pins(5)).await.len(), 5);
    let delete = async |filter: Value| org.post("/api/v1/pins/delete", &json!({"filter": filter})).await.expect(200);
    assert_eq!(delete(json!({"name": "nobody"})).await, json!({"deleted": 0, "notFound": [], "more": false}));
    assert_eq!(delete(json!({"name": "n7"})).await["deleted"], 1);
    let oldest = &export(&org).await[23];
    let page = delete(json!({"status": ALL.split(',').collect::<Vec<_>>(), "limit": 10})).await;
    assert_eq!(page, json!({"deleted": 10, "notFound": [], "more": true}));
    assert_eq!(&export(&org).await[13]["requestid"], &oldest["requestid"], "the newest go first");
    assert_eq!(delete(json!({"status": ALL, "limit": 10})).await["more"], true);
    assert_eq!(delete(json!({"status": ALL, "limit": 4})).await, json!({"deleted": 4, "notFound": [], "more": false}));
    assert_eq!((org.count(ALL).await, other.count(ALL).await), (0, 5));
    truth::wait_for_rest(&database.pool("postgres"), Duration::from_secs(60)).await;
}

#[tokio::test]
async fn bulk_deletions_that_meet_each_other_and_single_ones_all_come_to_an_end() {
    let (database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    let mut ids: Vec<String> = import(&org, pins(60)).await.iter().map(|line| id(&line["status"])).collect();
    let mut work = Vec::new();
    for turn in 0..6 {
        ids.rotate_left(7 * turn);
        let (org, ids) = (org.clone(), ids.clone());
        work.push(tokio::spawn(async move {
            org.post("/api/v1/pins/delete", &json!({"requestids": ids})).await.expect(200)["deleted"].as_u64().unwrap()
        }));
    }
    let (single, mine) = (org.clone(), ids.clone());
    work.push(tokio::spawn(async move {
        let mut deleted = 0;
        for id in mine {
            deleted += u64::from(single.delete(&format!("/pins/{id}")).await.status == 202);
        }
        deleted
    }));
    let mut deleted = 0;
    for task in work {
        deleted += task.await.unwrap();
    }
    assert_eq!((deleted, org.count(ALL).await), (60, 0), "each once");
    truth::wait_for_rest(&database.pool("postgres"), Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_bulk_deletion_that_is_not_clear_deletes_nothing() {
    let (_database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    let pin = org.pin(&cids::fresh()).await;
    let many = |n: usize| vec![pin.replace("pin_0", "pin_1"); n];
    for (body, says) in [
        (json!({}), "exactly one"),
        (json!({"requestids": []}), "requestids"),
        (json!({"requestids": many(1001)}), "requestids"),
        (json!({"requestids": [1]}), "JSON"),
        (json!({"requestids": [pin], "filter": {"status": ALL}}), "exactly one"),
        (json!({"filter": {}}), "filter"),
        (json!({"filter": {"stauts": "failed"}}), "stauts"),
        (json!({"filter": {"status": "done"}}), "status"),
        (json!({"filter": {"status": ALL, "limit": 1001}}), "limit"),
        (json!({"filter": {"name": "\u{0}"}}), "name"),
        (json!({"filter": {"before": "yesterday"}}), "before"),
        (json!({"ids": [pin]}), "JSON"),
    ] {
        is(&org.post("/api/v1/pins/delete", &body).await, 400, "BAD_REQUEST", says, &body.to_string());
    }
    org.post("/api/v1/pins/delete", &json!({"requestids": many(1000)})).await.expect(200);
    assert_eq!(org.count(ALL).await, 1);
    let reader = pinner.org_with("acme", &["pins:read", "org:admin"]).await;
    let answer = reader.post("/api/v1/pins/delete", &json!({"requestids": [pin]})).await;
    is(&answer, 403, "FORBIDDEN", "pins:write", "a reader");
    let answer = reader.send(reader.request(Method::POST, "/api/v1/pins/import").body("")).await;
    is(&answer, 403, "FORBIDDEN", "pins:write", "a reader");
    let writer = pinner.org_with("acme", &["pins:write"]).await;
    is(&writer.get("/api/v1/pins/export").await, 403, "FORBIDDEN", "pins:read", "a writer");
    is(&org.get("/api/v1/pins/export?before=x").await, 400, "BAD_REQUEST", "before", "no time");
}

#[tokio::test]
async fn an_export_has_every_pin_once_newest_first_and_can_be_imported_elsewhere() {
    let (database, _kubo, pinner) = pinner().await;
    let [org, other] = [pinner.org("acme").await, pinner.org("other").await];
    assert_eq!(export(&org).await, Vec::<Value>::new());
    let rich = json!({"cid": cids::fresh(), "name": "ä\n\u{2028}", "origins": ["x"], "meta": {"k": "v\n"}});
    org.post("/pins", &rich).await.expect(202);
    // Over two pages and one more.
    let imported = import(&org, pins(1100)).await;
    assert!(imported.len() == 1100 && imported.iter().all(|line| line["error"].is_null()), "{imported:?}");
    truth::wait_for_rest(&database.pool("postgres"), Duration::from_secs(60)).await;
    let exported = export(&org).await;
    assert_eq!(exported.len(), 1101);
    let created: Vec<_> = exported.iter().map(|pin| pin["created"].as_str().unwrap()).collect();
    assert!(created.is_sorted_by(|a, b| a > b), "newest first, each once");
    assert_eq!(exported[1100]["pin"], rich);
    let listed = org.get(&format!("/pins?status={ALL}&limit=1000")).await.expect(200);
    assert_eq!(json!(exported[..1000]), listed["results"], "a line is what a list shows");
    let tail = org.get(&format!("/api/v1/pins/export?before={}", created[1098])).await;
    assert_eq!(tail.body.lines().count(), 2, "to go on after an interruption");
    let head = org.send(org.request(Method::HEAD, "/api/v1/pins/export")).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));

    assert_eq!(export(&other).await, Vec::<Value>::new(), "nobody else's");
    let lines: String = exported.iter().map(|line| format!("{line}\n")).collect();
    assert!(import(&other, lines).await.iter().all(|line| line["error"].is_null()));
    let by_cid = |pins: Vec<Value>| -> BTreeMap<String, Value> {
        pins.into_iter().map(|status| (status["pin"]["cid"].to_string(), status["pin"].clone())).collect()
    };
    assert_eq!(by_cid(export(&other).await), by_cid(exported));
}

#[tokio::test]
async fn a_slow_reader_of_an_export_holds_no_connection() {
    let (database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    let meta: String = "x".repeat(15_000);
    let line = |_| format!("{}\n", json!({"cid": cids::fresh(), "meta": {"m": meta}}));
    let lines: String = (0..1500).map(line).collect();
    assert_eq!(import(&org, lines).await.len(), 1500);
    let answer = org.request(Method::GET, "/api/v1/pins/export").send().await.unwrap();
    let mut body = answer.bytes_stream();
    body.next().await.unwrap().unwrap();
    // 22 MB wait for us; the pinner waits too, and with no transaction open.
    let admin = database.pool("postgres");
    until("no transaction of the API is open", SOON, async || {
        let open: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = current_database() and usename = 'anchorage_api' and state <> 'idle'",
        )
        .fetch_one(&admin)
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
    let mut rest = 0;
    while let Some(chunk) = body.next().await {
        rest += chunk.unwrap().iter().filter(|byte| **byte == b'\n').count();
    }
    assert!(rest > 1000, "{rest} lines came after the pause");
}

#[tokio::test]
async fn a_broken_line_of_an_import_is_answered_by_its_number_and_stops_no_other() {
    let (_database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    let good = || json!({"cid": cids::fresh()}).to_string();
    // The largest there is, and one byte more.
    let fill = |length: usize| {
        let line = json!({"cid": cids::fresh(), "x": ""}).to_string();
        line.replace(r#""x":"""#, &format!(r#""x":"{}""#, "y".repeat(length - line.len())))
    };
    let lines: Vec<(String, &str)> = vec![
        (good(), ""),
        ("{".into(), "neither a Pin"),
        (fill(128 * 1024), ""),
        (fill(128 * 1024 + 1), "131072"),
        (String::new(), "nothing"),
        ("  \r".into(), "nothing"),
        (json!({"pin": {"cid": cids::fresh()}, "status": "pinned", "requestid": "x"}).to_string(), ""),
        (json!({"pin": {"cid": "x"}}).to_string(), "cid"),
        (json!({"cid": cids::fresh(), "name": "x".repeat(256)}).to_string(), "name"),
        (json!({"cid": cids::fresh(), "meta": {"anchorage_expires": "soon"}}).to_string(), "anchorage_expires"),
        ("[1]".into(), "neither a Pin"),
        ("null".into(), "neither a Pin"),
        ("\u{0}".into(), "neither a Pin"),
        ("z".repeat(1_000_000), "131072"),
        (good() + "\r", ""),
        (good(), ""),
    ];
    let body: Vec<_> = lines.iter().map(|(line, _)| line.as_str()).collect();
    let answers = import(&org, body.join("\n")).await;
    let expected: Vec<_> = (1..).zip(&lines).filter(|(_, (_, says))| *says != "nothing").collect();
    assert_eq!(answers.len(), expected.len());
    for (answer, (number, (line, says))) in answers.iter().zip(expected) {
        assert_eq!(answer["line"], number, "{answer}");
        if says.is_empty() {
            id(&answer["status"]);
            assert_eq!(answer.get("error"), None);
        } else {
            assert_eq!(answer["error"]["reason"], "BAD_REQUEST", "{line:.50}: {answer}");
            assert!(answer["error"]["details"].as_str().unwrap().contains(says), "{line:.50}: {answer}");
        }
    }
    assert_eq!(org.count(ALL).await, 5, "and no more were stored");
    assert_eq!(import(&org, "").await, Vec::<Value>::new());
    let packed = org.request(Method::POST, "/api/v1/pins/import").header("content-encoding", "gzip").body("x");
    is(&org.send(packed).await, 400, "BAD_REQUEST", "Content-Encoding", "compressed");
}

/// Sends and reads nothing until everything is sent, as simple clients do.
#[tokio::test]
async fn an_import_far_beyond_the_limit_of_other_bodies_is_taken_from_a_client_that_reads_last() {
    let (database, _kubo, pinner) = pinner().await;
    let org = pinner.org("acme").await;
    let meta = "x".repeat(2_000);
    let lines: String =
        (0..1200).map(|_| format!("{}\n", json!({"cid": cids::fresh(), "meta": {"m": meta}}))).collect();
    assert!(lines.len() > 2 * 1024 * 1024);
    let (address, token) = wire(&pinner).await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /api/v1/pins/import HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        lines.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), stream.write_all(lines.as_bytes()))
        .await
        .expect("it is read")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer.matches(r#""requestid""#).count(), 1200);
    assert_eq!(org.count(ALL).await, 1200);
    truth::wait_for_rest(&database.pool("postgres"), Duration::from_secs(60)).await;
}

async fn wire(pinner: &Pinner) -> (String, String) {
    let body = json!({"org": "acme", "scopes": ["pins:read", "pins:write"]});
    let minted = pinner.admin().post("/admin/v1/tokens", &body).await.expect(201);
    (pinner.url.strip_prefix("http://").unwrap().to_owned(), minted["token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn of_an_import_whose_client_hangs_up_what_was_answered_is_stored_and_half_a_line_is_not() {
    let (database, _kubo, pinner) = pinner().await;
    let admin = database.pool("postgres");
    let org = pinner.org("acme").await;
    let (address, token) = wire(&pinner).await;
    let mut acknowledged = Vec::new();
    for cut in 0..12 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "POST /api/v1/pins/import HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let lines = pins(20);
        // The last line is cut, and is a whole pin none the less: it must not count.
        let body = format!("{lines}{}", json!({"cid": cids::fresh(), "name": "cut"}));
        stream.write_all(format!("{:x}\r\n{body}\r\n", body.len()).as_bytes()).await.unwrap();
        let (mut answer, mut part) = (String::new(), [0; 4096]);
        while answer.matches(r#""requestid""#).count() < cut {
            let read = stream.read(&mut part).await.unwrap();
            assert!(read > 0, "{answer}");
            answer.push_str(&String::from_utf8_lossy(&part[..read]));
        }
        acknowledged.extend(
            answer.split(r#""requestid":""#).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
        );
        drop(stream);
    }
    assert!(acknowledged.len() > 60, "{}", acknowledged.len());
    for id in &acknowledged {
        assert_eq!(org.get(&format!("/pins/{id}")).await.status, 200, "{id} was acknowledged and is not there");
    }
    truth::wait_for_no_open_transaction(&admin).await;
    truth::wait_for_rest(&admin, Duration::from_secs(60)).await;
    assert_eq!(org.get("/pins?name=cut").await.expect(200)["count"], 0);
}
