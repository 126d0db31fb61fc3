//! Dead letters in a store: kept, listed, replayed and forgotten, with one identity in all runs.

use crate::support;

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use support::command::{Gate, Place, Running, until};

/// Burns a line unless it begins with `bad`; what is burned is in `out`.
const PICKY: &str = r#"read x; case $x in bad*) [ -e mended ] || exit 1;; esac; "#;

/// A design with its piles in a database. The burn runs `script`, with a line as its input.
fn design(script: &str) -> String {
    let script = format!("{PICKY}{script}echo $x $GOPHERWORKS_BOOK_ID >> out");
    let script = Value::from(script).to_string();
    format!(
        "[store]\nkind = \"sqlite\"\npath = \"works.db\"\n\n\
         [piles.inbox]\nsource = {{ kind = \"lines\", path = \"in\" }}\nmax_attempts = 1\n\n\
         [dumps.middle]\nstore = \"memory\"\nmax_attempts = 1\n\n\
         [incinerators.out]\n\
         burn = {{ kind = \"command\", command = [\"bash\", \"-c\", {script}], parallel = 1 }}\n\n\
         [crews.near]\nfrom = \"inbox\"\nto = \"middle\"\ngophers = [\"load push unload return\"]\n\
         carts = {{ count = 1, books = 1 }}\n\n\
         [crews.far]\nfrom = \"middle\"\nto = \"out\"\ngophers = [\"load push unload return\"]\n\
         carts = {{ count = 1, books = 1 }}\n"
    )
}

/// A store with three dead letters. They died on a dump in memory whose books are in the store.
fn three_dead() -> Place {
    let place = Place::new();
    place.write("in", "good\nbad one\nbad two\nfine\nbad three\n");
    place.write("t.toml", design(""));
    let run = place.run(["run", "t.toml"]).assert().code(3);
    run.stderr(contains("3 dead letters are in the store").and(contains("jsonl").not()));
    assert!(!place.path("state").exists(), "each letter is in one place");
    place
}

fn listed(place: &Place, of: &str) -> Vec<Value> {
    let out = place.run(["dead", "list", of, "--format", "json"]).assert().code(0);
    serde_json::from_slice(&out.get_output().stdout).expect("a list in JSON")
}

fn text<'a>(letter: &'a Value, field: &str) -> &'a str {
    letter[field].as_str().unwrap_or_else(|| panic!("no {field} in {letter}"))
}

#[test]
fn letters_of_a_store_are_shown_replayed_and_forgotten() {
    let place = three_dead();
    let letters = listed(&place, "t.toml");
    let numbers: Vec<String> = letters.iter().map(|letter| letter["number"].to_string()).collect();
    assert_eq!(numbers.len(), 3);
    for letter in &letters {
        assert_eq!(letter["node"], "out");
        assert!(text(letter, "reason").contains("exit status: 1"), "{letter}");
    }
    place.run(["dead", "list", "t.toml"]).assert().code(0).stdout(contains("exit status").count(3));
    let body = place.run(["dead", "show", "t.toml", &numbers[1], "--body"]).assert().code(0);
    body.stdout("bad two");
    let shown = place.run(["dead", "show", "t.toml"]).assert().code(0);
    shown.stdout(contains(text(&letters[0], "id")).and(contains("size      9 bytes")));
    for command in ["show", "replay", "forget"] {
        let unknown = place.run(["dead", command, "t.toml", "99"]).assert().code(1).stdout("");
        unknown.stderr(contains("no letter 99"));
    }
    place.run(["dead", "forget", "t.toml"]).assert().code(2).stderr(contains("--all"));
    assert_eq!(listed(&place, "t.toml"), letters, "nothing has changed");
    let forgotten = place.run(["dead", "forget", "t.toml", &numbers[0]]).assert().code(0);
    forgotten.stdout(contains("forgotten 1 dead letter of"));
    // One that dies again is a letter again, with the same identity.
    place.run(["dead", "replay", "t.toml", &numbers[1]]).assert().code(0);
    assert_eq!(listed(&place, "t.toml"), letters[2..]);
    place.run(["run", "t.toml"]).assert().code(3);
    let again = listed(&place, "t.toml");
    assert_eq!((again.len(), &again[1]["id"]), (2, &letters[1]["id"]));
    place.write("mended", "");
    let replayed = place.run(["dead", "replay", "t.toml", "--format", "json"]).assert().code(0);
    assert_eq!(replayed.get_output().stdout, b"{\"replayed\":2}\n");
    place.run(["run", "t.toml", "--report", "r.json"]).assert().code(0);
    place.report("r.json").balanced();
    let out = place.text("out");
    for letter in &letters[1..] {
        assert!(out.contains(text(letter, "id")), "{letter}: {out}");
    }
    assert_eq!(out.lines().count(), 4, "{out}");
    let list = place.run(["pile", "list", "t.toml", "--format", "json"]).assert().code(0);
    let list: Value = serde_json::from_slice(&list.get_output().stdout).expect("JSON");
    let counts = ["offered", "burned", "dropped", "dead"].map(|name| list["account"][name].clone());
    assert_eq!(counts, [5, 4, 1, 0].map(Value::from));
    assert_eq!(listed(&place, "t.toml"), [Value::Null; 0]);
    place.run(["dead", "forget", "t.toml", "--all"]).assert().code(0);
}

/// More letters than are read at once.
#[test]
fn many_letters_are_listed_in_parts() {
    let place = Place::new();
    let crew = "gophers = [\"load push unload return\"]\nwork = \"gunzip\"\n";
    let text = format!(
        "[store]\nkind = \"sqlite\"\npath = \"works.db\"\n\n\
         [piles.inbox]\nsource = {{ kind = \"generate\", books = 600 }}\nmax_attempts = 1\n\n\
         [incinerators.out]\nburn = \"count\"\n\n\
         [crews.near]\nfrom = \"inbox\"\nto = \"out\"\n{crew}"
    );
    place.write("t.toml", text);
    place.run(["dead", "list", "t.toml", "--format", "json"]).assert().code(1);
    place.run(["run", "t.toml"]).assert().code(3);
    let numbers: Vec<u64> = listed(&place, "t.toml")
        .iter()
        .map(|letter| letter["number"].as_u64().expect("a number"))
        .collect();
    assert!(numbers.len() == 600 && numbers.is_sorted(), "{numbers:?}");
    let out = place.run(["dead", "list", "t.toml"]).assert().code(0).get_output().stdout.clone();
    let text = String::from_utf8_lossy(&out).into_owned();
    let shown = text.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    assert_eq!(shown.collect::<Vec<u64>>(), numbers);
    place.run(["dead", "forget", "t.toml", "--all"]).assert().code(0);
    assert_eq!(listed(&place, "t.toml").len(), 0);
}

#[test]
fn a_store_in_use_lists_its_letters_and_keeps_them() {
    let place = three_dead();
    let letters = listed(&place, "t.toml");
    let mut gate = Gate::new(&place.fifo("gate"));
    place.write("in", "good\nbad one\nbad two\nfine\nbad three\nlast\n");
    place.write("t.toml", design("echo >> began; read _ < gate; "));
    let running = Running::start(place.process(["run", "t.toml"]));
    until("a burn begins", || !place.text("began").is_empty());
    assert_eq!(listed(&place, "t.toml"), letters);
    for args in [["replay", "t.toml"].as_slice(), &["forget", "t.toml", "--all"]] {
        let refused = place.run(["dead"].iter().chain(args)).assert().code(75);
        refused.stderr(contains(running.id().to_string()));
    }
    gate.open(1);
    assert_eq!(running.end().status.code(), Some(0));
    assert_eq!(listed(&place, "t.toml"), letters);
}

#[test]
fn a_file_that_was_asked_for_has_the_letters_as_well_with_their_identity_in_the_store() {
    let place = Place::new();
    place.write("in", "bad one\nbad two\n");
    place.write("t.toml", design("").replace("store = \"memory\"\n", ""));
    place.run(["run", "t.toml", "--dead", "dead"]).assert().code(3);
    let ids = |of: &str| {
        let letters = listed(&place, of);
        letters.iter().map(|letter| letter["id"].clone()).collect::<Vec<_>>()
    };
    let both = ids("dead");
    assert_eq!(both, ids("t.toml"));
    // Replayed from the file, it is a book of the store, and leaves the file.
    place.run(["dead", "forget", "t.toml", "--all"]).assert().code(0);
    place.run(["dead", "replay", "dead", "2"]).assert().code(3);
    assert_eq!((ids("dead"), ids("t.toml")), (both[..1].to_vec(), both[1..].to_vec()));
}

#[test]
fn letters_of_piles_in_memory_are_in_a_file() {
    let place = Place::new();
    place.write("in", "bad one\n");
    place.write("other", "bad two\n");
    let more = "\n[piles.second]\nsource = { kind = \"lines\", path = \"other\" }\n\
                store = \"memory\"\nmax_attempts = 1\n\n\
                [crews.third]\nfrom = \"second\"\nto = \"out\"\n\
                gophers = [\"load push unload return\"]\ncarts = { count = 1, books = 1 }\n";
    place.write("t.toml", design("") + more);
    let run = place.run(["run", "t.toml"]).assert().code(3);
    run.stderr(contains("1 dead letter is in the store").and(contains("state/t.dead.jsonl")));
    let bodies = |args: &[&str]| {
        let all = ["dead", "show"].iter().chain(args).chain(&["1", "--body"]);
        place.run(all).assert().code(0).get_output().stdout.clone()
    };
    assert_eq!(bodies(&["t.toml"]), b"bad one");
    assert_eq!(bodies(&["state/t.dead.jsonl"]), b"bad two");
    place.run(["dead", "list", "t.toml"]).assert().code(0).stderr(contains("state/t.dead.jsonl"));
}

#[test]
fn letters_of_a_file_are_forgotten_by_number() {
    let place = Place::new();
    place.write("in", "bad one\nbad two\nbad three\n");
    let memory = design("").replace("[store]\nkind = \"sqlite\"\npath = \"works.db\"\n\n", "");
    place.write("t.toml", memory.replace("store = \"memory\"\n", ""));
    place.run(["run", "t.toml"]).assert().code(3);
    place.run(["dead", "forget", "t.toml", "4"]).assert().code(1).stderr(contains("no letter 4"));
    place.run(["dead", "forget", "t.toml", "1", "3"]).assert().code(0);
    let left = place.run(["dead", "show", "t.toml", "1", "--body"]).assert().code(0);
    left.stdout("bad two");
    assert_eq!(listed(&place, "t.toml").len(), 1);
    place.write("mended", "");
    place.run(["dead", "replay", "t.toml", "1"]).assert().code(0);
    assert_eq!(place.text("out").lines().count(), 1);
}
