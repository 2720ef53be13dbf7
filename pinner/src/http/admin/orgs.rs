//! Orgs: listing and creating them.

use crate::{
    changed::Changed,
    db::orgs,
    http::{
        api::org::Limits,
        auth::PlatformAdmin,
        body::{Body, json},
        detached::detached,
        error::{ApiError, Failure},
        wire::timestamp,
    },
    service::Service,
};
use actix_web::{HttpResponse, web};
use pinner_core::{
    Invalid,
    id::{OrgId, is_org_name},
};
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// All orgs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Orgs {
    /// By name.
    pub orgs: Vec<Org>,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
pub struct Org {
    /// Its id.
    #[schema(example = "org_01h455vb4pex5vsknk084sn02q")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: String,
    /// How much it may hold.
    pub limits: Limits,
    /// How much it holds.
    pub usage: OrgUsage,
}

/// How much an org holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrgUsage {
    /// Its pins.
    pub pins: i64,
    /// Bytes of the contents that its pins hold, each content counted once.
    pub bytes: i64,
}

impl From<orgs::OrgRow> for Org {
    fn from(row: orgs::OrgRow) -> Self {
        Self {
            id: OrgId::from_uuid(row.id).to_string(),
            name: row.name,
            created: timestamp(row.created),
            limits: Limits { max_pins: row.max_pins, max_bytes: row.max_bytes },
            usage: OrgUsage { pins: row.pins, bytes: row.bytes },
        }
    }
}

/// An org that is there, or was just made.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedOrg {
    /// Its id.
    #[schema(example = "org_01h455vb4pex5vsknk084sn02q")]
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: String,
}

/// Limits to set. What is left out stays; null takes a limit away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LimitsRequest {
    /// The most pins.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub max_pins: Option<Option<i64>>,
    /// The most bytes of content, each content counted once.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub max_bytes: Option<Option<i64>>,
}

/// Keeps null apart from what is left out.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// An org to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrg {
    /// Lower-case letters, digits and inner hyphens, at most 63.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub name: String,
}

/// Refuses what cannot name an org.
pub(super) fn check_name(field: &'static str, name: &str) -> Result<(), Invalid> {
    if is_org_name(name) {
        return Ok(());
    }
    Err(Invalid::new(field, format!("{name:?} is not lower-case letters, digits and inner hyphens, 1 to 63 of them")))
}

/// All orgs, by name.
#[utoipa::path(get, path = "/admin/v1/orgs", tag = "admin", security(("token" = [])),
    responses((status = 200, description = "The orgs", body = Orgs), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub async fn list(service: web::Data<Service>, _admin: PlatformAdmin) -> Result<web::Json<Orgs>, ApiError> {
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let mut tx = work.db.platform().await?;
        let rows = orgs::list(&mut tx).await?;
        tx.commit().await?;
        Ok(web::Json(Orgs { orgs: rows.into_iter().map(Org::from).collect() }))
    })
    .await
}

/// Creates an org; 200 with the one that is there when the name is taken.
#[utoipa::path(post, path = "/admin/v1/orgs", tag = "admin", security(("token" = [])), request_body = NewOrg,
    responses((status = 201, description = "Created", body = CreatedOrg), (status = 200, description = "Was there already", body = CreatedOrg),
        (status = 400, body = Failure), (status = 401, body = Failure), (status = 403, body = Failure)))]
pub async fn create(service: web::Data<Service>, _admin: PlatformAdmin, body: Body) -> Result<HttpResponse, ApiError> {
    let NewOrg { name } = json(body)?;
    check_name("name", &name)?;
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let mut tx = work.db.platform().await?;
        let created = orgs::create(&mut tx, OrgId::from_uuid(Uuid::now_v7()), &name).await?;
        tx.commit().await?;
        let org =
            CreatedOrg { id: OrgId::from_uuid(created.id).to_string(), name, created: timestamp(created.created) };
        Ok((created.is_new, org))
    })
    .await
    .map(|(is_new, org)| if is_new { HttpResponse::Created().json(org) } else { HttpResponse::Ok().json(org) })
}

/// Sets limits of an org. An org that holds more already keeps what it holds and gets nothing new.
#[utoipa::path(patch, path = "/admin/v1/orgs/{org}", tag = "admin", security(("token" = [])),
    params(("org" = String, Path, description = "The org's name")), request_body = LimitsRequest,
    responses((status = 200, description = "The org as it is now", body = Org), (status = 400, body = Failure),
        (status = 401, body = Failure), (status = 403, body = Failure), (status = 404, body = Failure)))]
pub async fn limit(
    service: web::Data<Service>,
    _admin: PlatformAdmin,
    name: web::Path<String>,
    body: Body,
) -> Result<web::Json<Org>, ApiError> {
    let LimitsRequest { max_pins, max_bytes } = json(body)?;
    for (field, limit) in [("maxPins", max_pins), ("maxBytes", max_bytes)] {
        if limit.flatten().is_some_and(|limit| limit < 0) {
            return Err(Invalid::new(field, "is below zero; give a number, or null for no limit").into());
        }
    }
    if max_pins.is_none() && max_bytes.is_none() {
        return Err(Invalid::new("maxPins", "or maxBytes: give at least one of the two").into());
    }
    let name = name.into_inner();
    let no_such_org = || ApiError::not_found("there is no org of this name; see GET /admin/v1/orgs");
    if !is_org_name(&name) {
        return Err(no_such_org());
    }
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let mut tx = work.db.platform().await?;
        let found = orgs::set_limits(&mut tx, &name, orgs::NewLimits { max_pins, max_bytes }).await?;
        let row = orgs::list(&mut tx).await?.into_iter().find(|row| row.name == name);
        tx.commit().await?;
        let row = row.filter(|_| found).ok_or_else(no_such_org)?;
        work.ready()?.changes.announce(Changed::Limits);
        tracing::info!(org = name, ?max_pins, ?max_bytes, "limits were set");
        Ok(web::Json(Org::from(row)))
    })
    .await
}
