//! Tokens that were minted and revoked, and the keys that sign them.

use super::{PlatformTx, TenantTx};
use pinner_core::id::{OrgId, TokenId};
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

/// A signing key's public half: its name and what it is good for.
#[derive(Debug, Clone, FromRow)]
pub struct SigningKeyRow {
    /// Its name, in each token's header.
    pub kid: String,
    /// `next`, `active`, `verify-only` or `retired`.
    pub state: String,
}

/// A signing key with its history.
#[derive(Debug, Clone, FromRow)]
pub struct KeyRow {
    /// Its name.
    pub kid: String,
    /// `next`, `active`, `verify-only` or `retired`.
    pub state: String,
    /// When it was made.
    pub created: OffsetDateTime,
    /// Since when it is in this state.
    pub since: OffsetDateTime,
    /// From when on it signs, if that is to come.
    pub signs_from: Option<OffsetDateTime>,
}

/// The record of a token.
#[derive(Debug, Clone, FromRow)]
pub struct TokenRow {
    /// Its id.
    pub id: Uuid,
    /// The name of its org; none for a token of the platform, and for the org itself.
    #[sqlx(default)]
    pub org_name: Option<String>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// When it was minted.
    pub created: OffsetDateTime,
    /// When it ends.
    pub expires: OffsetDateTime,
    /// When it was revoked, if it was.
    pub revoked: Option<OffsetDateTime>,
}

/// What a look at the state of tokens tells before anything else is read.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct StateRow {
    /// Counts the changes of keys and denylist.
    pub version: i64,
    /// Whether an announced key is to sign from now on.
    pub key_due: bool,
}

/// An entry of the denylist.
#[derive(Debug, Clone, Copy, FromRow)]
pub struct RevokedRow {
    /// The token.
    pub id: Uuid,
    /// When it would have ended.
    pub expires: OffsetDateTime,
}

/// Records a token that is about to be handed out.
pub async fn record(
    tx: &mut PlatformTx,
    id: TokenId,
    org: Option<OrgId>,
    scopes: &[String],
    kid: &str,
    expires: OffsetDateTime,
) -> sqlx::Result<()> {
    sqlx::query("select admin_record_token($1, $2, $3, $4, $5)")
        .bind(id.uuid())
        .bind(org.map(|org| org.uuid()))
        .bind(scopes)
        .bind(kid)
        .bind(expires)
        .execute(&mut **tx)
        .await
        .map(|_| ())
}

/// Unexpired tokens of the transaction's org, in the order in which they were minted, after the one named.
pub async fn list(tx: &mut TenantTx, after: Option<TokenId>, limit: i64) -> sqlx::Result<Vec<TokenRow>> {
    sqlx::query_as(
        "select t.id, t.scopes, t.created, t.expires, r.revoked
         from tokens t left join revoked_tokens r on r.id = t.id
         where t.org_id = (select current_org()) and t.id > $1 and t.expires > now()
         order by t.id limit $2",
    )
    .bind(after.map_or(Uuid::nil(), |id| id.uuid()))
    .bind(limit)
    .fetch_all(&mut **tx)
    .await
}

/// Revokes a token of the transaction's org; none when it has no such token.
pub async fn revoke_own(tx: &mut TenantTx, id: TokenId) -> sqlx::Result<Option<TokenRow>> {
    sqlx::query_as("select * from revoke_own_token($1)").bind(id.uuid()).fetch_optional(&mut **tx).await
}

/// Revokes any token; none when there is none.
pub async fn revoke(tx: &mut PlatformTx, id: TokenId) -> sqlx::Result<Option<TokenRow>> {
    sqlx::query_as("select * from admin_revoke_token($1)").bind(id.uuid()).fetch_optional(&mut **tx).await
}

/// Throws away what denies tokens that have ended; gives how many that were.
pub async fn prune_denylist(tx: &mut PlatformTx) -> sqlx::Result<i64> {
    sqlx::query_scalar("select admin_prune_denylist()").fetch_one(&mut **tx).await
}

/// How many entries the denylist has.
pub async fn denylist_size(tx: &mut PlatformTx) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from revoked_tokens").fetch_one(&mut **tx).await
}

/// Announces a new signing key, unless one is announced already.
pub async fn rotate_key(tx: &mut PlatformTx) -> sqlx::Result<()> {
    sqlx::query("select admin_rotate_key()").execute(&mut **tx).await.map(|_| ())
}

/// Lets an announced key sign that every pinner knows by now, and retires keys of which no token is left. `true` when
/// anything of that was due.
pub async fn advance_keys(connection: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("select admin_advance_keys()").fetch_one(connection).await
}

/// All keys, the newest first.
pub async fn keys(tx: &mut PlatformTx) -> sqlx::Result<Vec<KeyRow>> {
    sqlx::query_as(
        "select kid, state, created, since, case when state = 'next' then since + key_notice() end as signs_from
         from signing_keys order by created desc, kid",
    )
    .fetch_all(&mut **tx)
    .await
}

/// The state of tokens, in short.
pub async fn state(connection: &mut PgConnection) -> sqlx::Result<StateRow> {
    sqlx::query_as(
        "select version,
            exists (select from signing_keys where state = 'next' and since <= now() - key_notice()) as key_due
         from token_state",
    )
    .fetch_one(connection)
    .await
}

/// Every key that signs or verifies tokens.
pub async fn signing_keys(connection: &mut PgConnection) -> sqlx::Result<Vec<SigningKeyRow>> {
    sqlx::query_as("select kid, state from signing_keys where state <> 'retired'").fetch_all(connection).await
}

/// What came onto the denylist after this version.
pub async fn revoked_since(connection: &mut PgConnection, version: i64) -> sqlx::Result<Vec<RevokedRow>> {
    sqlx::query_as("select id, expires from revoked_tokens where version > $1")
        .bind(version)
        .fetch_all(connection)
        .await
}
