//! Layers from the environment and from flags. Their values are texts, parsed by the type of their
//! key.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;

use config::{Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::super::diagnostic::{Diagnostic, Diagnostics, Origin};
use super::super::label::base;
use super::super::normalise;
use super::super::options::Role;
use super::super::suggestions::nearest;
use super::{
    Layer, PREFIX, TOO_LARGE, Ticket, Tickets, empty, merge, remove, scalar_kind, stamped,
};
use crate::catalog::{Catalog, Shape};

/// Most keys in the name of an environment variable.
const DEEPEST: usize = 32;

/// Tables of nodes, the word for a node, and the keys of a complete one.
const NODES: [(&str, &str, &[&str]); 8] = [
    ("piles", "pile", &["source"]),
    ("dumps", "dump", &[]),
    ("incinerators", "incinerator", &["burn"]),
    ("crews", "crew", &["from", "to"]),
    ("relays", "relay", &["from", "to"]),
    ("balancers", "balancer", &["workers"]),
    ("requesters", "requester", &["to", "load"]),
    ("faults", "fault", &["target"]),
];

/// The layer of the environment. Names that exist in `below`, the lower layers, are found in any
/// case.
pub(crate) fn environment(
    variables: &[(OsString, OsString)],
    below: &Value,
    catalog: &Catalog,
    tickets: &mut Tickets,
    found: &mut Diagnostics,
) -> Layer {
    let mut ours: Vec<(&str, &str)> = Vec::new();
    for (name, value) in variables {
        if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let origin = Origin::Variable(name.to_string_lossy().into_owned());
        match (name.to_str(), value.to_str()) {
            (Some(name), Some(value)) => ours.push((name, value)),
            (None, _) => found.push(Diagnostic::error("", origin, "the name is not UTF-8")),
            (_, None) => found.push(Diagnostic::error("", origin, "the value is not UTF-8")),
        }
    }
    if ours.is_empty() {
        return Layer::new(empty());
    }
    // Sorted, because the order in which the system lists them is arbitrary.
    ours.sort_unstable();
    let names = Names::new(below, catalog, &ours);
    let mut layer = empty();
    let mut seen: BTreeMap<Vec<String>, &str> = BTreeMap::new();
    for (name, value) in ours {
        let origin = Origin::Variable(name.to_owned());
        let parts = parts(name);
        let mut refuse = |message: String| {
            let path = parts.join(".").to_ascii_lowercase();
            found.push(Diagnostic::error(path, origin.clone(), message));
        };
        if parts.iter().any(|part| part.is_empty()) || parts.len() > DEEPEST {
            refuse("this names no config key: keys are separated by two underscores".into());
            continue;
        }
        let keys = names.resolved(&parts);
        if let Some(other) = seen.insert(keys.clone(), name) {
            refuse(format!("`{other}` sets the same key"));
            continue;
        }
        add(&mut layer, &keys, value, origin, tickets);
    }
    Layer::new(layer)
}

/// The parts of a variable's name.
fn parts(name: &str) -> Vec<&str> {
    name[PREFIX.len()..].split("__").collect()
}

/// Finds the config keys that variables mean, whatever their case.
struct Names<'a> {
    /// The lower layers, and the kinds that variables set.
    known: Value,
    catalog: &'a Catalog,
}

impl<'a> Names<'a> {
    fn new(below: &Value, catalog: &'a Catalog, variables: &[(&str, &str)]) -> Self {
        let mut names = Self { known: below.clone(), catalog };
        let kinds = ["kind", "source", "burn", "work"];
        for (name, value) in variables {
            let parts = parts(name);
            let last = parts.last().map(|last| last.to_ascii_lowercase());
            if last.is_some_and(|last| kinds.contains(&last.as_str())) {
                let kind = Value::new(None, unquoted(value));
                let keys = names.resolved(&parts);
                let mut said = below_keys(&keys, kind, |below| Value::new(None, below));
                normalise::root(&mut said);
                merge(&mut names.known, &said);
            }
        }
        names
    }

    /// Known names of nodes and keys are found in any case, others become lower case. Keys of
    /// tables with free keys, such as `env`, keep their case.
    fn resolved(&self, parts: &[&str]) -> Vec<String> {
        let mut keys: Vec<String> = Vec::with_capacity(parts.len());
        let mut at = Some(&self.known);
        let mut shape: Option<Shape<'_>> = None;
        for part in parts {
            let key = match &shape {
                Some(shape) => shape.named(part),
                None => {
                    let table = at.and_then(table);
                    let same = |key: &&String| key.eq_ignore_ascii_case(part);
                    let lower = part.to_ascii_lowercase();
                    match table {
                        Some(table) if !table.contains_key(&lower) => {
                            table.keys().find(same).cloned().unwrap_or(lower)
                        }
                        _ => lower,
                    }
                }
            };
            at = at.and_then(table).and_then(|table| table.get(&key));
            shape = shape.map(|shape| shape.property(&key));
            keys.push(key);
            if shape.is_none()
                && let Some(role) = Role::at(&keys)
                && let Some(ValueKind::String(kind)) =
                    at.and_then(table).and_then(|table| Some(&table.get("kind")?.kind))
            {
                shape = role.schema(self.catalog, kind).map(Shape::new);
            }
        }
        keys
    }
}

fn table(value: &Value) -> Option<&Map<String, Value>> {
    match &value.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    }
}

/// The nodes of a table such as `crews`.
fn nodes<'a>(root: &'a Value, group: &str) -> Option<&'a Map<String, Value>> {
    table(table(root)?.get(group)?)
}

/// Removes the nodes from `layers` that are in no file and are not complete, and reports them:
/// their names are most likely misspelt. `known` is the content of the files, `all` that and the
/// layers.
pub(crate) fn incomplete(
    mut layers: [&mut Layer; 2],
    known: &Value,
    all: &Value,
    tickets: &Tickets,
    found: &mut Diagnostics,
) {
    for (group, what, needed) in NODES {
        let known = nodes(known, group);
        let said = layers.iter().filter_map(|layer| nodes(&layer.value, group));
        let names: BTreeSet<String> = said.flat_map(|nodes| nodes.keys().cloned()).collect();
        for name in names {
            let node = nodes(all, group).and_then(|nodes| nodes.get(&name));
            let has = |key: &&str| node.and_then(table).is_some_and(|it| it.contains_key(*key));
            let whole = !needed.is_empty() && needed.iter().all(has);
            let is_known = known.is_some_and(|known| known.contains_key(&name));
            if is_known || whole || has(&"like") || is_named(all, &name) {
                continue;
            }
            let ticket = node.and_then(|node| tickets.of(node));
            let origin = ticket.map_or(Origin::Code(group.to_owned()), |it| it.origin.clone());
            let message = format!("no {what} is called `{name}`");
            let mistake = Diagnostic::error(format!("{group}.{name}"), origin, message);
            let keys: Vec<String> = needed.iter().map(|key| format!("`{key}`")).collect();
            let mistake = match keys.is_empty() {
                true => mistake.help("a new one has a crew or a relay that leads to it"),
                false => mistake.help(format!("a new one has {}", keys.join(" and "))),
            };
            let near = known.into_iter().flat_map(|known| known.keys()).map(String::as_str);
            found.push(mistake.suggest(nearest(&name, near)));
            for layer in &mut layers {
                remove(&mut layer.value, &[group.to_owned(), name.clone()]);
            }
        }
    }
}

/// True if a crew or a relay leads from or to the node `name`.
fn is_named(root: &Value, name: &str) -> bool {
    let ways = ["crews", "relays"].iter().filter_map(|group| nodes(root, group));
    let ends = ways.flat_map(|ways| ways.values()).filter_map(table);
    let mut ends = ends.flat_map(|way| [way.get("from"), way.get("to")]).flatten();
    ends.any(|end| matches!(&end.kind, ValueKind::String(end) if base(end) == name))
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
            Some(keys) => add(&mut layer, &keys, unquoted(value), origin, tickets),
            None => found.push(Diagnostic::error("", origin, "this is not a dotted key")),
        }
    }
    Layer::new(layer)
}

/// Splits a dotted key as TOML does.
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

/// The content of a TOML string, else the text itself.
pub(crate) fn unquoted(text: &str) -> String {
    if text.trim_start().starts_with(['"', '\''])
        && let Ok(value) = DeValue::parse(text.trim())
        && let DeValue::String(inner) = value.get_ref()
    {
        return inner.to_string();
    }
    text.to_owned()
}

/// A value from outside; a TOML array or table is parsed, anything else stays a text.
pub(super) fn outside(text: String, mut ticket: Ticket, tickets: &mut Tickets) -> Value {
    let structured = text.trim_start().starts_with(['[', '{']);
    let parsed = structured.then(|| DeValue::parse(text.trim()).ok());
    let Some(parsed) = parsed.flatten() else {
        return stamped(tickets.issue(ticket), text);
    };
    let inner = tickets.issue(Ticket { text: false, ..ticket.clone() });
    ticket.raw = Some(Arc::from(text.as_str()));
    let value = overriding(parsed.get_ref(), inner, tickets);
    stamped(tickets.issue(ticket), value.kind)
}

/// Adds `keys = value`.
fn add(
    layer: &mut Value,
    keys: &[String],
    value: impl Into<String>,
    origin: Origin,
    tickets: &mut Tickets,
) {
    let ticket = Ticket { current: true, text: true, ..Ticket::new(origin) };
    let value = outside(value.into(), ticket, tickets);
    let ticket = value.origin().map(str::to_owned);
    let mut root = below_keys(keys, value, |below| Value::new(ticket.as_ref(), below));
    normalise::root(&mut root);
    merge(layer, &root);
}

/// `value` inside a table for each key.
fn below_keys(keys: &[String], value: Value, wrap: impl Fn(Map<String, Value>) -> Value) -> Value {
    keys.iter().rev().fold(value, |below, key| wrap(Map::from_iter([(key.clone(), below)])))
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
            let items = items.iter().map(|item| overriding(item.get_ref(), ticket, tickets));
            stamped(ticket, items.collect::<Vec<_>>())
        }
        scalar => match scalar_kind(scalar) {
            Some(kind) => stamped(ticket, kind),
            None => {
                let broken =
                    Ticket { broken: Some(TOO_LARGE.into()), ..tickets.all[ticket].clone() };
                stamped(tickets.issue(broken), ValueKind::Nil)
            }
        },
    }
}
