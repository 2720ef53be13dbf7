//! Whether a cluster is to be paused. A pause always has an end, so that a forgotten one does not last for ever.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::conditions::whole_seconds;
use crate::crd::anchorage_cluster::{MaintenanceSpec, MaintenanceStatus};
use crate::pin_node::scheduling::bounded;

/// How long a pause lasts that names no end.
const DEFAULT_LENGTH: SignedDuration = SignedDuration::from_hours(4);

/// Where a pause stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// Nobody asked for one.
    None,
    /// It is on.
    Paused(MaintenanceStatus),
    /// It outlived its end; the request should be removed.
    Expired(MaintenanceStatus),
}

impl Maintenance {
    /// Decides for the request in the annotation, else in the spec. `before` is the status written last: a request keeps
    /// the start that was seen first.
    #[must_use]
    pub fn decide(
        annotation: Option<&str>,
        spec: Option<&MaintenanceSpec>,
        before: Option<&MaintenanceStatus>,
        now: Timestamp,
    ) -> Self {
        let Some((token, until)) = annotation
            .map(|reason| (bounded(reason), None))
            .or_else(|| spec.map(|spec| (bounded(spec.reason.as_deref().unwrap_or_default()), spec.until.clone())))
        else {
            return Maintenance::None;
        };
        let same = before.filter(|before| before.request_token == token);
        let start = same.and_then(|before| parse(before.start_time.as_deref())).unwrap_or_else(|| whole_seconds(now));
        let end = parse(until.as_deref()).unwrap_or_else(|| start.saturating_add(DEFAULT_LENGTH).unwrap_or(start));
        let status = MaintenanceStatus {
            request_token: token,
            start_time: Some(start.to_string()),
            until_time: Some(end.to_string()),
        };
        if now < end { Maintenance::Paused(status) } else { Maintenance::Expired(status) }
    }

    /// Whether moves are to stop now.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        matches!(self, Maintenance::Paused(_))
    }

    /// What goes into the cluster's status.
    #[must_use]
    pub fn status(&self) -> Option<MaintenanceStatus> {
        match self {
            Maintenance::None => None,
            Maintenance::Paused(status) | Maintenance::Expired(status) => Some(status.clone()),
        }
    }

    /// When the pause ends by itself.
    #[must_use]
    pub fn end(&self) -> Option<Timestamp> {
        match self {
            Maintenance::Paused(status) => parse(status.until_time.as_deref()),
            Maintenance::None | Maintenance::Expired(_) => None,
        }
    }
}

fn parse(time: Option<&str>) -> Option<Timestamp> {
    time?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn a_pause_without_an_end_ends_after_four_hours() {
        let began = Maintenance::decide(Some("disk swap"), None, None, at("2026-01-01T10:00:00.5Z"));
        let status = began.status().unwrap();
        assert!(began.is_paused());
        assert_eq!(status.until_time.as_deref(), Some("2026-01-01T14:00:00Z"));
        let later = Maintenance::decide(Some("disk swap"), None, Some(&status), at("2026-01-01T13:59:59Z"));
        assert_eq!(later, began);
        let too_late = Maintenance::decide(Some("disk swap"), None, Some(&status), at("2026-01-01T14:00:00Z"));
        assert_eq!(too_late, Maintenance::Expired(status));
    }

    #[test]
    fn a_new_reason_is_a_new_pause() {
        let old = MaintenanceStatus {
            request_token: "old".to_owned(),
            start_time: Some("2026-01-01T00:00:00Z".to_owned()),
            until_time: None,
        };
        let new = Maintenance::decide(Some("new"), None, Some(&old), at("2026-01-01T10:00:00Z"));
        assert_eq!(new.status().unwrap().start_time.as_deref(), Some("2026-01-01T10:00:00Z"));
    }

    #[test]
    fn the_spec_may_name_the_end_and_the_annotation_wins() {
        let spec = MaintenanceSpec { reason: Some("move".to_owned()), until: Some("2026-01-01T11:00:00Z".to_owned()) };
        let from_spec = Maintenance::decide(None, Some(&spec), None, at("2026-01-01T10:00:00Z"));
        assert_eq!(from_spec.end(), Some(at("2026-01-01T11:00:00Z")));
        let both = Maintenance::decide(Some("mine"), Some(&spec), None, at("2026-01-01T10:00:00Z"));
        assert_eq!(both.status().unwrap().request_token, "mine");
    }

    #[test]
    fn no_request_is_no_pause() {
        assert_eq!(Maintenance::decide(None, None, None, at("2026-01-01T10:00:00Z")), Maintenance::None);
    }
}
