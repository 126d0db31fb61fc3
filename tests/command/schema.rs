//! The JSON Schema of the config language: it accepts what the loader accepts, and refuses what a
//! schema can refuse.

use crate::support;

use std::fs;

use gopherworks::Catalog;
use gopherworks::Loaded;
use gopherworks::config::{Overrides, json_schema};
use serde_json::Value;
use support::command::{Place, shipped};

fn validator() -> jsonschema::Validator {
    let schema = json_schema(&Catalog::standard());
    jsonschema::meta::validate(&schema).expect("a schema by the rules of schemas");
    jsonschema::validator_for(&schema).expect("a schema")
}

fn value(text: &str) -> Value {
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
    serde_json::to_value(table).expect("JSON")
}

#[test]
fn every_shipped_file_is_valid() {
    let validator = validator();
    let mut files = 0;
    let folders = [shipped(""), shipped("chaos")];
    for entry in folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            files += 1;
            let value = value(&fs::read_to_string(&path).unwrap());
            let mistakes: Vec<String> = (validator.iter_errors(&value))
                .map(|mistake| format!("{}: {mistake}", mistake.instance_path()))
                .collect();
            assert!(mistakes.is_empty(), "{}: {mistakes:?}", path.display());
        }
    }
    assert!(files >= 35, "{files} files");
}

#[test]
fn the_command_prints_the_schema() {
    let place = Place::new();
    let out = place.run(["schema"]).assert().code(0).stderr("");
    let printed: Value = serde_json::from_slice(&out.get_output().stdout).unwrap();
    assert_eq!(printed, json_schema(&Catalog::standard()));
    assert!(printed["$schema"].as_str().unwrap().contains("2020-12"));
}

/// A valid config, with placeholders in its crew, pile and incinerator, and at the end.
fn design(pile: &str, fire: &str, crew: &str, more: &str) -> String {
    format!(
        "[piles.manuals]\n{pile}\n[incinerators.furnace]\n{fire}\n[crews.haul]\n\
         from = \"manuals\"\nto = \"furnace\"\n\
         gophers = [\"load push unload return\"]\n{crew}\n{more}\n"
    )
}

const PILE: &str = "source = { kind = \"generate\", books = 10 }";
const FIRE: &str = "burn = \"count\"";

/// Configs that are valid in the schema and in the loader.
fn right() -> Vec<String> {
    let crew = |crew: &str| design(PILE, FIRE, crew, "");
    let more = |more: &str| design(PILE, FIRE, "", more);
    vec![
        crew(""),
        crew("work = \"gzip\""),
        crew("work = [\"sha256\", { kind = \"gzip\", level = 6 }]"),
        crew("work = { kind = \"gzip\" }"),
        crew("copies = 2"),
        crew("copies = { rack = 2, row = 3 }"),
        crew("carts = { count = 2, books = 1_000, bytes = \"8MiB\" }"),
        crew(
            "steps = { load = \"1ms\", push = { cpu = \"2ms\" }, unload = { wait = { exponential = \
             \"1s\" } }, return = { wait = { uniform = [\"0s\", \"1s\"] }, cpu = \"1us\" } }",
        ),
        crew("carts.count = \"${env.NO_SUCH:-3}\""),
        design(
            "source = { kind = \"generate\", books = 10, size = \"1KiB\" }\ncapacity = 50\n\
             exclusive = { load = 1 }\nmax_attempts = 2",
            "burn = { kind = \"count\" }\nexclusive = { unload = 2 }",
            "",
            "",
        ),
        design("capacity = { books = 5, bytes = \"1MiB\" }", FIRE, "", ""),
        more("[execution]\ncores = 2\nplacement = \"spread\"\nseed = 7\ndrain_deadline = \"5s\""),
        more(
            "[supervision]\nstrategy = \"rest_for_one\"\nintensity = 3\nperiod = \"1s\"\n\
             in_a_row = 4\nshutdown = \"1s\"\n\
             backoff = { min = \"1ms\", max = \"1s\", jitter = 0.5, reset = \"1m\" }",
        ),
        more("[model]\nt1 = \"4ms\""),
        more(
            "[dumps.d]\ncapacity = 100\n[crews.near]\nlike = \"haul\"\nto = \"d\"\n\
             [relays.daemon]\nfrom = \"d\"\nto = \"furnace\"\nbooks = 10",
        ),
        format!("copies = {{ lane = 2 }}\nshared = [\"furnace\"]\n{}", crew("")),
        crew("").replace("to = \"furnace\"", "to = \"furnace\" # a comment"),
    ]
}

/// Configs that are invalid in the schema and in the loader.
fn wrong() -> Vec<String> {
    let crew = |crew: &str| design(PILE, FIRE, crew, "");
    let more = |more: &str| design(PILE, FIRE, "", more);
    vec![
        crew("crats = 3"),
        crew("carts = 3"),
        crew("carts = { count = \"many\" }"),
        crew("carts = { count = -1 }"),
        crew("carts = { count = 0 }"),
        crew("carts = { books = 0 }"),
        crew("carts = { bytes = \"8 potatoes\" }"),
        crew("work = \"gzpi\""),
        crew("work = { kind = \"gzip\", levle = 3 }"),
        crew("work = 3"),
        crew("steps = { load = \"fast\" }"),
        crew("steps = { load = 10 }"),
        crew("steps = { lift = \"1ms\" }"),
        crew("steps = { load = { wait = { normal = \"1ms\" } } }"),
        crew("steps = { load = { wait = { uniform = [\"1ms\"] } } }"),
        crew("copies = \"two\""),
        crew("copies = { lane = \"two\" }"),
        crew("copies = 0"),
        crew("like = 3"),
        crew("").replace("\"load push unload return\"", "\"load fly\""),
        crew("").replace("[\"load push unload return\"]", "\"load push unload return\""),
        crew("").replace("from = \"manuals\"\n", ""),
        crew("").replace("to = \"furnace\"", "to = 3"),
        design("source = \"genrate\"", FIRE, "", ""),
        design("source = { kind = \"generate\", boks = 10 }", FIRE, "", ""),
        design("source = { books = 10 }", FIRE, "", ""),
        design("capacity = \"lots\"", FIRE, "", ""),
        design("capacity = { boks = 3 }", FIRE, "", ""),
        design("exclusive = { unload = 1 }", FIRE, "", ""),
        design("exclusive = { load = 0 }", FIRE, "", ""),
        design("max_attempts = 0", FIRE, "", ""),
        design(PILE, "", "", ""),
        design(PILE, "burn = \"cuont\"", "", ""),
        design(PILE, "burn = { kind = \"files\" }", "", ""),
        more("[execution]\ncores = 0"),
        more("[execution]\nplacement = \"scattered\""),
        more("[supervision]\nstrategy = \"one_for_none\""),
        more("[supervision]\nbackoff = { jitter = 2.0 }"),
        more("[supervision]\nperiod = 10"),
        more("[model]\nt2 = \"4ms\""),
        more("[relays.daemon]\nfrom = \"manuals\""),
        more("[dumsp.d]\ncapacity = 100"),
        more("[dumps.Middle]\ncapacity = 100"),
        format!("shared = \"furnace\"\n{}", crew("")),
    ]
}

#[test]
fn the_schema_and_the_loader_agree() {
    let (validator, catalog) = (validator(), Catalog::standard());
    let load = |text: &str| Loaded::parse("t.toml", text, &catalog, &Overrides::default());
    for text in right() {
        if let Err(mistakes) = load(&text) {
            panic!("the loader refuses:\n{text}\n{}", mistakes.render(false));
        }
        let mistakes: Vec<String> = validator
            .iter_errors(&value(&text))
            .map(|m| format!("{}: {m}", m.instance_path()))
            .collect();
        assert!(mistakes.is_empty(), "the schema refuses:\n{text}\n{mistakes:?}");
    }
    let mut missed = Vec::new();
    for text in wrong() {
        assert!(load(&text).is_err(), "the loader accepts:\n{text}");
        if validator.is_valid(&value(&text)) {
            missed.push(text);
        }
    }
    assert!(missed.is_empty(), "the schema accepts:\n{}", missed.join("\n----\n"));
}

#[test]
fn a_file_that_extends_another_may_leave_anything_out() {
    let validator = validator();
    assert!(validator.is_valid(&value("extends = \"base.toml\"")));
    assert!(validator.is_valid(&value(
        "extends = \"base.toml\"\nremove = [\"crews.far\"]\n\
        [crews.near.carts]\ncount = 4\n[incinerators.f.exclusive]\nunload = 1"
    )));
    assert!(!validator.is_valid(&value("extends = 3")));
    assert!(!validator.is_valid(&value(
        "extends = \"base.toml\"\nremove = \"crews.far\"\n[crews.near]\ncrats = 4"
    )));
}
