//! The schema has exactly the keys that the reader knows, each with a description.

use std::collections::BTreeSet;

use super::*;

/// The schema that `schema` refers to, or `schema` itself.
fn resolved<'a>(root: &'a Json, schema: &'a Json) -> &'a Json {
    match schema["$ref"].as_str().and_then(|at| at.strip_prefix('#')) {
        Some(pointer) => root.pointer(pointer).expect("a definition"),
        None => schema,
    }
}

/// A name of the base config for each group of nodes, or a new one.
fn example(group: &str) -> &'static str {
    match group {
        "piles" => "manuals",
        "dumps" => "middle",
        "incinerators" => "furnace",
        "crews" => "near",
        "balancers" => "front",
        "requesters" => "users",
        _ => "belt",
    }
}

/// All tables with keys of their own, except those of kinds, by dotted path.
fn tables() -> Vec<(String, Json)> {
    let root = json_schema(&catalog());
    let mut found = Vec::new();
    let mut open = vec![(String::new(), &root)];
    while let Some((path, schema)) = open.pop() {
        let schema = resolved(&root, schema);
        let join = |key: &str| match path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        };
        let below = &schema["additionalProperties"];
        if below["$ref"].is_string() {
            open.push((join(example(&path)), below));
        }
        let Some(properties) = schema["properties"].as_object() else {
            continue;
        };
        if properties.contains_key("kind") {
            continue;
        }
        open.extend(properties.iter().map(|(key, schema)| (join(key), schema)));
        found.push((path, schema.clone()));
    }
    found
}

/// All keys with their schemas, by dotted path.
pub fn properties() -> Vec<(String, Json)> {
    let mut found = Vec::new();
    for (path, schema) in tables() {
        for (key, schema) in schema["properties"].as_object().expect("properties") {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            found.push((path, schema.clone()));
        }
    }
    found
}

/// The keys that the loader lists as known if `tree` has an unknown one.
fn known(tree: &Table) -> BTreeSet<String> {
    let mistakes = load(tree).expect_err("an unknown key");
    let mistake = (mistakes.iter())
        .find(|mistake| mistake.message.starts_with("unknown key `zzzzzzzz`"))
        .unwrap_or_else(|| panic!("{mistakes}"));
    let help = mistake.help.as_deref().unwrap_or_default();
    let keys = help.strip_prefix("known keys: ").unwrap_or_default();
    let keys = keys.split(", ").filter(|key| !key.is_empty());
    keys.map(str::to_owned).collect()
}

/// A config with an unknown key in the table at `path`.
fn unknown(path: &str) -> Table {
    let keys = path.split('.').filter(|key| !key.is_empty());
    let keys: Vec<&str> = keys.chain(["zzzzzzzz"]).collect();
    table(&format!("{} = 1", keys.join(".")))
}

#[test]
fn the_reader_knows_the_same_keys() {
    let mut all = BTreeSet::new();
    for (path, schema) in tables() {
        let said = schema["properties"].as_object().expect("properties");
        let said: BTreeSet<String> = said.keys().cloned().collect();
        // A short form would hide its table.
        let mut tree = table(&BASE.replace("capacity = 80", ""));
        lay(&mut tree, unknown(&path));
        assert_eq!(said, known(&tree), "{path}");
        assert_eq!(schema["additionalProperties"], false, "{path}");
        all.insert(path);
    }
    let some = ["", "crews.near.steps.return.cpu", "relays.belt", "model"];
    assert!(some.iter().all(|path| all.contains(*path)), "{all:?}");
}

#[test]
fn kinds_know_the_same_options() {
    let catalog = catalog();
    let root = json_schema(&catalog);
    let role = |role: &str, names: Vec<&str>, path: &str| {
        for name in names {
            let said = root["$defs"][format!("{role}_{name}")]["properties"].as_object();
            let said = said.unwrap_or_else(|| panic!("{role} {name}"));
            let said: BTreeSet<String> = said
                .keys() // The loader adds `leave_out` itself, so it does not offer it.
                .filter(|key| !["kind", "leave_out"].contains(&key.as_str()))
                .cloned()
                .collect();
            let tree = changed(&format!("{path} = {{ kind = '{name}', zzzzzzzz = 1 }}"));
            // Policies and loads list `kind` as a known key, catalog kinds do not.
            let mut known = known(&tree);
            known.remove("kind");
            assert_eq!(said, known, "{role} {name}");
        }
    };
    role("source", catalog.source_names().collect(), "piles.manuals.source");
    role("work", catalog.work_names().collect(), "crews.near.work");
    role("burn", catalog.burn_names().collect(), "incinerators.furnace.burn");
    role("worker", catalog.service_names().collect(), "balancers.front.workers.work");
    let (policies, loads) = (words(&root, "policy"), words(&root, "load"));
    role("policy", policies.to_vec(), "balancers.front.policy");
    role("load", loads.to_vec(), "requesters.users.load");
    assert_eq!((policies.len(), loads.len()), (9, 4));
}

/// The policies or loads (`role`) that the schema defines with options of their own.
fn words<'a>(root: &'a Json, role: &str) -> Vec<&'a str> {
    let defs = root["$defs"].as_object().expect("definitions");
    let words = defs.keys().filter_map(|key| key.strip_prefix(role)?.strip_prefix('_'));
    words.collect()
}

#[test]
fn every_key_is_described() {
    let root = json_schema(&catalog());
    let mut all = properties();
    for (name, def) in root["$defs"].as_object().expect("definitions") {
        assert!(def["properties"].is_object(), "{name}");
        for (key, schema) in def["properties"].as_object().into_iter().flatten() {
            all.push((format!("{name}.{key}"), schema.clone()));
        }
    }
    assert!(all.len() > 100, "{}", all.len());
    for (path, schema) in all {
        let text = schema["description"].as_str().unwrap_or_default();
        assert!(text.len() > 10, "{path}: {text}");
        if schema.get("default").is_some() {
            assert!(text.contains("default ") && text.ends_with(")."), "{path}: {text}");
        }
    }
}

#[test]
fn every_maximum_is_the_most_that_the_loader_takes() {
    let mut judged = 0;
    for (path, schema) in properties() {
        let Some(most) = schema.get("maximum").and_then(Json::as_i64) else {
            continue;
        };
        let whole = schema["type"].to_string().contains("integer");
        if most == i64::MAX || !whole {
            continue;
        }
        let refused = |value: i64| {
            let keys: Vec<&str> = path.split('.').collect();
            let over = keys.iter().rev().fold(Value::Integer(value), |below, key| {
                Value::Table(Table::from_iter([((*key).to_owned(), below)]))
            });
            let Value::Table(over) = over else { panic!("{path}") };
            let mut tree = table(BASE);
            lay(&mut tree, over);
            load(&tree).is_err()
        };
        assert!(refused(most + 1), "{path}: {most} + 1");
        judged += 1;
    }
    assert!(judged > 20, "{judged}");
}
