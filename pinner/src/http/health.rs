//! Probes. Liveness depends on nothing outside; readiness is whether the API can be served, so on the database.

use crate::{db::readiness, service::Service};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use std::{fmt::Write as _, sync::Arc, time::Duration};

/// A database that takes longer than this to answer nothing is not there.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// The process answers.
#[utoipa::path(get, path = "/livez", tag = "probes", responses((status = 200, description = "Alive", body = String)))]
pub async fn livez() -> &'static str {
    "ok\n"
}

/// Whether requests can be served. `?verbose` tells how each dependency is; NATS and Kubo are only told, since pins
/// are accepted without them.
#[utoipa::path(get, path = "/readyz", tag = "probes",
    params(("verbose" = Option<String>, Query, description = "Tell how each dependency is")),
    responses((status = 200, description = "Ready", body = String), (status = 503, description = "Not ready, with the reason", body = String)))]
pub async fn readyz(service: web::Data<Service>, request: HttpRequest) -> HttpResponse {
    let service = service.into_inner();
    let database = database(&service).await;
    let verdict = match &database {
        _ if service.is_stopping() => Err("stopping"),
        Ok(()) => Ok(()),
        Err(problem) => Err(problem.as_str()),
    };
    let mut text = String::new();
    if request.query_string().split('&').any(|part| part == "verbose" || part.starts_with("verbose=")) {
        let mut line = |name: &str, state: Result<(), &str>| {
            let written = match state {
                Ok(()) => writeln!(text, "[+]{name} ok"),
                Err(problem) => writeln!(text, "[-]{name} {problem}"),
            };
            written.expect("writing to a text cannot fail");
        };
        line("database", database.as_ref().copied().map_err(String::as_str));
        if let Ok(ready) = service.ready() {
            let nats = ready.nats.is_connected();
            line(
                "nats",
                if nats {
                    Ok(())
                } else {
                    Err("not connected; pinners find work by the sweep (not needed to be ready)")
                },
            );
            let kubo = *ready.kubo_ready.borrow();
            line(
                "kubo",
                if kubo { Ok(()) } else { Err("does not answer; work of this node waits (not needed to be ready)") },
            );
        }
    }
    match verdict {
        Ok(()) => HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text + "ok\n"),
        Err(problem) => HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE)
            .content_type("text/plain; charset=utf-8")
            .body(format!("{text}not ready: {problem}\n")),
    }
}

async fn database(service: &Arc<Service>) -> Result<(), String> {
    if service.ready().is_err() {
        return Err(service.problem());
    }
    let work = Arc::clone(service);
    let ping =
        service.runtime.spawn(async move { tokio::time::timeout(PING_TIMEOUT, readiness::ping(&work.db)).await });
    match ping.await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(error))) => Err(format!("the database does not answer: {error}")),
        Ok(Err(_)) => Err("the database does not answer in time".into()),
        Err(error) => Err(format!("the check ended in a panic: {error}")),
    }
}
