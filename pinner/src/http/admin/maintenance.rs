//! Maintenance: a pause of moves, repair and garbage collection. Accepting and serving go on. It always has an end.

use super::check_texts;
use crate::{
    changed::Changed,
    db::fleet::{self, FleetRow, Pause},
    http::{
        auth::PlatformAdmin,
        body::{Body, json},
        detached::detached,
        error::ApiError,
        wire::timestamp,
    },
    service::Service,
};
use actix_web::web;
use pinner_core::Invalid;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;

/// How long a pause lasts that names no end.
const DEFAULT: Duration = Duration::hours(4);
/// The longest pause.
const LONGEST: Duration = Duration::days(30);

/// Whether the fleet is paused.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Maintenance {
    /// Whether moves, repair and garbage collection wait.
    pub paused: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which request asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_token: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_time: Option<String>,
    /// The last pause, if it lasted until its end and nobody has ended it since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<PauseAnswer>,
}

/// A pause that is over.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseAnswer {
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which request asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_token: Option<String>,
    /// Since when.
    pub start_time: String,
    /// Until when.
    pub until_time: String,
}

/// A pause to begin. Its end is a time or a length, or else four hours from now; at most 30 days.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MaintenanceRequest {
    /// When it ends, as RFC 3339.
    #[schema(format = DateTime)]
    pub until_time: Option<String>,
    /// After how many seconds it ends.
    #[schema(minimum = 1, maximum = 2_592_000)]
    pub for_seconds: Option<i64>,
    /// Why, for people. At most 1,024 bytes.
    #[schema(max_length = 256, pattern = r"^[^\u0000]*$")]
    pub reason: Option<String>,
    /// Echoed by every later answer. At most 1,024 bytes.
    #[schema(max_length = 256, pattern = r"^[^\u0000]*$")]
    pub request_token: Option<String>,
}

impl From<FleetRow> for Maintenance {
    fn from(row: FleetRow) -> Self {
        match row.pause.map(PauseAnswer::from) {
            Some(pause) if row.is_paused => Self {
                paused: true,
                reason: pause.reason,
                request_token: pause.request_token,
                start_time: Some(pause.start_time),
                until_time: Some(pause.until_time),
                expired: None,
            },
            expired => Self { expired, ..Self::default() },
        }
    }
}

impl From<Pause> for PauseAnswer {
    fn from(pause: Pause) -> Self {
        Self {
            reason: pause.reason,
            request_token: pause.token,
            start_time: timestamp(pause.since),
            until_time: timestamp(pause.until),
        }
    }
}

/// Whether the fleet is paused.
#[utoipa::path(get, path = "/admin/v1/maintenance", tag = "admin", security(("token" = [])),
    responses((status = 200, description = "As it is", body = Maintenance)))]
pub async fn read(service: web::Data<Service>, _admin: PlatformAdmin) -> Result<web::Json<Maintenance>, ApiError> {
    let mut tx = service.db.worker().await?;
    let row = fleet::read(&mut tx).await?;
    tx.commit().await?;
    Ok(web::Json(row.into()))
}

/// Pauses the fleet, or gives a pause another end.
#[utoipa::path(put, path = "/admin/v1/maintenance", tag = "admin", security(("token" = [])),
    request_body = Option<MaintenanceRequest>,
    responses((status = 200, description = "As it is now", body = Maintenance)))]
pub async fn begin(
    service: web::Data<Service>,
    _admin: PlatformAdmin,
    body: Body,
) -> Result<web::Json<Maintenance>, ApiError> {
    let request = if body.is_empty() { None } else { json::<Option<MaintenanceRequest>>(body)? }.unwrap_or_default();
    let until = end(&request, OffsetDateTime::now_utc())?;
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let mut tx = work.db.worker().await?;
        fleet::pause(&mut tx, request.request_token.as_deref(), request.reason.as_deref(), until).await?;
        let row = fleet::read(&mut tx).await?;
        tx.commit().await?;
        work.ready()?.changes.announce(Changed::Maintenance);
        tracing::info!(%until, reason = request.reason, "maintenance: moves, repair and garbage collection wait");
        Ok(web::Json(row.into()))
    })
    .await
}

/// Ends a pause. Ending none changes nothing.
#[utoipa::path(delete, path = "/admin/v1/maintenance", tag = "admin", security(("token" = [])),
    responses((status = 200, description = "As it is now", body = Maintenance)))]
pub async fn end_now(service: web::Data<Service>, _admin: PlatformAdmin) -> Result<web::Json<Maintenance>, ApiError> {
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        let mut tx = work.db.worker().await?;
        fleet::resume(&mut tx).await?;
        let row = fleet::read(&mut tx).await?;
        tx.commit().await?;
        work.ready()?.changes.announce(Changed::Maintenance);
        tracing::info!("maintenance was ended");
        Ok(web::Json(row.into()))
    })
    .await
}

/// When the pause ends that is asked for.
fn end(request: &MaintenanceRequest, now: OffsetDateTime) -> Result<OffsetDateTime, Invalid> {
    check_texts(request.request_token.as_deref(), request.reason.as_deref())?;
    let (field, end) = match (&request.until_time, request.for_seconds) {
        (Some(_), Some(_)) => {
            return Err(Invalid::new("forSeconds", "and untilTime both name the end; give one of them"));
        }
        (None, None) => return Ok(now + DEFAULT),
        (Some(text), None) => {
            let time = OffsetDateTime::parse(text, &Rfc3339);
            ("untilTime", time.map_err(|_| Invalid::new("untilTime", "is not a time such as 2026-01-31T12:00:00Z"))?)
        }
        (None, Some(seconds)) => {
            let end = now.checked_add(Duration::seconds(seconds));
            ("forSeconds", end.ok_or_else(|| Invalid::new("forSeconds", "is too long: at most 2592000"))?)
        }
    };
    if end <= now {
        return Err(Invalid::new(field, "is not in the future"));
    }
    if end - now > LONGEST {
        return Err(Invalid::new(field, "is more than 30 days away; a pause that long is a fleet without repair"));
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_always_has_an_end_that_is_not_far_away() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let of = |until: Option<&str>, seconds| MaintenanceRequest {
            until_time: until.map(ToOwned::to_owned),
            for_seconds: seconds,
            ..MaintenanceRequest::default()
        };
        assert_eq!(end(&of(None, None), now).unwrap(), now + DEFAULT);
        assert_eq!(end(&of(None, Some(60)), now).unwrap(), now + Duration::MINUTE);
        assert_eq!(end(&of(Some("1970-01-01T01:00:00Z"), None), now).unwrap(), now + Duration::HOUR);
        for (request, word) in [
            (of(Some("1970-01-01T01:00:00Z"), Some(1)), "both"),
            (of(Some("soon"), None), "not a time"),
            (of(Some("1970-01-01T00:00:00Z"), None), "future"),
            (of(None, Some(0)), "future"),
            (of(None, Some(i64::MAX)), "too long"),
            (of(None, Some(2_592_001)), "30 days"),
        ] {
            let error = end(&request, now).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
