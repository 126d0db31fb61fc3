//! Turns faults that fired into rules, and into TOML for a regression file.

use std::fmt::Write as _;
use std::time::Duration;

use gopherworks_supervision::clock::Time;
use gopherworks_supervision::fault::{FOR_EVER, Fired, Kind, Rule, What, When};

use crate::config::units::Time as Written;

/// Rules that repeat these faults, each once: at its time, or at the first visit from then on.
pub fn rules(fired: &[Fired]) -> Vec<Rule> {
    (fired.iter().enumerate())
        .map(|(at, fired)| {
            let when = match fired.item {
                Some(item) => When::Items([item].into_iter().collect()),
                None => When::At(vec![fired.at]),
            };
            Rule {
                name: format!("found_{}", at + 1).into(),
                sites: vec![fired.site.clone()],
                what: What::Kind(fired.kind.clone(), when),
                from: fired.item.map_or(Time::ZERO, |_| fired.at),
                until: Time::MAX,
                times: 1,
            }
        })
        .collect()
}

fn nanos(time: Time) -> String {
    format!("{}ns", time.as_nanos())
}

/// Formats the faults as `[faults.*]` tables.
pub fn toml(fired: &[Fired]) -> String {
    let mut out = String::new();
    for (number, fired) in (1..).zip(fired) {
        let Fired { at, kind, site, item, .. } = fired;
        let point = site.point.map_or_else(String::new, |point| format!(".{point}"));
        let from = (site.sender.as_ref()).map_or_else(String::new, |from| format!("{from} -> "));
        // Writing to a string can't fail.
        let _ = writeln!(out, "[faults.found_{number}]");
        let _ = writeln!(out, "kind = \"{}\"", kind.name());
        let _ = writeln!(out, "target = \"{from}{}{point}\"", site.node);
        for (key, span) in spans(kind) {
            let _ = writeln!(out, "{key} = \"{}\"", Written(span));
        }
        if let Kind::Error { permanent: true, .. } = kind {
            out.push_str("permanent = true\n");
        }
        if let Kind::Crash { stored: Some(stored), .. }
        | Kind::UnknownOutcome { stored: Some(stored) } = kind
        {
            let _ = writeln!(out, "stored = {stored}");
        }
        let _ = match item {
            Some(item) => writeln!(out, "when = {{ items = {item} }}\nfrom = \"{}\"", nanos(*at)),
            None => writeln!(out, "when = {{ at = \"{}\" }}", nanos(*at)),
        };
        out.push_str("times = 1\n\n");
    }
    out
}

fn spans(kind: &Kind) -> Vec<(&'static str, Duration)> {
    let all = match kind {
        Kind::Hang { span } | Kind::Full { span } => vec![("for", *span)],
        Kind::Crash { span, .. } | Kind::TornWrite { span } => vec![("for", *span)],
        Kind::Unavailable { span } => vec![("for", *span)],
        Kind::Slow { by, span } => vec![("by", *by), ("for", *span)],
        Kind::Delay { by } => vec![("by", *by)],
        _ => Vec::new(),
    };
    all.into_iter().filter(|(_, span)| *span < FOR_EVER && !span.is_zero()).collect()
}
