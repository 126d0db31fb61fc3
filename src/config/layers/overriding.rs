//! Layers from the environment and from flags. Their values are texts, parsed by the type of their
//! key.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use config::{Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::super::diagnostic::{Diagnostic, Diagnostics, Origin};
use super::super::normalise;
use super::super::options::{Role, Shape};
use super::super::suggestions::nearest;
use super::{Layer, PREFIX, TOO_LARGE, Ticket, Tickets, empty, merge, scalar_kind, stamped};
use crate::catalog::Catalog;

/// Most keys in the name of an environment variable.
const DEEPEST: usize = 32;

/// Tables of nodes, and the word for a node.
const NODES: [(&str, &str); 8] = [
    ("piles", "pile"),
    ("dumps", "dump"),
    ("incinerators", "incinerator"),
    ("crews", "crew"),
    ("relays", "relay"),
    ("balancers", "balancer"),
    ("requesters", "requester"),
    ("faults", "fault"),
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
            refuse("this names no config key: keys are parted by two underscores each".into());
            continue;
        }
        let keys = names.resolved(&parts);
        if let Some(other) = seen.insert(keys.clone(), name) {
            refuse(format!("`{other}` sets the same key"));
            continue;
        }
        new_node(below, &keys, &origin, found);
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

/// Warns of a node that only an override names, if a node in the file has a similar name.
fn new_node(below: &Value, keys: &[String], origin: &Origin, found: &mut Diagnostics) {
    let [group, name, ..] = keys else {
        return;
    };
    let Some((_, what)) = NODES.iter().find(|(known, _)| known == group) else {
        return;
    };
    let nodes = table(below).and_then(|root| table(root.get(group)?));
    let Some(nodes) = nodes.filter(|nodes| !nodes.contains_key(name)) else {
        return;
    };
    if let Some(near) = nearest(name, nodes.keys().map(String::as_str)) {
        let message = format!("no {what} is called `{name}`: this adds one");
        let path = format!("{group}.{name}");
        let warning = Diagnostic::warning(path, origin.clone(), message);
        found.push(warning.suggest(Some(near)));
    }
}

/// The layer of `--set key=value` flags.
pub(crate) fn sets(
    sets: &[String],
    below: &Value,
    tickets: &mut Tickets,
    found: &mut Diagnostics,
) -> Layer {
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
            Some(keys) => {
                new_node(below, &keys, &origin, found);
                add(&mut layer, &keys, unquoted(value), origin, tickets);
            }
            None => found.push(Diagnostic::error("", origin, "this is no dotted key")),
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

/// Adds `keys = value`; a TOML array or table is parsed, anything else stays a text.
fn add(
    layer: &mut Value,
    keys: &[String],
    value: impl Into<String>,
    origin: Origin,
    tickets: &mut Tickets,
) {
    let text: String = value.into();
    let mut ticket = Ticket { current: true, text: true, ..Ticket::new(origin) };
    let structured = text.trim_start().starts_with(['[', '{']);
    let parsed = structured.then(|| DeValue::parse(text.trim()).ok());
    let value = match parsed.flatten() {
        Some(parsed) => {
            let inner = tickets.issue(Ticket { text: false, ..ticket.clone() });
            ticket.raw = Some(Arc::from(text.as_str()));
            let mut value = overriding(parsed.get_ref(), inner, tickets);
            value = stamped(tickets.issue(ticket), value.kind);
            value
        }
        None => stamped(tickets.issue(ticket), text),
    };
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
