//! A client that costs next to nothing: one keep-alive connection, requests made beforehand, answers of a known length
//! or in chunks. The benches' load comes from here, so that what they measure is the service.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// One keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What has come of the present answer, head and body.
    received: Vec<u8>,
    /// The body of an answer that came in chunks.
    joined: Vec<u8>,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// The body as JSON.
    ///
    /// # Errors
    /// When the status is another than `status`, or the body is no JSON.
    pub fn json(&self, status: u16) -> Result<serde_json::Value> {
        ensure!(self.status == status, "answered {}: {}", self.status, String::from_utf8_lossy(self.body));
        serde_json::from_slice(self.body).context("read an answer")
    }
}

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        Ok(Self { stream, received: Vec::with_capacity(16 * 1024), joined: Vec::new() })
    }

    /// Sends a request and waits for all of its answer.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not HTTP/1.1 as our servers speak it.
    pub async fn send(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request).await.context("send a request")?;
        self.received.clear();
        let head = loop {
            if let Some(head) = Head::parse(&self.received)? {
                break head;
            }
            self.more().await?;
        };
        let body = match head.length {
            Length::Known(length) => {
                while self.received.len() < head.size + length {
                    self.more().await?;
                }
                &self.received[head.size..head.size + length]
            }
            Length::Chunks => {
                while !join_chunks(&self.received[head.size..], &mut self.joined)? {
                    self.more().await?;
                }
                &self.joined[..]
            }
        };
        Ok(Answer { status: head.status, body })
    }

    async fn more(&mut self) -> Result<()> {
        let got = self.stream.read_buf(&mut self.received).await.context("receive an answer")?;
        ensure!(got > 0, "the server closed the connection in the middle of an answer");
        Ok(())
    }
}

/// A request without a body.
pub fn get(path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
}

/// A request with a body.
pub fn post(path: &str, token: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Bytes up to the body.
    size: usize,
    length: Length,
}

#[derive(Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunks,
}

impl Head {
    /// The head of an answer, once all of it is there.
    fn parse(received: &[u8]) -> Result<Option<Self>> {
        let Some(end) = find(received, b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&received[..end]).context("read an answer's head")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let Some(status) = status else { bail!("not an answer of HTTP/1.1: {text}") };
        let mut length = Length::Known(0);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                length = Length::Known(value.trim().parse().context("read content-length")?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = Length::Chunks;
            }
        }
        Ok(Some(Self { status, size: end + 4, length }))
    }
}

/// Puts chunks together. False while the last one is not there yet.
fn join_chunks(mut rest: &[u8], joined: &mut Vec<u8>) -> Result<bool> {
    joined.clear();
    loop {
        let Some(end) = find(rest, b"\r\n") else { return Ok(false) };
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(size) = size else { bail!("not the size of a chunk") };
        rest = &rest[end + 2..];
        if size == 0 {
            // Trailers, or none, and an empty line.
            return Ok(rest.starts_with(b"\r\n") || find(rest, b"\r\n\r\n").is_some());
        }
        if rest.len() < size + 2 {
            return Ok(false);
        }
        joined.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 202 Accepted\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
        assert_eq!(Head::parse(&text[..30]).unwrap(), None);
        let head = Head::parse(text).unwrap().unwrap();
        assert_eq!(head, Head { status: 202, size: text.len() - 7, length: Length::Known(7) });
        assert!(Head::parse(b"SSH-2.0\r\n\r\n").is_err());
    }

    #[test]
    fn chunks_become_one_body_when_the_last_is_there() {
        let text = b"4\r\n{\"a\"\r\n3\r\n:1}\r\n0\r\n\r\n";
        let mut joined = Vec::new();
        for end in 0..text.len() {
            assert!(!join_chunks(&text[..end], &mut joined).unwrap(), "at {end}");
        }
        assert!(join_chunks(text, &mut joined).unwrap());
        assert_eq!(joined, b"{\"a\":1}");
        assert!(join_chunks(b"0\r\nX-Stream-Error: no\r\n\r\n", &mut joined).unwrap());
        assert!(join_chunks(b"x\r\n", &mut joined).is_err());
    }

    #[test]
    fn a_request_says_how_long_it_is() {
        let request = String::from_utf8(post("/pins", "t", "text/plain", b"abc")).unwrap();
        assert!(request.starts_with("POST /pins HTTP/1.1\r\n") && request.ends_with("Content-Length: 3\r\n\r\nabc"));
    }
}
