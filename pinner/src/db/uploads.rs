//! Uploads whose blocks a node's Kubo has and nobody need have pinned yet. See migration 0009.

use super::{Database, PlatformTx, placements};
use pinner_core::{content::ContentKey, id::NodeId};

/// Notes that `node`'s Kubo has the blocks of an upload, so that they are spared until a node holds it. `false`, and nothing
/// is noted, when the node is to be emptied.
pub async fn note(tx: &mut PlatformTx, node: NodeId, content: &ContentKey) -> sqlx::Result<bool> {
    sqlx::query_scalar("select note_upload($1, $2)")
        .bind(node.uuid())
        .bind(content.as_bytes())
        .fetch_one(&mut **tx)
        .await
}

/// Whether `node` has uploads that a pin wants and no node holds yet.
pub async fn any(db: &Database, node: NodeId) -> sqlx::Result<bool> {
    sqlx::query_scalar("select has_uploads($1)").bind(node.uuid()).fetch_one(&db.worker).await
}

/// Up to `max` of those that `node` has had for an hour: it is to look whether it has all of each.
pub async fn overdue(db: &Database, node: NodeId, max: i32) -> sqlx::Result<Vec<ContentKey>> {
    let keys: Vec<Vec<u8>> =
        sqlx::query_scalar("select overdue_uploads($1, $2)").bind(node.uuid()).bind(max).fetch_all(&db.worker).await?;
    keys.iter().map(|key| placements::content(key)).collect()
}

/// Forgets one that turned out to be a part only.
pub async fn forget(db: &Database, node: NodeId, content: &ContentKey) -> sqlx::Result<()> {
    sqlx::query("select forget_upload($1, $2)")
        .bind(node.uuid())
        .bind(content.as_bytes())
        .execute(&db.worker)
        .await
        .map(|_| ())
}
