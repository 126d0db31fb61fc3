//! Options of a kind as plain TOML. The kind's schema says which texts are paths, which are
//! resolved, and which interpolated texts are numbers.

use serde_json::Value as Json;
use toml::Value;

use super::diagnostic::Code;
use super::elements::KindConfig;
use super::tree::{Item, NodeKind, Reading, TableReader, join};
use super::values;
use crate::catalog::{Catalog, Shape};

/// What a kind is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Source,
    Work,
    Burn,
    /// The service of a balancer's workers.
    Service,
}

impl Role {
    /// Name of the role in definitions of the JSON Schema.
    pub fn name(self) -> &'static str {
        match self {
            Role::Source => "source",
            Role::Work => "work",
            Role::Burn => "burn",
            Role::Service => "worker",
        }
    }

    /// The schema of a kind's options.
    pub fn schema<'a>(self, catalog: &'a Catalog, kind: &str) -> Option<&'a Json> {
        let schema = match self {
            Role::Source => &catalog.source(kind)?.schema,
            Role::Work => &catalog.work(kind)?.schema,
            Role::Burn => &catalog.burn(kind)?.schema,
            Role::Service => &catalog.service(kind)?.schema,
        };
        Some(schema.as_value())
    }

    /// The role of the kind at this path; `None` if there is no kind.
    pub fn at(keys: &[String]) -> Option<Role> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        match keys[..] {
            ["piles", _, "source"] => Some(Role::Source),
            ["incinerators", _, "burn"] => Some(Role::Burn),
            ["balancers", _, "workers", "work"] => Some(Role::Service),
            _ => None,
        }
    }
}

/// Reads `{ kind = "gzip", level = 6 }`.
pub(crate) fn kind(reading: &Reading<'_>, item: Item<'_>, role: Role) -> Option<KindConfig> {
    let kind = TableReader::open(reading, item)?.req("kind", values::text)?;
    let NodeKind::Table(entries) = &item.node.kind else {
        return None;
    };
    let shape = role.schema(reading.catalog, &kind).map(Shape::new);
    let mut options = toml::Table::new();
    for (key, node) in entries.iter().filter(|(key, _)| *key != "kind") {
        let path = join(item.path, key);
        let item = Item { node, path: &path };
        // Some kinds have free keys, so only the kind itself can report an unknown one.
        let shape = shape.as_ref().map(|shape| shape.property(key));
        if let Some(value) = plain(reading, item, shape.as_ref()) {
            options.insert(key.clone(), value);
        }
    }
    Some(KindConfig { kind, options })
}

/// Reads the list of a crew's works.
pub(crate) fn works(reading: &Reading<'_>, item: Item<'_>) -> Option<Vec<KindConfig>> {
    values::items(reading, item, "kinds of work", |reading, item| {
        // A work that can't be read keeps its place, so that the others keep their numbers.
        Some(kind(reading, item, Role::Work).unwrap_or_default())
    })
}

fn plain(reading: &Reading<'_>, item: Item<'_>, shape: Option<&Shape<'_>>) -> Option<Value> {
    let provenance = &item.node.provenance;
    Some(match &item.node.kind {
        NodeKind::Broken => return None,
        NodeKind::Boolean(yes) => Value::Boolean(*yes),
        NodeKind::Integer(n) => Value::Integer(*n),
        NodeKind::Float(x) => Value::Float(*x),
        NodeKind::String(text) if provenance.text => return outside(reading, item, text, shape),
        NodeKind::String(text) => return string(reading, item, text, shape),
        NodeKind::Array(_) | NodeKind::Table(_)
            if provenance.raw.is_some() && shape.is_some_and(Shape::is_only_text) =>
        {
            return string(reading, item, provenance.raw.as_deref()?, shape);
        }
        NodeKind::Array(items) => {
            let items = items.iter().enumerate().filter_map(|(at, node)| {
                let path = join(item.path, &at.to_string());
                let shape = shape.map(|shape| shape.item(at));
                plain(reading, Item { node, path: &path }, shape.as_ref())
            });
            Value::Array(items.collect())
        }
        NodeKind::Table(entries) => {
            let entries = entries.iter().filter_map(|(key, node)| {
                let path = join(item.path, key);
                let shape = shape.map(|shape| shape.property(key));
                let value = plain(reading, Item { node, path: &path }, shape.as_ref())?;
                Some((key.clone(), value))
            });
            Value::Table(entries.collect())
        }
    })
}

/// A string, resolved if it is a path.
fn string(
    reading: &Reading<'_>,
    item: Item<'_>,
    text: &str,
    shape: Option<&Shape<'_>>,
) -> Option<Value> {
    if !shape.is_some_and(|shape| shape.is_path(text) && !shape.takes(text)) {
        return Some(Value::String(text.to_owned()));
    }
    let path = values::absolute(reading, item, text);
    match path.into_os_string().into_string() {
        Ok(path) => Some(Value::String(path)),
        Err(_) => {
            reading.report(
                item.error(Code::InvalidValue, "the folder that this starts at is not UTF-8"),
            );
            None
        }
    }
}

/// A text of a variable or flag, parsed as the type of its key.
fn outside(
    reading: &Reading<'_>,
    item: Item<'_>,
    text: &str,
    shape: Option<&Shape<'_>>,
) -> Option<Value> {
    let Some(shape) = shape.filter(|shape| shape.is_typed()) else {
        return Some(Value::String(text.to_owned()));
    };
    if shape.is("string") {
        return if shape.is_word() {
            Some(Value::String(values::outside(item, text)))
        } else {
            string(reading, item, text, Some(shape))
        };
    }
    let number = if shape.is("integer") { values::integer(text) } else { None };
    if let Some(Err(why)) = number {
        reading.report(item.error(Code::OutOfBounds, why));
        return None;
    }
    let integer = || number?.ok().map(Value::Integer);
    let float = || {
        let real = shape.is("number").then(|| values::float(text));
        real.flatten().map(Value::Float)
    };
    let boolean = || {
        let truth = shape.is("boolean").then(|| values::truth(text));
        truth.flatten().map(Value::Boolean)
    };
    match integer().or_else(float).or_else(boolean) {
        Some(value) => Some(value),
        None => reading.expected(&item, &shape.wanted()),
    }
}
