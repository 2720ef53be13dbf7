//! The five operations of the pinning API. What they mean is in `crate::accept` and the database; here they are read
//! and answered.

use super::{
    auth::{Reader, Writer},
    body::{Body, json},
    detached::detached,
    error::ApiError,
    wire::{PinResults, PinStatus},
};
use crate::{accept, db::pins, service::Service};
use actix_web::{HttpRequest, HttpResponse, web};
use pinner_core::{
    filter::Filter,
    id::PinId,
    pin::{NewPin, RawPin},
};
use std::sync::Arc;

/// An id of no known form is nobody's pin.
fn request_id(path: &web::Path<String>) -> Result<PinId, ApiError> {
    path.parse().map_err(|_| no_such_pin())
}

fn no_such_pin() -> ApiError {
    ApiError::not_found("there is no pin with this requestid")
}

/// Lists the org's pins, newest first.
#[utoipa::path(get, path = "/pins", tag = "pins", operation_id = "getPins", security(("token" = [])),
    params(super::openapi::PinsQuery),
    responses(
        (status = 200, description = "The page", body = PinResults),
        (status = 400, description = "A parameter breaks a rule", body = super::error::Failure),
        (status = 401, description = "No valid token", body = super::error::Failure),
        (status = 403, description = "The token lacks a scope", body = super::error::Failure),
    ))]
pub async fn list(
    service: web::Data<Service>,
    reader: Reader,
    request: HttpRequest,
) -> Result<web::Json<PinResults>, ApiError> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map_err(|error| ApiError::BadRequest(format!("the query cannot be read: {error}")))?;
    let filter = Filter::parse(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let page = pins::list(&work.db, reader.org, &filter).await?;
        let fleet = &work.ready()?.fleet;
        let results =
            page.rows.into_iter().map(|(row, progress)| PinStatus::new(row, Some(&progress), fleet)).collect();
        Ok(web::Json(PinResults { count: page.count, results }))
    })
    .await
}

/// Accepts a pin. The answer is sent after the commit.
#[utoipa::path(post, path = "/pins", tag = "pins", operation_id = "addPin", security(("token" = [])),
    request_body(content = inline(super::openapi::PinRequest), content_type = "application/json"),
    responses(
        (status = 202, description = "Accepted", body = PinStatus),
        (status = 400, description = "The pin breaks a rule", body = super::error::Failure),
        (status = 401, description = "No valid token", body = super::error::Failure),
        (status = 403, description = "The token lacks a scope", body = super::error::Failure),
        (status = 409, description = "The organisation would hold more than it may", body = super::error::Failure),
        (status = 413, description = "The body is too large", body = super::error::Failure),
    ))]
pub async fn create(service: web::Data<Service>, writer: Writer, body: Body) -> Result<HttpResponse, ApiError> {
    let pin = NewPin::parse(json::<RawPin>(body)?)?;
    // Not detached: the pin belongs to its lane as soon as it waits there.
    let status = accept::create(&service, writer.org, &pin).await?;
    Ok(HttpResponse::Accepted().json(status))
}

/// One pin of the org.
#[utoipa::path(get, path = "/pins/{requestid}", tag = "pins", operation_id = "getPinByRequestId", security(("token" = [])),
    params(("requestid" = String, Path, description = "The request's id")),
    responses(
        (status = 200, description = "The pin", body = PinStatus),
        (status = 401, description = "No valid token", body = super::error::Failure),
        (status = 403, description = "The token lacks a scope", body = super::error::Failure),
        (status = 404, description = "No such pin of this org", body = super::error::Failure),
    ))]
pub async fn read(
    service: web::Data<Service>,
    reader: Reader,
    path: web::Path<String>,
) -> Result<web::Json<PinStatus>, ApiError> {
    let id = request_id(&path)?;
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let (row, progress) = pins::read(&work.db, reader.org, id).await?.ok_or_else(no_such_pin)?;
        Ok(web::Json(PinStatus::new(row, Some(&progress), &work.ready()?.fleet)))
    })
    .await
}

/// Replaces a pin by another one in a single step; blocks that both need are never let go.
#[utoipa::path(post, path = "/pins/{requestid}", tag = "pins", operation_id = "replacePinByRequestId", security(("token" = [])),
    params(("requestid" = String, Path, description = "The request to replace")),
    request_body(content = inline(super::openapi::PinRequest), content_type = "application/json"),
    responses(
        (status = 202, description = "Accepted, under a new requestid", body = PinStatus),
        (status = 400, description = "The pin breaks a rule", body = super::error::Failure),
        (status = 401, description = "No valid token", body = super::error::Failure),
        (status = 403, description = "The token lacks a scope", body = super::error::Failure),
        (status = 404, description = "No such pin of this org", body = super::error::Failure),
        (status = 409, description = "The organisation would hold more than it may", body = super::error::Failure),
        (status = 413, description = "The body is too large", body = super::error::Failure),
    ))]
pub async fn replace(
    service: web::Data<Service>,
    writer: Writer,
    path: web::Path<String>,
    body: Body,
) -> Result<HttpResponse, ApiError> {
    let id = request_id(&path)?;
    let pin = NewPin::parse(json::<RawPin>(body)?)?;
    let service = service.into_inner();
    let work = Arc::clone(&service);
    let replaced = detached(&service, async move { accept::replace(&work, writer.org, id, &pin).await }).await?;
    Ok(HttpResponse::Accepted().json(replaced.ok_or_else(no_such_pin)?))
}

/// Deletes a pin. The content is let go once no pin of any org holds it.
#[utoipa::path(delete, path = "/pins/{requestid}", tag = "pins", operation_id = "deletePinByRequestId", security(("token" = [])),
    params(("requestid" = String, Path, description = "The request's id")),
    responses(
        (status = 202, description = "Deleted"),
        (status = 401, description = "No valid token", body = super::error::Failure),
        (status = 403, description = "The token lacks a scope", body = super::error::Failure),
        (status = 404, description = "No such pin of this org", body = super::error::Failure),
    ))]
pub async fn delete(
    service: web::Data<Service>,
    writer: Writer,
    path: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = request_id(&path)?;
    let service = service.into_inner();
    let work = Arc::clone(&service);
    let deleted = detached(&service, async move { accept::delete(&work, writer.org, id).await }).await?;
    if deleted { Ok(HttpResponse::Accepted().finish()) } else { Err(no_such_pin()) }
}
