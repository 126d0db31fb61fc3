//! Durations and sizes as people write them: `"1s"`, `"8MiB"`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

const TIMES: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

const SIZES: &[(&str, u128)] = &[
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads a duration: a number, which may have a fraction, and a unit (`ns`, `us`, `ms`, `s`, `m`, `h`, `d`).
///
/// # Errors
/// What is wrong with it, for people. A number without a unit is refused.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let nanos = parse(text, TIMES, "a duration", "\"250ms\" or \"1.5s\"")?;
    let seconds = u64::try_from(nanos / 1_000_000_000).map_err(|_| too_large(text))?;
    Ok(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

/// Reads a size in bytes: a number, which may have a fraction, and a unit (`B`, `kB`, `MB`, `GB`, `TB`; `KiB`, `MiB`, `GiB`, `TiB`).
///
/// # Errors
/// What is wrong with it, for people.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bytes = parse(text, SIZES, "a size", "\"64KiB\" or \"8MiB\"")?;
    u64::try_from(bytes).map_err(|_| too_large(text))
}

fn too_large(text: &str) -> String {
    format!("`{text}` is too large")
}

/// In whole numbers only: `0.1s` is exactly 100 ms. What is below the smallest unit is cut off.
fn parse(text: &str, units: &[(&str, u128)], what: &str, such_as: &str) -> Result<u128, String> {
    let trimmed = text.trim();
    let digits = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim_start();
    let refused = || format!("`{text}` is not {what}; write it like {such_as}");
    let Some((_, scale)) = units.iter().find(|(name, _)| *name == unit) else {
        if unit.is_empty() && !number.is_empty() {
            return Err(format!("`{text}` has no unit; write it like {such_as}"));
        }
        return Err(refused());
    };
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err(refused());
    }
    if whole.len() + fraction.len() > 20 {
        return Err(too_large(text));
    }
    let value: u128 = format!("{whole}{fraction}")
        .parse()
        .map_err(|_| refused())?;
    Ok(value * scale / 10_u128.pow(fraction.len() as u32))
}

fn in_largest_unit(value: u128, units: &[(&str, u128)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let best = units
        .iter()
        .filter(|(_, scale)| value >= *scale && value.is_multiple_of(*scale));
    let (unit, scale) = best.max_by_key(|(_, scale)| *scale).unwrap_or(&units[0]);
    write!(f, "{}{unit}", value / scale)
}

/// What [`parse`] reads, as a regular expression; it knows nothing of bounds.
fn pattern(units: &[(&str, u128)]) -> String {
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    format!(
        r"^\s*_*[0-9][0-9_]*(\._*[0-9][0-9_]*)?\s*({})\s*$",
        names.join("|")
    )
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
    Time(Duration), json_schema!({ "type": "string", "format": "duration", "pattern": pattern(TIMES) })
}

unit! {
    /// A size option in bytes, written like `"8MiB"`; a bare whole number is taken as bytes.
    Size(u64), json_schema!({
        "type": ["integer", "string"],
        "minimum": 0,
        "format": "size",
        "pattern": pattern(SIZES),
    })
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain: Vec<_> = TIMES
            .iter()
            .filter(|(unit, _)| *unit != "min" && *unit != "µs")
            .copied()
            .collect();
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
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;

        impl Visitor<'_> for SizeVisitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"8MiB\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                parse_size(text).map(Size).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes)
                    .map(Size)
                    .map_err(|_| E::custom("a size can't be negative"))
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
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
        assert_eq!(parse_duration("0.1s"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("1.5 h"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("10_000ms"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("2m"), parse_duration("2min"));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_a_hint() {
        assert!(parse_duration("100").unwrap_err().contains("no unit"));
        for bad in [
            "", "s", "-1s", "1.s", ".5s", "1.2.3s", "1 week", "1e3s", "1s1s",
        ] {
            let message = parse_duration(bad).unwrap_err();
            assert!(message.contains("250ms"), "{bad}: {message}");
        }
        assert!(
            parse_duration("99999999999999999999d")
                .unwrap_err()
                .contains("too large")
        );
    }

    #[test]
    fn sizes_know_both_families_of_units() {
        assert_eq!(parse_size("8MiB"), Ok(8 << 20));
        assert_eq!(parse_size("8MB"), Ok(8_000_000));
        assert_eq!(parse_size("1.5KiB"), Ok(1536));
        assert_eq!(parse_size("64"), Ok(64));
        assert!(parse_size("64K").is_err());
        assert!(parse_size("99999999TiB").unwrap_err().contains("too large"));
    }

    proptest! {
        #[test]
        fn what_is_displayed_reads_back(nanos in any::<u64>(), bytes in any::<u64>()) {
            let time = Time(Duration::from_nanos(nanos));
            prop_assert_eq!(parse_duration(&time.to_string()), Ok(time.0));
            let size = Size(bytes);
            prop_assert_eq!(parse_size(&size.to_string()), Ok(bytes));
        }
    }
}
