//! Describes limits in words.

use std::fmt::Write as _;

use gopherworks_pipeline::steps::Step;

use super::limits::{Family, Limit};

/// Maximum number of limits that are named; the rest is counted.
const MOST: usize = 8;

/// Describes the limits that bind the throughput; `None` if none of them has a name.
pub(super) fn bottleneck(limits: &[&Limit]) -> Option<String> {
    let mut crews: Vec<(&str, Vec<&Limit>)> = Vec::new();
    let mut others = Vec::new();
    for limit in limits {
        match &limit.family {
            Family::Steps(crew, _) | Family::Carts(crew) => {
                match crews.iter_mut().find(|(name, _)| name == crew) {
                    Some((_, parts)) => parts.push(limit),
                    None => crews.push((crew, vec![limit])),
                }
            }
            Family::Known => {}
            _ => others.extend(other(limit)),
        }
    }
    let mut all: Vec<String> = crews.iter().map(|(name, parts)| crew(name, parts)).collect();
    all.extend(others);
    let more = all.len().saturating_sub(MOST);
    all.truncate(MOST);
    let mut text = all.join("; ");
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
    (!text.is_empty()).then_some(text)
}

/// Describes the limits of a crew. Single steps with equal numbers of gophers are named together.
fn crew(name: &str, parts: &[&Limit]) -> String {
    let mut alone: Vec<(f64, usize)> = Vec::new();
    let mut shared = Vec::new();
    let mut carts = None;
    for limit in parts {
        match &limit.family {
            Family::Steps(_, steps) if steps.count_ones() == 1 => {
                match alone.iter_mut().find(|(each, _)| *each == limit.each) {
                    Some((_, all)) => *all |= steps,
                    None => alone.push((limit.each, *steps)),
                }
            }
            Family::Steps(_, steps) => {
                shared.push(format!("{} ({})", words(*steps), count(limit.each, "gopher")));
            }
            _ => carts = Some(count(limit.each, "cart")),
        }
    }
    let alone = alone.iter().map(|(each, steps)| {
        let each_of = if steps.count_ones() > 1 { " each" } else { "" };
        format!("{} ({}{each_of})", words(*steps), count(*each, "gopher"))
    });
    let parts: Vec<String> = alone.chain(shared).chain(carts).collect();
    format!("crew `{name}`: {}", listed(&parts))
}

fn other(limit: &Limit) -> Option<String> {
    Some(match &limit.family {
        Family::Slots(node, unloads) => {
            let who = if *unloads { "unloader" } else { "loader" };
            format!("`{node}` serves {} at a time", count(limit.each, who))
        }
        Family::Room(node) => format!("`{node}` holds {}", count(limit.each, "book")),
        Family::Cores => count(limit.each, "core"),
        _ => return None,
    })
}

/// Formats `1 cart` or `2 carts`.
fn count(number: f64, what: &str) -> String {
    let many = if number == 1.0 { "" } else { "s" };
    format!("{number} {what}{many}")
}

fn words(steps: usize) -> String {
    let steps = Step::ALL.into_iter().filter(|step| steps & (1 << step.index()) != 0);
    let names: Vec<&str> = steps.map(Step::name).collect();
    listed(&names)
}

/// Formats `a, b and c`.
pub(super) fn listed<T: AsRef<str>>(parts: &[T]) -> String {
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    match parts.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
    }
}
