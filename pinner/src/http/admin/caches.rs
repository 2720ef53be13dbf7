//! What the caches of this pinner hold and how often they answered.

use crate::{
    cache::CacheName,
    http::{auth::PlatformAdmin, error::ApiError},
    service::Service,
};
use actix_web::web;
use serde::Serialize;
use utoipa::ToSchema;

/// The caches of one pinner.
#[derive(Debug, Serialize, ToSchema)]
pub struct CacheStats {
    /// The name of the node that answers: each counts for itself.
    pub node: String,
    /// Each cache.
    pub caches: Vec<CacheUse>,
}

/// A cache.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheUse {
    /// `token_denylist`, `live_nodes`, `placement_map` or `org_limits`.
    pub name: String,
    /// Looks that the copy at hand answered, since the start.
    pub hits: u64,
    /// Looks for which there was no copy that is young enough.
    pub misses: u64,
    /// What it holds now.
    pub entries: usize,
    /// The version of what it holds, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// The oldest copy that it answers with, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u64>,
}

/// The caches of the pinner that answers.
#[utoipa::path(get, path = "/admin/v1/cache-stats", tag = "admin", security(("token" = [])),
    responses((status = 200, description = "The caches", body = CacheStats)))]
pub async fn stats(service: web::Data<Service>, _admin: PlatformAdmin) -> Result<web::Json<CacheStats>, ApiError> {
    let ready = service.ready()?;
    let caches = CacheName::ALL.map(|name| {
        let tally = service.metrics.cache(name);
        let (entries, version, max_age) = match name {
            CacheName::TokenDenylist => {
                let (revoked, version) = ready.checker.extent();
                (revoked, Some(version), Some(ready.checker.max_age()))
            }
            CacheName::OrgLimits => (ready.limits.len(), None, Some(ready.limits.max_age())),
            CacheName::LiveNodes => {
                let live = ready.fleet.nodes().iter().filter(|node| node.live).count();
                (live, None, Some(ready.fleet.max_age()))
            }
            CacheName::PlacementMap => {
                let version = i64::try_from(ready.fleet.view().map.version()).unwrap_or(i64::MAX);
                (usize::from(version > 0), Some(version), Some(ready.fleet.max_age()))
            }
        };
        CacheUse {
            name: name.as_str().to_owned(),
            hits: tally.hits(),
            misses: tally.misses(),
            entries,
            version,
            max_age_seconds: max_age.map(|age| age.as_secs()),
        }
    });
    Ok(web::Json(CacheStats { node: ready.node_name.clone(), caches: caches.into() }))
}
