//! Bytes sent instead of fetched: files and CAR files, into real Kubos.

use crate::stage::{
    cids,
    client::{ALL, Answer, Client, id, is},
    containers::KUBOS,
    database::Database,
    fake_kubo::FakeKubo,
    map::wait_for_map_of,
    pinner::{Pinner, Setup},
    truth,
    wait::{SOON, until},
};
use bytes::Bytes;
use cid::Cid;
use futures::stream;
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const CAR: &str = "application/vnd.ipld.car";

async fn pinner(setup: impl FnOnce(Setup) -> Setup) -> (Database, Pinner, Client) {
    let database = Database::new().await;
    let pinner = setup(Setup::new(&database, &KUBOS[0])).start().await;
    let org = uploader(&pinner, "acme").await;
    (database, pinner, org)
}

async fn uploader(pinner: &Pinner, org: &str) -> Client {
    pinner.org_with(org, &["pins:read", "pins:write", "uploads:write"]).await
}

async fn upload(org: &Client, query: &str, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = org.request(Method::POST, &format!("/api/v1/uploads{query}")).header("content-type", kind);
    org.send(request.body(body)).await
}

async fn wait_until_pinned(org: &Client, pin: &str) {
    until("it is pinned", SOON, async || (org.status(pin).await == "pinned").then_some(())).await;
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A CAR file of version 1 with these roots and these raw blocks under these CIDs.
pub(crate) fn car(roots: &[&str], blocks: &[(&str, &[u8])]) -> Vec<u8> {
    let bytes = |cid: &str| cid.parse::<Cid>().unwrap().to_bytes();
    let links = roots.iter().flat_map(|root| [&[0xd8, 42, 0x58, 37, 0][..], &bytes(root)].concat());
    let mut header = [b"\xa2\x65roots", &[0x80 + roots.len() as u8][..]].concat();
    header.extend(links);
    header.extend(b"\x67version\x01");
    let mut file = [varint(header.len()), header].concat();
    for (cid, block) in blocks {
        file.extend(varint(36 + block.len()));
        file.extend(bytes(cid));
        file.extend_from_slice(block);
    }
    file
}

/// The same file as version 2, without an index.
fn version_2(file: &[u8]) -> Vec<u8> {
    let place = [51_u64.to_le_bytes(), (file.len() as u64).to_le_bytes(), 0_u64.to_le_bytes()].concat();
    [b"\x0a\xa1\x67version\x02".as_slice(), &[0; 16], &place, file].concat()
}

#[tokio::test]
async fn what_is_uploaded_at_any_node_ends_pinned_on_those_that_it_is_placed_on() {
    let database = Database::new().await;
    let admin = database.pool("postgres");
    let setup = Setup::new(&database, &KUBOS[0]);
    let pinners = [setup.start().await, setup.sibling("node-1", &KUBOS[1]).start().await];
    let org = uploader(&pinners[0], "acme").await;
    wait_for_map_of(&pinners.each_ref()).await;
    // Whether each was held where it was uploaded; where it belongs is known when it is there.
    let mut stayed = Vec::new();
    while stayed.len() < 12 || !(stayed.contains(&true) && stayed.contains(&false)) {
        let round = stayed.len();
        assert!(round < 60, "all {round} stayed, or none: this proves nothing");
        let at = round % 2;
        // More than a block.
        let file = cids::fresh_block().repeat(20_000 + round);
        let answer =
            upload(&org.at(&pinners[at].url), &format!("?name=n{round}"), "text/plain", file).await.expect(202);
        assert_eq!(answer["pin"]["name"], format!("n{round}"));
        wait_until_pinned(&org, &id(&answer)).await;
        truth::wait_for_rest(&admin, SOON).await;
        let cid = answer["pin"]["cid"].as_str().unwrap();
        let held = [cids::is_pinned(&KUBOS[0], cid).await, cids::is_pinned(&KUBOS[1], cid).await];
        assert_eq!(held.iter().filter(|held| **held).count(), 1, "on one node, and the upload itself is no pin");
        stayed.push(held[at]);
    }
    println!(
        "{} of {} stayed on the node that they were uploaded to",
        stayed.iter().filter(|it| **it).count(),
        stayed.len()
    );
}

#[tokio::test]
async fn a_car_file_is_pinned_by_its_root_in_both_versions() {
    let (_database, _pinner, org) = pinner(|setup| setup).await;
    let blocks: Vec<Vec<u8>> = (0..4).map(|_| cids::fresh_block()).collect();
    let cids: Vec<String> = blocks.iter().map(|block| cids::raw(block)).collect();
    let one = |n: usize| car(&[&cids[n]], &[(&cids[n], &blocks[n])]);
    for (n, (kind, file)) in
        [(CAR, one(0)), ("Application/Vnd.IPLD.car; version=2; order=dfs", version_2(&one(1)))].into_iter().enumerate()
    {
        let meta = "?name=x&meta=%7B%22a%22%3A%22b%22%7D";
        let answer = upload(&org, meta, kind, file).await.expect(202);
        assert_eq!(answer["pin"], json!({"cid": cids[n], "name": "x", "meta": {"a": "b"}}));
        wait_until_pinned(&org, &id(&answer)).await;
    }
    // Two roots, or none: say which.
    let both = [(cids[2].as_str(), blocks[2].as_slice()), (cids[3].as_str(), blocks[3].as_slice())];
    let two = car(&[&cids[2], &cids[3]], &both);
    is(&upload(&org, "", CAR, two.clone()).await, 400, "BAD_REQUEST", "2 roots", "two roots");
    is(&upload(&org, "", CAR, car(&[], &both)).await, 400, "BAD_REQUEST", "0 roots", "no root");
    for file in [two, car(&[], &both)] {
        let answer = upload(&org, &format!("?root={}", cids[3]), CAR, file).await.expect(202);
        assert_eq!(answer["pin"]["cid"], cids[3]);
        wait_until_pinned(&org, &id(&answer)).await;
    }
}

#[tokio::test]
async fn a_car_file_that_is_none_is_refused_with_the_reason() {
    let (_database, _pinner, org) = pinner(|setup| setup).await;
    let (block, other) = (cids::fresh_block(), cids::fresh_block());
    let (cid, absent) = (cids::raw(&block), cids::fresh());
    let good = car(&[&cid], &[(&cid, &block)]);
    for (what, query, file, says) in [
        ("nothing", "", vec![], "CAR"),
        ("text", "", b"hello, this is not a CAR file at all".to_vec(), "CAR"),
        ("a cut header", "", good[..20].to_vec(), "header"),
        ("a cut block", "", good[..good.len() - 3].to_vec(), "Kubo"),
        ("another block than its CID says", "", car(&[&cid], &[(&cid, &other)]), "Kubo"),
        ("no block of the root", "", car(&[&absent], &[(&cid, &block)]), "does not hold"),
        ("no block of that root", &format!("?root={absent}"), good.clone(), "does not hold"),
        ("no CID as root", "?root=x", good.clone(), "root"),
        ("an unknown parameter", "?rot=x", good.clone(), "query"),
        ("a name that is too long", &format!("?name={}", "x".repeat(256)), good.clone(), "name"),
        ("meta of other than texts", "?meta=%7B%22a%22%3A1%7D", good.clone(), "meta"),
        (
            "more copies than there are",
            "?meta=%7B%22anchorage_replication%22%3A%222%22%7D",
            good.clone(),
            "replication",
        ),
        ("an option of ours that is none", "?meta=%7B%22anchorage_expires%22%3A%22x%22%7D", good.clone(), "expires"),
    ] {
        is(&upload(&org, query, CAR, file).await, 400, "BAD_REQUEST", says, what);
    }
    is(
        &upload(&org, &format!("?root={cid}"), "text/plain", "x").await,
        400,
        "BAD_REQUEST",
        "root",
        "a file has no root",
    );
    let packed = org.request(Method::POST, "/api/v1/uploads").header("content-encoding", "gzip").body("x");
    is(&org.send(packed).await, 400, "BAD_REQUEST", "Content-Encoding", "compressed");
    assert_eq!(org.count(ALL).await, 0, "nothing was pinned");
}

#[tokio::test]
async fn a_large_broken_car_file_is_refused_with_kubos_words_while_it_is_still_coming() {
    let (_database, _pinner, org) = pinner(|setup| setup).await;
    let (block, other) = (cids::fresh_block(), cids::fresh_block());
    let cid = cids::raw(&block);
    let mut file = car(&[&cid], &[(&cid, &other)]);
    file.resize(24 * 1024 * 1024, 7);
    let answer = upload(&org, "", CAR, file).await;
    is(&answer, 400, "BAD_REQUEST", "Kubo", "a large broken file");
}

#[tokio::test]
async fn a_form_with_one_file_is_taken_and_no_other_form() {
    let (_database, _pinner, org) = pinner(|setup| setup).await;
    let part = |kind: &str, body: &[u8]| {
        let head = format!(
            "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\nContent-Type: {kind}\r\n\r\n"
        );
        [head.as_bytes(), body, b"\r\n"].concat()
    };
    let form = |parts: &[Vec<u8>]| [parts.concat().as_slice(), b"--b--\r\n"].concat();
    const FORM: &str = "multipart/form-data; boundary=b";
    let block = cids::fresh_block();
    let plain = upload(&org, "", FORM, form(&[part("text/plain", &block)])).await.expect(202);
    assert_eq!(plain["pin"]["cid"], cids::raw(&block), "a small file is one raw block");
    let inner = cids::fresh_block();
    let cid = cids::raw(&inner);
    let packed = upload(&org, "", FORM, form(&[part(CAR, &car(&[&cid], &[(&cid, &inner)]))])).await.expect(202);
    assert_eq!(packed["pin"]["cid"], cid);
    wait_until_pinned(&org, &id(&packed)).await;
    for (what, kind, body) in [
        ("two files", FORM, form(&[part("text/plain", b"1"), part("text/plain", b"2")])),
        ("none", FORM, form(&[])),
        ("one without its end", FORM, part("text/plain", b"1")),
        ("no boundary", "multipart/form-data", form(&[part("text/plain", b"1")])),
        ("no form", FORM, b"hello".to_vec()),
    ] {
        is(&upload(&org, "", kind, body).await, 400, "BAD_REQUEST", "", what);
    }
    assert_eq!(org.count(ALL).await, 2);
}

/// A body of so many bytes whose length is not said before.
fn unsized_body(bytes: usize) -> reqwest::Body {
    let chunks = (0..bytes.div_ceil(65_536)).map(move |n| {
        let size = 65_536.min(bytes - n * 65_536);
        Ok::<_, std::io::Error>(Bytes::from(vec![n as u8; size]))
    });
    reqwest::Body::wrap_stream(stream::iter(chunks))
}

#[tokio::test]
async fn a_file_may_be_as_large_as_it_may_and_not_a_byte_more() {
    const MAX: usize = 3 * 1024 * 1024;
    let (_database, _pinner, org) = pinner(|setup| setup.with("ANCHORAGE_UPLOADS_MAX_BYTES", MAX)).await;
    for body in [vec![1; MAX].into(), unsized_body(MAX)] {
        upload(&org, "", "application/octet-stream", body).await.expect(202);
    }
    for body in [vec![1; MAX + 1].into(), unsized_body(MAX + 1), unsized_body(8 * MAX)] {
        let answer = upload(&org, "", "application/octet-stream", body).await;
        is(&answer, 413, "PAYLOAD_TOO_LARGE", &MAX.to_string(), "too large");
    }
    assert_eq!(org.count(ALL).await, 2);
    // Nothing at all is a file too.
    assert_eq!(upload(&org, "", "text/plain", "").await.expect(202)["pin"]["cid"], cids::raw(b""));
}

#[tokio::test]
async fn an_upload_beyond_the_orgs_limit_is_refused_before_or_while_it_comes() {
    const MAX: usize = 1024 * 1024;
    let (_database, pinner, org) = pinner(|setup| setup).await;
    let other = uploader(&pinner, "other").await;
    let limits = pinner.admin().request(Method::PATCH, "/admin/v1/orgs/acme").json(&json!({"maxBytes": MAX}));
    assert_eq!(pinner.admin().send(limits).await.expect(200)["limits"], json!({"maxPins": null, "maxBytes": MAX}));
    assert_eq!(org.get("/api/v1/usage").await.expect(200)["limits"]["maxBytes"], MAX);
    for body in [vec![2; MAX + 1].into(), unsized_body(MAX + 1)] {
        let answer = upload(&org, "", "application/octet-stream", body).await;
        is(&answer, 409, "INSUFFICIENT_FUNDS", &MAX.to_string(), "over the limit");
    }
    assert_eq!(org.count(ALL).await, 0);
    upload(&org, "", "application/octet-stream", vec![2; MAX]).await.expect(202);
    upload(&other, "", "application/octet-stream", vec![2; MAX + 1]).await.expect(202);
}

#[tokio::test]
async fn a_limit_that_is_set_at_one_pinner_holds_for_uploads_at_another_within_a_moment() {
    let database = Database::new().await;
    let setup = Setup::new(&database, &KUBOS[0]);
    let (here, there) = (setup.start().await, setup.sibling("node-1", &KUBOS[1]).start().await);
    there.wait_for("[+]nats ok", 200).await;
    let org = uploader(&here, "acme").await.at(&there.url);
    let limits = async || {
        let stats = there.admin().get("/admin/v1/cache-stats").await.expect(200);
        let cache = stats["caches"].as_array().unwrap().iter().find(|cache| cache["name"] == "org_limits").cloned();
        let cache = cache.unwrap_or_else(|| panic!("no org_limits: {stats}"));
        ["hits", "misses", "entries"].map(|what| cache[what].as_u64().unwrap())
    };
    // Until one is answered by the copy that another one left, which on a busy machine may be too old by then.
    let (mut asked, mut tries) = (Instant::now(), 0);
    loop {
        let ([hits, misses, _], began) = (limits().await, Instant::now());
        upload(&org, "", "text/plain", cids::fresh()).await.expect(202);
        let after = limits().await;
        assert_eq!(after[0] + after[1], hits + misses + 1, "a look for each upload");
        if after == [hits + 1, misses, 1] {
            break;
        }
        asked = began;
        tries += 1;
        assert!(tries < 10, "each upload asks anew: {after:?}");
    }

    let set = here.admin().request(Method::PATCH, "/admin/v1/orgs/acme").json(&json!({"maxBytes": 10}));
    here.admin().send(set).await.expect(200);
    until("the copy is forgotten", SOON, async || (limits().await[2] == 0).then_some(())).await;
    assert!(asked.elapsed() < Duration::from_millis(4_500), "before it is too old by itself: {:?}", asked.elapsed());
    is(&upload(&org, "", "text/plain", "x".repeat(11)).await, 409, "INSUFFICIENT_FUNDS", "10 bytes", "over the limit");
}

#[tokio::test]
async fn an_upload_takes_its_scope_and_stays_its_orgs() {
    let (_database, pinner, org) = pinner(|setup| setup).await;
    let others = pinner.org_with("acme", &["pins:read", "pins:write", "org:admin"]).await;
    is(&upload(&others, "", "text/plain", "x").await, 403, "FORBIDDEN", "uploads:write", "no scope");
    is(&upload(&org.anonymous(), "", "text/plain", "x").await, 401, "UNAUTHORIZED", "token", "nobody");
    let pin = id(&upload(&org, "", "text/plain", cids::fresh_block()).await.expect(202));
    let stranger = uploader(&pinner, "other").await;
    is(&stranger.get(&format!("/pins/{pin}")).await, 404, "NOT_FOUND", "requestid", "another org's");
    assert_eq!(stranger.count(ALL).await, 0);
    let only = pinner.org_with("acme", &["uploads:write"]).await;
    upload(&only, "", "text/plain", cids::fresh_block()).await.expect(202);
    is(&only.get("/pins").await, 403, "FORBIDDEN", "pins:read", "the scope is for uploads alone");
}

#[tokio::test]
async fn while_kubo_is_away_uploads_are_refused_for_later() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let org = uploader(&pinner, "acme").await;
    kubo.set_present(false);
    for _ in 0..3 {
        let answer = upload(&org, "", "text/plain", vec![b'x'; 1_000_000]).await;
        is(&answer, 503, "SERVICE_UNAVAILABLE", "Kubo", "without Kubo");
        assert!(answer.headers.contains_key("retry-after"));
    }
    assert_eq!(org.count(ALL).await, 0);
}

#[tokio::test]
async fn an_upload_whose_client_hangs_up_leaves_no_pin_and_one_that_falls_silent_is_told_so() {
    let (database, pinner, org) = pinner(|setup| setup).await;
    let scopes = json!({"org": "acme", "scopes": ["uploads:write"]});
    let minted = pinner.admin().post("/admin/v1/tokens", &scopes).await.expect(201);
    let token = minted["token"].as_str().unwrap();
    let address = pinner.url.strip_prefix("http://").unwrap();
    let begin = async |head: &str, body: &[u8]| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /api/v1/uploads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: text/plain\r\n{head}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        stream
    };
    let began = Instant::now();
    let mut silent = begin("Content-Length: 1000000", &[b'x'; 500_000]).await;
    for cut in [0, 1, 1_000, 300_000, 999_999] {
        drop(begin("Content-Length: 1000000", &vec![b'x'; cut]).await);
        let chunk = [format!("{cut:x}\r\n").as_bytes(), &vec![b'y'; cut], b"\r\n"].concat();
        drop(begin("Transfer-Encoding: chunked", &chunk[..chunk.len() - usize::from(cut == 0) * chunk.len()]).await);
    }
    // Another one goes through meanwhile.
    upload(&org, "", "text/plain", cids::fresh_block()).await.expect(202);
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(90), silent.read_to_end(&mut answer)).await;
    read.expect("it is told").unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("REQUEST_TIMEOUT"), "{answer}");
    assert!(began.elapsed() >= Duration::from_secs(60));
    assert_eq!(org.count(ALL).await, 1, "what was cut off is no file");
    let contents: i64 =
        sqlx::query_scalar("select count(*) from contents").fetch_one(&database.pool("postgres")).await.unwrap();
    assert_eq!(contents, 1);
}
