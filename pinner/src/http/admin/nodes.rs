//! Nodes: how they are, and taking them out of placement and back.

use crate::{
    db::nodes::{self, NodeRow, PlacementCounts},
    http::{
        auth::PlatformAdmin,
        body::{Body, json},
        detached::detached,
        error::ApiError,
        wire::timestamp,
    },
    service::Service,
};
use actix_web::web;
use pinner_core::{Invalid, id::NodeId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// All nodes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Nodes {
    /// By name.
    pub nodes: Vec<Node>,
}

/// A pinner with its Kubo.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its id.
    #[schema(example = "node_01h455vb4pex5vsknk084sn02q")]
    pub id: String,
    /// Its name: the PinNode's.
    pub name: String,
    /// Its zone, empty when unknown.
    pub zone: String,
    /// Whether it was seen within the presence TTL.
    pub live: bool,
    /// `up`, `cordoned`, `draining`, `drained` or `down`.
    pub state: String,
    /// What was asked for: `Active`, `Cordoned` or `Drained`.
    pub scheduling: String,
    /// Which request asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_token: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Kubo's peer id, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<String>,
    /// Whether Kubo answered when the pinner last asked.
    pub kubo_ready: bool,
    /// How a drain gets on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// What is on the node.
    pub placements: Placements,
}

/// How a drain gets on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Which request asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_token: Option<String>,
    /// When it was asked for.
    pub start_time: String,
    /// When the node was last looked at: now.
    pub heartbeat_time: String,
    /// Placements when it began.
    pub placements_total: i64,
    /// Placements still there.
    pub placements_remaining: i64,
    /// Bytes of them, as far as known.
    pub bytes_remaining: i64,
    /// What it waits for.
    pub blocked_by: Vec<String>,
}

/// Placements on a node by status.
#[derive(Debug, Serialize, ToSchema)]
pub struct Placements {
    /// Waiting for the node.
    pub queued: i64,
    /// Being fetched.
    pub pinning: i64,
    /// Held.
    pub pinned: i64,
    /// Given up.
    pub failed: i64,
    /// Being let go.
    pub unpinning: i64,
}

/// What to do with a node.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SchedulingRequest {
    /// What is asked for.
    #[schema(pattern = "^(Active|Cordoned|Drained)$")]
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

/// The longest request token and reason, in bytes: an annotation's value may be longer, a line of a table not.
const TEXT_MAX: usize = 1024;

/// A drain cannot empty a node that holds placements: moving data is not part of this version.
const CANNOT_MOVE: &str = "this version does not move data yet; the node keeps what it holds and takes nothing new";

impl Node {
    fn new(row: NodeRow, counts: &PlacementCounts, now: OffsetDateTime) -> Self {
        let remaining = counts.queued + counts.pinning + counts.pinned + counts.failed + counts.unpinning;
        let drain = (row.scheduling == "Drained").then(|| Drain {
            request_token: row.request_token.clone(),
            start_time: timestamp(row.scheduling_since),
            heartbeat_time: timestamp(now),
            placements_total: row.drain_total.unwrap_or(remaining).max(remaining),
            placements_remaining: remaining,
            bytes_remaining: counts.bytes,
            blocked_by: if remaining > 0 { vec![CANNOT_MOVE.to_owned()] } else { vec![] },
        });
        let state = match (row.scheduling.as_str(), remaining) {
            ("Drained", 0) => "drained",
            ("Drained", _) => "draining",
            _ if !row.live => "down",
            ("Cordoned", _) => "cordoned",
            _ => "up",
        };
        Self {
            id: NodeId::from_uuid(row.id).to_string(),
            name: row.name,
            zone: row.zone,
            live: row.live,
            state: state.to_owned(),
            scheduling: row.scheduling,
            request_token: row.request_token,
            reason: row.reason,
            peer_id: row.peer_id,
            kubo_ready: row.kubo_ready && row.live,
            drain,
            placements: Placements {
                queued: counts.queued,
                pinning: counts.pinning,
                pinned: counts.pinned,
                failed: counts.failed,
                unpinning: counts.unpinning,
            },
        }
    }
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
        let mut tx = work.db.worker().await?;
        let mut all = Vec::new();
        for row in nodes::fleet(&mut tx).await? {
            let counts = nodes::placements(&mut tx, NodeId::from_uuid(row.id)).await?;
            all.push(Node::new(row, &counts, OffsetDateTime::now_utc()));
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
    let mut tx = service.db.worker().await?;
    let row = nodes::find(&mut tx, name).await?.ok_or_else(|| no_such_node(name))?;
    let counts = nodes::placements(&mut tx, NodeId::from_uuid(row.id)).await?;
    tx.commit().await?;
    Ok(Node::new(row, &counts, OffsetDateTime::now_utc()))
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
        tracing::info!(node = name, scheduling, request_token, reason, "scheduling was set");
        Ok(web::Json(find(&work, &name).await?))
    })
    .await
}

fn check(request: &SchedulingRequest) -> Result<(), Invalid> {
    if !["Active", "Cordoned", "Drained"].contains(&request.scheduling.as_str()) {
        let reason = format!("{:?} is none of Active, Cordoned, Drained", request.scheduling);
        return Err(Invalid::new("scheduling", reason));
    }
    for (field, text) in [("requestToken", &request.request_token), ("reason", &request.reason)] {
        if text.as_ref().is_some_and(|text| text.len() > TEXT_MAX || text.contains('\0')) {
            return Err(Invalid::new(field, format!("must have at most {TEXT_MAX} bytes and no NUL character")));
        }
    }
    Ok(())
}
