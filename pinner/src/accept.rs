//! Accepting, replacing and deleting pins.
//!
//! Nothing is answered before the commit, and nothing after the commit can fail. New pins go through the [`lanes`], where
//! those that come at the same time share a commit; replacing and deleting is a transaction each.

pub mod bulk;
pub mod lanes;

use crate::{
    db::batch::{self, NewRow, Verdict, Written},
    http::{error::ApiError, wire::PinStatus},
    service::{Ready, Service},
};
use futures::future::join_all;
use pinner_core::{
    id::{OrgId, PinId},
    options::Copies,
    pin::NewPin,
};
use time::OffsetDateTime;
use uuid::Uuid;

/// How often a transaction is tried that the database gave up for the sake of another one.
const TRIES: usize = 5;
/// How many pins of one request wait for their commit at a time.
const AT_ONCE: usize = 256;

/// `serialization_failure` and `deadlock_detected`: nothing was done, and trying again is right.
fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|refusal| refusal.code()).is_some_and(|code| code == "40001" || code == "40P01")
}

/// Runs a transaction, again if the database had to break a deadlock.
async fn insist<T, F: Future<Output = sqlx::Result<T>>>(mut attempt: impl FnMut() -> F) -> sqlx::Result<T> {
    for _ in 1..TRIES {
        match attempt().await {
            Err(error) if is_deadlock(&error) => tracing::debug!(%error, "once more"),
            done => return done,
        }
    }
    attempt().await
}

/// Accepts a pin of `org`. Goes on if the caller does not wait for it.
pub async fn create(service: &Service, org: OrgId, pin: &NewPin) -> Result<PinStatus, ApiError> {
    let ready = service.ready()?;
    let row = new_row(service, ready, org, pin)?;
    let verdict = ready.lanes.write(row.clone()).await?;
    status(ready, row, verdict)
}

/// Accepts pins of `org`, in their order; each is accepted or refused by itself.
pub async fn create_all(service: &Service, org: OrgId, pins: Vec<NewPin>) -> Vec<Result<PinStatus, ApiError>> {
    let mut statuses = Vec::with_capacity(pins.len());
    for pins in pins.chunks(AT_ONCE) {
        statuses.extend(join_all(pins.iter().map(|pin| create(service, org, pin))).await);
    }
    statuses
}

/// Replaces the pin `id` of `org`. `None` when there is none.
pub async fn replace(service: &Service, org: OrgId, id: PinId, pin: &NewPin) -> Result<Option<PinStatus>, ApiError> {
    let ready = service.ready()?;
    let row = new_row(service, ready, org, pin)?;
    let Written { mut verdicts, wakes } = insist(|| async {
        let mut tx = service.db.tenant(org).await?;
        let written = batch::replace(&mut tx, id, &row).await?;
        tx.commit().await?;
        Ok(written)
    })
    .await?;
    ready.waker.wake(&wakes);
    let Some(verdict) = verdicts.pop() else { return Ok(None) };
    let status = status(ready, row, verdict)?;
    service.metrics.pins_accepted(1);
    Ok(Some(status))
}

/// Deletes the pin `id` of `org`. `false` when there is none.
pub async fn delete(service: &Service, org: OrgId, id: PinId) -> Result<bool, ApiError> {
    let ready = service.ready()?;
    let wakes = insist(|| async {
        let mut tx = service.db.tenant(org).await?;
        let wakes = batch::delete(&mut tx, org, id).await?;
        tx.commit().await?;
        Ok(wakes)
    })
    .await?;
    let Some(wakes) = wakes else { return Ok(false) };
    ready.waker.wake(&wakes);
    Ok(true)
}

/// Gives a pin its id, its options their meaning and its content its nodes.
fn new_row(service: &Service, ready: &Ready, org: OrgId, pin: &NewPin) -> Result<NewRow, ApiError> {
    let replication = Copies { min: service.replication.min, max: service.replication.max };
    let resolved = pin.options.resolve(replication, OffsetDateTime::now_utc())?;
    if ready.fleet.delegates(&[]).is_empty() {
        // The specification wants at least one delegate, and there is nobody to name.
        return Err(ApiError::Unavailable("no node of this cluster has been heard of yet; try again".into()));
    }
    Ok(NewRow {
        org,
        id: PinId::from_uuid(Uuid::now_v7()),
        pin: pin.clone(),
        copies: resolved.copies,
        expires: resolved.expires,
        choice: ready.fleet.choose(pin.cid.key(), usize::from(resolved.copies.max)),
    })
}

/// What to answer for a row that was decided on.
fn status(ready: &Ready, row: NewRow, verdict: Verdict) -> Result<PinStatus, ApiError> {
    match verdict {
        Verdict::Accepted { created, status, progress } => {
            Ok(PinStatus::new(row.stored(created, status), Some(&progress), &ready.fleet))
        }
        Verdict::OverLimit { limit, most, used } => Err(ApiError::OverLimit(format!(
            "the organisation's limit is {most} {limit} and {used} are in use: delete pins, or ask your administrator for more"
        ))),
        Verdict::NoSuchOrg => Err(ApiError::Forbidden("the token's organisation is gone".into())),
    }
}
