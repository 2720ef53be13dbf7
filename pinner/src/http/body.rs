//! Reading a request's body: JSON, or an error that says where it goes wrong.

use super::error::ApiError;
use actix_web::web;

/// A body as the server read it, or why it could not: too large, cut off, compressed in an unknown way.
pub type Body = Result<web::Bytes, actix_web::Error>;

/// Reads a body as JSON, whatever content type it claims to have.
pub fn json<T: serde::de::DeserializeOwned>(body: Body) -> Result<T, ApiError> {
    let bytes = body.map_err(|error| match error.as_response_error().status_code().as_u16() {
        413 => ApiError::TooLarge,
        _ => ApiError::BadRequest(format!("the request's body cannot be read: {error}")),
    })?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::BadRequest(format!("the body is not the JSON expected here: {error}")))
}
