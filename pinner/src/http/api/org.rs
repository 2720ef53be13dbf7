//! The org itself, and what it uses.

use crate::{
    db::{orgs, usage},
    http::{
        auth::{Insider, Reader},
        detached::detached,
        error::{ApiError, Failure},
        wire::timestamp,
    },
    service::Service,
};
use actix_web::web;
use pinner_core::{id::OrgId, pin::Status};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// The org of the token.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnOrg {
    /// Its id.
    #[schema(example = "org_01h455vb4pex5vsknk084sn02q")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created: String,
    /// How much it may hold.
    pub limits: Limits,
}

/// How much an org may hold; null for no limit. Set by whoever runs the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The most pins.
    pub max_pins: Option<i64>,
    /// The most bytes of content, each content counted once.
    pub max_bytes: Option<i64>,
}

/// What an org holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnUsage {
    /// Its pins.
    pub pins: PinCounts,
    /// Bytes of the contents that its pins hold, each content counted once; grows while contents are fetched.
    pub bytes: i64,
    /// How much it may hold.
    pub limits: Limits,
}

/// Pins by status.
#[derive(Debug, Serialize, ToSchema)]
pub struct PinCounts {
    /// All.
    pub total: i64,
    /// Waiting for a node.
    pub queued: i64,
    /// Being fetched.
    pub pinning: i64,
    /// On enough nodes.
    pub pinned: i64,
    /// Given up.
    pub failed: i64,
}

/// What the org holds, exact at one moment.
#[utoipa::path(get, path = "/api/v1/usage", tag = "org", security(("token" = [])),
    responses((status = 200, description = "The usage", body = OwnUsage), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub async fn usage(service: web::Data<Service>, reader: Reader) -> Result<web::Json<OwnUsage>, ApiError> {
    let service = service.into_inner();
    let work = Arc::clone(&service);
    let usage = detached(&service, async move { Ok(usage::of(&work.db, reader.org).await?) }).await?;
    let of = |status| usage.pins.get(&status).copied().unwrap_or(0);
    Ok(web::Json(OwnUsage {
        pins: PinCounts {
            total: usage.pins.values().sum(),
            queued: of(Status::Queued),
            pinning: of(Status::Pinning),
            pinned: of(Status::Pinned),
            failed: of(Status::Failed),
        },
        bytes: usage.bytes,
        limits: Limits { max_pins: usage.max_pins, max_bytes: usage.max_bytes },
    }))
}

/// The org that the token is of.
#[utoipa::path(get, path = "/api/v1/org", tag = "org", security(("token" = [])),
    responses((status = 200, description = "The org", body = OwnOrg), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub async fn read(service: web::Data<Service>, insider: Insider) -> Result<web::Json<OwnOrg>, ApiError> {
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let mut tx = work.db.tenant(insider.org).await?;
        let row = orgs::own(&mut tx).await?;
        tx.commit().await?;
        Ok(web::Json(OwnOrg {
            id: OrgId::from_uuid(row.id).to_string(),
            name: row.name,
            created: timestamp(row.created),
            limits: Limits { max_pins: row.max_pins, max_bytes: row.max_bytes },
        }))
    })
    .await
}
