//! The schema of each described type.

use serde_json::{Map, Value, json};

use super::kinds::{self, Branch};
use super::parts::{
    boolean, duration, env, large, or_env, or_short, said, size_up_to, whole_or_env,
    with_description, words,
};
use crate::catalog::Catalog;
use crate::config::element::{Bounds, Key, Role, Rule, TableSpec, Type};
use crate::config::label::NAME;
use crate::config::limits::LARGEST;

/// Writes schemas of described types, with the kinds of a catalog.
pub(super) struct Writer<'a> {
    pub catalog: &'a Catalog,
    /// Definitions that the schemas refer to.
    pub defs: Map<String, Value>,
}

impl Writer<'_> {
    /// The schema of a key, with its description.
    pub fn key(&mut self, described: &Key) -> Value {
        let schema = self.schema(&described.ty, &described.bounds);
        let default = described.shown();
        let mut notes = described.notes();
        notes.extend(default.as_ref().map(|default| format!("default {}", said(default))));
        let doc = described.doc.trim_end_matches('.');
        let description = match notes.join(", ") {
            notes if notes.is_empty() => format!("{doc}."),
            notes => format!("{doc} ({notes})."),
        };
        let mut out = with_description(schema, description);
        if let Some(default) = default {
            out["default"] = default;
        }
        out
    }

    /// The schema of a value.
    fn schema(&mut self, ty: &Type, bounds: &Bounds) -> Value {
        match *ty {
            Type::Boolean => boolean(),
            Type::Whole(most) => {
                let (least, most) = bounds.range(most);
                large(least, most)
            }
            Type::Real => real(bounds),
            Type::Duration => duration(bounds.positive()),
            Type::Size => size_up_to(bounds.range(LARGEST).1),
            Type::Other(_, schema) => schema(),
            Type::Words(all) => words(all.iter().map(|word| word.name)),
            Type::WholeOr(word) => {
                let (least, most) = bounds.range(u32::MAX.into());
                let mut out = large(least, most);
                out["pattern"] = json!(whole_or_env(word));
                out["anyOf"] = json!([{ "enum": [word] }, true]);
                out
            }
            Type::List { of, alone, exactly } => {
                let one = self.schema(of, &Bounds::NONE);
                let mut list = json!({ "type": "array", "items": one });
                if let Some(length) = exactly {
                    list["minItems"] = json!(length);
                    list["maxItems"] = json!(length);
                } else if let Some(least) = bounds.min {
                    list["minItems"] = json!(least.whole);
                }
                if alone { json!({ "anyOf": [list["items"], list] }) } else { or_env(list) }
            }
            Type::Named(of) => {
                let name = of.table().map_or("", |table| table.name);
                let schema = self.node(of);
                self.defs.insert(name.to_owned(), schema);
                or_env(json!({
                    "type": "object",
                    "propertyNames": { "pattern": format!("^{NAME}$") },
                    "additionalProperties": { "$ref": format!("#/$defs/{name}") },
                }))
            }
            Type::Copies => super::parts::copies(),
            Type::Table(table) => self.value(table),
            Type::Tagged(role, _) => {
                let branches = self.branches(ty);
                let out = kinds::kind(role, &branches);
                kinds::define(branches, &mut self.defs);
                out
            }
            Type::Kind(role) => {
                let branches = self.branches(ty);
                let out = kinds::kind(role.name(), &branches);
                kinds::define(branches, &mut self.defs);
                out
            }
            Type::Works => self.works(),
        }
    }

    /// A table that stands by itself in `$defs`; editors that know how begin it with its required
    /// keys.
    fn node(&mut self, ty: &Type) -> Value {
        let Some(table) = ty.table() else {
            return Value::Null;
        };
        let mut out = with_description(self.value(table), table.doc.to_owned());
        let required = required(table);
        if !required.is_empty() {
            out["x-taplo"] = json!({ "initKeys": required });
        }
        out
    }

    /// The schema of a table as the value of a key.
    fn value(&mut self, table: &TableSpec) -> Value {
        let schema = self.table(table);
        // Short forms accept an interpolation already.
        if schema["type"] == "object" { or_env(schema) } else { schema }
    }

    /// The schema of a table.
    pub fn table(&mut self, table: &TableSpec) -> Value {
        let keys = table.all().into_iter();
        let keys: Map<String, Value> =
            keys.map(|key| (key.name.to_owned(), self.key(key))).collect();
        let mut out =
            json!({ "type": "object", "properties": keys, "additionalProperties": false });
        match table.rule {
            // Several of the keys would be more than one.
            Some(Rule::ExactlyOne(keys)) if keys.len() == table.keys.len() => {
                out["maxProperties"] = json!(1);
            }
            Some(Rule::ExactlyOne(keys) | Rule::AtMostOne(keys)) => {
                out["not"] = json!({ "type": "object", "required": keys });
            }
            None => {}
        }
        let short = match (table.short.and_then(|short| table.key(short)), table.bare) {
            // A short form of a table with a short form of its own is that one.
            (Some(key), _) => match key.ty.table().and_then(|table| table.bare) {
                Some(bare) => self.schema(&bare, &Bounds::NONE),
                None => self.schema(&key.ty, &key.bounds),
            },
            (None, Some(bare)) => self.schema(&bare, &Bounds::NONE),
            (None, None) => return out,
        };
        or_short(out, short)
    }

    /// What a value must have in a file that inherits nothing; `None` if nothing more.
    pub fn complete(&self, ty: &Type) -> Option<Value> {
        match *ty {
            Type::Named(of) => Some(json!({ "additionalProperties": self.complete(of)? })),
            Type::Table(table) => self.complete_table(table),
            Type::Tagged(..) | Type::Kind(_) => Some(kinds::complete(&self.branches(ty))),
            _ => None,
        }
    }

    fn complete_table(&self, table: &TableSpec) -> Option<Value> {
        let mut out = Map::new();
        let required = required(table);
        if !required.is_empty() {
            out.insert("required".to_owned(), json!(required));
        }
        let keys: Map<String, Value> = (table.all().into_iter())
            .filter_map(|key| Some((key.name.to_owned(), self.complete(&key.ty)?)))
            .collect();
        if !keys.is_empty() {
            out.insert("properties".to_owned(), Value::Object(keys));
        }
        if let Some(Rule::ExactlyOne(keys)) = table.rule {
            let any: Vec<Value> = keys.iter().map(|key| json!({ "required": [key] })).collect();
            out.insert("anyOf".to_owned(), json!(any));
        }
        if let Some(complete) = table.complete {
            out.insert("allOf".to_owned(), json!([complete()]));
        }
        let out = (!out.is_empty()).then_some(Value::Object(out))?;
        Some(match table.unless {
            Some(key) => json!({ "if": { "required": [key] }, "else": out }),
            None => out,
        })
    }

    /// The alternatives of a value whose `kind` says its keys.
    pub fn branches(&self, ty: &Type) -> Vec<Branch> {
        let catalog = self.catalog;
        match *ty {
            Type::Tagged(role, variants) => {
                let mut own = Writer { catalog, defs: Map::new() };
                let branch = |variant: &crate::config::element::Variant| {
                    let complete = self.complete_table(variant.table);
                    Branch::new(role, variant.name, variant.doc, own.table(variant.table), complete)
                };
                variants.iter().map(branch).collect()
            }
            Type::Kind(Role::Source) => kinds::branches("source", catalog.sources()),
            Type::Kind(Role::Burn) => kinds::branches("burn", catalog.burns()),
            Type::Kind(Role::Service) => kinds::branches("worker", catalog.services()),
            _ => kinds::branches("work", catalog.works()),
        }
    }

    /// A list of works.
    fn works(&mut self) -> Value {
        let branches = self.branches(&Type::Works);
        let mut work = kinds::kind("work", &branches);
        // Lists replace each other whole, so nothing of a work is ever inherited.
        if let Value::Object(complete) = kinds::complete(&branches)
            && let Some(rules) = work["then"]["allOf"].as_array_mut()
        {
            rules.push(complete["then"].clone());
            work["pattern"] = complete["pattern"].clone();
        }
        self.defs.insert("work".to_owned(), work);
        kinds::define(branches, &mut self.defs);
        json!({
            "type": ["string", "object", "array"],
            "if": { "type": "array" },
            "then": { "items": { "$ref": "#/$defs/work" } },
            "else": { "$ref": "#/$defs/work" },
            // For completion; see `kinds::kind`.
            "anyOf": [{ "$ref": "#/$defs/work" }, { "items": { "$ref": "#/$defs/work" } }, true],
        })
    }
}

fn required(table: &TableSpec) -> Vec<&'static str> {
    let keys = table.all().into_iter().filter(|key| key.required);
    keys.map(|key| key.name).collect()
}

/// A number with or without a fraction.
fn real(bounds: &Bounds) -> Value {
    let mut out = json!({ "type": ["number", "string"], "pattern": env() });
    let mut bound = |word: &str, number: f64| {
        let whole = number.fract() == 0.0;
        out[word] = if whole { json!(number as i64) } else { json!(number) };
    };
    for (word, number) in [
        ("minimum", bounds.min),
        ("exclusiveMinimum", bounds.above),
        ("maximum", bounds.max.or(bounds.most)),
        ("exclusiveMaximum", bounds.below),
    ] {
        if let Some(number) = number {
            bound(word, number.real);
        }
    }
    out
}
