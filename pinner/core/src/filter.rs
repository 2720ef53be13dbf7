//! The query of `GET /pins`, parsed from its pairs.

use crate::{
    Invalid,
    content::{ContentKey, SubmittedCid},
    pin::{Meta, Status, check_meta, check_name, fold_case},
};
use std::collections::BTreeSet;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339, macros::datetime};

/// Results per page when the client does not say.
pub const LIMIT_DEFAULT: u32 = 10;
/// The most results per page.
pub const LIMIT_MAX: u32 = 1_000;
/// The most CIDs in one query.
pub const CIDS_MAX: usize = 10;

/// How a name is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameMatch {
    /// The whole name, as it is.
    Exact(String),
    /// The whole name without its case; holds the folded text.
    ExactFolded(String),
    /// Anywhere in the name, as it is.
    Partial(String),
    /// Anywhere in the name without its case; holds the folded text.
    PartialFolded(String),
}

/// A parsed query. Every part that is present must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Any of these contents; empty for all.
    pub contents: BTreeSet<ContentKey>,
    /// The name.
    pub name: Option<NameMatch>,
    /// Any of these statuses; never empty.
    pub statuses: BTreeSet<Status>,
    /// Created strictly before; in UTC, from 1970 to the year 9999, as all pins are.
    pub before: Option<OffsetDateTime>,
    /// Created strictly after; with the same bounds.
    pub after: Option<OffsetDateTime>,
    /// Pairs that the pin must have, beside any others.
    pub meta: Meta,
    /// Results in the answer, 1 to [`LIMIT_MAX`].
    pub limit: u32,
}

impl Filter {
    /// Parses the decoded pairs of a query string.
    ///
    /// Without `status`, only pinned ones are meant, as the specification says; but with a `name` and no `status`, all
    /// are, as the compliance suite asks (HAZARDS 19). Unknown parameters are ignored, repeated ones refused.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, Invalid> {
        let mut raw = Raw::default();
        for (key, value) in pairs {
            raw.take(key, value)?;
        }
        let statuses = match (raw.status, raw.name) {
            (Some(text), _) => statuses(text)?,
            (None, Some(_)) => Status::ALL.into(),
            (None, None) => BTreeSet::from([Status::Pinned]),
        };
        Ok(Self {
            contents: raw.cid.map(contents).transpose()?.unwrap_or_default(),
            name: name(raw.name, raw.r#match)?,
            statuses,
            before: raw.before.map(|text| timestamp("before", text)).transpose()?,
            after: raw.after.map(|text| timestamp("after", text)).transpose()?,
            meta: raw.meta.map(meta).transpose()?.unwrap_or_default(),
            limit: raw.limit.map_or(Ok(LIMIT_DEFAULT), limit)?,
        })
    }
}

impl Filter {
    /// Whether it asks for nothing but statuses and times: what can be counted without looking at the pins.
    pub fn by_status_and_time(&self) -> bool {
        self.contents.is_empty() && self.name.is_none() && self.meta.is_empty()
    }

    /// Whether it has to look into pins that do not match, so that it can take long where there are many.
    pub fn searches(&self) -> bool {
        !self.meta.is_empty() || matches!(self.name, Some(NameMatch::Partial(_) | NameMatch::PartialFolded(_)))
    }
}

/// The last time that can be written with a year of four digits.
const LAST_TIME: OffsetDateTime = datetime!(9999-12-31 23:59:59.999_999_999 UTC);
/// The last millisecond since 1970 that can be written with a year of four digits.
const LAST_MILLISECOND: i128 = 253_402_300_799_999;

/// The first whole millisecond since 1970 that is not before `time`. No pin is older than 1970 or younger than the year
/// 9999, so times beyond those count as those.
pub fn milliseconds_from(time: OffsetDateTime) -> i64 {
    let nanoseconds = time.unix_timestamp_nanos().max(0);
    (nanoseconds + 999_999).div_euclid(1_000_000).min(LAST_MILLISECOND) as i64
}

/// The first whole millisecond since 1970 that is after `time`, with the same bounds.
pub fn milliseconds_after(time: OffsetDateTime) -> i64 {
    (time.unix_timestamp_nanos().div_euclid(1_000_000) + 1).clamp(0, LAST_MILLISECOND) as i64
}

#[derive(Default)]
struct Raw<'a> {
    cid: Option<&'a str>,
    name: Option<&'a str>,
    r#match: Option<&'a str>,
    status: Option<&'a str>,
    before: Option<&'a str>,
    after: Option<&'a str>,
    limit: Option<&'a str>,
    meta: Option<&'a str>,
}

impl<'a> Raw<'a> {
    fn take(&mut self, key: &str, value: &'a str) -> Result<(), Invalid> {
        let (field, slot) = match key {
            "cid" => ("cid", &mut self.cid),
            "name" => ("name", &mut self.name),
            "match" => ("match", &mut self.r#match),
            "status" => ("status", &mut self.status),
            "before" => ("before", &mut self.before),
            "after" => ("after", &mut self.after),
            "limit" => ("limit", &mut self.limit),
            "meta" => ("meta", &mut self.meta),
            _ => return Ok(()),
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(Invalid::new(field, "is given twice; give several values separated by commas")),
        }
    }
}

/// The parts of a comma-separated list, refused when it is empty or repeats itself.
fn list<'a>(field: &'static str, text: &'a str, max: usize) -> Result<Vec<&'a str>, Invalid> {
    let parts: Vec<_> = text.split(',').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(Invalid::new(field, "has an empty value; separate values by single commas"));
    }
    if parts.len() > max {
        return Err(Invalid::new(field, format!("has {} values; at most {max} are allowed", parts.len())));
    }
    if parts.iter().collect::<BTreeSet<_>>().len() != parts.len() {
        return Err(Invalid::new(field, "has a value twice"));
    }
    Ok(parts)
}

fn contents(text: &str) -> Result<BTreeSet<ContentKey>, Invalid> {
    list("cid", text, CIDS_MAX)?.into_iter().map(|cid| Ok(SubmittedCid::parse(cid)?.key().clone())).collect()
}

fn statuses(text: &str) -> Result<BTreeSet<Status>, Invalid> {
    list("status", text, Status::ALL.len())?.into_iter().map(str::parse).collect()
}

fn name(name: Option<&str>, r#match: Option<&str>) -> Result<Option<NameMatch>, Invalid> {
    let matcher: fn(&str) -> NameMatch = match r#match.unwrap_or("exact") {
        "exact" => |name| NameMatch::Exact(name.to_owned()),
        "iexact" => |name| NameMatch::ExactFolded(fold_case(name)),
        "partial" => |name| NameMatch::Partial(name.to_owned()),
        "ipartial" => |name| NameMatch::PartialFolded(fold_case(name)),
        other => {
            return Err(Invalid::new("match", format!("{other:?} is none of exact, iexact, partial, ipartial")));
        }
    };
    let Some(name) = name else { return Ok(None) };
    check_name(name)?;
    Ok(Some(matcher(name)))
}

fn timestamp(field: &'static str, text: &str) -> Result<OffsetDateTime, Invalid> {
    // In a query an unescaped "+" means a space; nothing else puts one into a timestamp.
    let time = OffsetDateTime::parse(&text.replace(' ', "+"), &Rfc3339).map_err(|_| {
        Invalid::new(field, format!("{text:?} is not a time such as 2026-11-22T16:35:00.123Z (RFC 3339)"))
    })?;
    // With its offset a time may lie in a year that has no four digits in UTC; there no pin is.
    Ok(time.clamp(OffsetDateTime::UNIX_EPOCH, LAST_TIME).to_offset(UtcOffset::UTC))
}

fn limit(text: &str) -> Result<u32, Invalid> {
    match text.parse() {
        Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
        _ => Err(Invalid::new("limit", format!("{text:?} is not a number from 1 to {LIMIT_MAX}"))),
    }
}

fn meta(text: &str) -> Result<Meta, Invalid> {
    let meta = serde_json::from_str(text)
        .map_err(|_| Invalid::new("meta", r#"is not a JSON object of strings such as {"app_id":"x"}"#))?;
    check_meta(&meta)?;
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V0: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
    const V1: &str = "bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho34";

    #[test]
    fn no_status_means_pinned_unless_a_name_is_asked_for() {
        assert_eq!(Filter::parse([]).unwrap().statuses, [Status::Pinned].into());
        assert_eq!(Filter::parse([("cid", V0)]).unwrap().statuses, [Status::Pinned].into());
        assert_eq!(Filter::parse([("name", "x")]).unwrap().statuses, Status::ALL.into());
        let both = Filter::parse([("name", "x"), ("status", "failed")]).unwrap();
        assert_eq!(both.statuses, [Status::Failed].into());
    }

    #[test]
    fn both_spellings_of_a_cid_ask_for_one_content() {
        let (v0, v1) = (Filter::parse([("cid", V0)]).unwrap(), Filter::parse([("cid", V1)]).unwrap());
        assert_eq!(v0.contents, v1.contents);
    }

    #[test]
    fn a_time_may_come_with_an_unescaped_plus() {
        let filter = Filter::parse([("before", "2026-11-22T16:35:00.5 01:00")]).unwrap();
        assert_eq!(filter.before.unwrap().millisecond(), 500);
    }

    #[test]
    fn bounds_fall_on_whole_milliseconds() {
        let at = |nanoseconds| OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap();
        let cases = [(0, 0, 1), (1, 1, 1), (1_000_000, 1, 2), (1_000_001, 2, 2), (-5_000_000, 0, 0)];
        for (nanoseconds, from, after) in cases {
            let time = at(nanoseconds);
            assert_eq!((milliseconds_from(time), milliseconds_after(time)), (from, after), "{nanoseconds}");
        }
        assert_eq!(milliseconds_from(LAST_TIME), milliseconds_after(LAST_TIME));
    }

    #[test]
    fn the_limit_holds_from_both_sides() {
        for good in ["1", "1000"] {
            assert_eq!(Filter::parse([("limit", good)]).unwrap().limit, good.parse::<u32>().unwrap());
        }
    }

    #[test]
    fn each_bad_parameter_is_named() {
        let eleven = (0..11).map(|_| V1).collect::<Vec<_>>().join(",");
        let twice = format!("{V1},{V1}");
        let long = "x".repeat(256);
        let cases = [
            ("cid", ""),
            ("cid", "x"),
            ("cid", eleven.as_str()),
            ("cid", twice.as_str()),
            ("status", ""),
            ("status", "done"),
            ("status", "pinned,pinned"),
            ("match", "fuzzy"),
            ("name", long.as_str()),
            ("before", "yesterday"),
            ("after", "2026-13-01T00:00:00Z"),
            ("limit", "0"),
            ("limit", "1001"),
            ("limit", "-1"),
            ("limit", "ten"),
            ("meta", "map[a:b]"),
            ("meta", r#"{"a":1}"#),
            ("meta", "[]"),
        ];
        for (field, value) in cases {
            assert_eq!(Filter::parse([(field, value)]).unwrap_err().field, field, "{field}={value}");
        }
        assert_eq!(Filter::parse([("limit", "1"), ("limit", "2")]).unwrap_err().field, "limit");
    }

    proptest::proptest! {
        #[test]
        fn no_query_is_too_odd_to_be_judged(
            key in "cid|name|match|status|before|after|limit|meta|\\PC{0,8}",
            value in "\\PC{0,40}|[0-9]{1,5}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,12})?(Z|[+ -][0-9]{2}:[0-9]{2})|[{\"a:,}0-9-]{0,20}",
        ) {
            if let Ok(filter) = Filter::parse([(key.as_str(), value.as_str())]) {
                for time in filter.before.into_iter().chain(filter.after) {
                    assert!((1970..=9999).contains(&time.to_utc().year()), "{time}");
                    for milliseconds in [milliseconds_from(time), milliseconds_after(time)] {
                        assert!((0..=LAST_MILLISECOND).contains(&milliseconds.into()), "{time}");
                    }
                }
            }
        }
    }
}
