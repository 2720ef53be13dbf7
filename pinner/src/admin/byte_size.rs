//! Numbers of bytes as people write them: `1048576`, `500MB`, `10GiB`.

/// Units, longest names first.
const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// A whole number, alone or with a unit.
///
/// # Errors
/// Anything else, and more bytes than the database counts.
pub(super) fn parse(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "a size is a whole number of bytes, alone or with a unit, as 1048576, 500MB or 10GiB";
    let unit = UNITS.iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, *bytes)));
    let (number, unit) = unit.unwrap_or((text, 1));
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(EXPECTED);
    }
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or(EXPECTED)
}

/// The size in the largest binary unit of which it has at least one, to a tenth.
pub(super) fn show(bytes: u64) -> String {
    let unit = UNITS[..4].iter().rev().find(|(_, size)| bytes >= *size);
    unit.map_or_else(|| format!("{bytes}B"), |(name, size)| format!("{:.1}{name}", bytes as f64 / *size as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_alone_or_with_a_unit() {
        for (text, bytes) in
            [("0", 0), ("1048576", 1 << 20), ("7B", 7), ("500MB", 500_000_000), ("10GiB", 10 << 30), ("1kB", 1_000)]
        {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse("9223372036854775807"), Ok(i64::MAX as u64));
        for text in
            ["", "GiB", "1.5GiB", "-1", "+1", "1 GiB", "1gib", "1G", "none", "9223372036854775808", "99999999TiB"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_is_shown_in_the_largest_unit() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.0KiB"),
            (1_572_864, "1.5MiB"),
            (10 << 30, "10.0GiB"),
            (5 << 40, "5.0TiB"),
        ] {
            assert_eq!(show(bytes), text);
        }
    }
}
