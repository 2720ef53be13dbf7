//! Requests as bytes on a connection that is cut: what was sent of them, and which answers came before the cut.

use serde_json::Value;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};

/// Where and when a client hangs up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// After so many bytes of what it would send.
    pub(super) bytes: usize,
    /// And so much later; or as soon as everything that was sent whole is answered.
    pub(super) after: Duration,
    /// With a reset instead of an end.
    pub(super) reset: bool,
    /// Everything at once, or one request after the other's answer.
    pub(super) pipelined: bool,
}

/// The answer to one request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// A request as bytes; without a body if there is none.
pub(super) fn request(method: &str, path: &str, token: &str, body: Option<&Value>) -> Vec<u8> {
    let body = body.map(ToString::to_string).unwrap_or_default();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Sends requests over one connection and hangs up as told. Gives the answers that came before, in order.
pub(super) async fn send(address: &str, requests: &[Vec<u8>], cut: Cut) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut received = Vec::new();
    let mut left = cut.bytes;
    let Ok(mut stream) = TcpStream::connect(address).await else { return answers };
    let bursts: Vec<Vec<u8>> = if cut.pipelined { vec![requests.concat()] } else { requests.to_vec() };
    let deadline = Instant::now() + cut.after;
    let mut sent_whole = 0;
    for burst in bursts {
        let part = &burst[..left.min(burst.len())];
        let broken = stream.write_all(part).await.is_err();
        left -= part.len();
        sent_whole = if cut.pipelined {
            whole(requests, cut.bytes)
        } else {
            sent_whole + usize::from(part.len() == burst.len())
        };
        while !broken && answers.len() < sent_whole {
            match timeout_at(deadline, stream.read_buf(&mut received)).await {
                Ok(Ok(length)) if length > 0 => answers.extend(std::iter::from_fn(|| take(&mut received))),
                _ => break,
            }
        }
        if broken || answers.len() < sent_whole || left == 0 {
            break;
        }
    }
    if sent_whole == 0 || answers.len() < sent_whole {
        // Some of what hangs up in the middle does so later than it could.
        drop(timeout_at(deadline.min(Instant::now() + Duration::from_millis(2)), stream.readable()).await);
    }
    if cut.reset {
        drop(stream.set_zero_linger());
    }
    answers
}

/// How many requests lie within the first `bytes`.
fn whole(requests: &[Vec<u8>], bytes: usize) -> usize {
    let ends = requests.iter().scan(0, |end, request| {
        *end += request.len();
        Some(*end)
    });
    ends.take_while(|end| *end <= bytes).count()
}

/// Takes one whole answer off what was received.
fn take(received: &mut Vec<u8>) -> Option<Answer> {
    let head_ends = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&received[..head_ends]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    let ends = head_ends + length.unwrap_or_else(|| panic!("no length: {head}"));
    if received.len() < ends {
        return None;
    }
    let body = serde_json::from_slice(&received[head_ends..ends]).unwrap_or(Value::Null);
    received.drain(..ends);
    Some(Answer { status, body })
}
