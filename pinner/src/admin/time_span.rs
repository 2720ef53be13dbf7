//! Times as people write them: `45s`, `90m`, `12h`, `30d`.

use std::time::Duration;

/// A number and a unit.
///
/// # Errors
/// Anything else, and times that no number of seconds holds.
pub(super) fn parse(text: &str) -> Result<Duration, &'static str> {
    const EXPECTED: &str = "a time is a number and a unit, as 45s, 90m, 12h or 30d";
    let unit = text.chars().last().ok_or(EXPECTED)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return Err(EXPECTED),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| EXPECTED)?;
    let seconds = number.checked_mul(seconds).filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or(EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, seconds) in [("45s", 45), ("90m", 5_400), ("12h", 43_200), ("30d", 2_592_000)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)));
        }
        for text in ["", "30", "d", "0h", "-1h", "1.5h", "1w", "1ü", "99999999999999999999d", "9999999999999999999d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
