//! Options of a kind as plain TOML: paths resolved, and interpolated numbers made numbers, as the kind's schema says.

use serde_json::Value as Json;
use toml::Value;

use super::schema::KindConfig;
use super::tree::{Item, NodeKind, Reading, Table, join};
use super::values;
use crate::catalog::options::item as array_item;
use crate::catalog::units::{A_DURATION, A_SIZE};
use crate::catalog::{Catalog, STANDARD_STREAM};

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
    /// What a kind says of its options.
    pub fn schema<'a>(self, catalog: &'a Catalog, kind: &str) -> Option<&'a Json> {
        let schema = match self {
            Role::Source => &catalog.source(kind)?.schema,
            Role::Work => &catalog.work(kind)?.schema,
            Role::Burn => &catalog.burn(kind)?.schema,
            Role::Service => &catalog.service(kind)?.schema,
        };
        Some(schema.as_value())
    }

    /// The role of the kind that stands at these keys.
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
    let kind = Table::open(reading, item)?.req("kind", values::text)?;
    let NodeKind::Table(entries) = &item.node.kind else {
        return None;
    };
    let shape = role.schema(reading.catalog, &kind).map(Shape::new);
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
            kind(reading, item, Role::Work)
                .unwrap_or_else(|| KindConfig { kind: String::new(), options: toml::Table::new() }),
        )
    })
}

fn plain(reading: &Reading<'_>, item: Item<'_>, shape: Option<&Shape<'_>>) -> Option<Value> {
    let ticket = &item.node.ticket;
    Some(match &item.node.kind {
        NodeKind::Broken => return None,
        NodeKind::Boolean(yes) => Value::Boolean(*yes),
        NodeKind::Integer(n) => Value::Integer(*n),
        NodeKind::Float(x) => Value::Float(*x),
        NodeKind::String(text) if ticket.text => return outside(reading, item, text, shape),
        NodeKind::String(text) => return string(reading, item, text, shape),
        NodeKind::Array(_) | NodeKind::Table(_)
            if ticket.raw.is_some() && shape.is_some_and(Shape::is_only_text) =>
        {
            return string(reading, item, ticket.raw.as_deref()?, shape);
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

/// A string as it is, but for a path, which is resolved.
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
            reading.report(item.error("the folder that this starts at is not UTF-8"));
            None
        }
    }
}

/// A text from outside as the type that its key wants; a mistake if it is none.
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
        reading.report(item.error(why));
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
        let tables = self.alternatives.iter().filter_map(|schema| schema["properties"].as_object());
        tables.flat_map(|table| table.keys()).map(String::as_str).collect()
    }

    /// Names of the properties that must be there.
    pub fn required(&self) -> Vec<&'a str> {
        (self.alternatives.iter())
            .filter_map(|schema| schema["required"].as_array())
            .flatten()
            .filter_map(Json::as_str)
            .collect()
    }

    fn item(&self, at: usize) -> Shape<'a> {
        let known = self.alternatives.iter();
        Shape::of(self.root, known.filter_map(|schema| array_item(schema, at)).collect())
    }

    /// True if `text` is a path here: a program is one if it has a `/`.
    fn is_path(&self, text: &str) -> bool {
        self.alternatives.iter().any(|schema| {
            schema["format"] == "path" || (schema["format"] == "program" && text.contains('/'))
        })
    }

    /// True if `text` stands for a standard stream here.
    fn takes(&self, text: &str) -> bool {
        text == STANDARD_STREAM && self.alternatives.iter().any(|schema| schema["x-dash"] == true)
    }

    fn is(&self, word: &str) -> bool {
        self.alternatives.iter().any(|schema| match &schema["type"] {
            Json::String(name) => name == word,
            Json::Array(names) => names.iter().any(|name| name == word),
            _ => false,
        })
    }

    /// True if the schema names a type.
    fn is_typed(&self) -> bool {
        ["string", "integer", "number", "boolean", "array", "object"]
            .iter()
            .any(|word| self.is(word))
    }

    /// True if an array or a table can't stand here, but a string can.
    fn is_only_text(&self) -> bool {
        self.is("string") && !self.is("array") && !self.is("object")
    }

    /// True for a string that is one of a few words, a size or a duration.
    fn is_word(&self) -> bool {
        self.alternatives.iter().any(|schema| {
            let unit = matches!(schema["format"].as_str(), Some("size" | "duration"));
            unit || schema.get("enum").is_some() || schema.get("const").is_some()
        })
    }

    /// The key that `name`, of a variable, means: that of a property whatever its case; in lower case where keys are not free.
    pub fn named(&self, name: &str) -> String {
        let mut known = self.keys().into_iter();
        if let Some(key) = known.find(|key| key.eq_ignore_ascii_case(name)) {
            return key.to_owned();
        }
        let free = |schema: &&Json| schema["additionalProperties"].is_object();
        if self.alternatives.iter().any(free) { name.to_owned() } else { name.to_ascii_lowercase() }
    }

    /// The shape of what stands at a path of keys and of places in arrays.
    pub fn at(self, path: &[&str]) -> Shape<'a> {
        path.iter().fold(self, |shape, key| match key.parse() {
            Ok(at) if shape.is("array") => shape.item(at),
            _ => shape.property(key),
        })
    }

    /// What is wanted, for messages, with an example.
    pub fn wanted(&self) -> String {
        let example = |schema: &Json| {
            let stands =
                |schema: &&&Json| schema.get("default").is_some_and(|value| value.is_number());
            let said = self.alternatives.iter().find(stands);
            (said.map(|schema| &schema["default"]).or(schema.get("minimum"))).cloned()
        };
        let mut all: Vec<String> = Vec::new();
        for schema in &self.alternatives {
            let types: Vec<&str> = match &schema["type"] {
                Json::String(one) => vec![one],
                Json::Array(several) => several.iter().filter_map(Json::as_str).collect(),
                _ => Vec::new(),
            };
            if let Some(words) = schema["enum"].as_array() {
                let words: Vec<String> = words.iter().filter_map(word).collect();
                all.push(format!("one of {}", words.join(", ")));
                continue;
            }
            if let Some(word) = word(&schema["const"]) {
                all.push(word);
                continue;
            }
            match schema["format"].as_str() {
                Some("size") => all.push(A_SIZE.to_owned()),
                Some("duration") => all.push(A_DURATION.to_owned()),
                Some("path") => all.push("a path such as \"folder/file\"".to_owned()),
                _ => all.extend(types.into_iter().filter_map(|name| {
                    Some(match name {
                        "integer" => whole(schema, example(schema)),
                        "number" => "a number such as 0.5".to_owned(),
                        "boolean" => "`true` or `false`".to_owned(),
                        "string" => "a string such as \"text\"".to_owned(),
                        "array" => "an array such as [\"a\", \"b\"]".to_owned(),
                        "object" => "a table such as { key = \"value\" }".to_owned(),
                        _ => return None,
                    })
                })),
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|what| seen.insert(what.clone()));
        if all.is_empty() { "something else".to_owned() } else { all.join(" or ") }
    }
}

fn word(value: &Json) -> Option<String> {
    value.as_str().map(|word| format!("\"{word}\""))
}

/// A whole number with its bounds, in words.
fn whole(schema: &Json, example: Option<Json>) -> String {
    let least = schema["minimum"].as_i64();
    let most = schema["maximum"].as_i64();
    let bounds = match (least, most) {
        (Some(least), Some(most)) => format!(" from {least} to {most}"),
        (Some(least), None) => format!(" of {least} or more"),
        (None, Some(most)) => format!(" of {most} or less"),
        (None, None) => String::new(),
    };
    let example = match example {
        Some(Json::Number(number)) if number.as_i64() != Some(0) => number.to_string(),
        _ => "4".to_owned(),
    };
    format!("a whole number{bounds}, such as {example}")
}
