//! Schemas of single values. A whole `"${env.NAME:-default}"` is accepted for any value.

use serde_json::{Value, json};

use crate::config::interpolate;
use crate::config::label::NAME;
use crate::config::limits::MOST_COPIES;
use crate::config::units::{duration_pattern, size_pattern};

/// A regular expression that takes the whole of `inner`, or of an interpolation.
pub(in crate::config) fn whole_or_env(inner: &str) -> String {
    format!("^({inner}|{})$", interpolate::PATTERN)
}

/// A regular expression that takes an interpolation and nothing else.
pub(in crate::config) fn env() -> String {
    format!("^{}$", interpolate::PATTERN)
}

/// `schema` with a description that includes its bounds and its default, as editors show only the
/// description.
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
        notes.push(format!("default {}", said(default)));
    }
    let notes = match notes.join(", ") {
        notes if notes.is_empty() => notes,
        notes => format!(" ({notes})"),
    };
    let mut out = with_description(schema, format!("{text}{notes}."));
    if let Some(default) = default {
        out["default"] = default;
    }
    out
}

/// A default in a description.
pub(super) fn said(default: &Value) -> String {
    default.as_str().map_or_else(|| default.to_string(), str::to_owned)
}

/// `schema` with a description.
pub(super) fn with_description(mut schema: Value, description: String) -> Value {
    schema["description"] = json!(description);
    schema
}

/// A whole number, of any that TOML has.
pub(super) fn large(least: u64, most: u64) -> Value {
    json!({ "type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": env() })
}

/// `true` or `false`.
pub(super) fn boolean() -> Value {
    json!({ "type": ["boolean", "string"], "pattern": env() })
}

/// A duration; `positive` is one that is not zero.
pub(super) fn duration(positive: bool) -> Value {
    json!({ "type": "string", "pattern": whole_or_env(&duration_pattern(positive)) })
}

/// A size in bytes that is not zero. A pattern can't compare texts with `most`.
pub(super) fn size_up_to(most: u64) -> Value {
    json!({
        "type": ["integer", "string"],
        "minimum": 1,
        "maximum": most,
        "pattern": whole_or_env(&size_pattern(true)),
    })
}

/// Any text, with an interpolation as the whole of it or not at all.
pub(in crate::config) fn text() -> Value {
    let part = json!({ "pattern": r"(^|[^$])\$\{env\." });
    json!({ "type": "string", "if": part, "then": { "pattern": env() } })
}

/// A list of dotted keys.
pub(in crate::config) fn paths() -> Value {
    let part = r#"\s*([A-Za-z0-9_-]+|"[^"]*"|'[^']*')\s*"#;
    or_env(json!({ "type": "array", "items": pattern(&format!(r"{part}(\.{part})*")) }))
}

/// Copies along each axis; a bare number is of the axis `copy`.
pub(super) fn copies() -> Value {
    let most = MOST_COPIES;
    let mut axis = large(1, most);
    axis["description"] = json!(format!("Copies along this axis (1 to {most})."));
    let axes = json!({
        "type": "object",
        "propertyNames": { "pattern": format!("^{NAME}$") },
        "additionalProperties": axis,
    });
    or_short(axes, large(1, most))
}

/// The name of a node.
pub(in crate::config) fn name() -> Value {
    json!({ "type": "string", "pattern": whole_or_env(NAME) })
}

/// The name of a node or of one copy of it.
pub(in crate::config) fn end() -> Value {
    let place = format!(r"\s*{NAME}\s*=\s*\+?[0-9]+\s*");
    let pattern = whole_or_env(&format!(r"{NAME}(\[{place}(,{place})*\])?"));
    json!({ "type": "string", "pattern": pattern })
}

/// What a header's or a method's name may consist of (RFC 9110, token).
pub(in crate::config) const TOKEN: &str = r"!#$%&'*+.^_`|~0-9A-Za-z-";

/// A string that matches the whole of `inner`.
pub(in crate::config) fn pattern(inner: &str) -> Value {
    json!({ "type": "string", "pattern": whole_or_env(inner) })
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
        // The pattern gives a better message than alternatives do; editors complete from these.
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

/// The schema of a table or an array that may also be an interpolation.
pub(in crate::config) fn or_env(schema: Value) -> Value {
    or_short(schema, json!({ "type": "string", "pattern": env() }))
}

/// The schema of a table or an array that may also be in a short form: accepts what `schema` or
/// `short` accepts. Keywords of `short` are merged, as none of them constrains the other type.
pub(super) fn or_short(mut schema: Value, short: Value) -> Value {
    let mut types = match &short["type"] {
        Value::Array(types) => types.clone(),
        one => vec![one.clone()],
    };
    types.push(schema["type"].clone());
    if let (Value::Object(out), Value::Object(short)) = (&mut schema, short) {
        out.extend(short);
        out.insert("type".to_owned(), Value::Array(types));
    }
    schema
}
