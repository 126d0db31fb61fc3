//! The config language as a JSON Schema, for editors.
//!
//! It accepts what the reader accepts in one file, and refuses what is wrong without regard to
//! other keys: only the loader checks that names refer to nodes and that numbers fit each other.

use serde_json::{Map, Value, json};

use super::element::{Element, Group};
use super::elements::TopologyConfig;
use crate::catalog::Catalog;
use types::Writer;

mod kinds;
pub(super) mod parts;
mod types;

/// The JSON Schema (draft 2020-12) of config files, with the kinds of `catalog`.
///
/// ```
/// use gopherworks::catalog::Catalog;
/// use gopherworks::config::json_schema;
///
/// let schema = json_schema(&Catalog::standard());
/// assert_eq!(schema["$defs"]["work_gzip"]["properties"]["level"]["default"], 6);
/// ```
#[must_use]
pub fn json_schema(catalog: &Catalog) -> Value {
    let mut writer = Writer { catalog, defs: Map::new() };
    let mut out = writer.table(TopologyConfig::TABLE);
    let complete = writer.complete(&TopologyConfig::TYPE);
    out["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    out["$id"] = json!("urn:gopherworks:config");
    out["title"] = json!("gopherworks");
    out["description"] = json!(TopologyConfig::TABLE.doc);
    out["if"] = json!({ "required": ["extends"] });
    out["else"] = json!({ "allOf": [complete, graph()] });
    out["$defs"] = Value::Object(writer.defs);
    out
}

/// Which nodes a file needs that inherits nothing.
fn graph() -> Value {
    let some = |group: &str| {
        let nodes = json!({ "type": ["object", "string"], "minProperties": 1 });
        json!({ "required": [group], "properties": { group: nodes } })
    };
    let any = |groups: &[&str]| {
        let groups: Vec<Value> = groups.iter().map(|group| some(group)).collect();
        json!({ "anyOf": groups })
    };
    let asks = any(&["balancers", "requesters"]);
    let carries = any(&["piles", "dumps", "incinerators", "crews", "relays"]);
    let least = json!({ "minProperties": 1 });
    json!({
        "if": { "allOf": [asks, { "not": carries }] },
        "else": {
            "required": ["piles", "incinerators"],
            "properties": { "piles": least, "incinerators": least },
            "if": { "properties": { "crews": { "maxProperties": 0 } } },
            "then": { "required": ["relays"] },
        },
        "allOf": [{ "if": some("requesters"), "then": some("balancers") }],
    })
}
