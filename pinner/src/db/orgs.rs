//! Orgs, what they hold and may hold.

use super::{PlatformTx, TenantTx};
use pinner_core::id::OrgId;
use sqlx::FromRow;
use time::OffsetDateTime;
use uuid::Uuid;

/// A tenant, with what it holds and may hold.
#[derive(Debug, Clone, FromRow)]
pub struct OrgRow {
    /// Its id.
    pub id: Uuid,
    /// Its name, unique in the cluster.
    pub name: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// The most pins it may have; none for no limit.
    pub max_pins: Option<i64>,
    /// The most bytes it may hold; none for no limit.
    pub max_bytes: Option<i64>,
    /// Its pins.
    pub pins: i64,
    /// Bytes of the contents that it holds, each counted once.
    pub bytes: i64,
}

/// A change of limits: what to change, to what; none inside for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NewLimits {
    /// The most pins.
    pub max_pins: Option<Option<i64>>,
    /// The most bytes.
    pub max_bytes: Option<Option<i64>>,
}

/// The org of a transaction, with its limits.
#[derive(Debug, Clone, FromRow)]
pub struct OwnOrgRow {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// The most pins it may have; none for no limit.
    pub max_pins: Option<i64>,
    /// The most bytes it may hold; none for no limit.
    pub max_bytes: Option<i64>,
}

/// What creating an org came to.
#[derive(Debug, Clone, FromRow)]
pub struct CreatedOrg {
    /// Its id, also when it was there already.
    pub id: Uuid,
    /// When it was created.
    pub created: OffsetDateTime,
    /// Whether this call created it.
    pub is_new: bool,
}

/// Creates an org, or finds the one of that name.
pub async fn create(tx: &mut PlatformTx, id: OrgId, name: &str) -> sqlx::Result<CreatedOrg> {
    sqlx::query_as("select id, created, is_new from admin_create_org($1, $2)")
        .bind(id.uuid())
        .bind(name)
        .fetch_one(&mut **tx)
        .await
}

/// All orgs, by name.
pub async fn list(tx: &mut PlatformTx) -> sqlx::Result<Vec<OrgRow>> {
    sqlx::query_as("select * from admin_usage()").fetch_all(&mut **tx).await
}

/// Changes the limits of the org of that name. `false` when there is none.
pub async fn set_limits(tx: &mut PlatformTx, name: &str, limits: NewLimits) -> sqlx::Result<bool> {
    sqlx::query_scalar("select admin_set_limits($1, $2, $3, $4, $5)")
        .bind(name)
        .bind(limits.max_pins.is_some())
        .bind(limits.max_pins.flatten())
        .bind(limits.max_bytes.is_some())
        .bind(limits.max_bytes.flatten())
        .fetch_one(&mut **tx)
        .await
}

/// The org of the transaction: the only one that row-level security shows.
pub async fn own(tx: &mut TenantTx) -> sqlx::Result<OwnOrgRow> {
    sqlx::query_as("select id, name, created, max_pins, max_bytes from orgs").fetch_one(&mut **tx).await
}
