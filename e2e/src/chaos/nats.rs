//! Deletes everything that JetStream keeps, in NATS' own text protocol: four lines are less than a client.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};

/// The whole of it.
const WITHIN: Duration = Duration::from_secs(5);

/// Deletes every stream, those below buckets too. Gives how many there were.
///
/// # Errors
/// When NATS does not answer.
pub async fn delete_streams(server: SocketAddr) -> Result<usize> {
    timeout(WITHIN, delete_all(server)).await.context("NATS does not answer")?
}

async fn delete_all(server: SocketAddr) -> Result<usize> {
    let mut stream = BufReader::new(TcpStream::connect(server).await.context("connect to NATS")?);
    stream.write_all(b"CONNECT {\"verbose\":false}\r\nSUB chaos.answers 1\r\n").await.context("greet NATS")?;
    let names = ask(&mut stream, "$JS.API.STREAM.NAMES").await?;
    let names: Vec<&str> = names["streams"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for name in &names {
        ask(&mut stream, &format!("$JS.API.STREAM.DELETE.{name}")).await?;
    }
    Ok(names.len())
}

async fn ask(stream: &mut BufReader<TcpStream>, subject: &str) -> Result<Value> {
    stream.write_all(format!("PUB {subject} chaos.answers 0\r\n\r\n").as_bytes()).await.context("ask NATS")?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.context("hear from NATS")? == 0 {
            bail!("NATS closed the connection");
        }
        if line.starts_with("PING") {
            stream.write_all(b"PONG\r\n").await.context("answer NATS")?;
        } else if line.starts_with("MSG ") {
            let size: usize = line.trim().rsplit(' ').next().and_then(|size| size.parse().ok()).context("no size")?;
            let mut body = vec![0; size + 2];
            stream.read_exact(&mut body).await.context("hear from NATS")?;
            return serde_json::from_slice(&body[..size]).context("read an answer of NATS");
        }
    }
}
