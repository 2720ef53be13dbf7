//! The objects of the IPFS Pinning Services API 1.0.0, exactly: clients' schema checks fail on any further field,
//! on null and on values of `info` that are not texts (HAZARDS 20).

use super::info::info;
use crate::{
    db::pins::{PinRow, ProgressRow},
    fleet::Fleet,
};
use pinner_core::id::PinId;
use serde::Serialize;
use std::collections::BTreeMap;
use time::{OffsetDateTime, format_description::StaticFormatDescription, macros::format_description};
use utoipa::ToSchema;

/// RFC 3339 with milliseconds, always three digits, in UTC.
const TIMESTAMP: StaticFormatDescription =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// A page of pins.
#[derive(Debug, Serialize, ToSchema)]
pub struct PinResults {
    /// How many pins match the filters, whatever the page.
    #[schema(minimum = 0)]
    pub count: i64,
    /// Newest first.
    #[schema(max_items = 1000)]
    pub results: Vec<PinStatus>,
}

/// A pin request and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PinStatus {
    /// Identifies the request.
    #[schema(example = "pin_01h455vb4pex5vsknk084sn02q")]
    pub requestid: String,
    /// Where it stands.
    #[schema(value_type = super::openapi::Status)]
    pub status: String,
    /// When the request was accepted, in UTC with milliseconds; unique in the org.
    #[schema(format = DateTime)]
    pub created: String,
    /// What was asked for.
    pub pin: Pin,
    /// Addresses of nodes that take the content.
    #[schema(value_type = std::collections::BTreeSet<String>, min_items = 1, max_items = 20)]
    pub delegates: Vec<String>,
    /// More about the status.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub info: BTreeMap<String, String>,
}

/// What was asked for, as it was asked.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Pin {
    /// As the client spelled it.
    pub cid: String,
    /// A label, at most 255 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, max_length = 255)]
    pub name: Option<String>,
    /// Peers that have the content.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = std::collections::BTreeSet<String>, max_items = 20)]
    pub origins: Vec<String>,
    /// Pairs to store with the pin.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub meta: Option<BTreeMap<String, String>>,
}

/// Writes a time as every answer does.
pub fn timestamp(time: OffsetDateTime) -> String {
    time.to_offset(time::UtcOffset::UTC).format(&TIMESTAMP).expect("years of the database have four digits")
}

impl PinStatus {
    /// Puts together what the database knows of a pin.
    pub fn new(row: PinRow, progress: Option<&ProgressRow>, fleet: &Fleet) -> Self {
        let placed_on = progress.map_or(&[][..], |progress| &progress.nodes);
        Self {
            requestid: PinId::from_uuid(row.id).to_string(),
            info: progress.map(|progress| info(&row.status, progress)).unwrap_or_default(),
            delegates: fleet.delegates(placed_on),
            created: timestamp(row.created),
            status: row.status,
            pin: Pin { cid: row.cid, name: row.name, origins: row.origins, meta: row.meta.map(|meta| meta.0) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_have_three_digits_and_are_utc() {
        assert_eq!(timestamp(datetime!(2026-11-22 16:35:00 UTC)), "2026-11-22T16:35:00.000Z");
        assert_eq!(timestamp(datetime!(2026-11-22 17:35:00.120 +1)), "2026-11-22T16:35:00.120Z");
    }
}
