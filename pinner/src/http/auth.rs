//! Who is calling and what they may do. A handler that needs a right has it in its arguments as a type; without that
//! type it has no org to ask the database about.

use super::error::ApiError;
use crate::{service::Service, tokens::checker::Known};
use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use futures::{FutureExt, future::LocalBoxFuture};
use pinner_core::{
    id::{OrgId, TokenId},
    scope::Scope,
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, sync::Arc};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;

/// May list and read an org's pins.
pub struct Reader {
    /// Whose pins.
    pub org: OrgId,
}

/// May create, replace and delete an org's pins.
pub struct Writer {
    /// Whose pins.
    pub org: OrgId,
}

/// May upload content for an org.
pub struct Uploader {
    /// Whose pins it becomes.
    pub org: OrgId,
}

/// May manage an org.
pub struct OrgAdmin {
    /// Which org.
    pub org: OrgId,
}

/// Has a token of an org, whatever it allows.
pub struct Insider {
    /// Which org.
    pub org: OrgId,
}

/// May administer the platform.
pub struct PlatformAdmin {
    /// The token that was used; none for the deployment's own.
    pub token: Option<TokenId>,
}

struct Caller {
    token: Option<TokenId>,
    org: Option<OrgId>,
    scopes: BTreeSet<Scope>,
}

impl Caller {
    async fn identify(request: &HttpRequest) -> Result<Self, ApiError> {
        let service = request.app_data::<web::Data<Service>>().ok_or(ApiError::Internal)?;
        let token = bearer(request).ok_or(ApiError::Unauthorized)?;
        if is_same(token, service.admin_token.expose()) {
            return Ok(Self { token: None, org: None, scopes: BTreeSet::from([Scope::PlatformAdmin]) });
        }
        let verified = known(service).await?.verify(token, OffsetDateTime::now_utc());
        let grant = verified.map_err(|why| {
            tracing::debug!(%why, "a token was refused");
            ApiError::Unauthorized
        })?;
        Ok(Self { token: Some(grant.id), org: grant.org, scopes: grant.scopes })
    }

    fn need(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(ApiError::Forbidden(format!("this token lacks the scope {scope}; use one that was minted with it")))
    }

    fn org_with(&self, scope: Scope) -> Result<OrgId, ApiError> {
        self.need(scope)?;
        self.org()
    }

    fn org(&self) -> Result<OrgId, ApiError> {
        self.org.ok_or_else(|| {
            ApiError::Forbidden("this token belongs to no org; use one that was minted for an org".into())
        })
    }
}

/// The keys that sign and the tokens that were revoked, as of a few seconds ago at most.
pub(super) async fn known(service: &Service) -> Result<Arc<Known>, ApiError> {
    let checker = &service.ready()?.checker;
    match checker.at_hand() {
        Some(known) => Ok(known),
        None => checker.known().await.map_err(ApiError::from),
    }
}

/// The token of `Authorization: Bearer TOKEN`. The scheme is matched without its case, as RFC 9110 asks.
fn bearer(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares secrets without telling by the time taken where they differ or how long they are.
fn is_same(a: &str, b: &str) -> bool {
    Sha256::digest(a).ct_eq(&Sha256::digest(b)).into()
}

macro_rules! extract {
    ($name:ident, $caller:ident => $value:expr) => {
        impl FromRequest for $name {
            type Error = ApiError;
            type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                let request = request.clone();
                async move { Caller::identify(&request).await.and_then(|$caller| $value) }.boxed_local()
            }
        }
    };
}

extract!(Reader, caller => Ok(Self { org: caller.org_with(Scope::PinsRead)? }));
extract!(Writer, caller => Ok(Self { org: caller.org_with(Scope::PinsWrite)? }));
extract!(Uploader, caller => Ok(Self { org: caller.org_with(Scope::UploadsWrite)? }));
extract!(OrgAdmin, caller => Ok(Self { org: caller.org_with(Scope::OrgAdmin)? }));
extract!(Insider, caller => Ok(Self { org: caller.org()? }));
extract!(PlatformAdmin, caller => caller.need(Scope::PlatformAdmin).map(|()| Self { token: caller.token }));
