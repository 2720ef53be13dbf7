//! Deleting many pins of an org in one transaction.

use super::insist;
use crate::{db::bulk, http::error::ApiError, service::Service};
use pinner_core::{
    id::{OrgId, PinId},
    pin::Status,
};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Deletes those of the pins that are the org's and have one of these statuses by then; gives which. At most as many as
/// one transaction should lock: the caller keeps to 1,000.
pub async fn delete(
    service: &Service,
    org: OrgId,
    ids: &[PinId],
    statuses: &BTreeSet<Status>,
) -> Result<Vec<PinId>, ApiError> {
    let ready = service.ready()?;
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let (deleted, wakes) = insist(|| async {
        let mut tx = service.db.tenant(org).await?;
        let contents = bulk::contents(&mut tx, &ids).await?;
        let keys: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        bulk::lock(&mut tx, &keys).await?;
        let deleted = bulk::delete(&mut tx, &ids, &keys, statuses).await?;
        tx.commit().await?;
        Ok(deleted)
    })
    .await?;
    ready.waker.wake(&wakes);
    Ok(deleted.into_iter().map(PinId::from_uuid).collect())
}
