//! Nodes: how they are, and taking them out of placement and back.

mod answer;

pub use answer::{Drain, Node, Nodes, Placements};

use super::check_texts;
use crate::{
    changed::Changed,
    db::{
        WorkerTx,
        fleet::{self, FleetRow},
        nodes::{self, NodeRow, PlacementCounts},
    },
    http::{
        auth::PlatformAdmin,
        body::{Body, json},
        detached::detached,
        error::ApiError,
    },
    placed::Counts,
    service::Service,
};
use actix_web::web;
use answer::Around;
use pinner_core::{Invalid, id::NodeId, members::Scheduling};
use serde::Deserialize;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// What to do with a node.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchedulingRequest {
    /// What is asked for.
    #[schema(pattern = "^(Active|Cordoned|Drained|Maintenance)$")]
    pub scheduling: String,
    /// Echoed by every later answer, so that the asker knows its own request. At most 1,024 bytes.
    #[schema(max_length = 256, pattern = r"^[^\u0000]*$")]
    pub request_token: Option<String>,
    /// Why, for people. At most 1,024 bytes.
    #[schema(max_length = 256, pattern = r"^[^\u0000]*$")]
    pub reason: Option<String>,
}

/// Why a node is taken out or back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReasonRequest {
    /// For people. At most 1,024 bytes.
    #[schema(max_length = 256, pattern = r"^[^\u0000]*$")]
    pub reason: Option<String>,
}

fn no_such_node(name: &str) -> ApiError {
    ApiError::NotFound(format!("no node named {name:?} has registered; GET /admin/v1/nodes lists those that have"))
}

/// All nodes with what is on them.
#[utoipa::path(get, path = "/admin/v1/nodes", tag = "admin", security(("token" = [])),
    responses((status = 200, description = "The nodes", body = Nodes)))]
pub async fn list(service: web::Data<Service>, _admin: PlatformAdmin) -> Result<web::Json<Nodes>, ApiError> {
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let counted = work.placed.counts(&work.db).await?;
        let mut tx = work.db.worker().await?;
        let (rows, fleet) = (nodes::fleet(&mut tx).await?, fleet::read(&mut tx).await?);
        let around = around(&work, &rows, &fleet);
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            all.push(Node::new(row, &placements(&mut tx, row, &counted).await?, &around));
        }
        tx.commit().await?;
        Ok(web::Json(Nodes { nodes: all }))
    })
    .await
}

/// One node.
#[utoipa::path(get, path = "/admin/v1/nodes/{node}", tag = "admin", security(("token" = [])),
    params(("node" = String, Path, description = "The node's name")),
    responses((status = 200, description = "The node", body = Node)))]
pub async fn read(
    service: web::Data<Service>,
    _admin: PlatformAdmin,
    name: web::Path<String>,
) -> Result<web::Json<Node>, ApiError> {
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move { Ok(web::Json(find(&work, &name).await?)) }).await
}

async fn find(service: &Service, name: &str) -> Result<Node, ApiError> {
    let counted = service.placed.counts(&service.db).await?;
    let mut tx = service.db.worker().await?;
    let (rows, fleet) = (nodes::fleet(&mut tx).await?, fleet::read(&mut tx).await?);
    let row = rows.iter().find(|row| row.name == name).ok_or_else(|| no_such_node(name))?;
    let counts = placements(&mut tx, row, &counted).await?;
    tx.commit().await?;
    Ok(Node::new(row, &counts, &around(service, &rows, &fleet)))
}

/// What is on a node: as it was counted, but where that decides whether it is drained, as it is. One snapshot does not matter:
/// what places on a node, or notes an upload to it, after its drain was asked for does not exist.
async fn placements(tx: &mut WorkerTx, row: &NodeRow, counted: &Counts) -> sqlx::Result<PlacementCounts> {
    if row.asked() == Scheduling::Drained {
        nodes::placements(tx, NodeId::from_uuid(row.id)).await
    } else {
        Ok(counted.get(&row.id).cloned().unwrap_or_default())
    }
}

fn around<'a>(service: &Service, nodes: &'a [NodeRow], fleet: &'a FleetRow) -> Around<'a> {
    Around {
        nodes,
        fleet,
        least: usize::from(service.replication.min),
        grace: service.rebalance.grace,
        now: OffsetDateTime::now_utc(),
    }
}

/// Asks for a scheduling. Asking twice is asking once.
#[utoipa::path(put, path = "/admin/v1/nodes/{node}/scheduling", tag = "admin", security(("token" = [])),
    params(("node" = String, Path, description = "The node's name")), request_body = SchedulingRequest,
    responses((status = 200, description = "The node as it is now", body = Node)))]
pub async fn schedule(
    service: web::Data<Service>,
    _admin: PlatformAdmin,
    name: web::Path<String>,
    body: Body,
) -> Result<web::Json<Node>, ApiError> {
    let request = json::<SchedulingRequest>(body)?;
    set(service, name.into_inner(), request).await
}

/// Takes the node out of placement; what it holds stays.
#[utoipa::path(post, path = "/admin/v1/nodes/{node}/cordon", tag = "admin", security(("token" = [])),
    params(("node" = String, Path, description = "The node's name")), request_body = Option<ReasonRequest>,
    responses((status = 200, description = "The node as it is now", body = Node)))]
pub async fn cordon(
    service: web::Data<Service>,
    _admin: PlatformAdmin,
    name: web::Path<String>,
    body: Body,
) -> Result<web::Json<Node>, ApiError> {
    verb(service, name, body, "Cordoned").await
}

/// Lets the node take part again, and ends a drain.
#[utoipa::path(post, path = "/admin/v1/nodes/{node}/uncordon", tag = "admin", security(("token" = [])),
    params(("node" = String, Path, description = "The node's name")), request_body = Option<ReasonRequest>,
    responses((status = 200, description = "The node as it is now", body = Node)))]
pub async fn uncordon(
    service: web::Data<Service>,
    _admin: PlatformAdmin,
    name: web::Path<String>,
    body: Body,
) -> Result<web::Json<Node>, ApiError> {
    verb(service, name, body, "Active").await
}

/// Takes the node out of placement and asks for everything on it to be moved away.
#[utoipa::path(post, path = "/admin/v1/nodes/{node}/drain", tag = "admin", security(("token" = [])),
    params(("node" = String, Path, description = "The node's name")), request_body = Option<ReasonRequest>,
    responses((status = 200, description = "The node as it is now", body = Node)))]
pub async fn drain(
    service: web::Data<Service>,
    _admin: PlatformAdmin,
    name: web::Path<String>,
    body: Body,
) -> Result<web::Json<Node>, ApiError> {
    verb(service, name, body, "Drained").await
}

async fn verb(
    service: web::Data<Service>,
    name: web::Path<String>,
    body: Body,
    scheduling: &str,
) -> Result<web::Json<Node>, ApiError> {
    let reason =
        if body.is_empty() { None } else { json::<Option<ReasonRequest>>(body)?.and_then(|request| request.reason) };
    let request = SchedulingRequest { scheduling: scheduling.to_owned(), request_token: None, reason };
    set(service, name.into_inner(), request).await
}

async fn set(
    service: web::Data<Service>,
    name: String,
    request: SchedulingRequest,
) -> Result<web::Json<Node>, ApiError> {
    check(&request)?;
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let SchedulingRequest { scheduling, request_token, reason } = request;
        let mut tx = work.db.worker().await?;
        let token = request_token.as_deref();
        let found = nodes::schedule(&mut tx, &name, &scheduling, token, reason.as_deref()).await?;
        tx.commit().await?;
        if !found {
            return Err(no_such_node(&name));
        }
        work.ready()?.changes.announce(Changed::Nodes);
        tracing::info!(node = name, scheduling, request_token, reason, "scheduling was set");
        Ok(web::Json(find(&work, &name).await?))
    })
    .await
}

fn check(request: &SchedulingRequest) -> Result<(), Invalid> {
    if request.scheduling.parse::<Scheduling>().is_err() {
        let reason = format!("{:?} is none of Active, Cordoned, Drained, Maintenance", request.scheduling);
        return Err(Invalid::new("scheduling", reason));
    }
    check_texts(request.request_token.as_deref(), request.reason.as_deref())
}
