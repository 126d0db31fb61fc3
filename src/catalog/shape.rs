//! Lookups in the JSON Schema of a kind's options.

use serde_json::Value as Json;

use super::STANDARD_STREAM;
use crate::config::units::{A_DURATION, A_SIZE};

/// Maximum number of references and alternatives followed in a schema, which may refer to itself.
const STEPS: usize = 64;

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
            for (word, value) in schema.as_object().into_iter().flatten() {
                match word.as_str() {
                    "$ref" => {
                        let pointer = value.as_str().and_then(|at| at.strip_prefix('#'));
                        open.extend(pointer.and_then(|pointer| root.pointer(pointer)));
                    }
                    "anyOf" | "oneOf" | "allOf" => {
                        open.extend(value.as_array().into_iter().flatten())
                    }
                    _ => {}
                }
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

    pub fn item(&self, at: usize) -> Shape<'a> {
        let known = self.alternatives.iter();
        Shape::of(self.root, known.filter_map(|schema| item(schema, at)).collect())
    }

    /// The first value of this keyword among the alternatives.
    pub fn keyword(&self, word: &str) -> Option<&'a Json> {
        self.alternatives.iter().find_map(|schema| schema.get(word))
    }

    pub fn has_format(&self, format: &str) -> bool {
        self.alternatives.iter().any(|schema| schema["format"] == format)
    }

    /// True if `text` is a path here: a program is one if it has a `/`.
    pub fn is_path(&self, text: &str) -> bool {
        self.alternatives.iter().any(|schema| {
            schema["format"] == "path" || (schema["format"] == "program" && text.contains('/'))
        })
    }

    /// True if `text` stands for a standard stream here.
    pub fn takes(&self, text: &str) -> bool {
        text == STANDARD_STREAM && self.alternatives.iter().any(|schema| schema["x-dash"] == true)
    }

    pub fn is(&self, word: &str) -> bool {
        self.alternatives.iter().any(|schema| match &schema["type"] {
            Json::String(name) => name == word,
            Json::Array(names) => names.iter().any(|name| name == word),
            _ => false,
        })
    }

    /// True if the schema names a type.
    pub fn is_typed(&self) -> bool {
        ["string", "integer", "number", "boolean", "array", "object"]
            .iter()
            .any(|word| self.is(word))
    }

    /// True if an array or a table can't stand here, but a string can.
    pub fn is_only_text(&self) -> bool {
        self.is("string") && !self.is("array") && !self.is("object")
    }

    /// True for a string that is one of a few words, a size or a duration.
    pub fn is_word(&self) -> bool {
        self.alternatives.iter().any(|schema| {
            let unit = matches!(schema["format"].as_str(), Some("size" | "duration"));
            unit || schema.get("enum").is_some() || schema.get("const").is_some()
        })
    }

    /// The key that a variable's `name` means: a property in any case; a free key as it is; any
    /// other key in lower case.
    pub fn named(&self, name: &str) -> String {
        let mut known = self.keys().into_iter();
        if let Some(key) = known.find(|key| key.eq_ignore_ascii_case(name)) {
            return key.to_owned();
        }
        let free = |schema: &&Json| schema["additionalProperties"].is_object();
        if self.alternatives.iter().any(free) { name.to_owned() } else { name.to_ascii_lowercase() }
    }

    /// The shape of the value at a path of keys and array indices.
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

/// Returns the schema of an array's item at index `at`.
fn item(array: &Json, at: usize) -> Option<&Json> {
    let own = array.get("prefixItems").and_then(|items| items.get(at));
    own.or_else(|| array.get("items"))
}
