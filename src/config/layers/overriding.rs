//! Layers of overrides: the environment and flags. Their values are kept as text, which is parsed
//! as the type of its key.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;

use config::{Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::super::diagnostic::{Code, Diagnostic, Diagnostics, Origin};
use super::super::element::{Element, Group, Type};
use super::super::elements::TopologyConfig;
use super::super::label::base;
use super::super::normalise;
use super::super::options::Role;
use super::super::suggestions::nearest;
use super::{
    PREFIX, Provenance, Provenances, TOO_LARGE, empty, merge, remove, scalar_kind, stamped, table,
};
use crate::catalog::{Catalog, Shape};

/// Maximum number of keys in the name of an environment variable.
const DEEPEST: usize = 32;

/// Builds the layer of environment variables. Node names match those of `below`, the other layers,
/// without regard to case.
pub(crate) fn environment(
    variables: &[(OsString, OsString)],
    below: [&Value; 2],
    catalog: &Catalog,
    provenances: &mut Provenances,
    found: &mut Diagnostics,
) -> Value {
    let mut ours: Vec<(&str, &str)> = Vec::new();
    for (name, value) in variables {
        if !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let origin = Origin::Variable(name.to_string_lossy().into_owned());
        match (name.to_str(), value.to_str()) {
            (Some(name), Some(value)) => ours.push((name, value)),
            (None, _) => {
                found.push(Diagnostic::error(Code::Override, "", origin, "the name is not UTF-8"))
            }
            (_, None) => {
                found.push(Diagnostic::error(Code::Override, "", origin, "the value is not UTF-8"))
            }
        }
    }
    if ours.is_empty() {
        return empty();
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
            found.push(Diagnostic::error(Code::Override, path, origin.clone(), message));
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
        add(&mut layer, &keys, value, origin, provenances);
    }
    layer
}

/// Splits a variable's name into keys.
fn parts(name: &str) -> Vec<&str> {
    name[PREFIX.len()..].split("__").collect()
}

/// Finds the keys that variables name: names of variables have one case, those of keys do not.
struct Names<'a> {
    below: [&'a Value; 2],
    /// Kinds that variables set.
    kinds: Value,
    catalog: &'a Catalog,
}

impl<'a> Names<'a> {
    fn new(below: [&'a Value; 2], catalog: &'a Catalog, variables: &[(&str, &str)]) -> Self {
        let mut names = Self { below, kinds: empty(), catalog };
        let kinds = ["kind", "source", "burn", "work"];
        for (name, value) in variables {
            let parts = parts(name);
            let last = parts.last().map(|last| last.to_ascii_lowercase());
            if last.is_some_and(|last| kinds.contains(&last.as_str())) {
                let kind = Value::new(None, unquoted(value));
                let keys = names.resolved(&parts);
                let mut said = below_keys(&keys, kind, |below| Value::new(None, below));
                normalise::root(&mut said);
                merge(&mut names.kinds, said, Some(&TopologyConfig::TYPE));
            }
        }
        names
    }

    /// Resolves names of nodes and keys in any case; unknown ones become lower case. Keys of a
    /// table with free keys, such as `env`, keep their case.
    fn resolved(&self, parts: &[&str]) -> Vec<String> {
        let mut keys: Vec<String> = Vec::with_capacity(parts.len());
        // Uppermost first.
        let mut at = vec![&self.kinds, self.below[1], self.below[0]];
        let mut shape: Option<Shape<'_>> = None;
        for part in parts {
            let tables: Vec<_> = at.into_iter().filter_map(table).collect();
            let key = match &shape {
                Some(shape) => shape.named(part),
                None => {
                    let lower = part.to_ascii_lowercase();
                    let same = |key: &&String| key.eq_ignore_ascii_case(part);
                    if tables.iter().any(|table| table.contains_key(&lower)) {
                        lower
                    } else {
                        let mut known = tables.iter().flat_map(|table| table.keys());
                        known.find(same).cloned().unwrap_or(lower)
                    }
                }
            };
            at = tables.into_iter().filter_map(|table| table.get(&key)).collect();
            shape = shape.map(|shape| shape.property(&key));
            keys.push(key);
            if shape.is_none()
                && let Some(role) = Role::at(&keys)
                && let Some(ValueKind::String(kind)) =
                    at.iter().find_map(|value| Some(&table(value)?.get("kind")?.kind))
            {
                shape = role.schema(self.catalog, kind).map(Shape::new);
            }
        }
        keys
    }
}

/// The nodes of a table such as `crews`.
fn nodes<'a>(root: &'a Value, group: &str) -> Option<&'a Map<String, Value>> {
    table(table(root)?.get(group)?)
}

/// Removes the nodes from the overrides that are in no file and are not complete, and reports them:
/// their names are most likely misspelt.
pub(crate) fn incomplete(
    files: &Value,
    [environment, sets]: [&mut Value; 2],
    provenances: &Provenances,
    found: &mut Diagnostics,
) {
    for key in TopologyConfig::TABLE.keys {
        let Type::Named(Type::Table(described)) = key.ty else {
            continue;
        };
        let (group, what) = (key.name, described.name);
        let required = described.keys.iter().filter(|key| key.required);
        let needed: Vec<&str> = required.map(|key| key.name).collect();
        let known = nodes(files, group);
        let overrides = [&*sets, &*environment].into_iter().filter_map(|layer| nodes(layer, group));
        let names: BTreeSet<String> = overrides.flat_map(|nodes| nodes.keys().cloned()).collect();
        for name in names.iter().filter(|name| !known.is_some_and(|it| it.contains_key(*name))) {
            let layers = [&*sets, &*environment];
            let said: Vec<&Value> =
                layers.iter().filter_map(|layer| nodes(layer, group)?.get(name)).collect();
            let has = |key: &&str| {
                said.iter().any(|node| table(node).is_some_and(|it| it.contains_key(*key)))
            };
            let whole = !needed.is_empty() && needed.iter().all(has);
            let named = || layers.iter().chain([&files]).any(|layer| is_named(layer, name));
            if whole || has(&"like") || named() {
                continue;
            }
            let path = format!("{group}.{name}");
            let origin = said.first().map(|node| provenances.origin(node, group));
            let origin = origin.unwrap_or_else(|| Origin::Code(group.to_owned()));
            let mistake = Diagnostic::error(
                Code::UnknownNode,
                path,
                origin,
                format!("no {what} is called `{name}`"),
            );
            let keys: Vec<String> = needed.iter().map(|key| format!("`{key}`")).collect();
            let mistake = mistake.help(match &keys[..] {
                [] => "a new one has a crew or a relay that leads to it or from it".to_owned(),
                [only] => format!("a new one has {only}"),
                [first @ .., last] => format!("a new one has {} and {last}", first.join(", ")),
            });
            let near = known.into_iter().flat_map(|known| known.keys()).map(String::as_str);
            found.push(mistake.suggest(nearest(name, near)));
            let path = [group.to_owned(), name.clone()];
            remove(environment, &path);
            remove(sets, &path);
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
pub(crate) fn sets(
    sets: &[String],
    provenances: &mut Provenances,
    found: &mut Diagnostics,
) -> Value {
    let mut layer = empty();
    for set in sets {
        let Some((key, value)) = set.split_once('=') else {
            let origin = Origin::Flag(set.clone());
            found.push(
                Diagnostic::error(Code::Override, "", origin, "there is no `=`")
                    .help("write `--set crews.near.carts.count=4`"),
            );
            continue;
        };
        let origin = Origin::Flag(key.trim().to_owned());
        match dotted(key) {
            Some(keys) => add(&mut layer, &keys, unquoted(value), origin, provenances),
            None => found.push(Diagnostic::error(
                Code::Override,
                "",
                origin,
                "this is not a dotted key",
            )),
        }
    }
    layer
}

/// The parts of a dotted key in TOML's syntax.
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
pub(super) fn outside(
    text: String,
    mut provenance: Provenance,
    provenances: &mut Provenances,
) -> Value {
    let structured = text.trim_start().starts_with(['[', '{']);
    let parsed = structured.then(|| DeValue::parse(text.trim()).ok());
    let Some(parsed) = parsed.flatten() else {
        return provenances.value(provenance, text);
    };
    let inner = provenances.add(Provenance { text: false, ..provenance.clone() });
    let kind = overriding(parsed.get_ref(), inner, provenances).kind;
    provenance.raw = Some(Arc::from(text.as_str()));
    provenances.value(provenance, kind)
}

/// Adds `keys = value`.
fn add(
    layer: &mut Value,
    keys: &[String],
    value: impl Into<String>,
    origin: Origin,
    provenances: &mut Provenances,
) {
    let provenance = Provenance { current: true, text: true, ..Provenance::new(origin) };
    let value = outside(value.into(), provenance, provenances);
    let origin = value.origin().map(str::to_owned);
    let mut root = below_keys(keys, value, |below| Value::new(origin.as_ref(), below));
    normalise::root(&mut root);
    merge(layer, root, Some(&TopologyConfig::TYPE));
}

fn below_keys(keys: &[String], value: Value, wrap: impl Fn(Map<String, Value>) -> Value) -> Value {
    keys.iter().rev().fold(value, |below, key| wrap(Map::from_iter([(key.clone(), below)])))
}

fn overriding(value: &DeValue<'_>, provenance: usize, provenances: &mut Provenances) -> Value {
    match value {
        DeValue::Table(table) => {
            let entries = table.iter().map(|(key, value)| {
                let value = overriding(value.get_ref(), provenance, provenances);
                (key.get_ref().to_string(), value)
            });
            stamped(provenance, entries.collect::<Map<_, _>>())
        }
        DeValue::Array(items) => {
            let items =
                items.iter().map(|item| overriding(item.get_ref(), provenance, provenances));
            stamped(provenance, items.collect::<Vec<_>>())
        }
        scalar => match scalar_kind(scalar) {
            Some(kind) => stamped(provenance, kind),
            None => {
                let broken = Provenance {
                    broken: Some((Code::OutOfBounds, TOO_LARGE.into())),
                    ..Provenance::clone(&provenances.0[provenance])
                };
                provenances.value(broken, ValueKind::Nil)
            }
        },
    }
}
