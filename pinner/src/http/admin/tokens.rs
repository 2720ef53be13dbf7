//! Minting tokens.

use super::orgs::check_name;
use crate::{
    db::orgs,
    http::{
        auth::PlatformAdmin,
        body::{Body, json},
        detached::detached,
        error::ApiError,
        wire::timestamp,
    },
    service::Service,
    tokens::{Grant, TTL_DEFAULT, TTL_MAX},
};
use actix_web::{HttpResponse, web};
use pinner_core::{
    Invalid,
    id::{OrgId, TokenId},
    scope::Scope,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// A token to mint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewToken {
    /// The org's name; the org is created if it is not there. Left out for a token of the platform alone.
    #[schema(pattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    pub org: Option<String>,
    /// What it may do.
    #[schema(min_items = 1)]
    pub scopes: Vec<String>,
    /// How long it lives, in seconds: at most 366 days, 30 days when left out.
    #[schema(minimum = 1, maximum = 31_622_400)]
    pub ttl_seconds: Option<u64>,
}

/// A minted token. It is shown this once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MintedToken {
    /// The token.
    pub token: String,
    /// Its id.
    #[schema(example = "token_01h455vb4pex5vsknk084sn02q")]
    pub id: String,
    /// Whose pins it reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org: Option<TokenOrg>,
    /// Whether the org was created for it.
    pub org_created: bool,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Until when.
    pub expires: String,
}

/// The org of a token.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenOrg {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

struct Wish {
    org: Option<String>,
    scopes: BTreeSet<Scope>,
    ttl: Duration,
}

impl Wish {
    fn parse(request: NewToken) -> Result<Self, Invalid> {
        let scopes = request
            .scopes
            .iter()
            .map(|scope| scope.parse())
            .collect::<Result<BTreeSet<Scope>, _>>()
            .map_err(|error| Invalid::new("scopes", error.to_string()))?;
        if scopes.is_empty() {
            return Err(Invalid::new("scopes", "is empty; name at least one"));
        }
        let platform_alone = scopes == BTreeSet::from([Scope::PlatformAdmin]);
        match &request.org {
            Some(org) => check_name("org", org)?,
            None if platform_alone => {}
            None => return Err(Invalid::new("org", "is needed for any scope but platform:admin")),
        }
        let ttl = request.ttl_seconds.map_or(TTL_DEFAULT, Duration::from_secs);
        if ttl.is_zero() || ttl > TTL_MAX {
            return Err(Invalid::new("ttlSeconds", format!("must be from 1 to {} (366 days)", TTL_MAX.as_secs())));
        }
        Ok(Self { org: request.org, scopes, ttl })
    }
}

/// Mints a token and records that it was.
#[utoipa::path(post, path = "/admin/v1/tokens", tag = "admin", security(("token" = [])), request_body = NewToken,
    responses((status = 201, description = "Minted", body = MintedToken)))]
pub async fn mint(service: web::Data<Service>, admin: PlatformAdmin, body: Body) -> Result<HttpResponse, ApiError> {
    let wish = Wish::parse(json(body)?)?;
    let service = service.into_inner();
    let work = Arc::clone(&service);
    let minted = detached(&service, async move { sign(&work, wish).await }).await?;
    tracing::info!(token = minted.id, org = minted.org.as_ref().map(|org| org.name.as_str()), by = ?admin.token, "token minted");
    Ok(HttpResponse::Created().json(minted))
}

async fn sign(service: &Service, wish: Wish) -> Result<MintedToken, ApiError> {
    let keys = service.ready()?.keys();
    let Some(kid) = keys.active() else {
        return Err(ApiError::Unavailable("no signing key is active; try again".into()));
    };
    let now = OffsetDateTime::now_utc();
    let expires = now + wish.ttl;
    let id = TokenId::from_uuid(Uuid::now_v7());
    let scopes: Vec<String> = wish.scopes.iter().map(Scope::to_string).collect();

    let mut tx = service.db.platform().await?;
    let (org, org_created) = match wish.org {
        None => (None, false),
        Some(name) => {
            let created = orgs::create(&mut tx, OrgId::from_uuid(Uuid::now_v7()), &name).await?;
            (Some((OrgId::from_uuid(created.id), name)), created.is_new)
        }
    };
    let org_id = org.as_ref().map(|(id, _)| *id);
    orgs::record_token(&mut tx, id, org_id, &scopes, kid, expires).await?;
    let grant = Grant { id, org: org_id, scopes: wish.scopes };
    let token = keys.sign(&grant, now, expires).ok_or(ApiError::Internal)?;
    tx.commit().await?;
    Ok(MintedToken {
        token,
        id: id.to_string(),
        org: org.map(|(id, name)| TokenOrg { id: id.to_string(), name }),
        org_created,
        scopes,
        expires: timestamp(expires),
    })
}
