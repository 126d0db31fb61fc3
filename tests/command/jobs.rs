//! Jobs that users have, from `config/jobs`, and what the works in them say of mistakes.

use crate::support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use support::command::{Place, shipped, tree};

/// Lines by the name of their file, as the job should write them.
fn sorted(log: &str) -> BTreeMap<String, Vec<Value>> {
    let mut files: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in log.lines() {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        let level = line["level"].as_str().expect("a level").to_owned();
        if level != "debug" {
            if let Some(user) = line.get_mut("user").and_then(Value::as_object_mut) {
                user.remove("token");
            }
            let day = line["ts"].as_str().expect("a time")[..10].to_owned();
            files.entry(format!("{day}/{level}.jsonl.gz")).or_default().push(line);
        }
    }
    files
}

#[test]
fn logs_are_filtered_and_packed_by_day_and_level() {
    let place = Place::new();
    let log = fs::read_to_string(shipped("jobs/logs.jsonl")).expect("the sample");
    let bad = "no JSON\n{\"level\":\"info\"}\n";
    place.write("in.jsonl", log.clone() + bad);
    let mut command = place.run(["run", "--format", "json", "--dead", "dead.jsonl"]);
    command.arg(shipped("jobs/logs.toml"));
    command.env("INBOX", place.path("in.jsonl")).env("OUTBOX", place.path("out"));
    let done = command.assert().code(3);
    let report: Value = serde_json::from_slice(&done.get_output().stdout).expect("a report");
    let ledger = &report["ledger"];
    let expected = sorted(&log);
    let kept: usize = expected.values().map(Vec::len).sum();
    let filtered = log.lines().count() - kept;
    assert!(filtered > 0 && expected.len() > 6, "{expected:?}");
    for (name, count) in [
        ("offered", kept + filtered + 2),
        ("burned", kept),
        ("filtered", filtered),
        ("dropped", filtered),
        ("dead", 2),
        ("lost", 0),
    ] {
        assert_eq!(ledger[name], count, "{name}: {ledger}");
    }
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (name, bytes) in tree(&place.path("out")) {
        let mut text = String::new();
        MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).expect("gzip");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON"));
        found.insert(name.display().to_string(), lines.collect());
    }
    // Two gophers carry the carts, so the order of lines is that of the carts' arrival.
    let in_order = |mut files: BTreeMap<String, Vec<Value>>| {
        files.values_mut().for_each(|lines| lines.sort_by_key(Value::to_string));
        files
    };
    assert_eq!(in_order(found), in_order(expected));
    let dead = place.text("dead.jsonl");
    assert!(dead.contains("expected") && dead.contains("there is no `ts`"), "{dead}");
}

#[test]
fn a_mistake_in_an_expression_is_shown_at_its_word() {
    let place = Place::new();
    let works = r#"[
  { kind = "filter", when = "body.\u0061 == \"x\" && bdoy.b" },
  { kind = "map", set = { a = 'siz(text)' }, to = "1 +" },
  { kind = "parse", format = "csv" },
]"#;
    place.write(
        "t.toml",
        support::command::one_crew(
            r#"{ kind = "lines", path = "in" }"#,
            works,
            r#"{ kind = "files", root = "out" }"#,
            1,
        ),
    );
    let assert = place.run(["validate", "t.toml"]).assert().code(78).stdout("");
    let text = place.text("t.toml");
    let at = |word: &str| {
        let (line, number) = text.lines().zip(1..).find(|(line, _)| line.contains(word)).unwrap();
        let column = line.find(word).unwrap() + 1;
        contains(format!("t.toml:{number}:{column}\n"))
    };
    assert
        .stderr(contains("error[invalid-expression]").and(contains("did you mean `body`?")))
        .stderr(at("bdoy").and(at("siz(")).and(contains("mismatched end of the expression\n")))
        .stderr(contains("did you mean `size`?").and(contains("`columns` is missing")));
}

#[test]
#[cfg(feature = "sqlite")]
fn jobs_are_tried_again_and_put_aside_after_the_last_attempt() {
    let place = Place::new();
    place.write("jobs.txt", "ab\n1\ncd\n");
    let run = || {
        let mut command = place.run(["run", "--format", "json"]);
        command.arg(shipped("jobs/runner.toml"));
        command.args(["--set", "piles.jobs.retry.min=1ms", "--set", "piles.jobs.max_attempts=3"]);
        command.env("JOBS", place.path("jobs.txt")).env("STATE", place.path("jobs.db"));
        command
    };
    let done = run().assert().code(3);
    let report: Value = serde_json::from_slice(&done.get_output().stdout).expect("a report");
    let ledger = &report["ledger"];
    assert_eq!((&ledger["burned"], &ledger["dead"]), (&2.into(), &1.into()), "{ledger}");
    let mut list = place.run(["dead", "list", "--format", "json"]);
    list.arg(shipped("jobs/runner.toml")).env("STATE", place.path("jobs.db"));
    let said = list.assert().code(0).get_output().stdout.clone();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("\"attempts\":3") || said.contains("\"attempts\": 3"), "{said}");
    // The file is read once: the second run finds nothing to do.
    run().assert().code(0);
}

/// 30 lists of three items, of which a filter behind leaves out one.
#[test]
fn the_items_of_a_list_are_books_of_their_own() {
    let place = Place::new();
    let mut command = place.run(["simulate", "--format", "json"]);
    let done = command.arg(shipped("chaos/split.toml")).assert().code(0);
    let report: Value = serde_json::from_slice(&done.get_output().stdout).expect("a report");
    let ledger = &report["ledger"];
    for (name, count) in [
        ("offered", 120),
        ("burned", 60),
        ("dropped", 60),
        ("filtered", 30),
        ("split", 30),
        ("lost", 0),
        ("in_flight", 0),
    ] {
        assert_eq!(ledger[name], count, "{name}: {ledger}");
    }
}

#[test]
fn books_are_only_split_where_their_parts_can_be_stored() {
    let place = Place::new();
    let text = fs::read_to_string(shipped("chaos/split.toml")).expect("the file");
    let split = "{ kind = \"split\", by = \"body\" }";
    for (wrong, why) in [
        (text.replace(split, &format!("[{split}, \"sha256\"]")), "not the last work"),
        (text.replace("to = \"items\"", "to = \"done\""), "has to fill a dump"),
        (format!("{text}\n[store]\nkind = \"sqlite\"\npath = \"x.db\"\n"), "with a store"),
    ] {
        place.write("t.toml", wrong);
        place.run(["validate", "t.toml"]).assert().code(78).stderr(contains(why));
    }
}
