//! The schema and the loader agree on every config, as far as a schema can.

mod faults;
mod keys;
mod kinds;
mod mistakes;
mod random;
mod requesters;
mod unusual;
mod workers;

use std::fs;
use std::path::{Path, PathBuf};

use gopherworks::Loaded;
use gopherworks::config::{Diagnostics, Overrides, json_schema};
use jsonschema::Validator;
use serde_json::Value as Json;
use toml::{Table, Value};
use workers::catalog;

/// A small valid config that every test changes.
const BASE: &str = r#"
[piles.manuals]
source = { kind = "generate", books = 100 }
[dumps.middle]
capacity = 80
[incinerators.furnace]
burn = "count"
[crews.near]
from = "manuals"
to = "middle"
gophers = ["load push unload return"]
carts = { count = 1, books = 10 }
[crews.far]
like = "near"
from = "middle"
to = "furnace"
[balancers.front]
workers.work = "idle"
[requesters.users]
to = "front"
load = { kind = "batch", requests = 10 }
"#;

/// The validator of the schema of the shipped kinds.
fn validator() -> Validator {
    jsonschema::validator_for(&json_schema(&catalog())).expect("a schema")
}

fn table(text: &str) -> Table {
    text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// `BASE` merged with `changes`: tables merge unless their kind differs, everything else is
/// replaced.
fn changed(changes: &str) -> Table {
    let mut base = table(BASE);
    lay(&mut base, table(changes));
    base
}

fn lay(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(value))
                if value.get("kind").is_none() || below.get("kind") == value.get("kind") =>
            {
                lay(below, value);
            }
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// The JSON that an editor gives to the schema: dates and times are strings.
fn json(value: &Value) -> Json {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(n) => (*n).into(),
        Value::Float(x) => (*x).into(),
        Value::Boolean(yes) => (*yes).into(),
        Value::Datetime(time) => time.to_string().into(),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Table(table) => self::object(table),
    }
}

fn object(table: &Table) -> Json {
    let entries = table.iter().map(|(key, value)| (key.clone(), json(value)));
    Json::Object(entries.collect())
}

fn load(tree: &Table) -> Result<Loaded, Diagnostics> {
    let text = toml::to_string(tree).expect("TOML");
    Loaded::parse("design.toml", text, &catalog(), &Overrides::default())
}

/// The mistakes that the schema finds, one per line.
fn complaints(validator: &Validator, tree: &Table) -> Vec<String> {
    let tree = object(tree);
    let errors = validator.iter_errors(&tree);
    errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

fn shipped() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let entries = fs::read_dir(folder).expect("the shipped configs");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect()
}

#[test]
fn it_is_a_schema() {
    let schema = json_schema(&catalog());
    assert!(jsonschema::meta::is_valid(&schema));
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for key in ["$id", "title", "description"] {
        assert!(schema[key].is_string(), "{key}");
    }
}

#[test]
fn references_have_nothing_beside_them() {
    // Drafts before 2019 ignore this keyword, and some editors use those.
    fn visit(value: &Json) {
        if let Some(object) = value.as_object() {
            assert!(!object.contains_key("$ref") || object.len() == 1, "{value}");
            object.values().for_each(visit);
        }
        value.as_array().into_iter().flatten().for_each(visit);
    }
    visit(&json_schema(&catalog()));
}

#[test]
fn shipped_files_are_right() {
    let validator = validator();
    let files = shipped();
    assert!(files.len() >= 4, "{files:?}");
    for path in files {
        let text = fs::read_to_string(&path).expect("a config");
        let found = complaints(&validator, &table(&text));
        assert!(found.is_empty(), "{}: {found:#?}", path.display());
    }
}

#[test]
fn every_default_is_what_the_loader_takes() {
    let plain = load(&table(BASE)).expect("a right design").config;
    let mut judged = 0;
    for (path, schema) in keys::properties() {
        // These defaults depend on other keys: a relay's bounds on the capacity of its ends, and a
        // budget on a hedge.
        let elsewhere = path.starts_with("relays") || path == "balancers.front.hedge.budget";
        let Some(default) = schema.get("default").filter(|_| !elsewhere) else {
            continue;
        };
        let mut tree = table(BASE);
        let default = Value::try_from(default).expect("a default in TOML");
        let keys: Vec<&str> = path.split('.').collect();
        let over = keys.iter().rev().fold(default, |below, key| {
            Value::Table(Table::from_iter([((*key).to_owned(), below)]))
        });
        let Value::Table(over) = over else { panic!("{path}") };
        // Values that are set are not the default.
        if let Some(Value::Table(crew)) = tree["crews"].get_mut("near") {
            crew.remove("carts");
        }
        // The presence of these tables has a meaning: their defaults are those of an empty table.
        if let ["balancers", "front", table @ ("shed" | "retry_budget" | "eject"), _] = keys[..] {
            let empty = format!("balancers.front.{table} = {{}}");
            lay(&mut tree, self::table(&empty));
        }
        if let ["piles" | "dumps", _, "retry", _] = keys[..] {
            lay(&mut tree, self::table(&format!("{}.{}.retry = {{}}", keys[0], keys[1])));
        }
        if keys[0] == "operations" {
            lay(&mut tree, self::table("operations = {}"));
        }
        let without = load(&tree).expect("a right design").config;
        lay(&mut tree, over);
        let with = load(&tree).unwrap_or_else(|mistakes| panic!("{path}: {mistakes}"));
        assert_eq!(with.config, without, "{path}");
        judged += 1;
    }
    assert!(judged > 15, "{judged}");
    assert_eq!(plain.crews.len(), 2);
}
