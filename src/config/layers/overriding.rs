//! Layers that stand in no file: the environment and flags.

use std::ffi::OsString;

use config::{Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::super::diagnostic::{Diagnostic, Diagnostics, Origin};
use super::super::normalise;
use super::{Layer, PREFIX, TOO_LARGE, Ticket, Tickets, empty, merge, scalar_kind, stamped};

/// Deepest key that an environment variable may name.
const DEEPEST: usize = 32;

/// The layer of the environment.
pub(crate) fn environment(
    variables: &[(OsString, OsString)],
    tickets: &mut Tickets,
    found: &mut Diagnostics,
) -> Layer {
    // Sorted, so that the order in which the system lists them changes nothing.
    let mut ours: Vec<_> = variables
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    ours.sort();
    let mut layer = empty();
    for (name, value) in ours {
        let origin = Origin::Variable(name.to_owned());
        let keys: Vec<String> = name[PREFIX.len()..]
            .split("__")
            .map(str::to_ascii_lowercase)
            .collect();
        let mut refuse = |message: &str| {
            found.push(Diagnostic::error(keys.join("."), origin.clone(), message));
        };
        let Some(value) = value.to_str() else {
            refuse("the value is not UTF-8");
            continue;
        };
        if keys.iter().any(String::is_empty) || keys.len() > DEEPEST {
            refuse("this names no config key: keys are parted by two underscores each");
            continue;
        }
        add(&mut layer, &keys, value, origin, tickets);
    }
    Layer::new(layer)
}

/// The layer of `--set key=value` flags.
pub(crate) fn sets(sets: &[String], tickets: &mut Tickets, found: &mut Diagnostics) -> Layer {
    let mut layer = empty();
    for set in sets {
        let Some((key, value)) = set.split_once('=') else {
            let origin = Origin::Flag(set.clone());
            found.push(
                Diagnostic::error("", origin, "there is no `=`")
                    .help("write `--set crews.near.carts.count=4`"),
            );
            continue;
        };
        let origin = Origin::Flag(key.trim().to_owned());
        match dotted(key) {
            Some(keys) => add(&mut layer, &keys, value, origin, tickets),
            None => found.push(Diagnostic::error("", origin, "this is no dotted key")),
        }
    }
    Layer::new(layer)
}

/// The parts of a dotted key, read as TOML reads it.
pub(super) fn dotted(key: &str) -> Option<Vec<String>> {
    let line = format!("{key} = 0");
    let table = DeTable::parse(&line).ok()?;
    let mut parts = Vec::new();
    let mut table = table.into_inner();
    loop {
        if table.len() != 1 {
            return None;
        }
        let (key, value) = table.into_iter().next()?;
        parts.push(key.into_inner().into_owned());
        match value.into_inner() {
            DeValue::Table(inner) => table = inner,
            DeValue::Integer(_) => return Some(parts),
            _ => return None,
        }
    }
}

/// Adds `keys = value`: a TOML value where it parses as one, else a string.
fn add(layer: &mut Value, keys: &[String], value: &str, origin: Origin, tickets: &mut Tickets) {
    let ticket = tickets.issue(Ticket {
        origin,
        text: false,
        current: true,
        broken: None,
    });
    let parsed = DeValue::parse(value.trim()).ok();
    let value = match &parsed {
        Some(parsed) => overriding(parsed.get_ref(), ticket, tickets),
        None => stamped(ticket, value),
    };
    let mut root = keys.iter().rev().fold(value, |below, key| {
        stamped(ticket, Map::from_iter([(key.clone(), below)]))
    });
    normalise::root(&mut root);
    merge(layer, &root);
}

fn overriding(value: &DeValue<'_>, ticket: usize, tickets: &mut Tickets) -> Value {
    match value {
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| {
                let value = overriding(value.get_ref(), ticket, tickets);
                (key.get_ref().to_string(), value)
            });
            stamped(ticket, entries.collect::<Map<_, _>>())
        }
        DeValue::Array(items) => {
            let items = items
                .iter()
                .map(|item| overriding(item.get_ref(), ticket, tickets));
            stamped(ticket, items.collect::<Vec<_>>())
        }
        scalar => match scalar_kind(scalar) {
            Some(kind) => stamped(ticket, kind),
            None => {
                let broken = Ticket {
                    broken: Some(TOO_LARGE.into()),
                    ..tickets.all[ticket].clone()
                };
                stamped(tickets.issue(broken), ValueKind::Nil)
            }
        },
    }
}
