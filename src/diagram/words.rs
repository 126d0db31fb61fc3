//! Formats numbers, durations and user-provided text for pictures.

use std::time::Duration;

use crate::config::elements::{Capacity, KindConfig, Span, StepTime};
use crate::config::limits::grouped;
use crate::plan::named;

/// Turns user-provided text into one line: line breaks and tabs become spaces; control characters
/// and characters that reorder or hide text become U+FFFD.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
            // Direction marks affect the text around them; XML forbids the last two.
            '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => '\u{fffd}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Returns the text, cut to `most` columns with an ellipsis if it is longer.
pub fn shorten(text: &str, most: usize) -> String {
    if columns(text) <= most {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut left = most.saturating_sub(1);
    for c in text.chars() {
        let Some(rest) = left.checked_sub(width(c)) else {
            break;
        };
        left = rest;
        out.push(c);
    }
    out.push('…');
    out
}

/// Width of a text in terminal columns.
pub fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// Width of a character in terminal columns: combining marks 0, East Asian wide characters and
/// emoji 2.
pub fn width(c: char) -> usize {
    match u32::from(c) {
        0x300..=0x36f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f000..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// Joins parts with `between` into lines of at most `most` columns; a longer part is shortened.
pub fn wrap(parts: &[String], between: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        let comma = if at + 1 < parts.len() { between.trim_end() } else { "" };
        let part = format!("{}{comma}", shorten(part, most.saturating_sub(comma.chars().count())));
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(&part) <= most => {
                line.push(' ');
                line.push_str(&part);
            }
            _ => lines.push(part),
        }
    }
    lines
}

/// Formats `1 book` or `2 books`.
pub fn counted(number: u64, word: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {word}{plural}", grouped(number))
}

/// Formats `2 copies` or `2 lanes`. An axis without a regular plural stays as it is: `2 × box`.
pub fn copies(count: u32, axis: &str) -> String {
    let number = u64::from(count);
    let regular = axis.len() > 2 && axis.ends_with(|c: char| c.is_ascii_lowercase());
    let stem = axis.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match stem {
        Some(stem) if regular && count != 1 => format!("{} {stem}ies", grouped(number)),
        _ if count == 1 => format!("1 {axis}"),
        _ if regular && !axis.ends_with(['f', 'h', 'o', 's', 'x', 'z']) => counted(number, axis),
        _ => format!("{} × {axis}", grouped(number)),
    }
}

/// Formats `8 MiB`, in the largest unit that needs no fraction, else in bytes.
pub fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(bits, _)| bytes >= 1 << bits && bytes.trailing_zeros() >= *bits);
    match unit {
        Some((bits, unit)) => format!("{} {unit}", grouped(bytes >> bits)),
        None => counted(bytes, "byte"),
    }
}

/// Formats `80 books, 8 MiB`; `None` if unbounded.
pub fn capacity(of: Capacity) -> Option<String> {
    let books = of.books.map(|books| counted(books, "book"));
    let parts: Vec<String> = books.into_iter().chain(of.bytes.map(size)).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Formats a kind's name, with the option `books` if present, or `asks desk` if a balancer does it.
/// Other options are omitted: they may hold paths of this machine.
pub fn kind(of: &KindConfig) -> String {
    if let Some(balancer) = named(of) {
        return format!("asks {}", clean(balancer));
    }
    let name = clean(&of.kind);
    match of.options.get("books").and_then(toml::Value::as_integer) {
        Some(books) if books >= 0 => format!("{name}, {}", counted(books as u64, "book")),
        _ => name,
    }
}

/// Formats `1 ms` or `500 us`, in the largest unit that needs no fraction.
pub fn duration(time: Duration) -> String {
    let nanos = time.as_nanos();
    let units = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "min"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    if nanos == 0 {
        return "0 s".to_owned();
    }
    match units.iter().find(|(unit, _)| nanos.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", nanos / unit),
        None => format!("{nanos} ns"),
    }
}

/// Formats the cost of a step; `None` if it is zero.
pub fn step(time: &StepTime) -> Option<String> {
    let wait = span(time.wait);
    let cpu = span(time.cpu).map(|time| format!("cpu {time}"));
    let parts: Vec<String> = wait.into_iter().chain(cpu).collect();
    (!parts.is_empty()).then(|| parts.join(" + "))
}

/// Formats a duration or its distribution; `None` if it is fixed at zero.
pub fn span(time: Span) -> Option<String> {
    match time {
        Span::Zero | Span::Fixed(Duration::ZERO) => None,
        Span::Fixed(time) => Some(duration(time)),
        Span::Uniform(from, to) => Some(format!("{} to {}", duration(from), duration(to))),
        Span::Exponential(mean) => Some(format!("exp {}", duration(mean))),
        Span::LogNormal { mean, .. } => Some(format!("lognormal {}", duration(mean))),
        Span::Bimodal { short, long, share } => {
            Some(format!("{} or {} ({} %)", duration(short), duration(long), share * 100.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let us = |us| duration(Duration::from_micros(us));
        assert_eq!(us(500), "500 us");
        assert_eq!(us(1_000), "1 ms");
        assert_eq!(us(1_500), "1500 us");
        assert_eq!(us(120_000_000), "2 min");
        assert_eq!(us(0), "0 s");
        let both = StepTime {
            wait: Span::Exponential(Duration::from_micros(500)),
            cpu: Span::Fixed(Duration::from_millis(1)),
        };
        assert_eq!(step(&both).as_deref(), Some("exp 500 us + cpu 1 ms"));
        assert_eq!(step(&StepTime::default()), None);
    }

    #[test]
    fn numbers_and_sizes_are_read_at_a_glance() {
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(size(8 << 20), "8 MiB");
        assert_eq!(size(1_500), "1,500 bytes");
        assert_eq!(counted(1, "cart"), "1 cart");
    }

    #[test]
    fn copies_have_plurals_that_are_right() {
        for (axis, shown) in [
            ("copy", "2 copies"),
            ("lane", "2 lanes"),
            ("bay", "2 bays"),
            ("box", "2 × box"),
            ("az", "2 × az"),
            ("site_1", "2 × site_1"),
        ] {
            assert_eq!(copies(2, axis), shown);
            assert_eq!(copies(1, axis), format!("1 {axis}"));
        }
    }

    #[test]
    fn foreign_texts_stay_in_their_line() {
        assert_eq!(clean("a\nb\u{7}c\u{202e}d"), "a b\u{fffd}c\u{fffd}d");
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(shorten("汉字汉字", 5), "汉字…");
        let parts = ["one", "two", "three"].map(str::to_owned);
        assert_eq!(wrap(&parts, ", ", 9), ["one, two,", "three"]);
        assert_eq!(wrap(&["abcdef".to_owned()], ", ", 4), ["abc…"]);
    }
}
