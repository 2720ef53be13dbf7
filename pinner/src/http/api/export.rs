//! All pins of an org as lines of JSON, newest first, for as long as the client reads.
//!
//! Each page is a transaction of its own, read only when the client has taken the page before: a slow client holds
//! neither a connection nor a transaction, and never more than a page is in memory.

use crate::{
    db::pins,
    http::{
        auth::Reader,
        detached::detached,
        error::{ApiError, Failure},
        wire::PinStatus,
    },
    service::Service,
};
use actix_web::{HttpRequest, HttpResponse, http::Method, web};
use bytes::Bytes;
use futures::stream;
use pinner_core::{filter::Filter, id::OrgId, pin::Status};
use std::sync::Arc;
use time::OffsetDateTime;

/// What a line of JSON after the other is called.
pub const NDJSON: &str = "application/x-ndjson";
/// Pins in one page.
const PAGE: u32 = 500;

/// Every pin of the org, one PinStatus a line, newest first. Pins that are made meanwhile are left out. An answer that
/// ends without its last chunk is not whole: ask again with `before`.
#[utoipa::path(get, path = "/api/v1/pins/export", tag = "bulk", security(("token" = [])),
    params(("before" = Option<String>, Query, description = "Only pins created strictly before this RFC 3339 time, to go on after an interruption", format = DateTime)),
    responses((status = 200, description = "The pins, one a line", content_type = "application/x-ndjson", body = PinStatus),
        (status = 400, body = Failure), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub async fn export(
    service: web::Data<Service>,
    reader: Reader,
    request: HttpRequest,
    query: Result<web::Query<Vec<(String, String)>>, actix_web::Error>,
) -> Result<HttpResponse, ApiError> {
    let query = query.map_err(|error| ApiError::BadRequest(format!("the query cannot be read: {error}")))?;
    let before = query.iter().filter(|(key, _)| key == "before").map(|(key, value)| (key.as_str(), value.as_str()));
    let before = Filter::parse(before)?.before;
    let mut answer = HttpResponse::Ok();
    answer.content_type(NDJSON);
    if request.method() == Method::HEAD {
        return Ok(answer.finish());
    }
    let service = service.into_inner();
    // The first page now: a database that is away can still be said by the status.
    let first = page(&service, reader.org, before).await?;
    let pages = stream::try_unfold(Next::Read(first), move |next| {
        let service = Arc::clone(&service);
        async move {
            let page = match next {
                Next::Read(page) => page,
                Next::Before(time) => page(&service, reader.org, Some(time)).await?,
                Next::End => return Ok(None),
            };
            let next = page.oldest.map_or(Next::End, Next::Before);
            Ok::<_, ApiError>(Some((page.lines, next)))
        }
    });
    Ok(answer.streaming(pages))
}

/// What comes next.
enum Next {
    Read(Page),
    Before(OffsetDateTime),
    End,
}

/// Some pins as lines.
struct Page {
    lines: Bytes,
    /// When its oldest pin was created, if there may be older ones.
    oldest: Option<OffsetDateTime>,
}

async fn page(service: &Arc<Service>, org: OrgId, before: Option<OffsetDateTime>) -> Result<Page, ApiError> {
    let work = Arc::clone(service);
    detached(service, async move {
        let filter = Filter {
            contents: [].into(),
            name: None,
            statuses: Status::ALL.into(),
            before,
            after: None,
            meta: [].into(),
            limit: PAGE,
        };
        let rows = pins::list(&work.db, org, &filter).await?.rows;
        let oldest = rows.last().filter(|_| rows.len() == PAGE as usize).map(|(row, _)| row.created);
        let fleet = &work.ready()?.fleet;
        let mut lines = Vec::new();
        for (row, progress) in rows {
            let status = PinStatus::new(row, Some(&progress), fleet);
            serde_json::to_writer(&mut lines, &status).map_err(|_| ApiError::Internal)?;
            lines.push(b'\n');
        }
        Ok(Page { lines: lines.into(), oldest })
    })
    .await
}
