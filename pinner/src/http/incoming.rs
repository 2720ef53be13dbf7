//! A body read as it comes, for requests that are larger than what is read at once.

use super::error::ApiError;
use actix_web::web;
use bytes::Bytes;
use futures::StreamExt;
use std::time::Duration;

/// How long a client may send nothing in the middle of a body.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A body under way.
pub struct Incoming {
    payload: web::Payload,
    idle_max: Duration,
}

impl Incoming {
    /// A body of which nothing was read yet.
    pub fn new(payload: web::Payload) -> Self {
        Self { payload, idle_max: IDLE_MAX }
    }

    /// The next bytes, or `None` after the last.
    ///
    /// # Errors
    /// A client that sends nothing for a minute, and a body that ends before its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        match tokio::time::timeout(self.idle_max, self.payload.next()).await {
            Err(_) => Err(ApiError::TooSlow),
            Ok(None) => Ok(None),
            Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
            Ok(Some(Err(error))) => Err(ApiError::BadRequest(format!("the request's body cannot be read: {error}"))),
        }
    }
}
