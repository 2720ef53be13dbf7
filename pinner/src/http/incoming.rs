//! A file or lines read as they come, for bodies that are larger than what is read at once.

use super::error::ApiError;
use actix_multipart::Field;
use actix_web::web;
use bytes::Bytes;
use futures::StreamExt;
use std::{fmt::Display, time::Duration};

/// A body, or a part of one, under way.
pub enum Incoming {
    /// The body itself.
    Body(web::Payload),
    /// A part of a form.
    Part(Box<Field>),
}

impl Incoming {
    /// How long a client may send nothing in the middle of a body.
    pub const IDLE_MAX: Duration = Duration::from_secs(60);

    /// A body of which nothing was read yet.
    pub fn new(body: web::Payload) -> Self {
        Self::Body(body)
    }

    /// A part of a form.
    pub fn part(part: Field) -> Self {
        Self::Part(Box::new(part))
    }

    /// The next bytes, or `None` after the last.
    ///
    /// # Errors
    /// A client that sends nothing for a minute, and a body that ends before its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let next = async {
            match self {
                Self::Body(body) => body.next().await.transpose().map_err(unreadable),
                Self::Part(part) => part.next().await.transpose().map_err(unreadable),
            }
        };
        tokio::time::timeout(Self::IDLE_MAX, next).await.unwrap_or(Err(ApiError::TooSlow))
    }
}

fn unreadable(error: impl Display) -> ApiError {
    ApiError::BadRequest(format!("the request's body cannot be read: {error}"))
}
