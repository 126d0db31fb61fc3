//! Names of copies: `near[lane=1,rack=0]` is the copy of `near` at 1 on the axis `lane` and 0 on
//! `rack`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Valid names, as a regular expression.
pub(crate) const NAME: &str = "[a-z][a-z0-9_]*";

/// True for a valid name of a node or an axis.
pub(crate) fn is_name(text: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(letters)
}

/// Position of a copy on each axis, from 0.
pub type At = BTreeMap<String, u32>;

/// The name of the copy of `name` at `at`; `name` itself if there are no axes.
pub fn label(name: &str, at: &At) -> String {
    let mut out = name.to_owned();
    for (number, (axis, place)) in at.iter().enumerate() {
        let before = if number == 0 { '[' } else { ',' };
        let _ = write!(out, "{before}{axis}={place}");
    }
    if !at.is_empty() {
        out.push(']');
    }
    out
}

/// The name without its label.
pub fn base(name: &str) -> &str {
    match name.find('[') {
        Some(at) if name[at..].contains('=') => &name[..at],
        _ => name,
    }
}

/// The name and the position in a label, on as many axes as it gives.
///
/// # Errors
/// What is wrong with the label.
pub fn parse(text: &str) -> Result<(&str, At), String> {
    let Some((name, rest)) = text.split_once('[') else {
        return Ok((text, At::new()));
    };
    let wrong = || format!("`{text}` is not the name of a copy; write it like `{name}[lane=1]`");
    let label = rest.strip_suffix(']').ok_or_else(wrong)?;
    let mut at = At::new();
    for part in label.split(',') {
        let (axis, place) = part.split_once('=').ok_or_else(wrong)?;
        let place = place.trim().parse().map_err(|_| wrong())?;
        if at.insert(axis.trim().to_owned(), place).is_some() {
            return Err(format!("`{text}` names the axis `{}` twice", axis.trim()));
        }
    }
    Ok((name, at))
}

/// Removes the labels of the names in a text.
pub fn unlabelled(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('[') {
        let (before, from) = rest.split_at(open);
        out.push_str(before);
        let close = from.find(']').unwrap_or(from.len() - 1);
        let inside = &from[..=close];
        if !inside.contains('=') || inside.contains(' ') {
            out.push_str(inside);
        }
        rest = &from[close + 1..];
    }
    out + rest
}

/// Orders names numerically: `x[lane=2]` before `x[lane=10]`.
pub fn compare(a: &str, b: &str) -> Ordering {
    match (parse(a), parse(b)) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

/// Number of positions on `axes`.
pub(crate) fn product(axes: &BTreeMap<String, u32>) -> u64 {
    (axes.values()).fold(1, |all: u64, count| all.saturating_mul((*count).into()))
}

/// All positions on `axes`, the last axis varying fastest; a single empty one if there are no axes.
pub fn places(axes: &BTreeMap<String, u32>) -> Vec<At> {
    let mut out = vec![At::new()];
    for (axis, count) in axes {
        out = out
            .iter()
            .flat_map(|at| {
                (0..*count).map(move |place| {
                    let mut at = at.clone();
                    at.insert(axis.clone(), place);
                    at
                })
            })
            .collect();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(axes: &[(&str, u32)]) -> BTreeMap<String, u32> {
        axes.iter().map(|(axis, n)| ((*axis).into(), *n)).collect()
    }

    #[test]
    fn labels_are_read_as_they_are_written() {
        let all = places(&axes(&[("rack", 3), ("lane", 2)]));
        let names: Vec<String> = all.iter().map(|at| label("near", at)).collect();
        assert_eq!((names.len(), product(&axes(&[("rack", 3), ("lane", 2)]))), (6, 6));
        assert_eq!(names[0], "near[lane=0,rack=0]");
        assert_eq!(names[5], "near[lane=1,rack=2]");
        for (name, at) in names.iter().zip(&all) {
            assert_eq!(parse(name), Ok(("near", at.clone())));
            assert_eq!(base(name), "near");
        }
        assert_eq!(label("near", &At::new()), "near");
        assert_eq!(parse("near"), Ok(("near", At::new())));
    }

    #[test]
    fn broken_labels_are_reported() {
        for text in ["x[", "x[]", "x[lane]", "x[lane=]", "x[lane=a]", "x[lane=1", "x[lane=-1]"] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(text), "{message}");
        }
        assert!(parse("x[a=1,a=2]").unwrap_err().contains("twice"));
    }

    #[test]
    fn texts_lose_labels_and_nothing_else() {
        let text = "`x[lane=1]` and `y[a=1,b=2]`, not [1] or [a = b] or an open [";
        assert_eq!(unlabelled(text), "`x` and `y`, not [1] or [a = b] or an open [");
    }

    #[test]
    fn copies_are_ordered_as_people_count() {
        let mut names = ["x[lane=10]", "x[lane=2]", "w", "x"];
        names.sort_by(|a, b| compare(a, b));
        assert_eq!(names, ["w", "x", "x[lane=2]", "x[lane=10]"]);
    }
}
