//! Kinds: what the catalog says of their options, with interpolation added.

use serde_json::{Map, Value, json};

use super::parts::{self, any_of, env, text};
use crate::catalog::Kind;

/// The schema of one kind.
pub(super) struct Branch {
    /// Its name in config files.
    name: String,
    /// Its key in `$defs`.
    key: String,
    schema: Value,
    /// What a file that inherits nothing must have.
    complete: Option<Value>,
}

impl Branch {
    /// One of our own words, with the schema of its options.
    pub(super) fn new(
        role: &str,
        name: &str,
        help: &str,
        mut schema: Value,
        complete: Option<Value>,
    ) -> Self {
        schema["description"] = json!(help);
        schema["properties"]["kind"] = json!({ "description": help, "const": name });
        Self { name: name.to_owned(), key: format!("{role}_{name}"), schema, complete }
    }
}

/// The branches of a role.
pub(super) fn branches<'a, T: ?Sized + 'static>(
    role: &str,
    kinds: impl Iterator<Item = &'a Kind<T>>,
) -> Vec<Branch> {
    (kinds.enumerate()).map(|(at, kind)| branch(role, at, kind)).collect()
}

fn branch<T: ?Sized + 'static>(role: &str, at: usize, kind: &Kind<T>) -> Branch {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    // A key is part of a pointer: a name that would need escapes there is known by its number.
    let key = if kind.name.chars().all(plain) {
        format!("{role}_{}", kind.name)
    } else {
        format!("{role}.{at}")
    };
    let mut schema = kind.schema.as_value().clone();
    admit(&mut schema, &key);
    let mut out = Map::from_iter([
        ("description".to_owned(), json!(kind.help)),
        ("type".to_owned(), json!("object")),
    ]);
    let mut required = Vec::new();
    if let Value::Object(said) = schema {
        // The alternatives of an enum at the top can't be distinguished here; the kind checks them.
        let simple = (["anyOf", "oneOf", "allOf", "$ref", "enum", "const"].iter())
            .all(|word| !said.contains_key(*word));
        let kept = if simple {
            &["properties", "patternProperties", "additionalProperties", "$defs"][..]
        } else {
            &[]
        };
        for (word, value) in said {
            if kept.contains(&word.as_str()) {
                out.insert(word, value);
            } else if word == "required"
                && simple
                && let Value::Array(names) = value
            {
                required = names;
            }
        }
    }
    let properties = out.entry("properties").or_insert_with(|| json!({}));
    if let Value::Object(properties) = properties {
        for option in properties.values_mut() {
            if let Some(text) = option["description"].as_str() {
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                let default = option.get("default").cloned();
                *option = parts::key(text.trim_end_matches('.'), default, option.take());
            }
        }
        let kind = json!({ "description": kind.help, "const": kind.name });
        properties.insert("kind".to_owned(), kind);
    }
    Branch {
        name: kind.name.clone(),
        key,
        schema: Value::Object(out),
        complete: (!required.is_empty()).then(|| json!({ "required": required })),
    }
}

/// Adds the schema of each kind to `$defs`.
pub(super) fn define(branches: Vec<Branch>, defs: &mut Map<String, Value>) {
    defs.extend(branches.into_iter().map(|branch| (branch.key, branch.schema)));
}

/// A kind by its name or as a table with its options. Required options are not demanded here, as
/// they may be inherited; see [`complete`].
pub(super) fn kind(role: &str, branches: &[Branch]) -> Value {
    let known: Vec<&str> = branches.iter().map(|branch| branch.name.as_str()).collect();
    let pattern = any_of(known.iter().copied());
    let mut offered = vec![json!({ "enum": known })];
    offered.extend(branches.iter().map(reference));
    offered.push(json!(true));
    let cases = branches.iter().map(|branch| case(branch, reference(branch)));
    json!({
        "type": ["string", "object"],
        "pattern": pattern,
        "properties": {
            "kind": {
                "description": format!("The kind of {role}."),
                "type": "string",
                "pattern": pattern,
            },
        },
        "if": { "type": "object" },
        "then": { "allOf": cases.collect::<Vec<_>>() },
        // The cases give the messages; editors that complete from alternatives find them here.
        "anyOf": offered,
    })
}

/// What a kind must have in a file that inherits nothing.
pub(super) fn complete(branches: &[Branch]) -> Value {
    let short = branches.iter().filter(|branch| branch.complete.is_none());
    let short = short.map(|branch| branch.name.as_str());
    let cases = (branches.iter()).filter_map(|branch| Some(case(branch, branch.complete.clone()?)));
    let mut then = json!({ "required": ["kind"] });
    let cases: Vec<Value> = cases.collect();
    if !cases.is_empty() {
        then["allOf"] = Value::Array(cases);
    }
    json!({
        "pattern": any_of(short),
        "if": { "type": "object" },
        "then": then,
    })
}

fn reference(branch: &Branch) -> Value {
    json!({ "$ref": format!("#/$defs/{}", branch.key) })
}

fn case(branch: &Branch, then: Value) -> Value {
    let is_it = json!({ "properties": { "kind": { "const": branch.name } }, "required": ["kind"] });
    json!({ "if": is_it, "then": then })
}

/// Keywords whose value is a schema.
const ONE: [&str; 3] = ["items", "additionalProperties", "contains"];
/// Keywords whose value is a table of schemas by name.
const NAMED: [&str; 3] = ["properties", "patternProperties", "$defs"];
/// Alternatives. None of them is exclusive here, since an interpolation may stand for each.
const ALTERNATIVES: [&str; 2] = ["oneOf", "anyOf"];

/// Adapts the schema of an option's type to files: it accepts interpolations, but no nulls. `at` is
/// the kind's key in `$defs`.
fn admit(schema: &mut Value, at: &str) {
    let Value::Object(map) = schema else {
        return;
    };
    // Words of our own, and formats that no editor knows.
    map.retain(|word, _| !word.starts_with("x-") && word != "title");
    if map.get("default").is_some_and(Value::is_null) {
        map.remove("default");
    }
    if let Some(Value::String(pointer)) = map.get_mut("$ref")
        && let Some(inside) = pointer.strip_prefix('#')
    {
        *pointer = format!("#/$defs/{at}{inside}");
    }
    for word in NAMED {
        if let Some(Value::Object(below)) = map.get_mut(word) {
            below.values_mut().for_each(|schema| admit(schema, at));
        }
    }
    for word in ONE {
        if let Some(below) = map.get_mut(word) {
            admit(below, at);
        }
    }
    for word in ["prefixItems", "allOf"] {
        if let Some(Value::Array(below)) = map.get_mut(word) {
            below.iter_mut().for_each(|schema| admit(schema, at));
        }
    }
    // All are taken out first: what becomes of the one kind is the other.
    for below in ALTERNATIVES.map(|word| map.remove(word)) {
        if let Some(Value::Array(mut below)) = below {
            below.retain(|schema| schema["type"] != "null");
            alternatives(map, below, at);
        }
    }
    scalar(map);
}

fn alternatives(map: &mut Map<String, Value>, mut below: Vec<Value>, at: &str) {
    // `Option` leaves one.
    if let [Value::Object(_)] = below[..]
        && let Some(Value::Object(only)) = below.pop()
    {
        let mut only = Value::Object(only);
        admit(&mut only, at);
        if let Value::Object(only) = only {
            for (word, value) in only {
                map.entry(word).or_insert(value);
            }
        }
        return;
    }
    let word = |schema: &Value| schema["const"].is_string() || all_text(&schema["enum"]);
    if below.iter().all(word) {
        let known = below.iter().flat_map(|schema| match &schema["enum"] {
            Value::Array(words) => words.clone(),
            _ => vec![schema["const"].clone()],
        });
        map.insert("enum".to_owned(), known.collect());
        // What the words mean would be lost with them.
        for schema in &mut below {
            if let Value::Object(schema) = schema {
                schema.remove("type");
            }
        }
        below.push(json!(true));
        map.insert("anyOf".to_owned(), Value::Array(below));
        return;
    }
    below.iter_mut().for_each(|schema| admit(schema, at));
    map.insert("anyOf".to_owned(), Value::Array(below));
}

fn all_text(words: &Value) -> bool {
    let words = words.as_array();
    words.is_some_and(|words| words.iter().all(Value::is_string))
}

/// An interpolation may stand for any value.
fn scalar(map: &mut Map<String, Value>) {
    let mut types: Vec<String> = match map.get("type") {
        Some(Value::String(name)) => vec![name.clone()],
        Some(Value::Array(names)) => {
            let names = names.iter().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    types.retain(|name| name != "null");
    write_types(map, &types);
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(words) = map.get("enum").filter(|words| all_text(words)).cloned() {
        let texts = words.as_array().into_iter().flatten();
        let pattern = any_of(texts.filter_map(Value::as_str));
        map.remove("enum");
        map.insert("type".to_owned(), json!("string"));
        map.insert("pattern".to_owned(), json!(pattern));
        map.entry("anyOf").or_insert_with(|| json!([{ "enum": words }, true]));
        return;
    }
    let format = match map.remove("format") {
        Some(Value::String(format)) => format,
        _ => String::new(),
    };
    let odd = ["enum", "const", "minLength", "maxLength"];
    let known = ["", "path", "size", "duration"].contains(&format.as_str());
    let is_text = types.iter().any(|name| name == "string");
    if odd.iter().any(|word| map.contains_key(*word)) || (is_text && !known) {
        let mut plain = Map::new();
        for word in odd.into_iter().chain(["pattern", "type", "minimum", "maximum"]) {
            if let Some(value) = map.remove(word) {
                plain.insert(word.to_owned(), value);
            }
        }
        let known = (is_text && !known).then_some(("format".to_owned(), json!(format)));
        plain.extend(known);
        let any = json!([plain, { "type": "string", "pattern": env() }]);
        map.insert("anyOf".to_owned(), any);
        return;
    }
    if types.is_empty() {
        return;
    }
    if let Some((least, most)) = bounds(&format) {
        map.entry("minimum").or_insert(json!(least));
        map.entry("maximum").or_insert(json!(most));
    }
    match (is_text, map.get("pattern").and_then(Value::as_str)) {
        (_, Some(own)) => {
            let pattern = format!("({own})|{}", env());
            map.insert("pattern".to_owned(), json!(pattern));
        }
        (true, None) => {
            if let Value::Object(text) = text() {
                let rest = text.into_iter().filter(|(word, _)| word != "type");
                map.extend(rest);
            }
        }
        (false, None) => {
            types.push("string".to_owned());
            map.insert("pattern".to_owned(), json!(env()));
        }
    }
    write_types(map, &types);
}

fn write_types(map: &mut Map<String, Value>, types: &[String]) {
    let types = match types {
        [] => return,
        [only] => json!(only),
        all => json!(all),
    };
    map.insert("type".to_owned(), types);
}

/// What a number of this format holds; TOML's own numbers have 64 bits.
fn bounds(format: &str) -> Option<(i64, i64)> {
    Some(match format {
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        _ => return None,
    })
}
