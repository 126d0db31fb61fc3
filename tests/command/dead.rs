//! Dead letters: kept by `--dead`, listed, shown, and offered again once their cause is fixed.

use crate::support;

use predicates::prelude::*;
use predicates::str::contains;
use rustix::process::Signal;
use serde_json::Value;
use support::command::{Place, Running, lines, one_crew, until};

const IN: &str = r#"{ kind = "lines", path = "in" }"#;
const OUT: &str = r#"{ kind = "lines", path = "out", append = true }"#;

/// Three dead letters: lines that are not gzip.
fn three_dead() -> Place {
    let place = Place::new();
    place.write("in", b"one\ntwo \xff\nthree\n");
    place.write("t.toml", one_crew(IN, r#"["gunzip"]"#, OUT, 2));
    let args = ["run", "t.toml", "--dead", "dead", "--report", "r.json"];
    place.run(args).assert().code(3);
    let report = place.report("r.json");
    assert_eq!(report.balanced().ledger("dead"), 3);
    assert_eq!(report.ledger("burned"), 0);
    place
}

fn listed(place: &Place) -> Vec<Value> {
    let out = place.run(["dead", "list", "dead", "--format", "json"]).assert().code(0);
    serde_json::from_slice(&out.get_output().stdout).expect("a list in JSON")
}

#[test]
fn letters_are_listed_with_pile_and_reason() {
    let place = three_dead();
    let letters = listed(&place);
    assert_eq!(letters.len(), 3);
    for letter in &letters {
        assert_eq!(letter["pile"], "inbox");
        let reason = letter["reason"].as_str().expect("a reason");
        assert!(reason.contains("gzip"), "{reason}");
    }
    place.run(["dead", "list", "dead"]).assert().code(0).stdout(contains("gzip").count(3));
}

#[test]
fn a_letter_is_shown_with_its_body_byte_for_byte() {
    let place = three_dead();
    place
        .run(["dead", "show", "dead", "2"])
        .assert()
        .code(0)
        .stdout(contains("inbox").and(contains("t.toml")).and(contains("gzip")));
    let mut bodies = Vec::new();
    for number in ["1", "2", "3"] {
        let out = place.run(["dead", "show", "dead", number, "--body"]).assert().code(0);
        bodies.push(out.get_output().stdout.clone());
    }
    bodies.sort();
    assert_eq!(bodies, [&b"one"[..], b"three", b"two \xff"]);
    let out = place.run(["dead", "show", "dead", "--format", "json"]).assert();
    for letter in lines(&out.get_output().stdout) {
        let letter: Value = serde_json::from_str(&letter).expect("a letter in JSON");
        assert_eq!(letter["pile"], "inbox");
    }
    for number in ["0", "4"] {
        place
            .run(["dead", "show", "dead", number])
            .assert()
            .code(1)
            .stdout("")
            .stderr(contains(number));
    }
}

#[test]
fn offered_again_they_burn_once_the_cause_is_mended_and_the_file_is_empty() {
    let place = three_dead();
    place.run(["dead", "offer", "dead", "--set", "crews.crew.work=[]"]).assert().code(0);
    let mut text = std::fs::read(place.path("out")).expect("what burned");
    text.truncate(text.len() - 1);
    let mut burned: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    burned.sort();
    assert_eq!(burned, [&b"one"[..], b"three", b"two \xff"]);
    assert_eq!(place.text("dead"), "");
    assert!(listed(&place).is_empty());
    // Nothing is left to be offered, and no book burns twice.
    place.run(["dead", "offer", "dead"]).assert().code(0);
    assert_eq!(std::fs::read(place.path("out")).expect("out").len(), 16);
}

#[test]
fn what_dies_again_stays_with_its_new_reason_and_more_attempts() {
    let place = three_dead();
    let before = listed(&place);
    place.run(["dead", "offer", "dead", "--set", r#"crews.crew.work=["unzstd"]"#]).assert().code(3);
    let after = listed(&place);
    assert_eq!(after.len(), 3);
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(old["title"], new["title"]);
        assert!(new["attempts"].as_u64() > old["attempts"].as_u64());
        let reason = new["reason"].as_str().expect("a reason");
        assert!(reason.contains("zst"), "{reason}");
    }
}

#[test]
fn an_offer_that_cannot_start_loses_no_letter() {
    let place = three_dead();
    let letters = place.text("dead");
    for set in ["crews.crew.work=[\"nothing\"]", "crews.crew.nonsense=1"] {
        place.run(["dead", "offer", "dead", "--set", set]).assert().code(78);
        assert_eq!(place.text("dead"), letters);
    }
    let other = one_crew(IN, "[]", OUT, 2).replace("inbox", "elsewhere");
    place.write("other.toml", other);
    place
        .run(["dead", "offer", "dead", "--topology", "other.toml"])
        .assert()
        .code(1)
        .stderr(contains("inbox"));
    assert_eq!(place.text("dead"), letters);
}

#[test]
fn runs_append_their_letters_and_half_a_letter_is_passed_over() {
    let place = three_dead();
    // As a run leaves the file if it is killed while it writes.
    let whole = place.text("dead");
    let half = &whole[..whole.len() - 30];
    place.write("dead", half);
    assert_eq!(listed(&place).len(), 2);
    place
        .run(["dead", "list", "dead"])
        .assert()
        .code(0)
        .stderr(contains("dead:3").and(contains("incomplete letter")));
    place
        .run(["run", "t.toml", "--dead", "dead"])
        .assert()
        .code(3)
        .stderr(contains("dead.damaged"));
    // The torn line is kept in another file and is not a letter; the books of both runs are listed
    // once.
    assert!(whole.contains(place.text("dead.damaged").trim_end()));
    let deaths: Vec<_> = (listed(&place).iter())
        .map(|letter| (letter["deaths"].as_u64(), letter["attempts"].as_u64()))
        .collect();
    let once_more = (Some(2), Some(2));
    assert_eq!(deaths, [once_more, once_more, (Some(1), Some(1))]);
    // A damaged line in the middle is handled like one at the end.
    let text = place.text("dead");
    place.write("dead", text.replacen("\"pile\"", "", 1));
    let out = place.run(["dead", "list", "dead", "--format", "json"]).assert().code(0);
    let out = out.stderr(contains("dead:1")).get_output().stdout.clone();
    let left: Vec<Value> = serde_json::from_slice(&out).expect("a list in JSON");
    let deaths: Vec<_> = left.iter().map(|letter| &letter["deaths"]).collect();
    assert_eq!(deaths, [2, 1, 1], "the first death of the first book is not known any more");
    place.run(["dead", "offer", "dead", "--set", "crews.crew.work=[]"]).assert().code(0);
    assert_eq!(place.text("dead.damaged").lines().count(), 2);
}

#[test]
fn a_run_keeps_its_dead_letters_without_being_asked() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.write("in", b"one\nsame\nsame\n");
    place.write("t.toml", one_crew(IN, r#"["gunzip"]"#, OUT, 2));
    place.run(["simulate", "t.toml"]).assert().code(3);
    place.run(["run", "t.toml", "--dead", "none"]).assert().code(3);
    let well = ["run", "t.toml", "--set", "crews.crew.work=[]"];
    place.run(well).assert().code(0);
    assert!(!place.path("state").exists(), "nothing is to be kept");
    for deaths in 1..=3 {
        place
            .run(["run", "t.toml", "-q"])
            .assert()
            .code(3)
            .stdout("")
            .stderr(contains("3 dead letters are in state/t.dead.jsonl"));
        let file = "state/t.dead.jsonl";
        let out = place.run(["dead", "list", file, "--format", "json"]).assert().code(0);
        let letters: Vec<Value> =
            serde_json::from_slice(&out.get_output().stdout).expect("a list in JSON");
        // Equal lines are two books, each with its own number of deaths.
        assert_eq!(letters.len(), 3);
        for letter in &letters {
            assert_eq!(letter["deaths"], deaths);
            assert_eq!(letter["node"], "crew");
            assert_eq!(letter["run"].as_str().expect("a run").len(), 16);
            let [first, last] = ["first", "last"].map(|name| letter[name].as_str().expect(name));
            assert!(first <= last && last.ends_with('Z'), "{letter}");
        }
        let by_config = place.run(["dead", "list", "t.toml", "--format", "json"]);
        let by_config = { by_config }.assert().code(0).get_output().stdout.clone();
        assert_eq!(by_config, out.get_output().stdout);
        let found = std::fs::metadata(place.path(file)).expect("a file");
        assert_eq!(found.permissions().mode() & 0o777, 0o600);
    }
    // Another run that holds the file loses no letter.
    let used = std::fs::File::open(place.path("state/t.dead.jsonl")).expect("letters");
    used.try_lock().expect("it is free");
    place.run(["run", "t.toml"]).assert().code(3).stderr(contains("state/t.dead-2.jsonl"));
}

#[test]
fn where_letters_cannot_be_kept_the_run_goes_on_and_says_so() {
    let place = Place::new();
    place.write("in", b"one\ntwo\nthree\n");
    place.write("t.toml", one_crew(IN, r#"["gunzip"]"#, OUT, 2));
    // A file in place of the folder makes it unusable even to root.
    place.write("state", "a file");
    place
        .run(["run", "t.toml"])
        .assert()
        .code(3)
        .stdout(contains("dead 3"))
        .stderr(contains("dead letters are not kept").and(contains("--dead FILE")));
    assert_eq!(place.text("state"), "a file");
}

#[test]
fn the_file_of_letters_is_bounded_and_says_what_it_left_out() {
    let place = Place::new();
    let lines: String = (0..50).map(|at| format!("line {at} {}\n", "x".repeat(100))).collect();
    place.write("in", lines);
    place.write("t.toml", one_crew(IN, r#"["gunzip"]"#, OUT, 2));
    let args = ["run", "t.toml", "--dead", "dead", "--dead-limit", "4KiB", "--format", "json"];
    let out = place.run(args).assert().code(3).stderr(contains("were not kept"));
    let report = crate::support::command::Report::printed(&out.get_output().stdout);
    assert_eq!(report.balanced().ledger("dead"), 50);
    let kept = listed(&place).len();
    assert!((1..30).contains(&kept), "{kept}");
    let bytes = std::fs::metadata(place.path("dead")).expect("letters").len();
    assert!(bytes < 5 * 1024, "{bytes}");
}

#[test]
fn why_books_fail_is_said_at_once_and_once() {
    let place = Place::new();
    let lines: String = (0..200).map(|at| format!("line {at}\n")).collect();
    place.write("in", lines);
    let script = r#"grep -q "[05]$" && { echo "no such word as $RANDOM" >&2; exit 7; }; true"#;
    let burn = format!(r#"{{ kind = "command", command = ["bash", "-c", {script:?}] }}"#);
    place.write("t.toml", one_crew(IN, "[]", &burn, 20));
    let line = "fire: book 1 failed permanently: bash: exit status: 7: no such word as ";
    for quiet in [false, true] {
        let mut run = place.run(["run", "t.toml", "--format", "json", "--dead", "none"]);
        run.args(quiet.then_some("-q"));
        let out = run.assert().code(3).stderr(contains("failed permanently").count(1));
        let out = out.stderr(contains(line).or(contains("fire: book ")));
        let err = String::from_utf8_lossy(&out.get_output().stderr).into_owned();
        assert_eq!(err.contains("is retried"), !quiet, "{err}");
        let report = crate::support::command::Report::printed(&out.get_output().stdout);
        let reasons = report.0["reasons"].as_array().expect("reasons");
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        let (count, ends) = (&reasons[0]["count"], &reasons[0]["final"]);
        assert_eq!((count, ends), (&80.into(), &40.into()));
    }
    let text = place.run(["run", "t.toml", "--dead", "none"]).assert().code(3);
    text.stdout(
        contains("why books, requests and reads failed:")
            .and(contains("fire: 80 times, 40 permanently")),
    );
}

#[test]
fn files_without_letters_are_reported() {
    let place = Place::new();
    place.write("dead", "{\"not\": \"a letter\"}\n");
    for command in ["list", "show", "offer"] {
        place.run(["dead", command, "dead"]).assert().code(1).stdout("").stderr(contains("dead:1"));
        place.run(["dead", command, "nowhere"]).assert().code(1).stderr(contains("nowhere"));
    }
}

#[test]
fn a_signal_between_two_topologies_leaves_the_letters_of_the_second() {
    let place = Place::new();
    let design = |out: &str, limit: &str| {
        let more = format!("path = \"{out}\", append = true{limit}");
        one_crew(IN, "[]", &format!("{{ kind = \"lines\", {more} }}"), 1)
    };
    place.write("in", "one\ntwo\n");
    for name in ["a", "b"] {
        place.write(format!("{name}.toml"), design(name, ", max_line = \"1B\""));
        place.run(["run", &format!("{name}.toml"), "--dead", "dead"]).assert().code(3);
    }
    assert_eq!(listed(&place).len(), 4);
    place.write("a.toml", design("a", ""));
    std::fs::remove_file(place.path("b.toml")).expect("a file");
    let fifo = place.fifo("b.toml");
    let running = Running::start(place.process(["dead", "offer", "dead"]));
    // It has read the second design as far as there is one.
    let mut config = None;
    until("the first topology is done", || {
        let nonblock = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        config = rustix::fs::open(&fifo, nonblock, rustix::fs::Mode::empty()).ok();
        config.is_some()
    });
    running.signal(Signal::INT);
    until("the signal ends it", || running.said("error"));
    drop(config);
    let out = running.end();
    assert!([Some(130), Some(78)].contains(&out.status.code()), "{out:?}");
    assert_eq!(place.text("a"), "one\ntwo\n");
    assert_eq!(place.text("b"), "");
    let left = listed(&place);
    assert_eq!(left.len(), 2);
    std::fs::remove_file(&fifo).expect("a fifo");
    place.write("b.toml", design("b", ""));
    place.run(["dead", "offer", "dead"]).assert().code(0);
    assert_eq!((place.text("a"), place.text("b")), ("one\ntwo\n".into(), "one\ntwo\n".into()));
    assert_eq!(listed(&place).len(), 0);
}
