//! Reads faults and expectations.

use std::time::Duration;

use super::super::schema::{
    ExpectConfig, FaultConfig, FaultKindConfig, FaultWhatConfig, WhenConfig,
};
use super::super::suggestions::nearest;
use super::super::tree::{Item, NodeKind, Reading, Table};
use super::super::values::{boolean, duration, items, number, real, text, verbatim};

/// Words for kinds of faults.
pub(crate) const KINDS: [&str; 12] = [
    "panic",
    "kill",
    "stop",
    "hang",
    "slow",
    "error",
    "poison",
    "delay",
    "drop",
    "duplicate",
    "full",
    "mix",
];

/// Words for when a fault fires.
pub(crate) const WHENS: [&str; 7] = ["at", "every", "poisson", "nth", "chance", "items", "share"];

/// Most faults that a mix draws where nothing is said.
pub(crate) const MIXED: u32 = 6;

/// What a fault says where nothing is said.
pub(crate) const TEXT: &str = "a fault";

pub(super) fn fault(reading: &Reading<'_>, item: Item<'_>) -> Option<FaultConfig> {
    let mut table = Table::open(reading, item)?;
    let target = table.req("target", text);
    let kind = table.opt("kind", |reading, item| {
        let word = text(reading, item)?;
        if KINDS.contains(&word.as_str()) {
            return Some(word);
        }
        let mistake = item
            .error(format!("`{word}` is none of {}", KINDS.join(", ")))
            .suggest(nearest(&word, KINDS));
        reading.report(mistake);
        None
    });
    let kind_read = kind.is_some() || has(item, "kind");
    let when = table.opt("when", when);
    let actions = table.opt("actions", text);
    let span = table.opt("for", duration);
    let by = table.opt("by", duration);
    let said = table.opt("text", verbatim);
    let permanent = table.opt("permanent", boolean);
    let most = table.opt("most", number);
    let from = table.opt("from", duration).unwrap_or_default();
    let until = table.opt("until", duration);
    let times = table.opt("times", number);
    let odds = table.opt("odds", real).unwrap_or(1.0);
    table.finish(&[]);
    let wrong = |message: String| {
        reading.report(item.error(message));
        None
    };
    // What only some kinds take.
    let word = kind.as_deref();
    let takes: [(&str, bool, &[&str]); 6] = [
        ("when", has(item, "when"), &["mix"]),
        ("for", span.is_some(), &["hang", "slow", "full"]),
        ("by", by.is_some(), &["slow", "delay"]),
        ("text", said.is_some(), &["panic", "error"]),
        ("permanent", permanent.is_some(), &["error"]),
        ("most", most.is_some(), &["mix"]),
    ];
    if kind_read && has(item, "actions") {
        return wrong("a fault has a `kind`, or `actions`, not both".to_owned());
    }
    for (key, there, of) in takes {
        let fits = match (key, word) {
            ("when", Some(word)) => word != "mix",
            (_, Some(word)) => of.contains(&word),
            (_, None) => !has(item, "actions"),
        };
        if there && !fits {
            let whose = word.map_or("`actions`".to_owned(), |word| format!("`{word}`"));
            return wrong(format!("a fault of {whose} has no `{key}`"));
        }
    }
    let text = || said.clone().unwrap_or_else(|| TEXT.to_owned());
    let needed = |what: Option<Duration>, key: &str, example: &str| {
        if what.is_none() && !has(item, key) {
            let word = word.unwrap_or_default();
            self::wrong::<Duration>(
                reading,
                item,
                format!("a fault of `{word}` needs `{key}`, such as {key} = \"{example}\""),
            );
        }
        what
    };
    let what = match word {
        None if actions.is_some() => FaultWhatConfig::Script(actions?),
        None if kind_read || has(item, "actions") => return None,
        None => {
            return wrong(format!(
                "a fault needs a `kind` ({}), or `actions` such as \"5%panic->off\"",
                KINDS.join(", ")
            ));
        }
        Some("mix") => FaultWhatConfig::Mix { most: most.unwrap_or(MIXED) },
        Some(word) => {
            let kind = match word {
                "panic" => FaultKindConfig::Panic { text: text() },
                "kill" => FaultKindConfig::Kill,
                "stop" => FaultKindConfig::Stop,
                "hang" => FaultKindConfig::Hang { span },
                "slow" => FaultKindConfig::Slow { by: needed(by, "by", "10ms")?, span },
                "error" => FaultKindConfig::Error {
                    text: text(),
                    permanent: permanent.unwrap_or_default(),
                },
                "poison" => FaultKindConfig::Poison,
                "delay" => FaultKindConfig::Delay { by: needed(by, "by", "10ms")? },
                "drop" => FaultKindConfig::Drop,
                "duplicate" => FaultKindConfig::Duplicate,
                _ => FaultKindConfig::Full { span: needed(span, "for", "1s")? },
            };
            if when.is_none() && !has(item, "when") {
                return wrong(format!(
                    "a fault of `{word}` needs to know when: one of {}",
                    WHENS.join(", ")
                ));
            }
            FaultWhatConfig::Kind { kind, when: when? }
        }
    };
    Some(FaultConfig { target: target?, what, from, until, times, odds })
}

fn wrong<T>(reading: &Reading<'_>, item: Item<'_>, message: String) -> Option<T> {
    reading.report(item.error(message));
    None
}

fn has(item: Item<'_>, key: &str) -> bool {
    matches!(&item.node.kind, NodeKind::Table(entries) if entries.contains_key(key))
}

/// `{ every = "50ms" }`.
fn when(reading: &Reading<'_>, item: Item<'_>) -> Option<WhenConfig> {
    let NodeKind::Table(entries) = &item.node.kind else {
        return reading.expected(&item, "a table such as { every = \"50ms\" }");
    };
    let mut table = Table::open(reading, item)?;
    let at = table.opt("at", |reading, item| match &item.node.kind {
        NodeKind::Array(_) => items(reading, item, "durations", duration),
        _ => duration(reading, item).map(|at| vec![at]),
    });
    let every = table.opt("every", duration);
    let poisson = table.opt("poisson", duration);
    let nth = table.opt("nth", number);
    let chance = table.opt("chance", real);
    let which = table.opt("items", |reading, item| match &item.node.kind {
        NodeKind::Array(_) => items(reading, item, "numbers of books", number),
        _ => number(reading, item).map(|one| vec![one]),
    });
    let share = table.opt("share", real);
    table.finish(&[]);
    if WHENS.iter().filter(|key| entries.contains_key(**key)).count() != 1 {
        return wrong(reading, item, format!("expected one of {}", WHENS.join(", ")));
    }
    at.map(WhenConfig::At)
        .or(every.map(WhenConfig::Every))
        .or(poisson.map(WhenConfig::Poisson))
        .or(nth.map(WhenConfig::Nth))
        .or(chance.map(WhenConfig::Chance))
        .or(which.map(WhenConfig::Items))
        .or(share.map(WhenConfig::Share))
}

pub(super) fn expect(reading: &Reading<'_>, item: Item<'_>) -> Option<ExpectConfig> {
    let mut table = Table::open(reading, item)?;
    let usual = ExpectConfig::default();
    let expect = ExpectConfig {
        lost: table.opt("lost", number).unwrap_or(usual.lost),
        duplicates: table.opt("duplicates", number).unwrap_or(usual.duplicates),
        in_flight: table.opt("in_flight", number).unwrap_or(usual.in_flight),
        escalations: (table.opt("escalations", number)).unwrap_or(usual.escalations),
        recovery_p99: table.opt("recovery_p99", at_most),
        throughput_dip: table.opt("throughput_dip", real),
    };
    table.finish(&[]);
    Some(expect)
}

/// `"100ms"`, or `"<= 100ms"`.
fn at_most(reading: &Reading<'_>, item: Item<'_>) -> Option<Duration> {
    let NodeKind::String(text) = &item.node.kind else {
        return duration(reading, item);
    };
    let text = super::super::values::outside(item, text);
    let text = text.trim();
    let bare = text.strip_prefix("<=").unwrap_or(text).trim();
    let read = crate::catalog::units::parse_duration(bare);
    read.map_err(|why| reading.report(item.error(why))).ok()
}
