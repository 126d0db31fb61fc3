//! Options of a kind as plain TOML: paths resolved, and interpolated numbers made numbers, as the kind's schema says.

use serde_json::Value as Json;
use toml::Value;

use super::schema::KindConfig;
use super::tree::{Item, NodeKind, Reading, Table, join};
use super::values;
use crate::catalog::STANDARD_STREAM;

/// Most steps through references and alternatives of one schema; a schema may refer to itself.
const STEPS: usize = 64;

/// Where kinds stand in a config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Source,
    Work,
    Burn,
    /// What the workers of a balancer do.
    Service,
}

impl Role {
    fn schema<'a>(self, reading: &Reading<'a>, kind: &str) -> Option<&'a Json> {
        let schema = match self {
            Role::Source => &reading.catalog.source(kind)?.schema,
            Role::Work => &reading.catalog.work(kind)?.schema,
            Role::Burn => &reading.catalog.burn(kind)?.schema,
            Role::Service => &reading.catalog.service(kind)?.schema,
        };
        Some(schema.as_value())
    }
}

/// Reads `{ kind = "gzip", level = 6 }`.
pub(crate) fn kind(reading: &Reading<'_>, item: Item<'_>, role: Role) -> Option<KindConfig> {
    let kind = Table::open(reading, item)?.req("kind", values::text)?;
    let NodeKind::Table(entries) = &item.node.kind else {
        return None;
    };
    let shape = role.schema(reading, &kind).map(Shape::new);
    let mut options = toml::Table::new();
    for (key, node) in entries.iter().filter(|(key, _)| *key != "kind") {
        let path = join(item.path, key);
        let item = Item { node, path: &path };
        // A key below options may be anything, so only the kind itself can say that it is unknown.
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
        // One that can't be read keeps its place, so that the others are judged under their own numbers.
        Some(
            kind(reading, item, Role::Work).unwrap_or_else(|| KindConfig {
                kind: String::new(),
                options: toml::Table::new(),
            }),
        )
    })
}

fn plain(reading: &Reading<'_>, item: Item<'_>, shape: Option<&Shape<'_>>) -> Option<Value> {
    Some(match &item.node.kind {
        NodeKind::Broken => return None,
        NodeKind::Boolean(yes) => Value::Boolean(*yes),
        NodeKind::Integer(n) => Value::Integer(*n),
        NodeKind::Float(x) => Value::Float(*x),
        NodeKind::String(text) if shape.is_some_and(|shape| shape.takes(text)) => {
            Value::String(text.clone())
        }
        NodeKind::String(text) if shape.is_some_and(Shape::is_path) => {
            let path = values::absolute(reading, item, text);
            match path.into_os_string().into_string() {
                Ok(path) => Value::String(path),
                Err(_) => {
                    reading.report(item.error("the folder that this starts at is not UTF-8"));
                    return None;
                }
            }
        }
        NodeKind::String(text) if item.node.ticket.text => (shape
            .and_then(|shape| shape.scalar(text)))
        .unwrap_or_else(|| Value::String(text.clone())),
        NodeKind::String(text) => Value::String(text.clone()),
        NodeKind::Array(items) => {
            let shape = shape.map(Shape::items);
            let items = items.iter().enumerate().filter_map(|(at, node)| {
                let path = join(item.path, &at.to_string());
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

/// What a JSON schema says of one value: every alternative that it may be.
pub(crate) struct Shape<'a> {
    root: &'a Json,
    alternatives: Vec<&'a Json>,
}

impl<'a> Shape<'a> {
    /// The shape of the whole schema.
    pub fn new(root: &'a Json) -> Self {
        Shape::of(root, vec![root])
    }

    fn of(root: &'a Json, mut open: Vec<&'a Json>) -> Self {
        let mut alternatives = Vec::new();
        while let Some(schema) = open.pop()
            && alternatives.len() < STEPS
        {
            alternatives.push(schema);
            if let Some(pointer) = schema["$ref"].as_str().and_then(|at| at.strip_prefix('#')) {
                open.extend(root.pointer(pointer));
            }
            for word in ["anyOf", "oneOf", "allOf"] {
                open.extend(schema[word].as_array().into_iter().flatten());
            }
        }
        Shape { root, alternatives }
    }

    /// The shape of a property.
    pub fn property(&self, key: &str) -> Shape<'a> {
        let known = self.alternatives.iter().filter_map(|schema| {
            (schema["properties"].get(key)).or_else(|| schema.get("additionalProperties"))
        });
        Shape::of(self.root, known.collect())
    }

    /// True if there is a property of that name.
    pub fn has(&self, key: &str) -> bool {
        (self.alternatives.iter()).any(|schema| schema["properties"].get(key).is_some())
    }

    /// Names of the properties.
    pub fn keys(&self) -> Vec<&'a str> {
        let tables = self
            .alternatives
            .iter()
            .filter_map(|schema| schema["properties"].as_object());
        tables
            .flat_map(|table| table.keys())
            .map(String::as_str)
            .collect()
    }

    /// Names of the properties that must be there.
    pub fn required(&self) -> Vec<&'a str> {
        (self.alternatives.iter())
            .filter_map(|schema| schema["required"].as_array())
            .flatten()
            .filter_map(Json::as_str)
            .collect()
    }

    fn items(&self) -> Shape<'a> {
        let known = self
            .alternatives
            .iter()
            .filter_map(|schema| schema.get("items"));
        Shape::of(self.root, known.collect())
    }

    fn is_path(&self) -> bool {
        self.alternatives
            .iter()
            .any(|schema| schema["format"] == "path")
    }

    /// True if `text` stands for a standard stream here.
    fn takes(&self, text: &str) -> bool {
        text == STANDARD_STREAM
            && self
                .alternatives
                .iter()
                .any(|schema| schema["x-dash"] == true)
    }

    fn is(&self, word: &str) -> bool {
        self.alternatives
            .iter()
            .any(|schema| match &schema["type"] {
                Json::String(name) => name == word,
                Json::Array(names) => names.iter().any(|name| name == word),
                _ => false,
            })
    }

    /// `text` as the number or boolean that is wanted here.
    fn scalar(&self, text: &str) -> Option<Value> {
        let text = text.trim();
        let integer = || text.parse().ok().map(Value::Integer);
        let float = || text.parse().ok().map(Value::Float);
        let boolean = || text.parse().ok().map(Value::Boolean);
        None.or_else(|| self.is("integer").then(integer).flatten())
            .or_else(|| self.is("number").then(float).flatten())
            .or_else(|| self.is("boolean").then(boolean).flatten())
    }
}
