//! Members of an org: who they are and in which role. What a person's role allows begins to matter when people log in;
//! until then it is a record, and tokens say what may be done.

use crate::{
    db::members::{self, MemberRow},
    http::{
        auth::OrgAdmin,
        body::{Body, json},
        detached::detached,
        error::{ApiError, Failure},
        wire::timestamp,
    },
    service::Service,
};
use actix_web::{HttpResponse, web};
use pinner_core::Invalid;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// The longest subject, in bytes; OpenID Connect's own bound.
const SUBJECT_MAX: usize = 255;
/// Members in an answer when the client does not say, and at most.
const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

/// A page of members.
#[derive(Debug, Serialize, ToSchema)]
pub struct Members {
    /// In the order of their subjects.
    pub members: Vec<Member>,
    /// Give this as `after` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A member.
#[derive(Debug, Serialize, ToSchema)]
pub struct Member {
    /// What the identity provider calls them: the claim `sub`.
    pub subject: String,
    /// `member` or `admin`.
    pub role: String,
    /// Since when.
    #[schema(format = DateTime)]
    pub created: String,
}

impl From<MemberRow> for Member {
    fn from(row: MemberRow) -> Self {
        Self { subject: row.subject, role: row.role, created: timestamp(row.created) }
    }
}

/// What a member is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// `member` or `admin`.
    #[schema(pattern = "^(member|admin)$")]
    pub role: String,
}

/// Which page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    after: Option<String>,
    limit: Option<String>,
}

/// The org's members.
#[utoipa::path(get, path = "/api/v1/members", tag = "org", security(("token" = [])),
    params(
        ("after" = Option<String>, Query, description = "The `next` of the page before", pattern = r"^[^\u0000]*$"),
        ("limit" = Option<i32>, Query, description = "Members in the answer, 100 when left out", minimum = 1, maximum = 1000),
    ),
    responses((status = 200, description = "A page of members", body = Members), (status = 400, body = Failure),
        (status = 401, body = Failure), (status = 403, body = Failure)))]
pub async fn list(
    service: web::Data<Service>,
    admin: OrgAdmin,
    page: Result<web::Query<Page>, actix_web::Error>,
) -> Result<web::Json<Members>, ApiError> {
    let page = page.map_err(|error| ApiError::BadRequest(format!("the query cannot be read: {error}")))?.into_inner();
    let after = page.after.unwrap_or_default();
    if after.contains('\0') {
        return Err(Invalid::new("after", "contains a NUL character").into());
    }
    let limit = match page.limit.as_deref().map_or(Ok(LIMIT_DEFAULT), str::parse) {
        Ok(limit @ 1..=LIMIT_MAX) => limit,
        _ => return Err(Invalid::new("limit", format!("is not a number from 1 to {LIMIT_MAX}")).into()),
    };
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let mut tx = work.db.tenant(admin.org).await?;
        let mut rows = members::list(&mut tx, &after, limit + 1).await?;
        tx.commit().await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows.last().filter(|_| more).map(|row| row.subject.clone());
        Ok(web::Json(Members { members: rows.into_iter().map(Member::from).collect(), next }))
    })
    .await
}

/// Makes somebody a member, or changes a member's role. Asking twice is asking once.
#[utoipa::path(put, path = "/api/v1/members/{subject}", tag = "org", security(("token" = [])),
    params(("subject" = String, Path, description = "The subject, at most 255 bytes, percent-encoded", max_length = 255, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")),
    request_body = NewRole,
    responses((status = 200, description = "The member as it is now", body = Member), (status = 400, body = Failure),
        (status = 401, body = Failure), (status = 403, body = Failure)))]
pub async fn put(
    service: web::Data<Service>,
    admin: OrgAdmin,
    subject: web::Path<String>,
    body: Body,
) -> Result<web::Json<Member>, ApiError> {
    let subject = subject.into_inner();
    if subject.len() > SUBJECT_MAX || subject.chars().any(char::is_control) {
        let reason = format!("must have at most {SUBJECT_MAX} bytes and no control character");
        return Err(Invalid::new("subject", reason).into());
    }
    let NewRole { role } = json(body)?;
    if !["member", "admin"].contains(&role.as_str()) {
        return Err(Invalid::new("role", format!("{role:?} is neither member nor admin")).into());
    }
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let mut tx = work.db.tenant(admin.org).await?;
        let row = members::put(&mut tx, admin.org, &subject, &role).await?;
        tx.commit().await?;
        Ok(web::Json(Member::from(row)))
    })
    .await
}

/// Takes a member out of the org. Tokens that they made stay good.
#[utoipa::path(delete, path = "/api/v1/members/{subject}", tag = "org", security(("token" = [])),
    params(("subject" = String, Path, description = "The subject, percent-encoded", max_length = 255, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")),
    responses((status = 204, description = "Taken out"), (status = 401, body = Failure), (status = 403, body = Failure),
        (status = 404, description = "No such member of this org", body = Failure)))]
pub async fn remove(
    service: web::Data<Service>,
    admin: OrgAdmin,
    subject: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let no_such_member = || ApiError::not_found("this org has no member with this subject");
    let subject = subject.into_inner();
    if subject.contains('\0') {
        return Err(no_such_member());
    }
    let service = service.into_inner();
    let work = Arc::clone(&service);
    let removed = detached(&service, async move {
        let mut tx = work.db.tenant(admin.org).await?;
        let removed = members::remove(&mut tx, &subject).await?;
        tx.commit().await?;
        Ok(removed)
    })
    .await?;
    if removed { Ok(HttpResponse::NoContent().finish()) } else { Err(no_such_member()) }
}
