//! What a client asks of a pin beyond the specification, as pairs of `meta`: how many copies, until when.
//!
//! The specification leaves `meta` to the client and is frozen, so what we take from it begins with `anchorage_`. The
//! pairs stay in `meta` and are echoed like any other.

use crate::{Invalid, pin::Meta};
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The key of the number of copies: `"1"` to the deployment's `replication.max`.
pub const REPLICATION_KEY: &str = "anchorage_replication";
/// The key of the end: an RFC 3339 time in the future, or a span from now on such as `"36h"` or `"30d"`.
pub const EXPIRES_KEY: &str = "anchorage_expires";
/// The furthest end of a pin: ten years of 365 days from now on.
pub const EXPIRES_MAX: Duration = Duration::from_secs(3_650 * DAY);

const DAY: u64 = 24 * 60 * 60;
/// What messages call the keys.
const REPLICATION_FIELD: &str = "meta.anchorage_replication";
const EXPIRES_FIELD: &str = "meta.anchorage_expires";

/// What was asked for, well-formed each; whether this deployment can do it now is said by [`PinOptions::resolve`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PinOptions {
    /// On how many nodes the content is put, at least 1; as many as the deployment says when left out.
    pub replication: Option<u8>,
    /// When the pin deletes itself; never when left out.
    pub expires: Option<Expiry>,
}

/// The end of a pin, as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// At this time.
    At(OffsetDateTime),
    /// So long after the pin was accepted: from 1 second to [`EXPIRES_MAX`].
    After(Duration),
}

/// How many copies a deployment makes: `1 <= min <= max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// From how many nodes on a content counts as pinned.
    pub min: u8,
    /// On how many nodes it is put.
    pub max: u8,
}

/// What a pin gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved {
    /// Its copies.
    pub copies: Copies,
    /// Its end, after now.
    pub expires: Option<OffsetDateTime>,
}

impl PinOptions {
    /// Reads the options among the pairs of a pin.
    ///
    /// # Errors
    /// A value that is well-formed in no deployment and at no time, with its key and what is allowed.
    pub fn parse(meta: &Meta) -> Result<Self, Invalid> {
        Ok(Self {
            replication: meta.get(REPLICATION_KEY).map(|text| replication(text)).transpose()?,
            expires: meta.get(EXPIRES_KEY).map(|text| expiry(text)).transpose()?,
        })
    }

    /// What a pin with these options gets where `copies` are the deployment's own, when it is accepted at `now`.
    ///
    /// # Errors
    /// More copies than the deployment makes, an end that is not after now or more than [`EXPIRES_MAX`] away.
    pub fn resolve(&self, copies: Copies, now: OffsetDateTime) -> Result<Resolved, Invalid> {
        let copies = match self.replication {
            None => copies,
            Some(wanted) if wanted > copies.max => {
                let reason = format!("is {wanted}; this deployment makes 1 to {} copies", copies.max);
                return Err(Invalid::new(REPLICATION_FIELD, reason));
            }
            Some(wanted) => Copies { min: copies.min.min(wanted), max: wanted },
        };
        let expires = match self.expires {
            None => None,
            Some(Expiry::After(span)) => Some(now + span),
            Some(Expiry::At(end)) if end <= now => {
                return Err(Invalid::new(EXPIRES_FIELD, "is in the past; give a time in the future"));
            }
            Some(Expiry::At(end)) if end > now + EXPIRES_MAX => return Err(too_far()),
            Some(Expiry::At(end)) => Some(end),
        };
        Ok(Resolved { copies, expires })
    }
}

fn replication(text: &str) -> Result<u8, Invalid> {
    // Digits alone: the standard library would take "+2" as well.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|copies| digits && *copies > 0).ok_or_else(|| {
        Invalid::new(REPLICATION_FIELD, format!("{text:?} is not a number of copies such as \"2\", and at least \"1\""))
    })
}

fn expiry(text: &str) -> Result<Expiry, Invalid> {
    if let Ok(end) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Expiry::At(end));
    }
    let span = span(text).ok_or_else(|| {
        let expected = "a time such as \"2026-12-24T18:00:00Z\" nor a span such as \"90m\", \"36h\" or \"30d\"";
        Invalid::new(EXPIRES_FIELD, format!("{text:?} is neither {expected}"))
    })?;
    if span > EXPIRES_MAX { Err(too_far()) } else { Ok(Expiry::After(span)) }
}

/// A number and a unit, at least a second. A span that no `u64` holds is as long as one can be.
fn span(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => DAY,
        _ => return None,
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse().unwrap_or(u64::MAX).saturating_mul(unit);
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn too_far() -> Invalid {
    Invalid::new(EXPIRES_FIELD, "is more than ten years (3650d) away; leave it out for a pin without an end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 20:00 UTC);
    const COPIES: Copies = Copies { min: 2, max: 3 };

    fn options(key: &str, value: &str) -> Result<PinOptions, Invalid> {
        PinOptions::parse(&Meta::from([(key.into(), value.into())]))
    }

    fn resolve(key: &str, value: &str) -> Result<Resolved, Invalid> {
        options(key, value)?.resolve(COPIES, NOW)
    }

    #[test]
    fn without_options_a_pin_gets_what_the_deployment_says_and_has_no_end() {
        let other = options("Anchorage_Replication", "nonsense").unwrap();
        assert_eq!(other, PinOptions::default());
        assert_eq!(other.resolve(COPIES, NOW), Ok(Resolved { copies: COPIES, expires: None }));
    }

    #[test]
    fn copies_hold_from_both_sides_and_fewer_copies_ask_for_fewer() {
        for (wanted, min) in [(1, 1), (2, 2), (3, 2)] {
            let resolved = resolve(REPLICATION_KEY, &wanted.to_string()).unwrap();
            assert_eq!(resolved.copies, Copies { min, max: wanted });
        }
        let refusal = resolve(REPLICATION_KEY, "4").unwrap_err();
        assert_eq!(refusal.to_string(), "meta.anchorage_replication: is 4; this deployment makes 1 to 3 copies");
        for text in ["", "0", "00", "-1", "+1", "1.5", " 1", "1 ", "two", "256", "99999999999999999999", "\u{0661}"] {
            assert_eq!(options(REPLICATION_KEY, text).unwrap_err().field, REPLICATION_FIELD, "{text}");
        }
    }

    #[test]
    fn an_end_is_a_time_or_a_span_from_now_on() {
        for (text, expires) in [
            ("1s", datetime!(2026-11-22 20:00:01 UTC)),
            ("90m", datetime!(2026-11-22 21:30 UTC)),
            ("36h", datetime!(2026-11-24 8:00 UTC)),
            ("30d", datetime!(2026-12-22 20:00 UTC)),
            ("2026-11-22T20:00:00.001Z", datetime!(2026-11-22 20:00:00.001 UTC)),
            ("2026-12-24T18:00:00+02:00", datetime!(2026-12-24 16:00 UTC)),
        ] {
            assert_eq!(resolve(EXPIRES_KEY, text).unwrap().expires, Some(expires), "{text}");
        }
        let malformed = ["", "30", "d", "0h", "-1h", "+1h", "1.5h", "1w", "1 h", "36H", "1ü", "ü", "tomorrow"];
        for text in malformed.into_iter().chain(["2026-12-24", "2026-13-24T18:00:00Z", "2026-12-24T18:00:00"]) {
            let refusal = options(EXPIRES_KEY, text).unwrap_err();
            assert_eq!(refusal.field, EXPIRES_FIELD, "{text}");
            assert!(refusal.reason.contains("neither"), "{refusal}");
        }
    }

    #[test]
    fn an_end_is_in_the_future_and_at_most_ten_years_away() {
        let says = |text: &str, what: &str| {
            let refusal = resolve(EXPIRES_KEY, text).unwrap_err();
            assert!(refusal.field == EXPIRES_FIELD && refusal.reason.contains(what), "{text}: {refusal}");
        };
        for past in ["2026-11-22T20:00:00Z", "2026-11-22T19:59:59.999Z", "0000-01-01T00:00:00Z"] {
            says(past, "past");
        }
        let furthest = NOW + EXPIRES_MAX;
        for text in ["3650d", "87600h", "315360000s", &furthest.format(&Rfc3339).unwrap()] {
            assert_eq!(resolve(EXPIRES_KEY, text).unwrap().expires, Some(furthest), "{text}");
        }
        let beyond = (furthest + Duration::from_millis(1)).format(&Rfc3339).unwrap();
        for text in ["3651d", "87601h", "315360001s", "99999999999999999999999d", "9999-12-31T23:59:59Z", &beyond] {
            says(text, "ten years");
        }
    }
}
