//! Schemas of single values. Wherever a scalar stands a whole `"${env.NAME:-default}"` may stand for it.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::catalog::units::{LARGEST, Time, duration_pattern, size_pattern};
use crate::config::interpolate;
use crate::config::label::NAME;

/// A regular expression that takes the whole of `inner`, or of an interpolation.
pub(super) fn whole_or_env(inner: &str) -> String {
    format!("^({inner}|{})$", interpolate::PATTERN)
}

/// A regular expression that takes an interpolation and nothing else.
pub(super) fn env() -> String {
    format!("^{}$", interpolate::PATTERN)
}

/// `schema` with a description, in which its bounds and its default stand too: editors show nothing else at a glance.
pub(super) fn key(text: &str, default: Option<Value>, schema: Value) -> Value {
    let mut notes = Vec::new();
    match (schema["minimum"].as_u64(), schema["maximum"].as_u64()) {
        (Some(least), Some(most)) if most < i64::MAX as u64 => {
            notes.push(format!("{least} to {most}"));
        }
        (Some(least @ 1..), _) => notes.push(format!("at least {least}")),
        _ => {}
    }
    if let Some(default) = &default {
        let said = match default {
            Value::String(word) => word.clone(),
            other => other.to_string(),
        };
        notes.push(format!("default {said}"));
    }
    let notes = match notes.join(", ") {
        notes if notes.is_empty() => notes,
        notes => format!(" ({notes})"),
    };
    let mut out = match schema {
        Value::Object(out) => out,
        _ => Map::new(),
    };
    out.insert("description".to_owned(), json!(format!("{text}{notes}.")));
    out.extend(default.map(|default| ("default".to_owned(), default)));
    Value::Object(out)
}

/// A whole number.
pub(super) fn bounded(least: u32, most: u32) -> Value {
    large(least, most.into())
}

/// A whole number, of any that TOML has.
pub(super) fn large(least: u32, most: u64) -> Value {
    json!({ "type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": env() })
}

/// A number that is not negative.
pub(super) fn not_negative(most: f64) -> Value {
    json!({ "type": ["number", "string"], "minimum": 0, "maximum": most, "pattern": env() })
}

/// A number above zero.
pub(super) fn above_zero(most: f64) -> Value {
    json!({
        "type": ["number", "string"],
        "exclusiveMinimum": 0,
        "maximum": most,
        "pattern": env(),
    })
}

/// A number from one upwards.
pub(super) fn at_least_one(most: f64) -> Value {
    json!({ "type": ["number", "string"], "minimum": 1, "maximum": most, "pattern": env() })
}

/// A share of one that is not zero.
pub(super) fn share_above_zero() -> Value {
    json!({ "type": ["number", "string"], "exclusiveMinimum": 0, "maximum": 1, "pattern": env() })
}

/// A share of one that is neither nothing nor all.
pub(super) fn between() -> Value {
    json!({
        "type": ["number", "string"],
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "pattern": env(),
    })
}

/// Yes or no.
pub(super) fn boolean() -> Value {
    json!({ "type": ["boolean", "string"], "pattern": env() })
}

/// A share of one.
pub(super) fn share() -> Value {
    json!({ "type": ["number", "string"], "minimum": 0, "maximum": 1, "pattern": env() })
}

/// A duration; `positive` is one that is not zero.
pub(super) fn duration(positive: bool) -> Value {
    json!({ "type": "string", "pattern": whole_or_env(&duration_pattern(positive)) })
}

/// How the default of a duration is written.
pub(super) fn time(time: Duration) -> Option<Value> {
    Some(json!(Time(time).to_string()))
}

/// A size in bytes that is not zero.
pub(super) fn size() -> Value {
    size_up_to(LARGEST)
}

/// A size in bytes that is not zero; only a number of bytes is compared with the most.
pub(super) fn size_up_to(most: u64) -> Value {
    json!({
        "type": ["integer", "string"],
        "minimum": 1,
        "maximum": most,
        "pattern": whole_or_env(&size_pattern(true)),
    })
}

/// Any text, with an interpolation as the whole of it or not at all.
pub(super) fn text() -> Value {
    json!({ "type": "string", "if": { "pattern": r"(^|[^$])\$\{env\." }, "then": { "pattern": env() } })
}

/// The name of a node.
pub(super) fn name() -> Value {
    json!({ "type": "string", "pattern": whole_or_env(NAME) })
}

/// The name of a node or of one copy of it.
pub(super) fn end() -> Value {
    let place = format!(r"\s*{NAME}\s*=\s*\+?[0-9]+\s*");
    let pattern = whole_or_env(&format!(r"{NAME}(\[{place}(,{place})*\])?"));
    json!({ "type": "string", "pattern": pattern })
}

/// A regular expression that takes one of `words`, or an interpolation.
pub(super) fn any_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(escaped).collect();
    if words.is_empty() { env() } else { whole_or_env(&words.join("|")) }
}

/// One of a few words.
pub(super) fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Value {
    let words: Vec<&str> = words.into_iter().collect();
    json!({
        "type": "string",
        "pattern": any_of(words.iter().copied()),
        // The pattern judges, which makes for a better message than alternatives do; editors complete from here.
        "anyOf": [{ "enum": words }, true],
    })
}

/// `text` as a regular expression for itself.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if r"\^$.|?*+()[]{}/".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A table with these keys and no other.
pub(super) fn table<const N: usize>(keys: [(&str, Value); N]) -> Value {
    let keys = keys.map(|(key, value)| (key.to_owned(), value));
    let keys = Map::from_iter(keys);
    json!({ "type": "object", "properties": keys, "additionalProperties": false })
}

/// `schema`, which also takes a short form of `types`; keywords that are not about tables judge it.
pub(super) fn or_short(mut schema: Value, types: &[&str], short: Value) -> Value {
    let mut all: Vec<&str> = types.to_vec();
    all.push("object");
    if let (Value::Object(out), Value::Object(short)) = (&mut schema, short) {
        out.extend(short);
        out.insert("type".to_owned(), json!(all));
    }
    schema
}
