//! Durations and sizes as people write them.

use std::time::Duration;

/// Longest duration that a config may say; timers further away overflow on some systems.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

const DURATIONS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const SIZES: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// What a number without a unit is answered with.
pub(crate) const NO_UNIT: &str = "durations need a unit: \"10ms\"";

/// Reads `500us`, `1.5s`, `2m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text);
    if unit.is_empty() && !number.is_empty() {
        return Err(NO_UNIT.into());
    }
    let Some((_, nanos)) = DURATIONS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!(
            "`{text}` is no duration: a number and one of ns, us, ms, s, m, h"
        ));
    };
    scaled(number, *nanos)
        .map(Duration::from_nanos)
        .filter(|time| *time <= LONGEST)
        .ok_or_else(|| format!("`{text}` is no duration from 0 to 100 years"))
}

/// Reads `8MiB`, `1KB`, `512`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text);
    let known = SIZES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let Some((_, bytes)) = known.filter(|_| !number.is_empty()) else {
        return Err(format!(
            "`{text}` is no size: a number of bytes, or one with KB, MB, GB, KiB, MiB or GiB"
        ));
    };
    scaled(number, *bytes).ok_or_else(|| format!("`{text}` is too large, or no number"))
}

/// What [`duration`] reads, as a regular expression without anchors; but for its bounds, and with `positive` nothing that is all zeros.
pub(crate) fn duration_pattern(positive: bool) -> String {
    let units: Vec<&str> = DURATIONS.iter().map(|(name, _)| *name).collect();
    format!(
        r"\s*{}\s*({})\s*",
        number_pattern(positive),
        units.join("|")
    )
}

/// What [`size`] reads, in the same way.
pub(crate) fn size_pattern(positive: bool) -> String {
    let any_case = |name: &str| -> String {
        let letters = name.chars();
        letters
            .map(|c| format!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase()))
            .collect()
    };
    let units = SIZES.iter().filter(|(name, _)| !name.is_empty());
    let units: Vec<String> = units.map(|(name, _)| any_case(name)).collect();
    format!(
        r"\s*{}\s*({})?\s*",
        number_pattern(positive),
        units.join("|")
    )
}

/// A number as [`scaled`] reads it: underscores anywhere, at most one point, and a digit on either side of it.
fn number_pattern(positive: bool) -> String {
    let digit = if positive { "[1-9]" } else { "[0-9]" };
    format!(r"([0-9_]*{digit}[0-9_]*\.?[0-9_]*|[0-9_]*\.[0-9_]*{digit}[0-9_]*)")
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// `number * unit`, exact for whole numbers, rounded to the nearest otherwise.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let number = number.replace('_', "");
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let product = number.parse::<f64>().ok()? * unit as f64;
    // Above 2^53 a float no longer holds every whole number.
    (product <= 9e15).then_some(product.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let us = Duration::from_micros;
        assert_eq!(duration("500us"), Ok(us(500)));
        assert_eq!(duration("500\u{b5}s"), Ok(us(500)));
        assert_eq!(duration("1.5s"), Ok(us(1_500_000)));
        assert_eq!(duration(" 2 m "), Ok(us(120_000_000)));
        assert_eq!(duration("1h"), Ok(us(3_600_000_000)));
        assert_eq!(duration("0.5ns"), Ok(Duration::from_nanos(1)));
        assert_eq!(duration("10"), Err(NO_UNIT.into()));
        for wrong in [
            "",
            "ms",
            "-1s",
            "1 day",
            "1.2.3s",
            "s1",
            "99999999h",
            "1e3s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size("8MiB"), Ok(8 << 20));
        assert_eq!(size("1KB"), Ok(1000));
        assert_eq!(size("1.5 KiB"), Ok(1536));
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("10_000"), Ok(10_000));
        for wrong in ["", "MiB", "-1", "1 XB", "99999999999TiB", "1.2.3KB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
