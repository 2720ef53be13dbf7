//! Reading a request's body: JSON, or an error that says where it goes wrong.
//!
//! Never are more than twice [`BODY_MAX`] bytes held, whatever a body inflates to, and for no longer than [`WITHIN`].

use super::error::ApiError;
use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::CONTENT_ENCODING};
use flate2::read::{GzDecoder, ZlibDecoder};
use futures::{FutureExt, StreamExt, future::LocalBoxFuture};
use std::{convert::Infallible, fmt::Display, io::Read, time::Duration};

/// The largest body, in bytes, as it is sent and after decompression.
const BODY_MAX: usize = 1024 * 1024;
/// How long a client may take to send a body.
const WITHIN: Duration = Duration::from_secs(20);

/// A body as the server read it, or why it could not: too large, too slow, cut off, compressed in an unknown way.
///
/// An extractor that never fails, so that a handler chooses what it complains about first.
pub struct Body(Result<Vec<u8>, ApiError>);

impl Body {
    /// Whether nothing was sent.
    pub fn is_empty(&self) -> bool {
        self.0.as_ref().is_ok_and(Vec::is_empty)
    }
}

impl FromRequest for Body {
    type Error = Infallible;
    type Future = LocalBoxFuture<'static, Result<Self, Infallible>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let encoding = request.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
        let body = read(payload.take(), encoding);
        async { Ok(Self(tokio::time::timeout(WITHIN, body).await.unwrap_or(Err(ApiError::TooSlow)))) }.boxed_local()
    }
}

async fn read(mut payload: Payload, encoding: Option<Vec<u8>>) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(unreadable)?;
        if bytes.len() + chunk.len() > BODY_MAX {
            return Err(ApiError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    match encoding.as_deref() {
        None | Some(b"identity") => Ok(bytes),
        Some(b"gzip") => inflate(GzDecoder::new(bytes.as_slice())),
        Some(b"deflate") => inflate(ZlibDecoder::new(bytes.as_slice())),
        Some(_) => Err(unreadable("its Content-Encoding is none of gzip, deflate, identity")),
    }
}

/// Stops at the first byte too many: what was sent may inflate to a thousand times its size.
fn inflate(decoder: impl Read) -> Result<Vec<u8>, ApiError> {
    let mut inflated = Vec::new();
    decoder.take(BODY_MAX as u64 + 1).read_to_end(&mut inflated).map_err(unreadable)?;
    if inflated.len() > BODY_MAX { Err(ApiError::TooLarge) } else { Ok(inflated) }
}

fn unreadable(error: impl Display) -> ApiError {
    ApiError::BadRequest(format!("the request's body cannot be read: {error}"))
}

/// Reads a body as JSON, whatever content type it claims to have.
pub fn json<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    serde_json::from_slice(&body.0?)
        .map_err(|error| ApiError::BadRequest(format!("the body is not the JSON expected here: {error}")))
}
