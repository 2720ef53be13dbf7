//! Accepting, replacing and deleting pins: one transaction each, then wake-ups.
//!
//! Nothing is answered before the commit, and nothing after the commit can fail.

use crate::{
    db::{
        TenantTx,
        pins::{self, PinRow, PlacementRequest},
        placements::Wake,
    },
    http::{error::ApiError, wire::PinStatus},
    service::{Ready, Service},
};
use pinner_core::{
    id::{OrgId, PinId},
    pin::NewPin,
};
use uuid::Uuid;

/// How often a transaction is tried that the database gave up for the sake of another one.
const TRIES: usize = 5;

/// Runs a transaction, again if the database had to break a deadlock.
macro_rules! transaction {
    ($attempt:expr) => {{
        let mut tries = 0;
        loop {
            tries += 1;
            match $attempt.await {
                Err(Stopped::Database(error)) if tries < TRIES && is_deadlock(&error) => {}
                Err(Stopped::Database(error)) => break Err(error.into()),
                Err(Stopped::Refused(refusal)) => break Err(refusal),
                Ok(done) => break Ok(done),
            }
        }
    }};
}

pub mod bulk;

enum Stopped {
    Database(sqlx::Error),
    Refused(ApiError),
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<ApiError> for Stopped {
    fn from(refusal: ApiError) -> Self {
        Self::Refused(refusal)
    }
}

/// `serialization_failure` and `deadlock_detected`: nothing was done, and trying again is right.
fn is_deadlock(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|refusal| refusal.code()).is_some_and(|code| code == "40001" || code == "40P01")
}

/// Accepts a pin of `org`.
pub async fn create(service: &Service, org: OrgId, pin: &NewPin) -> Result<PinStatus, ApiError> {
    let ready = service.ready()?;
    let (status, wakes) = transaction!(async {
        let mut tx = service.db.tenant(org).await?;
        let accepted = insert(&mut tx, service, ready, org, pin).await?;
        tx.commit().await?;
        Ok::<_, Stopped>(accepted)
    })?;
    service.metrics.pin_accepted();
    ready.waker.wake(&wakes);
    Ok(status)
}

/// Replaces the pin `id` of `org`. `None` when there is none.
pub async fn replace(service: &Service, org: OrgId, id: PinId, pin: &NewPin) -> Result<Option<PinStatus>, ApiError> {
    let ready = service.ready()?;
    let replaced = transaction!(async {
        let mut tx = service.db.tenant(org).await?;
        let Some(old) = pins::find(&mut tx, id).await? else { return Ok(None) };
        pins::lock(&mut tx, Some(org), &[&old.content, pin.cid.key().as_bytes()]).await?;
        // The new one first: so what both need is held at every moment.
        let (status, mut wakes) = insert(&mut tx, service, ready, org, pin).await?;
        let Some(unpins) = pins::delete(&mut tx, id, &old.content).await? else { return Ok(None) };
        wakes.extend(unpins);
        pins::keep_until(&mut tx, &old.content, pin.cid.key().as_bytes()).await?;
        tx.commit().await?;
        Ok::<_, Stopped>(Some((status, wakes)))
    })?;
    let Some((status, wakes)) = replaced else { return Ok(None) };
    service.metrics.pin_accepted();
    ready.waker.wake(&wakes);
    Ok(Some(status))
}

/// Deletes the pin `id` of `org`. `false` when there is none.
pub async fn delete(service: &Service, org: OrgId, id: PinId) -> Result<bool, ApiError> {
    let ready = service.ready()?;
    let deleted = transaction!(async {
        let mut tx = service.db.tenant(org).await?;
        let Some(old) = pins::find(&mut tx, id).await? else { return Ok(None) };
        pins::lock(&mut tx, None, &[&old.content]).await?;
        let wakes = pins::delete(&mut tx, id, &old.content).await?;
        tx.commit().await?;
        Ok::<_, Stopped>(wakes)
    })?;
    let Some(wakes) = deleted else { return Ok(false) };
    ready.waker.wake(&wakes);
    Ok(true)
}

async fn insert(
    tx: &mut TenantTx,
    service: &Service,
    ready: &Ready,
    org: OrgId,
    pin: &NewPin,
) -> Result<(PinStatus, Vec<Wake>), Stopped> {
    let replication = &service.replication;
    let candidates = ready.fleet.candidates(pin.cid.key(), usize::from(replication.max));
    let request =
        PlacementRequest { candidates: &candidates, copies_min: replication.min, copies_max: replication.max };
    let id = PinId::from_uuid(Uuid::now_v7());
    let (row, wakes): (PinRow, _) = pins::insert(tx, org, id, pin, &request).await?;
    let progress = pins::progress(tx, &[row.id]).await?;
    let status = PinStatus::new(row, progress.first(), &ready.fleet);
    if status.delegates.is_empty() {
        // The specification wants at least one delegate, and there is nobody to name.
        return Err(ApiError::Unavailable("no node of this cluster has been heard of yet; try again".into()).into());
    }
    Ok((status, wakes))
}
