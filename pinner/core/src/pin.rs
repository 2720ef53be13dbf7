//! What a client may ask for: a pin, parsed from the API's `Pin` object.

use crate::{Invalid, content::SubmittedCid, options::PinOptions};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

/// The longest name, in Unicode scalars (the specification's `maxLength`).
pub const NAME_MAX: usize = 255;
/// The most pairs in `meta` (the specification's `maxProperties`).
pub const META_PAIRS_MAX: usize = 1_000;
/// The most bytes in all keys and values of `meta` together.
pub const META_BYTES_MAX: usize = 16 * 1024;
/// The most origins that are kept (the specification's `maxItems`).
pub const ORIGINS_MAX: usize = 20;

/// Where a pin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Accepted, waiting for a node to take it up.
    Queued,
    /// Nodes are fetching the content.
    Pinning,
    /// Enough nodes hold the content.
    Pinned,
    /// Given up; a new request tries again.
    Failed,
}

impl Status {
    /// Every status, in the order a pin passes through them.
    pub const ALL: [Self; 4] = [Self::Queued, Self::Pinning, Self::Pinned, Self::Failed];

    /// The status as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Pinning => "pinning",
            Self::Pinned => "pinned",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Status {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| Invalid::new("status", format!("{text:?} is none of queued, pinning, pinned, failed")))
    }
}

/// The string pairs that a client attaches to a pin.
pub type Meta = BTreeMap<String, String>;

/// The wire form of a request, before any rule was applied. Unknown fields are ignored, as the frozen
/// specification's clients may send their own.
#[derive(Debug, Clone, Deserialize)]
pub struct RawPin {
    /// The CID to pin.
    pub cid: String,
    /// A label for listing.
    pub name: Option<String>,
    /// Multiaddrs of peers that have the content.
    pub origins: Option<Vec<String>>,
    /// Pairs to store with the pin.
    pub meta: Option<Meta>,
}

/// A pin that may be stored: every field is within its bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPin {
    /// The content.
    pub cid: SubmittedCid,
    /// The label, if one was given.
    pub name: Option<String>,
    /// The origins as sent; which of them are dialled is decided in [`crate::address`].
    pub origins: Vec<String>,
    /// The pairs, if any were given; `{}` is kept apart from none.
    pub meta: Option<Meta>,
    /// What the pairs ask of us.
    pub options: PinOptions,
}

impl NewPin {
    /// Applies the rules of the specification to a request.
    ///
    /// Origins are never a reason to refuse (HAZARDS 18): repeated ones, and what is beyond 20 or beyond 512 bytes, are
    /// dropped.
    pub fn parse(raw: RawPin) -> Result<Self, Invalid> {
        let cid = SubmittedCid::parse(&raw.cid)?;
        if let Some(name) = &raw.name {
            check_name(name)?;
        }
        let options = match &raw.meta {
            None => PinOptions::default(),
            Some(meta) => {
                check_meta(meta)?;
                PinOptions::parse(meta)?
            }
        };
        let mut seen = BTreeSet::new();
        let usable = |origin: &String| origin.len() <= 512 && !origin.contains('\0') && seen.insert(origin.clone());
        let origins = raw.origins.unwrap_or_default().into_iter().filter(usable).take(ORIGINS_MAX).collect();
        Ok(Self { cid, name: raw.name, origins, meta: raw.meta, options })
    }
}

/// Checks a name's length and that Postgres can store it.
pub(crate) fn check_name(name: &str) -> Result<(), Invalid> {
    let length = name.chars().count();
    if length > NAME_MAX {
        return Err(Invalid::new("name", format!("has {length} characters; at most {NAME_MAX} are allowed")));
    }
    if name.contains('\0') {
        return Err(Invalid::new("name", "contains a NUL character"));
    }
    Ok(())
}

/// Checks the number and size of the pairs and that Postgres can store them.
pub(crate) fn check_meta(meta: &Meta) -> Result<(), Invalid> {
    if meta.len() > META_PAIRS_MAX {
        return Err(Invalid::new("meta", format!("has {} pairs; at most {META_PAIRS_MAX} are allowed", meta.len())));
    }
    let bytes: usize = meta.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > META_BYTES_MAX {
        return Err(Invalid::new("meta", format!("has {bytes} bytes; at most {META_BYTES_MAX} are allowed")));
    }
    if meta.iter().any(|(key, value)| key.contains('\0') || value.contains('\0')) {
        return Err(Invalid::new("meta", "contains a NUL character"));
    }
    Ok(())
}

/// A text without its case, as Unicode folds it, for the matches `iexact` and `ipartial`.
///
/// Upper case first: so `ß` meets `SS`, and the three sigmas are one.
pub fn fold_case(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho34";

    fn raw() -> RawPin {
        RawPin { cid: CID.into(), name: None, origins: None, meta: None }
    }

    #[test]
    fn limits_hold_from_both_sides() {
        let name = |n: usize| NewPin::parse(RawPin { name: Some("é".repeat(n)), ..raw() });
        assert!(name(NAME_MAX).is_ok());
        assert_eq!(name(NAME_MAX + 1).unwrap_err().field, "name");

        let pairs = |n: usize| (0..n).map(|i| (i.to_string(), String::new())).collect::<Meta>();
        let meta = |meta: Meta| NewPin::parse(RawPin { meta: Some(meta), ..raw() });
        assert!(meta(pairs(META_PAIRS_MAX)).is_ok());
        assert_eq!(meta(pairs(META_PAIRS_MAX + 1)).unwrap_err().field, "meta");
        assert!(meta(Meta::from([("k".into(), "v".repeat(META_BYTES_MAX - 1))])).is_ok());
        assert!(meta(Meta::from([("k".into(), "v".repeat(META_BYTES_MAX))])).is_err());
        assert!(meta(Meta::from([("k\0".into(), String::new())])).is_err());
    }

    #[test]
    fn origins_are_dropped_and_never_refused() {
        let kept =
            |origins: Vec<String>| NewPin::parse(RawPin { origins: Some(origins), ..raw() }).unwrap().origins.len();
        assert_eq!(kept((0..40).map(|i| format!("garbage {i}")).chain(["x".repeat(9_999)]).collect()), ORIGINS_MAX);
        assert_eq!(kept(vec!["twice".into(), "twice".into(), "nul\0".into()]), 1);
    }

    #[test]
    fn options_are_read_from_meta_which_stays_as_it_was() {
        let meta = Meta::from([("anchorage_replication".into(), "3".into()), ("app".into(), "x".into())]);
        let pin = NewPin::parse(RawPin { meta: Some(meta.clone()), ..raw() }).unwrap();
        assert_eq!((pin.options.replication, pin.meta), (Some(3), Some(meta)));
        let bad = Meta::from([("anchorage_expires".into(), "soon".into())]);
        let refusal = NewPin::parse(RawPin { meta: Some(bad), ..raw() }).unwrap_err();
        assert_eq!(refusal.field, "meta.anchorage_expires");
    }

    #[test]
    fn case_is_folded_as_unicode_does() {
        assert_eq!(fold_case("Straße"), fold_case("STRASSE"));
        assert_eq!(fold_case("ΟΔΟΣ"), fold_case("οδος"));
        assert_ne!(fold_case("a"), fold_case("b"));
    }

    proptest::proptest! {
        #[test]
        fn no_pin_is_too_odd_to_be_judged(
            name in proptest::option::of("(?s).{0,300}"),
            origins in proptest::option::of(proptest::collection::vec("(?s).{0,40}", 0..30)),
            key in "anchorage_(replication|expires)|(?s).{0,10}",
            value in "(?s).{0,20}|[0-9+-]{0,25}[smhdü]?",
        ) {
            let meta = Some(Meta::from([(key, value)]));
            let raw = RawPin { name: name.clone(), origins, meta: meta.clone(), ..raw() };
            if let Ok(pin) = NewPin::parse(raw) {
                assert_eq!((pin.name, pin.meta), (name, meta));
            }
        }
    }
}
