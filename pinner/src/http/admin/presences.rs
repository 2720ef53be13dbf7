//! Who is there: when each pinner was heard of last, which map it places by, what it leads.

use crate::{
    db::nodes::{self, NodeRow},
    http::{auth::PlatformAdmin, error::ApiError, wire::timestamp},
    service::Service,
};
use actix_web::web;
use pinner_core::id::NodeId;
use serde::Serialize;
use utoipa::ToSchema;

/// All pinners.
#[derive(Debug, Serialize, ToSchema)]
pub struct Presences {
    /// By name.
    pub presences: Vec<Presence>,
}

/// A pinner's presence.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    /// Its node's id.
    pub id: String,
    /// Its node's name.
    pub name: String,
    /// Whether it was heard of within the presence TTL.
    pub live: bool,
    /// When that was last.
    pub last_seen: String,
    /// The version of the placement map that it places by.
    pub map_version: i64,
    /// What it leads: `scheduler`, `sweeper`, `watchdog`, `pruner`.
    pub roles: Vec<String>,
    /// Whether its Kubo answered when it was last asked.
    pub kubo_ready: bool,
}

impl From<NodeRow> for Presence {
    fn from(row: NodeRow) -> Self {
        Self {
            id: NodeId::from_uuid(row.id).to_string(),
            name: row.name,
            live: row.live,
            last_seen: timestamp(row.seen),
            map_version: row.map_version,
            roles: if row.live { row.roles } else { Vec::new() },
            kubo_ready: row.kubo_ready && row.live,
        }
    }
}

/// All pinners.
#[utoipa::path(get, path = "/admin/v1/presences", tag = "admin", security(("token" = [])),
    responses((status = 200, description = "The pinners", body = Presences)))]
pub async fn list(service: web::Data<Service>, _admin: PlatformAdmin) -> Result<web::Json<Presences>, ApiError> {
    let mut tx = service.db.worker().await?;
    let rows = nodes::fleet(&mut tx).await?;
    tx.commit().await?;
    Ok(web::Json(Presences { presences: rows.into_iter().map(Into::into).collect() }))
}
