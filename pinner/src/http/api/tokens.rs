//! An org's own tokens: minting, listing and revoking them.

use crate::{
    db::{orgs, tokens},
    http::{
        admin::tokens::{MintedToken, NewToken, Token, Wish, sign, take_up},
        auth::OrgAdmin,
        body::{Body, json},
        detached::detached,
        error::{ApiError, Failure},
    },
    service::Service,
};
use actix_web::{HttpResponse, web};
use pinner_core::{Invalid, id::TokenId, scope::Scope};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Tokens in an answer when nobody says.
const LIMIT_DEFAULT: i64 = 100;
/// The most tokens in an answer.
const LIMIT_MAX: i64 = 1_000;

/// A page of tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tokens {
    /// Tokens that have not ended, in the order in which they were minted.
    pub tokens: Vec<Token>,
    /// Give this as `after` for what follows; left out at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A token to mint for the org.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewOwnToken {
    /// What it may do.
    #[schema(min_items = 1)]
    pub scopes: Vec<String>,
    /// How long it lives, in seconds: at most 366 days, 30 days when left out.
    #[schema(minimum = 1, maximum = 31_622_400)]
    pub ttl_seconds: Option<u64>,
}

/// Which page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    after: Option<String>,
    limit: Option<String>,
}

/// The org's tokens, without those that have ended. The tokens themselves are not kept and cannot be shown again.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "org", security(("token" = [])),
    params(
        ("after" = Option<String>, Query, description = "The `next` of the page before"),
        ("limit" = Option<i32>, Query, description = "Tokens in the answer, 100 when left out", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "A page of tokens", body = Tokens)))]
pub async fn list(
    service: web::Data<Service>,
    admin: OrgAdmin,
    page: Result<web::Query<Page>, actix_web::Error>,
) -> Result<web::Json<Tokens>, ApiError> {
    let page = page.map_err(|error| ApiError::BadRequest(format!("the query cannot be read: {error}")))?.into_inner();
    let after = page.after.map(|after| after.parse::<TokenId>()).transpose();
    let after = after.map_err(|_| Invalid::new("after", "is not the id of a token"))?;
    let limit = match page.limit.as_deref().map_or(Ok(LIMIT_DEFAULT), str::parse) {
        Ok(limit @ 1..=LIMIT_MAX) => limit,
        _ => return Err(Invalid::new("limit", format!("is not a number from 1 to {LIMIT_MAX}")).into()),
    };
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let mut tx = work.db.tenant(admin.org).await?;
        let mut rows = tokens::list(&mut tx, after, limit + 1).await?;
        tx.commit().await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|row| TokenId::from_uuid(row.id).to_string());
        Ok(web::Json(Tokens { tokens: rows.into_iter().map(Token::from).collect(), next }))
    })
    .await
}

/// Mints a token of the org and records that it was.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "org", security(("token" = [])), request_body = NewOwnToken,
    responses((status = 201, description = "Minted", body = MintedToken)))]
pub async fn mint(service: web::Data<Service>, admin: OrgAdmin, body: Body) -> Result<HttpResponse, ApiError> {
    let NewOwnToken { scopes, ttl_seconds } = json(body)?;
    if scopes.iter().any(|scope| *scope == Scope::PlatformAdmin.as_str()) {
        return Err(Invalid::new("scopes", "holds platform:admin, which is no org's to give").into());
    }
    let service = service.into_inner();
    let work = Arc::clone(&service);
    let minted = detached(&service, async move {
        let mut tx = work.db.tenant(admin.org).await?;
        let org = orgs::own(&mut tx).await?.name;
        tx.commit().await?;
        sign(&work, Wish::parse(NewToken { org: Some(org), scopes, ttl_seconds })?).await
    })
    .await?;
    tracing::info!(token = minted.id, org = %admin.org, "token minted by its org");
    Ok(HttpResponse::Created().json(minted))
}

/// Revokes a token of the org. It is refused here from the answer on, and everywhere within five seconds. Asking twice is
/// asking once; a token may revoke itself.
#[utoipa::path(delete, path = "/api/v1/tokens/{token}", tag = "org", security(("token" = [])),
    params(("token" = String, Path, description = "The token's id")),
    responses((status = 200, description = "The token, revoked", body = Token),
        (status = 404, description = "No such token of this org", body = Failure)))]
pub async fn revoke(
    service: web::Data<Service>,
    admin: OrgAdmin,
    token: web::Path<String>,
) -> Result<web::Json<Token>, ApiError> {
    let no_such_token = || ApiError::not_found("this org has no token with this id");
    let id: TokenId = token.parse().map_err(|_| no_such_token())?;
    let service = service.into_inner();
    let work = Arc::clone(&service);
    let row = detached(&service, async move {
        let mut tx = work.db.tenant(admin.org).await?;
        let row = tokens::revoke_own(&mut tx, id).await?;
        tx.commit().await?;
        if row.is_some() {
            take_up(&work).await?;
        }
        Ok(row)
    })
    .await?;
    let token = Token::from(row.ok_or_else(no_such_token)?);
    tracing::info!(token = token.id, org = %admin.org, "token revoked by its org");
    Ok(web::Json(token))
}
