//! Why a command did not do what was asked, and the exit code that says so.

use std::{fmt, process::ExitCode};

use reqwest::StatusCode;
use serde::Deserialize;

use super::credentials::{Server, Token};

/// What went wrong, by who has to act.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may work another time: the server is away, overloaded or broken.
    Failed(String),
    /// The command line or a variable is wrong; nothing was sent.
    Usage(String),
    /// The server understood and said no.
    Refused(String),
}

impl Failure {
    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Refused(_) => 3,
        })
    }

    /// No answer came.
    pub(super) fn no_answer(server: &Server, error: &reqwest::Error) -> Self {
        let reason = if error.is_timeout() { "no answer in time".to_owned() } else { innermost(error) };
        Failure::Failed(format!(
            "cannot reach {} ({}): {reason}; name a running pinner with --server or variable ANCHORAGE_SERVER",
            server.name(),
            server.origin,
        ))
    }

    /// An answer that is not a success.
    pub(super) fn answered(server: &Server, token: &Token, status: StatusCode, body: &str) -> Self {
        let said = match serde_json::from_str::<ErrorBody>(body) {
            Ok(ErrorBody { error }) => match error.details {
                Some(details) => format!("{}: {details}", error.reason),
                None => error.reason,
            },
            Err(_) => format!("status {status}"),
        };
        let url = server.name();
        match status {
            StatusCode::UNAUTHORIZED => Failure::Refused(format!(
                "{url} does not accept the token from {} ({said}); give one with scope platform:admin by --token-file or \
                 variable ANCHORAGE_TOKEN",
                token.origin
            )),
            StatusCode::FORBIDDEN => Failure::Refused(format!(
                "the token from {} is good, but not for this ({said}); it takes scope platform:admin",
                token.origin
            )),
            StatusCode::NOT_FOUND if serde_json::from_str::<ErrorBody>(body).is_err() => Failure::Failed(format!(
                "{url} ({}) answers, but has no admin API; name a pinner with --server or variable ANCHORAGE_SERVER",
                server.origin
            )),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Failure::Failed(format!("{url} asks to try again later ({said})"))
            }
            status if status.is_client_error() => Failure::Refused(said),
            _ => Failure::Failed(format!("{url} could not do it ({said}); its log says why")),
        }
    }

    /// A success that cannot be understood.
    pub(super) fn not_understood(server: &Server, error: &dyn fmt::Display) -> Self {
        Failure::Failed(format!(
            "{} ({}) answers something else than the admin API: {error}",
            server.name(),
            server.origin
        ))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Failed(text) | Failure::Usage(text) | Failure::Refused(text)) = self;
        f.write_str(text)
    }
}

/// The error object of every API of ours.
#[derive(Deserialize)]
struct ErrorBody {
    error: Error,
}

#[derive(Deserialize)]
struct Error {
    reason: String,
    details: Option<String>,
}

/// The outer errors say that something went wrong, the innermost what.
fn innermost(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => innermost(source),
        None => error.to_string(),
    }
}
