//! Readers of single values.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::diagnostic::Origin;
use super::schema::SpanConfig;
use super::tree::{Item, NodeKind, Reading, Table, join};
use super::units;

/// A string.
pub(crate) fn text(reading: &Reading<'_>, item: Item<'_>) -> Option<String> {
    match &item.node.kind {
        NodeKind::String(text) => Some(text.clone()),
        _ => reading.expected(&item, "a string"),
    }
}

/// A whole number.
pub(crate) fn number<T: TryFrom<i64>>(reading: &Reading<'_>, item: Item<'_>) -> Option<T> {
    let number = match &item.node.kind {
        NodeKind::Integer(n) => *n,
        NodeKind::String(text) if item.node.ticket.text => match text.trim().parse() {
            Ok(n) => n,
            Err(_) => return reading.expected(&item, "an integer"),
        },
        _ => return reading.expected(&item, "an integer"),
    };
    let fits = T::try_from(number).ok();
    if fits.is_none() {
        let why = if number < 0 { "negative" } else { "too large" };
        reading.report(item.error(format!("`{number}` is {why}")));
    }
    fits
}

/// A number with or without a fraction.
pub(crate) fn real(reading: &Reading<'_>, item: Item<'_>) -> Option<f64> {
    match &item.node.kind {
        NodeKind::Float(x) => Some(*x),
        NodeKind::Integer(n) => Some(*n as f64),
        NodeKind::String(text) if item.node.ticket.text => match text.trim().parse() {
            Ok(x) => Some(x),
            Err(_) => reading.expected(&item, "a number"),
        },
        _ => reading.expected(&item, "a number"),
    }
}

/// `"500us"`.
pub(crate) fn duration(reading: &Reading<'_>, item: Item<'_>) -> Option<Duration> {
    let read = match &item.node.kind {
        NodeKind::String(text) => units::duration(text),
        NodeKind::Integer(_) | NodeKind::Float(_) => Err(units::NO_UNIT.into()),
        _ => return reading.expected(&item, "a duration such as \"10ms\""),
    };
    read.map_err(|why| reading.report(item.error(why))).ok()
}

/// `"8MiB"`, or a number of bytes.
pub(crate) fn size(reading: &Reading<'_>, item: Item<'_>) -> Option<u64> {
    match &item.node.kind {
        NodeKind::Integer(_) => number(reading, item),
        NodeKind::String(text) => units::size(text)
            .map_err(|why| reading.report(item.error(why)))
            .ok(),
        _ => reading.expected(&item, "a size such as \"8MiB\""),
    }
}

/// `true` or `false`.
pub(crate) fn boolean(reading: &Reading<'_>, item: Item<'_>) -> Option<bool> {
    match &item.node.kind {
        NodeKind::Boolean(yes) => Some(*yes),
        NodeKind::String(text) if item.node.ticket.text => match text.trim().parse() {
            Ok(yes) => Some(yes),
            Err(_) => reading.expected(&item, "a boolean"),
        },
        _ => reading.expected(&item, "a boolean"),
    }
}

/// Words for distributions of durations.
pub(crate) const DISTRIBUTIONS: [&str; 4] = ["uniform", "exponential", "lognormal", "bimodal"];

/// A duration, or a distribution of durations.
pub(crate) fn span(reading: &Reading<'_>, item: Item<'_>) -> Option<SpanConfig> {
    let NodeKind::Table(entries) = &item.node.kind else {
        return duration(reading, item).map(SpanConfig::Fixed);
    };
    let mut table = Table::open(reading, item)?;
    let uniform = table.opt("uniform", |reading, item| {
        let bounds = items(reading, item, "two durations", duration)?;
        match bounds[..] {
            [least, most] => Some(SpanConfig::Uniform(least, most)),
            _ => {
                reading.report(item.error("expected two durations: the least and the most"));
                None
            }
        }
    });
    let exponential = table.opt("exponential", |reading, item| {
        duration(reading, item).map(SpanConfig::Exponential)
    });
    let lognormal = table.opt("lognormal", |reading, item| {
        let mut table = Table::open(reading, item)?;
        let (mean, cv2) = (table.req("mean", duration), table.req("cv2", real));
        table.finish(&[]);
        let (mean, cv2) = (mean?, cv2?);
        Some(SpanConfig::LogNormal { mean, cv2 })
    });
    let bimodal = table.opt("bimodal", |reading, item| {
        let mut table = Table::open(reading, item)?;
        let short = table.req("short", duration);
        let long = table.req("long", duration);
        let share = table.req("share", real);
        table.finish(&[]);
        let (short, long, share) = (short?, long?, share?);
        Some(SpanConfig::Bimodal { short, long, share })
    });
    table.finish(&[]);
    let said = DISTRIBUTIONS.iter();
    if said.filter(|key| entries.contains_key(**key)).count() != 1 {
        let words = DISTRIBUTIONS.map(|word| format!("`{word}`")).join(", ");
        reading.report(item.error(format!("expected one of {words}")));
        return None;
    }
    uniform.or(exponential).or(lognormal).or(bimodal)
}

/// A path: a relative one starts at the folder of the file that wrote it, or else at the current folder.
pub(crate) fn path(reading: &Reading<'_>, item: Item<'_>) -> Option<PathBuf> {
    text(reading, item).map(|text| absolute(reading, item, &text))
}

/// `text`, resolved as [`path`] does.
pub(crate) fn absolute(reading: &Reading<'_>, item: Item<'_>, text: &str) -> PathBuf {
    match &item.node.ticket.origin {
        Origin::File { file, .. } if !item.node.ticket.current => {
            let folder = file.path().parent().unwrap_or(Path::new(""));
            reading.current.join(folder).join(text)
        }
        _ => reading.current.join(text),
    }
}

/// All items of an array, or `None` if it is none or one of them can't be read.
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
