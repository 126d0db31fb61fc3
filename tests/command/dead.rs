//! Dead letters: kept by `--dead`, listed, shown, and put back once their cause is mended.

use crate::support;

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use support::command::{Place, lines, one_crew};

const IN: &str = r#"{ kind = "lines", path = "in" }"#;
const OUT: &str = r#"{ kind = "lines", path = "out", append = true }"#;

/// Three lines that are no gzip, dead.
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
    let out = place
        .run(["dead", "list", "dead", "--format", "json"])
        .assert()
        .code(0);
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
    place
        .run(["dead", "list", "dead"])
        .assert()
        .code(0)
        .stdout(contains("gzip").count(3));
}

#[test]
fn a_letter_is_shown_with_its_body_byte_for_byte() {
    let place = three_dead();
    place
        .run(["dead", "show", "dead", "2"])
        .assert()
        .code(0)
        .stdout(
            contains("inbox")
                .and(contains("t.toml"))
                .and(contains("gzip")),
        );
    let mut bodies = Vec::new();
    for number in ["1", "2", "3"] {
        let out = place
            .run(["dead", "show", "dead", number, "--body"])
            .assert()
            .code(0);
        bodies.push(out.get_output().stdout.clone());
    }
    bodies.sort();
    assert_eq!(bodies, [&b"one"[..], b"three", b"two \xff"]);
    let out = place
        .run(["dead", "show", "dead", "--format", "json"])
        .assert();
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
    place
        .run(["dead", "offer", "dead", "--set", "crews.crew.work=[]"])
        .assert()
        .code(0);
    let mut text = std::fs::read(place.path("out")).expect("what burned");
    text.truncate(text.len() - 1);
    let mut burned: Vec<_> = text.split(|byte| *byte == b'\n').collect();
    burned.sort();
    assert_eq!(burned, [&b"one"[..], b"three", b"two \xff"]);
    assert_eq!(place.text("dead"), "");
    assert!(listed(&place).is_empty());
    // Nothing is left to be offered, and nothing burns twice.
    place.run(["dead", "offer", "dead"]).assert().code(0);
    assert_eq!(std::fs::read(place.path("out")).expect("out").len(), 16);
}

#[test]
fn what_dies_again_stays_with_its_new_reason_and_more_attempts() {
    let place = three_dead();
    let before = listed(&place);
    place
        .run([
            "dead",
            "offer",
            "dead",
            "--set",
            r#"crews.crew.work=["unzstd"]"#,
        ])
        .assert()
        .code(3);
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
        place
            .run(["dead", "offer", "dead", "--set", set])
            .assert()
            .code(78);
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
    // As a run leaves it that is killed while it writes.
    let whole = place.text("dead");
    let half = &whole[..whole.len() - 30];
    place.write("dead", half);
    assert_eq!(listed(&place).len(), 2);
    place
        .run(["run", "t.toml", "--dead", "dead"])
        .assert()
        .code(3);
    assert_eq!(listed(&place).len(), 5);
}

#[test]
fn files_that_hold_no_letters_are_told() {
    let place = Place::new();
    place.write("dead", "{\"not\": \"a letter\"}\n");
    for command in ["list", "show", "offer"] {
        place
            .run(["dead", command, "dead"])
            .assert()
            .code(1)
            .stdout("")
            .stderr(contains("dead:1"));
        place
            .run(["dead", command, "nowhere"])
            .assert()
            .code(1)
            .stderr(contains("nowhere"));
    }
}
