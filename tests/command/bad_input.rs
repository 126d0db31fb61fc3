//! Invalid configs: exit code 78, every mistake at once with its location, and nothing read or
//! written.

use crate::support;

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use support::command::{Place, one_crew, tree};

const GOOD_SOURCE: &str = r#"{ kind = "lines", path = "in" }"#;
const GOOD_BURN: &str = r#"{ kind = "files", root = "out" }"#;

const BAD: &str = r#"[piles.inbox]
source = { kind = "linez", path = "in" }
max_attempts = "x"
[incinerators.fire]
burn = { kind = "files", root = "out", foo = 1 }
[crews.crew]
from = "inbux"
to = "fire"
gophers = ["load push return"]
carts = { count = 2, books = 3 }
[crews.crew.steps]
load = "1"
"#;

/// Locations of the mistakes of `BAD`, with a word of each message.
const PLACES: [(u64, u64, &str); 6] = [
    (2, 19, "linez"),
    (3, 16, "whole number"),
    (5, 40, "foo"),
    (7, 8, "inbux"),
    (9, 11, "unload"),
    (12, 8, "unit"),
];

/// Asserts that the folder holds only the files that the test wrote.
#[track_caller]
fn untouched(place: &Place, files: usize) {
    let found: Vec<_> = tree(place.root()).into_keys().collect();
    assert_eq!(found.len(), files, "{found:?}");
    assert!(!place.path("out").exists());
}

#[test]
fn all_mistakes_are_told_at_once_with_their_places() {
    let place = Place::new();
    place.write("bad.toml", BAD);
    for command in ["run", "validate"] {
        let mut assert = place.run([command, "bad.toml"]).assert().code(78).stdout("");
        for (line, column, word) in PLACES {
            let at = format!("bad.toml:{line}:{column}\n");
            assert = assert.stderr(contains(at).and(contains(word)));
        }
    }
    untouched(&place, 1);
}

#[test]
fn the_same_mistakes_are_told_in_json() {
    let place = Place::new();
    place.write("bad.toml", BAD);
    let out = place.run(["validate", "bad.toml", "--format", "json"]).assert().code(78).stderr("");
    let said: Value = serde_json::from_slice(&out.get_output().stdout).expect("JSON");
    assert_eq!(said[0]["valid"], false);
    let found = said[0]["diagnostics"].as_array().expect("diagnostics");
    assert_eq!(found.len(), PLACES.len());
    for (mistake, (line, column, word)) in found.iter().zip(PLACES) {
        assert_eq!(mistake["line"], line);
        assert_eq!(mistake["column"], column);
        assert_eq!(mistake["severity"], "error");
        let code = mistake["code"].as_str().expect("a code");
        place.run(["explain", code]).assert().code(0).stdout(predicates::str::is_empty().not());
        assert!(mistake.to_string().contains(word), "{mistake}");
    }
}

#[test]
fn one_bad_file_among_good_ones_is_78_and_all_are_judged() {
    let place = Place::new();
    place.write("good.toml", one_crew(GOOD_SOURCE, "[]", GOOD_BURN, 1));
    place.write("bad.toml", BAD);
    place
        .run(["validate", "bad.toml", "good.toml"])
        .assert()
        .code(78)
        .stdout(contains("good.toml: ok").and(contains("bad.toml").not()))
        .stderr(contains("bad.toml:2:19").and(contains("good.toml").not()));
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    let place = Place::new();
    for (text, at) in [
        (&b"a = ["[..], "t.toml:1:"),
        (b"[piles.a]\n[piles.a]\n", "t.toml:2:"),
        (b"\n\na = \xff\n", "t.toml"),
    ] {
        place.write("t.toml", text);
        place.run(["run", "t.toml"]).assert().code(78).stdout("").stderr(contains(at));
    }
}

#[test]
fn a_file_that_is_not_there_is_told_by_its_name() {
    let place = Place::new();
    for command in ["run", "validate"] {
        place.run([command, "nowhere.toml"]).assert().code(78).stderr(contains("nowhere.toml"));
    }
}

#[test]
fn mistakes_of_the_environment_and_of_flags_are_told_by_their_names() {
    let place = Place::new();
    place.write("t.toml", one_crew(GOOD_SOURCE, "[]", GOOD_BURN, 1));
    place.write("in", "a\n");
    let mut command = place.run(["run", "t.toml"]);
    command
        .env("GOPHERWORKS__CREWS__CREW__CARTS__COUNT", "x")
        .args(["--set", "crews.crew.carts.cuont=1", "--set", "nonsense"])
        .args(["--set", "crews.crew.carts.books=zero"]);
    command
        .assert()
        .code(78)
        .stdout("")
        .stderr(contains("GOPHERWORKS__CREWS__CREW__CARTS__COUNT"))
        .stderr(contains("--set crews.crew.carts.cuont").and(contains("`count`")))
        .stderr(contains("--set nonsense"))
        .stderr(contains("--set crews.crew.carts.books"));
    untouched(&place, 2);
}

#[test]
fn a_variable_that_is_not_set_is_told_by_its_name_where_it_stands() {
    let place = Place::new();
    let source = r#"{ kind = "lines", path = "${env.NOT_SET_ANYWHERE}" }"#;
    place.write("t.toml", one_crew(source, "[]", GOOD_BURN, 1));
    place
        .run(["run", "t.toml"])
        .assert()
        .code(78)
        .stderr(contains("NOT_SET_ANYWHERE").and(contains("t.toml:2:")));
}

#[test]
fn nothing_that_exists_is_changed_by_a_bad_config() {
    let place = Place::new();
    place.write("out/precious", "old");
    place.write("dead", "");
    place.write("r.json", "old");
    place.write("bad.toml", BAD);
    let args = ["run", "bad.toml", "--dead", "dead", "--report", "r.json"];
    place.run(args).assert().code(78);
    assert_eq!(place.text("out/precious"), "old");
    assert_eq!(place.text("r.json"), "old");
    assert_eq!(tree(&place.path("out")).len(), 1);
}

#[test]
fn an_input_that_is_not_there_is_no_mistake_of_the_config() {
    let place = Place::new();
    place.write("t.toml", one_crew(GOOD_SOURCE, "[]", GOOD_BURN, 1));
    place.run(["validate", "t.toml"]).assert().code(0);
    place.run(["run", "t.toml"]).assert().code(1).stderr(contains("No such file"));
}

#[test]
fn a_warning_ends_its_line() {
    let place = Place::new();
    let source = r#"{ kind = "files", root = "." }"#;
    place.write("t.toml", one_crew(source, "[]", GOOD_BURN, 1));
    place
        .run(["run", "t.toml"])
        .assert()
        .code(0)
        .stderr(contains("warning").and(predicate::str::ends_with("\n")));
}
