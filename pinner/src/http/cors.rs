//! What lets a web page of anybody's call the API with a token of its own: CORS.
//!
//! Any origin may, since no cookie and no other right of the browser is involved: who has no token gets a 401, and may
//! read it. Preflights are answered before anything asks for a token.

use super::error::ApiError;
use actix_cors::Cors;
use actix_web::{
    ResponseError,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, StatusCode, header},
    middleware::Next,
};

/// The methods of the pinning API.
pub const PINS: &[Method] = &[Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::OPTIONS];

/// The methods of `/api/v1`.
pub const API: &[Method] =
    &[Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Headers of an answer that a page may read beside the usual ones.
const EXPOSED: [&str; 4] = ["retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
/// How long a browser may remember a preflight, in seconds. Chromium caps it at two hours.
const MAX_AGE: usize = 7_200;

/// Lets pages of any origin call these methods, with a token and without credentials of the browser's.
pub fn open(methods: &[Method]) -> Cors {
    Cors::default()
        .allow_any_origin()
        .send_wildcard()
        .allowed_methods(methods.iter().cloned())
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers(EXPOSED)
        .max_age(MAX_AGE)
}

/// Gives a refused preflight the form that every error has.
pub async fn in_form<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    let preflight =
        *request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let answer = next.call(request).await?;
    if preflight && answer.status() == StatusCode::BAD_REQUEST {
        let why = "this path does not take that method or those headers from another origin; see /openapi.json";
        let refusal = ApiError::BadRequest(why.into()).error_response();
        return Ok(answer.into_response(refusal).map_into_right_body());
    }
    Ok(answer.map_into_left_body())
}
