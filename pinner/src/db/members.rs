//! An org's members. No statement reads by org: the transaction carries it and row-level security applies it.

use super::TenantTx;
use pinner_core::id::OrgId;
use sqlx::FromRow;
use time::OffsetDateTime;

/// A member.
#[derive(Debug, Clone, FromRow)]
pub struct MemberRow {
    /// What the identity provider calls them.
    pub subject: String,
    /// `member` or `admin`.
    pub role: String,
    /// Since when.
    pub created: OffsetDateTime,
}

/// Up to `limit` members in the order of their subjects, from behind `after` on.
pub async fn list(tx: &mut TenantTx, after: &str, limit: u32) -> sqlx::Result<Vec<MemberRow>> {
    sqlx::query_as("select subject, role, created from members where subject > $1 order by subject limit $2")
        .bind(after)
        .bind(i64::from(limit))
        .fetch_all(&mut **tx)
        .await
}

/// Makes `subject` a member of the transaction's org with this role, or gives a member this role.
pub async fn put(tx: &mut TenantTx, org: OrgId, subject: &str, role: &str) -> sqlx::Result<MemberRow> {
    sqlx::query_as(
        "insert into members (org_id, subject, role) values ($1, $2, $3)
         on conflict (org_id, subject) do update set role = excluded.role
         returning subject, role, created",
    )
    .bind(org.uuid())
    .bind(subject)
    .bind(role)
    .fetch_one(&mut **tx)
    .await
}

/// Takes a member out. `false` when there is none of that subject.
pub async fn remove(tx: &mut TenantTx, subject: &str) -> sqlx::Result<bool> {
    let removed = sqlx::query("delete from members where subject = $1").bind(subject).execute(&mut **tx).await?;
    Ok(removed.rows_affected() > 0)
}
