//! Requests of the harness: each on a connection of its own, with an end to its patience, and with the difference between
//! what was not sent and what nobody knows about.

use std::{net::SocketAddr, time::Duration};

use tokio::time::timeout;

use crate::bench::http::Connection;

/// A part that stands still answers nothing; whoever asks it goes on after this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no good answer.
#[derive(Debug)]
pub enum Failure {
    /// Nothing was sent.
    NotSent,
    /// Something was, and what became of it nobody knows.
    Unknown(String),
}

/// A request; without a token it is nobody's.
pub fn request(method: &str, path: &str, token: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: chaos\r\nContent-Length: {}\r\n", body.len());
    if !token.is_empty() {
        request += &format!("Authorization: Bearer {token}\r\n");
    }
    if !body.is_empty() {
        request += &format!("Content-Type: {kind}\r\n");
    }
    let mut request = (request + "\r\n").into_bytes();
    request.extend_from_slice(body);
    request
}

/// Sends a request on a connection of its own.
///
/// # Errors
/// When there is no answer in time.
pub async fn ask(address: SocketAddr, request: &[u8]) -> Result<(u16, Vec<u8>), Failure> {
    let Ok(Ok(mut connection)) = timeout(PATIENCE, Connection::open(address)).await else {
        return Err(Failure::NotSent);
    };
    match timeout(PATIENCE, connection.send(request)).await {
        Ok(Ok(answer)) => Ok((answer.status, answer.body.to_vec())),
        Ok(Err(error)) => Err(Failure::Unknown(format!("{error:#}"))),
        Err(_) => Err(Failure::Unknown("no answer in time".to_owned())),
    }
}
