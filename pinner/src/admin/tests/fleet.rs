//! The commands about the fleet as a whole, against a server that answers what it is told to.

use super::{super::command, *};
use serde_json::Value;
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
};

/// Runs a command against a server with these answers, one a request; gives what was asked and how it ended.
async fn ask(line: &str, answers: Vec<(u16, Value)>) -> (Vec<String>, Result<(), Failure>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // The port is this test's alone.
    let token = std::env::temp_dir().join(format!("anchorage-fleet-{}", listener.local_addr().unwrap().port()));
    std::fs::write(&token, "hush").unwrap();
    let asked = answer(listener, answers);
    let line = format!("{line} --server {url} --token-file {}", token.display());
    let result = command::run(parse(&line).unwrap()).await;
    std::fs::remove_file(&token).unwrap();
    let asked = asked.lock().unwrap().clone();
    (asked, result)
}

fn answer(listener: TcpListener, answers: Vec<(u16, Value)>) -> Arc<Mutex<Vec<String>>> {
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let notes = Arc::clone(&asked);
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut bytes, mut some) = (Vec::new(), [0; 4096]);
            let request = loop {
                let read = stream.read(&mut some).unwrap();
                assert!(read > 0, "half a request: {}", String::from_utf8_lossy(&bytes));
                bytes.extend_from_slice(&some[..read]);
                let text = String::from_utf8_lossy(&bytes).to_string();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length =
                    head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if body.len() >= length.unwrap_or(0) {
                    assert!(head.contains("Bearer hush"), "{head}");
                    break format!("{} {body}", head.split(" HTTP").next().unwrap()).trim().to_owned();
                }
            };
            notes.lock().unwrap().push(request);
            let body = body.to_string();
            let length = body.len();
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
                .unwrap();
        }
    });
    asked
}

fn plan(moves: Value) -> Value {
    json!({"id": "17-ab12cd34", "mapVersion": 17, "moves": moves, "partitions": 9, "contents": 5, "bytes": 2048, "blockedBy": []})
}

fn failure(reason: &str) -> Value {
    json!({"error": {"reason": reason, "details": "the map is another by now"}})
}

#[tokio::test]
async fn maintenance_is_begun_ended_and_looked_at() {
    let paused = json!({"paused": true, "reason": "disks", "startTime": "a", "untilTime": "b", "requestToken": "t"});
    for (line, request) in [
        ("admin maintenance on", "PUT /admin/v1/maintenance {}"),
        (
            "admin maintenance on --for 2h --reason disks",
            r#"PUT /admin/v1/maintenance {"forSeconds":7200,"reason":"disks"}"#,
        ),
        ("admin maintenance off", "DELETE /admin/v1/maintenance"),
        ("admin maintenance status -o json", "GET /admin/v1/maintenance"),
    ] {
        let (asked, result) = ask(line, vec![(200, paused.clone())]).await;
        assert_eq!((asked, result), (vec![request.to_owned()], Ok(())), "{line}");
    }
}

#[tokio::test]
async fn a_rebalance_applies_the_plan_that_it_showed_and_a_dry_one_none() {
    let moves = json!([{"from": "a", "to": null, "why": "w", "partitions": 1, "contents": 2, "bytes": 3}]);
    let get = "GET /admin/v1/rebalance".to_owned();
    let (asked, result) = ask("admin rebalance --dry-run", vec![(200, plan(moves.clone()))]).await;
    assert_eq!((asked, result), (vec![get.clone()], Ok(())));
    let (asked, result) = ask("admin rebalance", vec![(200, plan(moves.clone())), (200, plan(moves.clone()))]).await;
    let post = r#"POST /admin/v1/rebalance {"plan":"17-ab12cd34"}"#.to_owned();
    assert_eq!((asked, result), (vec![get.clone(), post], Ok(())));
    let (asked, result) = ask("admin rebalance", vec![(200, plan(json!([])))]).await;
    assert_eq!((asked, result), (vec![get], Ok(())), "what moves nothing is not applied");

    for (reason, cure) in [("STALE_PLAN", "run `anchorage admin rebalance` again"), ("MAINTENANCE", "maintenance off")]
    {
        let answers = vec![(200, plan(moves.clone())), (409, failure(reason))];
        let refusal = ask("admin rebalance", answers).await.1.unwrap_err();
        assert!(
            matches!(&refusal, Failure::Refused(text) if text.contains(cure) && text.contains(reason)),
            "{refusal}"
        );
    }
    let broken = ask("admin rebalance", vec![(503, failure("SERVICE_UNAVAILABLE"))]).await.1.unwrap_err();
    assert!(matches!(broken, Failure::Failed(_)), "{broken}");
}

#[tokio::test]
async fn presences_are_one_request() {
    let (asked, result) = ask("admin cluster-presences", vec![(200, json!({"presences": []}))]).await;
    assert_eq!((asked, result), (vec!["GET /admin/v1/presences".to_owned()], Ok(())));
}

#[test]
fn a_pause_is_shown_with_its_end_and_the_one_that_outlived_it() {
    let shown = |maintenance: Value| table::fleet::maintenance(&serde_json::from_value(maintenance).unwrap());
    insta::assert_snapshot!(shown(json!({"paused": true, "reason": "disks", "startTime": "10:00", "untilTime": "12:00"})), @r"
    MAINTENANCE   SINCE   UNTIL   REASON
    on            10:00   12:00   disks
    ");
    insta::assert_snapshot!(shown(json!({"paused": false, "expired": {"reason": "disks", "startTime": "10:00", "untilTime": "12:00"}})), @r"
    MAINTENANCE   SINCE   UNTIL   REASON
    off           -       -       -
    expired       10:00   12:00   disks
    ");
}

#[test]
fn a_plan_is_shown_move_by_move_with_what_it_comes_to() {
    let moves = json!([
        {"from": "node-a", "to": "node-c", "why": "node-c is new", "partitions": 8, "contents": 4, "bytes": 1_572_864},
        {"from": null, "to": "node-b", "why": "short of copies", "partitions": 1, "contents": 1, "bytes": 7},
    ]);
    let plan: table::fleet::Plan = serde_json::from_value(plan(moves)).unwrap();
    insta::assert_snapshot!(table::fleet::plan(&plan), @r"
    FROM     TO       PARTITIONS   CONTENTS   BYTES    WHY
    node-a   node-c   8            4          1.5MiB   node-c is new
    -        node-b   1            1          7B       short of copies
    total             9            5          2.0KiB   plan 17-ab12cd34
    ");
    assert_eq!(plan.note(), None);
}

#[test]
fn what_keeps_a_plan_or_a_drain_waiting_is_said() {
    let blocked = json!({"id": "1-a", "moves": [{"from": "a", "to": "b", "why": "w", "partitions": 1, "contents": 1, "bytes": 1}],
        "partitions": 1, "contents": 1, "bytes": 1, "blockedBy": ["maintenance", "no room"]});
    let blocked: table::fleet::Plan = serde_json::from_value(blocked).unwrap();
    assert_eq!(blocked.note().as_deref(), Some("blocked by: maintenance; no room"));
    let empty: table::fleet::Plan = serde_json::from_value(plan(json!([]))).unwrap();
    assert_eq!(empty.note().as_deref(), Some("nothing to move: every node holds its share"));

    let node = |blocked_by: &[&str]| -> Node {
        let placements = json!({"queued": 0, "pinning": 0, "pinned": 1, "failed": 0, "unpinning": 0});
        let drain =
            json!({"placementsTotal": 1, "placementsRemaining": 1, "bytesRemaining": 1, "blockedBy": blocked_by});
        let node =
            json!({"name": "demo-0", "state": "draining", "kuboReady": true, "placements": placements, "drain": drain});
        serde_json::from_value(node).unwrap()
    };
    assert_eq!(command::waits(&node(&[])), None);
    let waits = "the drain of demo-0 is accepted and waits; blocked by: maintenance";
    assert_eq!(command::waits(&node(&["maintenance"])).as_deref(), Some(waits));
}

#[test]
fn presences_are_shown_with_what_they_lead() {
    let presences = json!({"presences": [
        {"id": "node_1", "name": "demo-0", "live": true, "lastSeen": "10:00", "mapVersion": 17, "roles": ["scheduler", "pruner"], "kuboReady": true},
        {"id": "node_2", "name": "demo-1", "live": false, "lastSeen": "09:00", "mapVersion": 16, "roles": [], "kuboReady": false},
    ]});
    insta::assert_snapshot!(table::fleet::presences(&serde_json::from_value(presences).unwrap()), @r"
    NAME     ID       LIVE   LAST-SEEN   MAP   KUBO    LEADS
    demo-0   node_1   yes    10:00       17    ready   scheduler,pruner
    demo-1   node_2   no     09:00       16    down    -
    ");
}

#[test]
fn keys_and_caches_are_shown_as_tables() {
    let keys = json!({"keys": [
        {"kid": "k2", "state": "next", "created": "10:00", "since": "10:00", "signsFrom": "10:01"},
        {"kid": "k1", "state": "active", "created": "09:00", "since": "09:00"},
    ]});
    let keys: table::tokens::Keys = serde_json::from_value(keys).unwrap();
    assert_eq!(keys.next(), Some(("k2", "10:01")));
    insta::assert_snapshot!(table::tokens::keys(&keys), @r"
    KID   STATE    SINCE   SIGNS-FROM   CREATED
    k2    next     10:00   10:01        10:00
    k1    active   09:00   -            09:00
    ");
    let caches = json!({"node": "demo-0", "caches": [
        {"name": "token_denylist", "hits": 999, "misses": 1, "entries": 3, "version": 7, "maxAgeSeconds": 4},
        {"name": "org_limits", "hits": 0, "misses": 0, "entries": 0},
    ]});
    insta::assert_snapshot!(table::tokens::caches(&serde_json::from_value(caches).unwrap()), @r"
    NODE     CACHE            HITS   MISSES   HIT-RATE   ENTRIES   VERSION   MAX-AGE
    demo-0   token_denylist   999    1        99.9%      3         7         4s
    demo-0   org_limits       0      0        -          0         -         -
    ");
}
