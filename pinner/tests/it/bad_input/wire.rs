//! What no client library would send, as bytes on a socket.

use super::Scene;
use crate::stage::{cids, described, wait::SOON};
use futures::future::{join, join_all};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::timeout,
};

const MIB: usize = 1024 * 1024;

impl Scene {
    /// The head of a request that is the last of its connection, with further headers, each ended by `\r\n`.
    async fn head(&self, request_line: &str, headers: &str) -> String {
        let mint = json!({"org": "acme", "scopes": ["pins:read", "pins:write"]});
        let token = self.pinner.admin().post("/admin/v1/tokens", &mint).await.expect(201)["token"].clone();
        let token = token.as_str().unwrap();
        format!("{request_line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\r\n")
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.pinner.url.strip_prefix("http://").unwrap()).await.unwrap()
    }

    /// Sends bytes and gives the statuses that come back until the service hangs up, and the last answer's text.
    async fn exchange(&self, bytes: &[u8]) -> (Vec<u16>, String) {
        let mut stream = self.connect().await;
        let (mut reader, mut writer) = stream.split();
        let mut received = Vec::new();
        // The service may hang up on what it refuses before all of it was sent.
        let (_, closed) = join(writer.write_all(bytes), timeout(SOON, reader.read_to_end(&mut received))).await;
        drop(closed.expect("the service hangs up"));
        let text = String::from_utf8_lossy(&received).into_owned();
        let statuses = text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect();
        (statuses, text)
    }

    /// A POST of a body, closed afterwards.
    async fn post(&self, headers: &str, body: &[u8]) -> (Vec<u16>, String) {
        let headers = format!("{headers}Connection: close\r\n");
        let (statuses, text) =
            self.exchange(&[self.head("POST /pins", &headers).await.as_bytes(), body].concat()).await;
        statuses.iter().for_each(|status| described::check(&Method::POST, "/pins", *status));
        (statuses, text)
    }
}

fn length(body: &[u8]) -> String {
    format!("Content-Length: {}\r\n", body.len())
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let chunks = body.chunks(size).map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    [chunks.collect::<Vec<_>>().concat(), b"0\r\n\r\n".to_vec()].concat()
}

async fn gzipped_zeros(bytes: usize) -> Vec<u8> {
    let command = format!("head -c {bytes} /dev/zero | gzip -9");
    Command::new("sh").args(["-c", &command]).output().await.unwrap().stdout
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused_and_the_others_on_the_wire_are_answered() {
    let scene = Scene::new().await;
    let body = json!({"cid": cids::fresh()}).to_string();
    let get = |path: &str| format!("GET {path}");
    let close = "Connection: close\r\n";
    let header = |count: usize, bytes: usize| format!("X: {}\r\n", "x".repeat(bytes)).repeat(count) + close;
    let refused = &[400, 431][..];
    let cases = [
        (b"\xff\xfe\x00\x01\r\n\r\n".to_vec(), refused),
        (b"GET\r\n\r\n".to_vec(), refused),
        (scene.head(&get("/pins/a b"), close).await.into_bytes(), refused),
        (scene.head(&get(&format!("/pins?name={}", "x".repeat(70_000))), close).await.into_bytes(), refused),
        (scene.head(&get("/pins"), &header(300, 1)).await.into_bytes(), refused),
        (scene.head(&get("/pins"), &header(50, 1)).await.into_bytes(), &[200]),
        (scene.head(&get("/pins"), &header(1, 100_000)).await.into_bytes(), &[200]),
        (scene.head(&get("/pins"), &header(1, 200_000)).await.into_bytes(), refused),
        (scene.head("POST /pins", "Content-Length: -1\r\n").await.into_bytes(), refused),
        (scene.head("POST /pins", "Content-Length: 1\r\nContent-Length: 2\r\n").await.into_bytes(), refused),
        (scene.head("POST /pins", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n").await.into_bytes(), refused),
        (
            [scene.head("POST /pins", &format!("Transfer-Encoding: chunked\r\n{close}")).await.as_bytes(), b"zz\r\n"]
                .concat(),
            refused,
        ),
    ];
    for (bytes, status) in cases {
        let (statuses, text) = scene.exchange(&bytes).await;
        let sent = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
        // Beyond what is read of a head, the answer may be lost as below.
        let lost = statuses.is_empty() && bytes.len() > MIB / 8;
        assert!(
            lost || statuses.len() == 1 && status.contains(&statuses[0]),
            "{sent:?} … {}: {}",
            bytes.len(),
            &text[..text.len().min(400)]
        );
    }
    for (path, status) in [(&b"/pins/\xff\xfe"[..], 404), (b"/pins?name=\xff", 200), (b"/\xc3\x28", 404)] {
        let head = scene.head("GET PATH", close).await;
        let (before, after) = head.split_once("PATH").unwrap();
        let (statuses, text) = scene.exchange(&[before.as_bytes(), path, after.as_bytes()].concat()).await;
        assert!(statuses == [status] || statuses == [400], "{path:?}: {text}");
    }
    let invalid = [br#"{"cid":""#, &b"\xff\xfe\xc3\x28"[..], br#""}"#].concat();
    assert_eq!(scene.post(&length(&invalid), &invalid).await.0, [400]);
    assert_eq!(scene.post("Transfer-Encoding: chunked\r\n", &chunked(body.as_bytes(), 1)).await.0, [202]);
    let large = vec![b' '; 10 * MIB];
    for (headers, body) in
        [(length(&large), large.clone()), ("Transfer-Encoding: chunked\r\n".into(), chunked(&large, 65_536))]
    {
        // Who hangs up while more is coming may take the answer along.
        let (statuses, text) = scene.post(&headers, &body).await;
        assert!(statuses == [413] || statuses.is_empty(), "{headers}: {text}");
    }
    let good = scene.head("POST /pins", &length(body.as_bytes())).await + &body;
    let bad = scene.head("POST /pins", &length(b"{")).await + "{";
    let nobody = scene.head("DELETE /pins/x", "").await;
    let last = scene.head("GET /pins", close).await;
    let (statuses, text) = scene.exchange([good.clone(), bad, nobody, good, last].concat().as_bytes()).await;
    assert_eq!(statuses, [202, 400, 404, 202, 200], "pipelined: {text}");
    scene.check(3).await;
}

#[tokio::test]
async fn what_a_small_body_inflates_to_is_never_held() {
    let scene = Scene::new().await;
    let bomb = gzipped_zeros(100 * MIB).await;
    assert!(bomb.len() < MIB / 8, "{} bytes", bomb.len());
    let before = scene.pinner.peak_memory();
    let headers = format!("Content-Encoding: gzip\r\n{}", length(&bomb));
    for (statuses, text) in join_all((0..8).map(|_| scene.post(&headers, &bomb))).await {
        assert!(statuses == [413] || statuses.is_empty(), "{text}");
    }
    let grown = scene.pinner.peak_memory().saturating_sub(before);
    assert!(grown < 32 * MIB, "eight bodies of {} bytes took {} MiB", bomb.len(), grown / MIB);
    scene.check(0).await;
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_is_hung_up_on() {
    let scene = Scene::new().await;
    let head = b"GET /pins HTTP/1.1\r\nHost: x\r\n".to_vec();
    let body = [scene.head("POST /pins", "Content-Length: 100\r\n").await.as_bytes(), br#"{"cid":"#].concat();
    let stopped = |bytes: Vec<u8>| {
        let scene = &scene;
        async move {
            let (mut stream, began, mut received) = (scene.connect().await, Instant::now(), String::new());
            stream.write_all(&bytes).await.unwrap();
            timeout(3 * SOON, stream.read_to_string(&mut received)).await.expect("it is hung up on").unwrap();
            (received, began.elapsed())
        }
    };
    let (head, body) = join(stopped(head), stopped(body)).await;
    for ((received, took), bound) in [(head, 10), (body, 20)] {
        assert!(received.starts_with("HTTP/1.1 408"), "{received:?}");
        let bound = Duration::from_secs(bound);
        assert!(took > bound / 2 && took < bound + SOON, "after {took:?}");
    }
    scene.check(0).await;
}

#[tokio::test]
async fn a_pin_cut_off_anywhere_is_not_accepted() {
    let scene = Scene::new().await;
    let body = json!({"cid": cids::fresh(), "name": "cut"}).to_string();
    let whole = scene.head("POST /pins", &length(body.as_bytes())).await + &body;
    for cut in (0..60).map(|n| n * whole.len() / 60).chain([whole.len() - 1]) {
        for reset in [false, true] {
            let mut stream = scene.connect().await;
            stream.write_all(&whole.as_bytes()[..cut]).await.unwrap();
            if reset {
                stream.set_zero_linger().unwrap();
                continue;
            }
            stream.shutdown().await.unwrap();
            let mut received = String::new();
            let closed = timeout(SOON, stream.read_to_string(&mut received)).await;
            assert!(closed.is_ok(), "still open after {cut} of {} bytes", whole.len());
            assert!(received.is_empty() || received.starts_with("HTTP/1.1 4"), "{cut}: {received}");
        }
    }
    let (statuses, text) = scene.post(&length(body.as_bytes()), body.as_bytes()).await;
    assert_eq!(statuses, [202], "{text}");
    scene.check(1).await;
}
