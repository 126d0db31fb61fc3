//! Readers of single values.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::diagnostic::{Code, Origin};
use super::layers::{TOO_LARGE, unquoted};
use super::tree::{Item, NodeKind, Reading, join};
use super::units;

/// Description of a whole number, for messages.
const A_WHOLE_NUMBER: &str = "a whole number such as 4";

/// Description of a number, for messages.
const A_NUMBER: &str = "a number such as 0.5";

/// A name or a word of the language; in a variable or flag it may be quoted.
pub(crate) fn text(reading: &Reading<'_>, item: Item<'_>) -> Option<String> {
    let said = verbatim(reading, item)?;
    Some(if item.node.provenance.text { unquoted(&said).trim().to_owned() } else { said })
}

/// Any string, byte for byte.
pub(crate) fn verbatim(reading: &Reading<'_>, item: Item<'_>) -> Option<String> {
    match (&item.node.kind, &item.node.provenance.raw) {
        (NodeKind::String(text), _) => Some(text.clone()),
        (NodeKind::Array(_) | NodeKind::Table(_), Some(raw)) => Some(raw.to_string()),
        _ => reading.expected(&item, "a string"),
    }
}

/// Parses a whole number. `None` if `text` is not a number, an error if it exceeds 64 bits.
pub(crate) fn integer(text: &str) -> Option<Result<i64, &'static str>> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Some(Ok(number));
    }
    let value = DeValue::parse(text).ok()?;
    let DeValue::Integer(number) = value.get_ref() else {
        return None;
    };
    let number = i64::from_str_radix(number.as_str(), number.radix());
    Some(number.map_err(|_| TOO_LARGE))
}

/// Parses a number with or without a fraction.
pub(crate) fn float(text: &str) -> Option<f64> {
    let text = text.trim();
    text.parse().or_else(|_| text.replace('_', "").parse()).ok()
}

/// Parses `true`, `on`, `yes`, `1` and their opposites, in any case.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// A whole number. One that does not fit its type saturates: the plan checks the bounds.
pub(crate) fn number<T: TryFrom<i64> + Bounded>(
    reading: &Reading<'_>,
    item: Item<'_>,
) -> Option<T> {
    let number = match &item.node.kind {
        NodeKind::Integer(n) => *n,
        NodeKind::String(text) if item.node.provenance.text => match integer(text) {
            Some(Ok(n)) => n,
            Some(Err(why)) => {
                reading.report(item.error(Code::OutOfBounds, why));
                return None;
            }
            None => return reading.expected(&item, A_WHOLE_NUMBER),
        },
        _ => return reading.expected(&item, A_WHOLE_NUMBER),
    };
    if number < 0 {
        reading.report(item.error(Code::OutOfBounds, format!("`{number}` is negative")));
        return None;
    }
    Some(T::try_from(number).unwrap_or(T::MOST))
}

/// Whole numbers of the language.
pub(crate) trait Bounded {
    /// Largest value of the type.
    const MOST: Self;
}

impl Bounded for u16 {
    const MOST: Self = u16::MAX;
}

impl Bounded for u32 {
    const MOST: Self = u32::MAX;
}

impl Bounded for u64 {
    const MOST: Self = u64::MAX;
}

/// A number with or without a fraction.
pub(crate) fn real(reading: &Reading<'_>, item: Item<'_>) -> Option<f64> {
    match &item.node.kind {
        NodeKind::Float(x) => Some(*x),
        NodeKind::Integer(n) => Some(*n as f64),
        NodeKind::String(text) if item.node.provenance.text => match float(text) {
            Some(x) => Some(x),
            None => reading.expected(&item, A_NUMBER),
        },
        _ => reading.expected(&item, A_NUMBER),
    }
}

/// `"500us"`.
pub(crate) fn duration(reading: &Reading<'_>, item: Item<'_>) -> Option<Duration> {
    let read = match &item.node.kind {
        NodeKind::String(text) => units::parse_duration(&outside(item, text)),
        NodeKind::Integer(n) => Err(units::no_unit(n)),
        NodeKind::Float(x) => Err(units::no_unit(x)),
        _ => return reading.expected(&item, units::A_DURATION),
    };
    read.map_err(|why| reading.report(item.error(Code::InvalidValue, why))).ok()
}

/// `text` without quotes, if it is the value of a variable or flag.
pub(crate) fn outside(item: Item<'_>, text: &str) -> String {
    if item.node.provenance.text { unquoted(text) } else { text.to_owned() }
}

/// `"8MiB"`, or a number of bytes.
pub(crate) fn size(reading: &Reading<'_>, item: Item<'_>) -> Option<u64> {
    match &item.node.kind {
        NodeKind::Integer(_) => number(reading, item),
        NodeKind::String(text) => units::parse_size(&outside(item, text))
            .map_err(|why| reading.report(item.error(Code::InvalidValue, why)))
            .ok(),
        _ => reading.expected(&item, units::A_SIZE),
    }
}

/// `true` or `false`.
pub(crate) fn boolean(reading: &Reading<'_>, item: Item<'_>) -> Option<bool> {
    match &item.node.kind {
        NodeKind::Boolean(yes) => Some(*yes),
        NodeKind::String(text) if item.node.provenance.text => match truth(text) {
            Some(yes) => Some(yes),
            None => reading.expected(&item, "`true` or `false`"),
        },
        _ => reading.expected(&item, "`true` or `false`"),
    }
}

/// A path. Relative to the folder of the file that contains it, otherwise to the current folder.
pub(crate) fn path(reading: &Reading<'_>, item: Item<'_>) -> Option<PathBuf> {
    verbatim(reading, item).map(|text| absolute(reading, item, &text))
}

/// `text`, resolved as [`path`] does.
pub(crate) fn absolute(reading: &Reading<'_>, item: Item<'_>, text: &str) -> PathBuf {
    match &item.node.provenance.origin {
        Origin::File { file, .. } if !item.node.provenance.current => {
            reading.current.join(file.folder()).join(text)
        }
        _ => reading.current.join(text),
    }
}

/// All items of an array; `None` if it is no array or an item can't be read.
pub(crate) fn items<T>(
    reading: &Reading<'_>,
    item: Item<'_>,
    what: &str,
    read: impl Fn(&Reading<'_>, Item<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let NodeKind::Array(nodes) = &item.node.kind else {
        return reading.expected(&item, &format!("an array of {what}"));
    };
    let read: Vec<Option<T>> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| {
            let path = join(item.path, &at.to_string());
            read(reading, Item { node, path: &path })
        })
        .collect();
    read.into_iter().collect()
}
