//! Orgs: listing and creating them.

use crate::{
    db::orgs,
    http::{
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
use serde::{Deserialize, Serialize};
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
}

/// An org to create.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrg {
    /// Lower-case letters, digits and inner hyphens, at most 63.
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
        let org = |row: orgs::OrgRow| Org {
            id: OrgId::from_uuid(row.id).to_string(),
            name: row.name,
            created: timestamp(row.created),
        };
        Ok(web::Json(Orgs { orgs: rows.into_iter().map(org).collect() }))
    })
    .await
}

/// Creates an org; 200 with the one that is there when the name is taken.
#[utoipa::path(post, path = "/admin/v1/orgs", tag = "admin", security(("token" = [])), request_body = NewOrg,
    responses((status = 201, description = "Created", body = Org), (status = 200, description = "Was there already", body = Org),
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
        let org = Org { id: OrgId::from_uuid(created.id).to_string(), name, created: timestamp(created.created) };
        Ok((created.is_new, org))
    })
    .await
    .map(|(is_new, org)| if is_new { HttpResponse::Created().json(org) } else { HttpResponse::Ok().json(org) })
}
