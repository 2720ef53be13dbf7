//! Minting and revoking tokens, and clearing the denylist.

use super::orgs::check_name;
use crate::{
    changed::Changed,
    db::{orgs, tokens as rows},
    http::{
        auth::{PlatformAdmin, known},
        body::{Body, json},
        detached::detached,
        error::{ApiError, Failure},
        wire::timestamp,
    },
    service::Service,
    tokens::{self, Grant, TTL_DEFAULT, TTL_MAX},
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

/// The record of a token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Its id.
    #[schema(example = "token_01h455vb4pex5vsknk084sn02q")]
    pub id: String,
    /// The name of the org whose pins it reaches; left out for a token of the platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was minted.
    pub created: String,
    /// Until when.
    pub expires: String,
    /// When it was revoked; left out while it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
}

impl From<rows::TokenRow> for Token {
    fn from(row: rows::TokenRow) -> Self {
        Self {
            id: TokenId::from_uuid(row.id).to_string(),
            org: row.org_name,
            scopes: row.scopes,
            created: timestamp(row.created),
            expires: timestamp(row.expires),
            revoked: row.revoked.map(timestamp),
        }
    }
}

/// What was cleared away.
#[derive(Debug, Serialize, ToSchema)]
pub struct PrunedDenylist {
    /// Entries that were thrown away.
    pub pruned: i64,
    /// Entries that are left.
    pub remaining: i64,
}

/// A token that somebody wants, with everything that a rule asks.
pub(in crate::http) struct Wish {
    org: Option<String>,
    scopes: BTreeSet<Scope>,
    ttl: Duration,
}

impl Wish {
    pub(in crate::http) fn parse(request: NewToken) -> Result<Self, Invalid> {
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

/// Signs a token and records it.
pub(in crate::http) async fn sign(service: &Service, wish: Wish) -> Result<MintedToken, ApiError> {
    let known = known(service).await?;
    let keys = &known.keys;
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
    rows::record(&mut tx, id, org_id, &scopes, kid, expires).await?;
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

/// Revokes a token. It is refused here from the answer on, and everywhere within five seconds. Asking twice is asking
/// once.
#[utoipa::path(delete, path = "/admin/v1/tokens/{token}", tag = "admin", security(("token" = [])),
    params(("token" = String, Path, description = "The token's id")),
    responses((status = 200, description = "The token, revoked", body = Token),
        (status = 404, description = "No such token", body = Failure)))]
pub async fn revoke(
    service: web::Data<Service>,
    admin: PlatformAdmin,
    token: web::Path<String>,
) -> Result<web::Json<Token>, ApiError> {
    let no_such_token = || ApiError::not_found("no token with this id was minted here");
    let id: TokenId = token.parse().map_err(|_| no_such_token())?;
    let service = service.into_inner();
    let work = Arc::clone(&service);
    let row = detached(&service, async move {
        let mut tx = work.db.platform().await?;
        let row = rows::revoke(&mut tx, id).await?;
        tx.commit().await?;
        if row.is_some() {
            take_up(&work).await?;
        }
        Ok(row)
    })
    .await?;
    let token = Token::from(row.ok_or_else(no_such_token)?);
    tracing::info!(token = token.id, by = ?admin.token, "token revoked");
    Ok(web::Json(token))
}

/// Clears the denylist of tokens that have ended by themselves. Done now and then anyway.
#[utoipa::path(post, path = "/admin/v1/denylist/prune", tag = "admin", security(("token" = [])),
    responses((status = 200, description = "Done", body = PrunedDenylist)))]
pub async fn prune(service: web::Data<Service>, _admin: PlatformAdmin) -> Result<web::Json<PrunedDenylist>, ApiError> {
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let pruned = tokens::prune(&work.db).await?;
        Ok(web::Json(PrunedDenylist { pruned: pruned.entries, remaining: pruned.remaining }))
    })
    .await
}

/// After a commit that changed tokens or keys: tells the other pinners, and does not answer before this one knows. If
/// this one cannot read it now it does within a second, or accepts no token.
pub(in crate::http) async fn take_up(service: &Service) -> Result<(), ApiError> {
    let ready = service.ready()?;
    ready.changes.announce(Changed::Tokens);
    let read = async {
        let mut tx = service.db.platform().await?;
        ready.checker.read(&mut tx).await?;
        tx.commit().await
    };
    if let Err(error) = read.await {
        tracing::warn!(%error, "a change of tokens is committed and not yet read");
    }
    Ok(())
}
