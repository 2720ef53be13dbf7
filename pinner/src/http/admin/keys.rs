//! The keys that sign tokens: which there are, and changing the one that signs.

use crate::{
    db::tokens,
    http::{auth::PlatformAdmin, detached::detached, error::ApiError, wire::timestamp},
    service::Service,
};
use actix_web::web;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// All signing keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct Keys {
    /// The newest first.
    pub keys: Vec<Key>,
}

/// A signing key; never the secret itself, which is nowhere stored.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// Its name, as in the header of each token that it signed.
    pub kid: String,
    /// `next`: announced to all pinners; `active`: signs; `verify-only`: signs no more, what it signed is good;
    /// `retired`: no good token of it is left.
    #[schema(pattern = "^(next|active|verify-only|retired)$")]
    pub state: String,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created: String,
    /// Since when it is in this state.
    #[schema(format = DateTime)]
    pub since: String,
    /// From when on it signs, if that is to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub signs_from: Option<String>,
}

impl From<tokens::KeyRow> for Key {
    fn from(row: tokens::KeyRow) -> Self {
        Self {
            kid: row.kid,
            state: row.state,
            created: timestamp(row.created),
            since: timestamp(row.since),
            signs_from: row.signs_from.map(timestamp),
        }
    }
}

/// The signing keys.
#[utoipa::path(get, path = "/admin/v1/keys", tag = "admin", security(("token" = [])),
    responses((status = 200, description = "The keys", body = Keys)))]
pub async fn list(service: web::Data<Service>, _admin: PlatformAdmin) -> Result<web::Json<Keys>, ApiError> {
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let mut tx = work.db.platform().await?;
        let rows = tokens::keys(&mut tx).await?;
        tx.commit().await?;
        Ok(web::Json(Keys { keys: rows.into_iter().map(Key::from).collect() }))
    })
    .await
}

/// Changes the key that signs: a new one is announced, and signs once every pinner knows it. Tokens that older keys signed
/// stay good. Asking again while one is announced changes nothing.
#[utoipa::path(post, path = "/admin/v1/keys/rotate", tag = "admin", security(("token" = [])),
    responses((status = 200, description = "The keys as they are now", body = Keys)))]
pub async fn rotate(service: web::Data<Service>, admin: PlatformAdmin) -> Result<web::Json<Keys>, ApiError> {
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let mut tx = work.db.platform().await?;
        tokens::rotate_key(&mut tx).await?;
        let rows = tokens::keys(&mut tx).await?;
        tx.commit().await?;
        super::tokens::take_up(&work).await?;
        tracing::info!(by = ?admin.token, "a new signing key is announced");
        Ok(web::Json(Keys { keys: rows.into_iter().map(Key::from).collect() }))
    })
    .await
}
