//! Rebalancing by hand: what would move, and having it moved.

use crate::{
    changed::Changed,
    db::lead::LeadError,
    http::{
        auth::PlatformAdmin,
        body::{Body, json},
        detached::detached,
        error::{ApiError, Failure},
    },
    lead::rebalance::{self, Proposal, RebalanceError},
    service::Service,
};
use actix_web::web;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// What a rebalance moves.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rebalance {
    /// Names the plan. It is good as long as the fleet stays as it is.
    #[schema(example = "17-0c1f2a3b4d5e")]
    pub id: String,
    /// The placement map that it was planned from.
    pub map_version: u64,
    /// What moves, by node and reason. Contents and bytes are those that there are now; what has fewer copies than the
    /// map's lists have nodes may move less.
    pub moves: Vec<Moves>,
    /// All partitions that move.
    pub partitions: u64,
    /// All contents that move.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why it cannot be applied now.
    pub blocked_by: Vec<String>,
}

/// What moves from one node to another.
#[derive(Debug, Serialize, ToSchema)]
pub struct Moves {
    /// From which node; none when copies are added.
    pub from: Option<String>,
    /// To which node; none when copies are given up.
    pub to: Option<String>,
    /// `gone`, `drained`, `spread`, `balance` or `copies`.
    #[schema(example = "balance")]
    pub why: String,
    /// How many partitions.
    pub partitions: u64,
    /// How many contents.
    pub contents: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// Which plan to apply.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// Its id.
    pub plan: String,
}

impl From<Proposal> for Rebalance {
    fn from(proposal: Proposal) -> Self {
        let sum = |of: fn(&rebalance::Group) -> u64| proposal.groups.iter().map(of).sum();
        let (partitions, contents, bytes) = (sum(|g| g.partitions), sum(|g| g.contents), sum(|g| g.bytes));
        let paused = proposal.is_paused.then(|| "the fleet is paused for maintenance".to_owned());
        let moves = proposal.groups.into_iter().map(|group| Moves {
            from: group.from,
            to: group.to,
            why: group.why.to_owned(),
            partitions: group.partitions,
            contents: group.contents,
            bytes: group.bytes,
        });
        Self {
            moves: moves.collect(),
            id: proposal.id,
            map_version: proposal.map_version,
            partitions,
            contents,
            bytes,
            blocked_by: paused.into_iter().collect(),
        }
    }
}

impl From<RebalanceError> for ApiError {
    fn from(error: RebalanceError) -> Self {
        match error {
            RebalanceError::StalePlan => Self::StalePlan(error.to_string()),
            RebalanceError::Paused => Self::Maintenance(error.to_string()),
            RebalanceError::Unplannable(why) => Self::Unavailable(why.to_string()),
            RebalanceError::Lead(LeadError::Database(error)) => error.into(),
            RebalanceError::Lead(error) => {
                tracing::error!(%error, "cannot plan");
                Self::Internal
            }
        }
    }
}

/// What a rebalance would move.
#[utoipa::path(get, path = "/admin/v1/rebalance", tag = "admin", security(("token" = [])),
    responses((status = 200, description = "The plan", body = Rebalance),
        (status = 409, description = "The fleet changes right now; try again", body = Failure)))]
pub async fn read(service: web::Data<Service>, _admin: PlatformAdmin) -> Result<web::Json<Rebalance>, ApiError> {
    let mut tx = service.db.worker().await?;
    let proposal = rebalance::propose(&mut tx, service.scheduling()).await?;
    tx.commit().await?;
    Ok(web::Json(proposal.into()))
}

/// Applies a plan, if it still is what would be planned. What moves then moves by itself.
#[utoipa::path(post, path = "/admin/v1/rebalance", tag = "admin", security(("token" = [])), request_body = ApplyRequest,
    responses((status = 200, description = "The plan as it was applied", body = Rebalance),
        (status = 409, description = "The plan is stale, or the fleet is paused", body = Failure)))]
pub async fn apply(
    service: web::Data<Service>,
    _admin: PlatformAdmin,
    body: Body,
) -> Result<web::Json<Rebalance>, ApiError> {
    let ApplyRequest { plan } = json(body)?;
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let mut tx = work.db.worker().await?;
        let proposal = rebalance::apply(&mut tx, work.scheduling(), &plan).await?;
        tx.commit().await?;
        work.ready()?.changes.announce(Changed::Map);
        tracing::info!(plan, "a rebalance was applied");
        Ok(web::Json(proposal.into()))
    })
    .await
}
