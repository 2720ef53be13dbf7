//! Pinning many things by one request: lines of JSON in, lines of JSON out, for as long as the client sends.
//!
//! Each line stands for itself: it is accepted as `POST /pins` would accept it, in the background of whether the client
//! is still there, and answered only after its commit. Lines are accepted concurrently, so that they share commits, and
//! answered in their order.

use super::{
    export::NDJSON,
    lines::{Line, Lines},
};
use crate::{
    accept,
    http::{
        auth::Writer,
        detached::detached,
        error::{ApiError, Failure, FailureError},
        incoming::Incoming,
        wire::PinStatus,
    },
    service::Service,
};
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use pinner_core::{
    id::OrgId,
    pin::{NewPin, RawPin},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use utoipa::ToSchema;

/// The longest line, in bytes: the largest pin there can be, each character of it escaped.
const LINE_MAX: usize = 128 * 1024;
/// Lines that are accepted at a time, so that they share commits; few enough that none waits so long for the org's turn
/// that the database gives it up.
const AT_ONCE: usize = 16;
/// Answers kept for a client that reads them only after it has sent everything. One that sends more than this has to
/// read meanwhile, as curl does.
const ANSWERS_MAX: usize = 16 * 1024;
/// How long a client may leave answers unread when no more are kept for it.
const UNREAD_MAX: Duration = Duration::from_secs(60);

/// What became of a line.
#[derive(Debug, Serialize, ToSchema)]
pub struct ImportedLine {
    /// Which line, from 1 on; empty ones are counted and not answered.
    pub line: u64,
    /// The pin, if it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<PinStatus>,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<FailureError>,
}

/// Pins what each line asks for: a Pin, or a PinStatus as the export has it, of which the pin is taken. Each line is
/// answered by one, in order; a broken line stops no other. A body may have any number of lines of up to 128 KiB.
#[utoipa::path(post, path = "/api/v1/pins/import", tag = "bulk", security(("token" = [])),
    request_body(content = inline(crate::http::openapi::PinRequest), content_type = "application/x-ndjson", description = "One Pin or PinStatus a line"),
    responses((status = 200, description = "What became of each line", content_type = "application/x-ndjson", body = ImportedLine),
        (status = 400, body = Failure), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub async fn import(
    service: web::Data<Service>,
    writer: Writer,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return Err(ApiError::BadRequest("Content-Encoding: is not taken here; send the lines as they are".into()));
    }
    let service = service.into_inner();
    service.ready()?;
    let org = writer.org;
    let answers = numbered(Incoming::new(payload))
        .map(move |(number, line)| answer(Arc::clone(&service), org, number, line))
        .buffered(AT_ONCE);
    // Beside the answer, so that a client that does not read yet is read from.
    let (kept, mut next) = mpsc::channel(ANSWERS_MAX);
    actix_web::rt::spawn(async move {
        let mut answers = std::pin::pin!(answers);
        while let Some(answer) = answers.next().await {
            let told = tokio::time::timeout(UNREAD_MAX, kept.send(answer)).await;
            if !matches!(told, Ok(Ok(()))) {
                tracing::debug!("a client of an import is gone or reads no answers");
                return;
            }
        }
    });
    let lines = stream::poll_fn(move |context| next.poll_recv(context)).map(Ok::<_, ApiError>);
    Ok(HttpResponse::Ok().content_type(NDJSON).streaming(lines))
}

/// The lines of a body with their numbers, without the empty ones. Ends with an error if the body does.
fn numbered(body: Incoming) -> impl Stream<Item = (u64, Result<Line, ApiError>)> {
    struct Reading {
        body: Option<Incoming>,
        lines: Lines,
        number: u64,
    }
    let start = Reading { body: Some(body), lines: Lines::new(LINE_MAX), number: 0 };
    stream::unfold(start, |mut reading| async move {
        loop {
            let line = match (reading.lines.next(), &mut reading.body) {
                (Some(line), _) => line,
                (None, None) => return None,
                (None, Some(body)) => match body.chunk().await {
                    Ok(Some(chunk)) => {
                        reading.lines.feed(&chunk);
                        continue;
                    }
                    Ok(None) => {
                        reading.body = None;
                        reading.lines.last()?
                    }
                    // What came of the line under way is not the line.
                    Err(error) => {
                        reading.body = None;
                        reading.lines = Lines::new(LINE_MAX);
                        return Some(((reading.number + 1, Err(error)), reading));
                    }
                },
            };
            reading.number += 1;
            if !matches!(&line, Line::Whole(text) if text.trim_ascii().is_empty()) {
                return Some(((reading.number, Ok(line)), reading));
            }
        }
    })
}

/// Accepts a line and says what became of it, as a line.
async fn answer(service: Arc<Service>, org: OrgId, line: u64, text: Result<Line, ApiError>) -> Bytes {
    let accepted = match text.and_then(parse) {
        Ok(pin) => {
            let work = Arc::clone(&service);
            detached(&service, async move { accept::create(&work, org, &pin).await }).await
        }
        Err(refusal) => Err(refusal),
    };
    let imported = match accepted {
        Ok(status) => ImportedLine { line, status: Some(status), error: None },
        Err(refusal) => ImportedLine { line, status: None, error: Some(refusal.failure().error) },
    };
    let mut answer = serde_json::to_vec(&imported).expect("it has texts and numbers alone");
    answer.push(b'\n');
    answer.into()
}

fn parse(line: Line) -> Result<NewPin, ApiError> {
    let Line::Whole(text) = line else {
        return Err(ApiError::BadRequest(format!("the line has more than {LINE_MAX} bytes")));
    };
    let no_pin = |error| ApiError::BadRequest(format!("the line is neither a Pin nor a PinStatus: {error}"));
    let mut value: serde_json::Value = serde_json::from_slice(&text).map_err(no_pin)?;
    let pin = match value.get_mut("pin") {
        Some(pin) => pin.take(),
        None => value,
    };
    Ok(NewPin::parse(RawPin::deserialize(pin).map_err(no_pin)?)?)
}
