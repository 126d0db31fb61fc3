//! Parsing and display of durations and sizes such as `"1s"`, `"1h30m"` and `"8MiB"`, for config
//! files, kinds' options, overrides and command-line flags.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// Longest accepted duration, 100 years: timers further away overflow on some systems.
pub const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Largest accepted size, 1 PiB, so that sums of several sizes fit into 64 bits.
pub const LARGEST: u64 = 1 << 50;

/// Description of a duration, for error messages.
pub(crate) const A_DURATION: &str = "a duration such as \"500ms\" or \"1h30m\"";

/// Description of a size, for error messages.
pub(crate) const A_SIZE: &str = "a size such as \"64KiB\" or \"8MB\"";

/// Units of durations in nanoseconds; units of equal length are spellings of one unit.
const TIMES: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Units of sizes in bytes, matched without regard to case.
const SIZES: &[(&str, u128)] = &[
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

/// Fractional digits that are used; further ones could not change the result.
const FRACTION: usize = 18;

/// Parses a duration: a number, optionally with a fraction, and a unit (`ns`, `us`, `ms`, `s`, `m`
/// or `min`, `h`, `d`), or several of these from the longest unit to the shortest, as in `1h30m`.
/// Only the last number may have a fraction. The result is rounded to nanoseconds and is at most
/// [`LONGEST`].
///
/// # Errors
/// A message for the user, also for a number without a unit.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{}` is not {A_DURATION}", shown(text));
    let too_long = || format!("`{}` is too long: at most 100 years", shown(text));
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refused());
    }
    let mut sum: u128 = 0;
    let mut above = u128::MAX;
    while !rest.is_empty() {
        let (number, after) = split(rest, numeric);
        let (unit, after) = split(after.trim_start(), |c| !numeric(c) && !c.is_whitespace());
        rest = after.trim_start();
        if unit.is_empty() && !number.is_empty() && rest.is_empty() && above == u128::MAX {
            return Err(no_unit(shown(text)));
        }
        let Some((_, scale)) = TIMES.iter().find(|(name, _)| *name == unit) else {
            return Err(refused());
        };
        if *scale >= above || (number.contains('.') && !rest.is_empty()) {
            return Err(refused());
        }
        above = *scale;
        match scaled(number, *scale) {
            Ok(part) => sum = sum.saturating_add(part),
            Err(Unread::NoNumber) => return Err(refused()),
            Err(Unread::TooLarge) => return Err(too_long()),
        }
    }
    (u64::try_from(sum).ok().map(Duration::from_nanos))
        .filter(|time| *time <= LONGEST)
        .ok_or_else(too_long)
}

/// Error message for a duration without a unit.
pub(crate) fn no_unit(number: impl fmt::Display) -> String {
    format!("`{number}` has no unit; write {A_DURATION}")
}

/// Parses a size in bytes: a number, optionally with a fraction, and a unit (`B`, `KB`, `MB`, `GB`,
/// `TB`; `KiB`, `MiB`, `GiB`, `TiB`, in any case). A number without a unit is in bytes. The result
/// is rounded to whole bytes and is at most [`LARGEST`].
///
/// # Errors
/// A message for the user.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let refused = || format!("`{}` is not {A_SIZE}", shown(text));
    let (number, unit) = split(text.trim(), numeric);
    let unit = unit.trim_start();
    let known = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let scale = match known {
        Some((_, scale)) => *scale,
        None if unit.is_empty() => 1,
        None => return Err(refused()),
    };
    match scaled(number, scale) {
        Ok(bytes) => u64::try_from(bytes)
            .ok()
            .filter(|bytes| *bytes <= LARGEST)
            .ok_or_else(|| too_large(shown(text))),
        Err(Unread::TooLarge) => Err(too_large(shown(text))),
        Err(Unread::NoNumber) => Err(refused()),
    }
}

/// Error message for a size above [`LARGEST`].
pub(crate) fn too_large(size: impl fmt::Display) -> String {
    format!("`{size}` is too large: at most 1024TiB")
}

/// Shortens `text` to 60 characters for messages.
fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}...", &text[..at]).into(),
        None => text.into(),
    }
}

fn numeric(c: char) -> bool {
    c.is_ascii_digit() || c == '.' || c == '_'
}

/// Splits `text` after its longest prefix of characters that are `wanted`.
fn split(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !wanted(c)).unwrap_or(text.len()))
}

enum Unread {
    NoNumber,
    TooLarge,
}

/// Computes `number * scale` in integers, so that `0.1s` is exactly 100 ms; halves are rounded up.
fn scaled(number: &str, scale: u128) -> Result<u128, Unread> {
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(Unread::NoNumber);
    }
    let whole = whole.trim_start_matches('0');
    let fraction = &fraction[..fraction.len().min(FRACTION)];
    if whole.len() > 20 {
        return Err(Unread::TooLarge);
    }
    let digits = format!("0{whole}{fraction}");
    let value: u128 = digits.parse().map_err(|_| Unread::NoNumber)?;
    let parts = 10_u128.pow(fraction.len() as u32);
    let product = value.checked_mul(scale).ok_or(Unread::TooLarge)?;
    Ok(product / parts + u128::from(product % parts * 2 >= parts && parts > 1))
}

fn in_largest_unit(value: u128, units: &[(&str, u128)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let best = units.iter().filter(|(_, scale)| value >= *scale && value.is_multiple_of(*scale));
    let (unit, scale) = best.max_by_key(|(_, scale)| *scale).unwrap_or(&units[0]);
    write!(f, "{}{unit}", value / scale)
}

/// Regular expression, without anchors, for [`parse_duration`]'s input. It checks neither bounds
/// nor the order of units. With `positive` it rejects zero.
pub(crate) fn duration_pattern(positive: bool) -> String {
    // Longer names first, for engines that take the first alternative that matches.
    let mut units: Vec<&str> = TIMES.iter().map(|(name, _)| *name).collect();
    units.sort_by_key(|name| std::cmp::Reverse(name.len()));
    let units = units.join("|");
    let part = |positive| format!(r"{}\s*({units})\s*", number_pattern(positive));
    if positive {
        format!(r"\s*({0})*({1})({0})*", part(false), part(true))
    } else {
        format!(r"\s*({})+", part(false))
    }
}

/// Regular expression, without anchors, for [`parse_size`]'s input. It doesn't check bounds. With
/// `positive` it rejects zero.
pub(crate) fn size_pattern(positive: bool) -> String {
    let any_case = |name: &str| -> String {
        let letters = name.chars();
        letters.map(|c| format!("[{}{}]", c.to_ascii_lowercase(), c.to_ascii_uppercase())).collect()
    };
    let units: Vec<String> = SIZES.iter().map(|(name, _)| any_case(name)).collect();
    format!(r"\s*{}\s*({})?\s*", number_pattern(positive), units.join("|"))
}

/// Regular expression for [`scaled`]'s input: underscores anywhere, at most one point, and at least
/// one digit.
fn number_pattern(positive: bool) -> String {
    let digit = if positive { "[1-9]" } else { "[0-9]" };
    format!(r"([0-9_]*{digit}[0-9_]*\.?[0-9_]*|[0-9_]*\.[0-9_]*{digit}[0-9_]*)")
}

/// Default of an option: true.
#[cfg(any(feature = "files", feature = "http"))]
pub(crate) fn yes() -> bool {
    true
}

/// Default of an option: a number.
pub(crate) fn number<const NUMBER: u32>() -> u32 {
    NUMBER
}

/// Default of an option: a size in bytes.
pub(crate) fn size<const BYTES: u64>() -> Size {
    Size(BYTES)
}

/// Default of an option: a duration in milliseconds.
pub(crate) fn millis<const MILLIS: u64>() -> Time {
    Time(Duration::from_millis(MILLIS))
}

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty), $schema:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
        pub struct $name(pub $inner);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

unit! {
    /// A duration option, written like `"1s"`.
    Time(Duration), json_schema!({
        "type": "string",
        "format": "duration",
        "pattern": format!("^{}$", duration_pattern(false)),
    })
}

unit! {
    /// A size option in bytes, written like `"8MiB"`; an integer counts bytes.
    Size(u64), json_schema!({
        "type": ["integer", "string"],
        "minimum": 0,
        "maximum": LARGEST,
        "format": "size",
        "pattern": format!("^{}$", size_pattern(false)),
    })
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain: Vec<_> =
            TIMES.iter().filter(|(unit, _)| *unit != "min" && unit.is_ascii()).copied().collect();
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        in_largest_unit(self.0.as_nanos(), &plain, f)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Powers of two only: 1000 bytes are written as "1000B", never rounded.
        let plain: Vec<_> = SIZES
            .iter()
            .filter(|(unit, _)| *unit == "B" || unit.ends_with("iB"))
            .copied()
            .collect();
        in_largest_unit(u128::from(self.0), &plain, f)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;

        impl Visitor<'_> for TimeVisitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(A_DURATION)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                parse_duration(text).map(Time).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Time, E> {
                Err(E::custom(no_unit(number)))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Time, E> {
                Err(E::custom(no_unit(number)))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Time, E> {
                Err(E::custom(no_unit(number)))
            }
        }

        deserializer.deserialize_any(TimeVisitor)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;

        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(A_SIZE)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                parse_size(text).map(Size).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                match u64::try_from(bytes) {
                    Ok(bytes) => self.visit_u64(bytes),
                    Err(_) => Err(E::custom(format!("`{bytes}` is negative; write {A_SIZE}"))),
                }
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                if bytes > LARGEST {
                    return Err(E::custom(too_large(bytes)));
                }
                Ok(Size(bytes))
            }
        }

        deserializer.deserialize_any(SizeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_exact() {
        assert_eq!(parse_duration("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(parse_duration("500\u{b5}s"), parse_duration("500\u{3bc}s"));
        assert_eq!(parse_duration("0.1s"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("1.5 h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("10_000ms"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("2m"), parse_duration(" 2 min "));
        assert_eq!(parse_duration(".5s"), parse_duration("500.ms"));
        assert_eq!(parse_duration("0.5ns"), Ok(Duration::from_nanos(1)));
        assert_eq!(
            parse_duration("0.3333333333333333333333s"),
            Ok(Duration::from_nanos(333_333_333))
        );
    }

    #[test]
    fn durations_of_several_units_are_sums() {
        for (text, seconds) in [
            ("1h30m", 5400),
            ("1h 30min", 5400),
            ("1d12h", 129_600),
            ("2m30s", 150),
            ("1d2h3m4s", 93_784),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("1s250ms"), Ok(Duration::from_millis(1250)));
        assert_eq!(parse_duration("1m1.5s"), Ok(Duration::from_millis(61_500)));
        for bad in ["30m1h", "1.5h30m", "1h30", "1m2min", "1s1us1ms"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused_with_a_hint() {
        assert!(parse_duration("100").unwrap_err().contains("no unit"));
        for bad in ["", "s", "-1s", "1.2.3s", "1 week", "1 day", "1e3s", "1s1s", "s1", ".s"] {
            let message = parse_duration(bad).unwrap_err();
            assert!(message.contains("500ms"), "{bad}: {message}");
        }
        for long in ["99999999999999999999d", "1000000d", "99999999h", "36601d"] {
            let message = parse_duration(long).unwrap_err();
            assert!(message.contains("100 years"), "{message}");
        }
        assert_eq!(parse_duration("36600d"), Ok(LONGEST));
        assert!(parse_duration(&"9".repeat(1 << 20)).unwrap_err().len() < 200);
    }

    #[test]
    fn sizes_know_both_families_of_units() {
        assert_eq!(parse_size("8MiB"), Ok(8 << 20));
        assert_eq!(parse_size("8mib"), Ok(8 << 20));
        assert_eq!(parse_size("8MB"), Ok(8_000_000));
        assert_eq!(parse_size("1mb"), Ok(1_000_000));
        assert_eq!(parse_size("1.5 KiB"), Ok(1536));
        assert_eq!(parse_size("64"), Ok(64));
        assert_eq!(parse_size("10_000"), Ok(10_000));
        assert_eq!(parse_size("1024TiB"), Ok(LARGEST));
        for bad in ["", "64K", "MiB", "-1", "1 XB", "1.2.3KB"] {
            let message = parse_size(bad).unwrap_err();
            assert!(message.contains("64KiB"), "{bad}: {message}");
        }
        for large in ["99999999TiB", "1025TiB", "99999999999999999999999"] {
            assert!(parse_size(large).unwrap_err().contains("too large"));
        }
    }

    proptest! {
        #[test]
        fn what_is_displayed_reads_back(
            nanos in 0..=LONGEST.as_nanos() as u64,
            bytes in 0..=LARGEST,
        ) {
            let time = Time(Duration::from_nanos(nanos));
            prop_assert_eq!(parse_duration(&time.to_string()), Ok(time.0));
            let size = Size(bytes);
            prop_assert_eq!(parse_size(&size.to_string()), Ok(bytes));
        }

        #[test]
        fn any_text_is_judged(text in "[0-9_. a-zµ]{0,12}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
