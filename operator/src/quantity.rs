//! Kubernetes quantities (`10Gi`, `250m`), as far as the operator counts with them.

/// The value of a quantity in thousandths, or nothing when the text is no quantity.
#[must_use]
pub fn thousandths(text: &str) -> Option<u128> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let factor: u128 = match suffix {
        "m" => 1,
        "" => 1000,
        "k" => 1000 * 1000,
        "M" => 1000 * 1000_u128.pow(2),
        "G" => 1000 * 1000_u128.pow(3),
        "T" => 1000 * 1000_u128.pow(4),
        "P" => 1000 * 1000_u128.pow(5),
        "Ki" => 1000 * 1024,
        "Mi" => 1000 * 1024_u128.pow(2),
        "Gi" => 1000 * 1024_u128.pow(3),
        "Ti" => 1000 * 1024_u128.pow(4),
        "Pi" => 1000 * 1024_u128.pow(5),
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 = whole.parse().ok()?;
    let fraction_digits = u32::try_from(fraction.len()).ok().filter(|digits| *digits <= 9)?;
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    Some(whole.checked_mul(factor)? + fraction * factor / 10_u128.pow(fraction_digits))
}

/// The value of a quantity in whole units (bytes for sizes), rounded down.
#[must_use]
pub fn units(text: &str) -> Option<u128> {
    Some(thousandths(text)? / 1000)
}

/// Whether both texts are quantities of the same value.
#[must_use]
pub fn same_quantity(one: &str, other: &str) -> bool {
    thousandths(one).is_some_and(|value| thousandths(other) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_values() {
        for (text, value) in
            [("0", 0), ("1", 1), ("1500m", 1), ("1Ki", 1024), ("1.5Gi", 1_610_612_736), ("10G", 10_000_000_000)]
        {
            assert_eq!(units(text), Some(value), "{text}");
        }
        for text in ["", "x", "1Xi", "Gi", "1.2.3", "-1", "1.Gi.", "nats://x"] {
            assert_eq!(thousandths(text), None, "{text}");
        }
    }

    #[test]
    fn the_same_value_may_be_written_in_several_ways() {
        assert!(same_quantity("1", "1000m"));
        assert!(same_quantity("1Gi", "1024Mi"));
        assert!(!same_quantity("1Gi", "1G"));
    }
}
