//! The only place that turns errors into HTTP: `{"error":{"reason":"MACHINE_CODE","details":"text"}}`.
//!
//! A 4xx says what the client can change; a 5xx says nothing about our insides and is in the log.

use crate::{db::pins::ListError, tokens::checker::Unknown};
use actix_web::{HttpResponse, ResponseError, http::StatusCode, http::header};
use pinner_core::Invalid;
use serde::Serialize;
use utoipa::ToSchema;

/// Every way in which a request is not answered as it wished.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The request breaks a rule.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The request cannot be read.
    #[error("{0}")]
    BadRequest(String),
    /// No valid token.
    #[error("a valid token is needed: send the header `Authorization: Bearer TOKEN`")]
    Unauthorized,
    /// A valid token that may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// Nothing there, or somebody else's.
    #[error("{0}")]
    NotFound(String),
    /// The path is right, the method is not.
    #[error("this path takes {0} and no other method; see /openapi.json")]
    MethodNotAllowed(String),
    /// The org would hold more than it may.
    #[error("{0}")]
    OverLimit(String),
    /// What was decided on is another by now.
    #[error("{0}")]
    StalePlan(String),
    /// It waits for the end of a pause.
    #[error("{0}")]
    Maintenance(String),
    /// A file of too many bytes.
    #[error("{0}")]
    Oversized(String),
    /// A search that goes through too many pins.
    #[error(
        "the search took too long: names in part and meta are looked for in every pin; narrow it with before and after, status or cid"
    )]
    FilterTooBroad,
    /// Too many bytes.
    #[error("the request's body is larger than 1 MiB")]
    TooLarge,
    /// Nothing came for too long.
    #[error("the request's body came too slowly or not at all; send it again without pauses")]
    TooSlow,
    /// Not now.
    #[error("{0}")]
    Unavailable(String),
    /// Our fault.
    #[error("an error inside the service; it has been logged")]
    Internal,
}

impl ApiError {
    /// Nothing there.
    pub fn not_found(details: &str) -> Self {
        Self::NotFound(details.to_owned())
    }

    /// What a client is told.
    pub fn failure(&self) -> Failure {
        Failure { error: FailureError { reason: self.reason().to_owned(), details: self.to_string() } }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid(_) | Self::BadRequest(_) => "BAD_REQUEST",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::NotFound(_) => "NOT_FOUND",
            Self::MethodNotAllowed(_) => "METHOD_NOT_ALLOWED",
            Self::OverLimit(_) => "INSUFFICIENT_FUNDS",
            Self::StalePlan(_) => "STALE_PLAN",
            Self::Maintenance(_) => "MAINTENANCE",
            Self::Oversized(_) | Self::TooLarge => "PAYLOAD_TOO_LARGE",
            Self::FilterTooBroad => "FILTER_TOO_BROAD",
            Self::TooSlow => "REQUEST_TIMEOUT",
            Self::Unavailable(_) => "SERVICE_UNAVAILABLE",
            Self::Internal => "INTERNAL_SERVER_ERROR",
        }
    }
}

/// A database that is away is a matter of time; anything else it says is our fault.
impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            // A connection that a proxy ends in the middle of its first words is an error of protocol.
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => {
                tracing::warn!(%error, "a request could not reach the database");
                Self::Unavailable("the database does not answer; try again".into())
            }
            sqlx::Error::Database(ref refusal) if is_passing(refusal.code().as_deref()) => {
                tracing::warn!(%error, "the database gave a request up");
                Self::Unavailable("the database is busy or restarting; try again".into())
            }
            error => {
                tracing::error!(%error, "a statement failed");
                Self::Internal
            }
        }
    }
}

impl From<ListError> for ApiError {
    fn from(error: ListError) -> Self {
        match error {
            ListError::TooBroad => Self::FilterTooBroad,
            ListError::Database(error) => error.into(),
        }
    }
}

/// Without knowing which tokens were revoked none is accepted.
impl From<Unknown> for ApiError {
    fn from(unknown: Unknown) -> Self {
        Self::Unavailable(format!("{unknown}; try again"))
    }
}

/// SQLSTATE codes that mean "later": connection and resource trouble, shutdown, timeout, deadlock.
fn is_passing(code: Option<&str>) -> bool {
    let Some(code) = code else { return false };
    code.starts_with("08")
        || code.starts_with("53")
        || code.starts_with("57")
        || code.starts_with("40")
        || code == "25P03"
}

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub struct Failure {
    /// What went wrong.
    pub error: FailureError,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailureError {
    /// For programs: one of a fixed set.
    #[schema(example = "BAD_REQUEST")]
    pub reason: String,
    /// For people: what to change.
    pub details: String,
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Invalid(_) | Self::BadRequest(_) | Self::FilterTooBroad => StatusCode::BAD_REQUEST,
            Self::OverLimit(_) | Self::StalePlan(_) | Self::Maintenance(_) => StatusCode::CONFLICT,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Oversized(_) | Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        match self {
            Self::Unauthorized => response.insert_header((header::WWW_AUTHENTICATE, "Bearer")),
            Self::Unavailable(_) => response.insert_header((header::RETRY_AFTER, "2")),
            Self::MethodNotAllowed(allowed) => response.insert_header((header::ALLOW, allowed.as_str())),
            _ => &mut response,
        };
        response.json(self.failure())
    }
}
