//! `chaos` and `simulate --faults` from the command line: verdicts, exit codes, replays.

use crate::support;

use std::process::Command as Process;

use serde_json::Value;
use support::command::{Place, program};

fn text_of(path: impl AsRef<std::path::Path>) -> String {
    path.as_ref().display().to_string()
}

fn suite(name: &str) -> String {
    format!("{}/config/chaos/{name}.toml", env!("CARGO_MANIFEST_DIR"))
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn say(args: &[&str]) -> Said {
    let output = Process::new(program()).args(args).output().expect("it runs");
    Said {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

#[test]
fn the_same_sweep_in_two_processes_has_the_same_traces() {
    for file in ["four-gophers-staged", "hedged"] {
        let file = suite(file);
        let sweep = |seed| {
            let args = [
                "simulate",
                &file,
                "--faults",
                "--cores",
                "2",
                "--seed",
                seed,
                "--seeds",
                "15",
                "--schedules",
                "3",
                "--format",
                "json",
            ];
            let said = say(&args);
            assert_eq!(said.code, 0, "{}{}", said.out, said.err);
            let swept: Value = serde_json::from_str(&said.out).expect("JSON");
            assert_eq!(swept["runs"], 45);
            swept["traces_sha256"].as_str().expect("a hash").to_owned()
        };
        let first = sweep("1");
        assert_eq!(first, sweep("1"));
        assert_ne!(first, sweep("2"));
    }
}

/// A config whose expectation can't hold: recovery within 1 ns.
fn impossible(place: &Place, faults: &str) -> String {
    let text = format!(
        "extends = \"{}\"\nremove = [\"faults.any\"]\n[expect]\nrecovery_p99 = \"<= 1ns\"\n\
         {faults}",
        suite("four-gophers")
    );
    text_of(place.write("own.toml", text))
}

#[test]
fn a_failure_is_made_small_and_what_is_left_fails_alone() {
    let place = Place::new();
    let many = "
        [faults.kills]
        kind = \"kill\"
        target = \"haul/*\"
        when = { every = \"20ms\" }
        [faults.slow]
        kind = \"slow\"
        target = \"haul\"
        by = \"1ms\"
        when = { chance = 0.2 }
    ";
    let file = impossible(&place, many);
    let verdict = text_of(place.path("verdict.json"));
    let said = say(&["simulate", &file, "--faults", "--seeds", "5", "--verdict", &verdict]);
    assert_eq!(said.code, 1, "{}{}", said.out, said.err);
    for part in [
        "FAIL  own (simulate), seed 1",
        "PASS  lost",
        "FAIL  recovery p99",
        "again: gopherworks simulate",
    ] {
        assert!(said.out.contains(part), "{part} is not in\n{}", said.out);
    }
    let told: Value =
        serde_json::from_str(&std::fs::read_to_string(verdict).expect("a file")).expect("JSON");
    let failure = &told["failure"];
    assert_eq!(failure["pass"], false);
    assert_eq!(failure["minimal_faults"], 1, "{failure}");
    let minimal = failure["minimal"].as_str().expect("a text");
    assert!(minimal.contains("kind = \"kill\""), "{minimal}");
    // Pasted into a config, the minimised faults fail again, with the same seed in the same way.
    let small = impossible(&place, minimal);
    let again = say(&["simulate", &small, "--faults", "--seed", "1", "--format", "json"]);
    assert_eq!(again.code, 1, "{}{}", again.out, again.err);
    let verdict: Value = serde_json::from_str(&again.out).expect("JSON");
    assert_eq!(verdict["faults"], 1, "{verdict}");
    let hash = verdict["trace_sha256"].as_str().expect("a hash");
    let trace = text_of(place.path("trace"));
    let once = say(&["simulate", &small, "--faults", "--seed", "1", "--trace", &trace, "-q"]);
    assert_eq!(once.code, 1);
    assert!(once.out.contains(hash), "{}", once.out);
    let lines = std::fs::read_to_string(trace).expect("a file");
    assert!(lines.contains("fault found_1 kill"), "the trace tells of it");
}

#[test]
fn real_threads_pass_the_storm_and_name_the_culprit() {
    let place = Place::new();
    let verdict = text_of(place.path("verdict.json"));
    let file = suite("storm");
    // An early block, so that a short run has one.
    let said = say(&[
        "chaos",
        &file,
        "--seed",
        "3",
        "--for",
        "3s",
        "--verdict",
        &verdict,
        "--set",
        "faults.blocks.when.every=1s",
        // Other tests may keep the machine busy.
        "--set",
        "expect.recovery_p99=2s",
    ]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.starts_with("PASS  storm (chaos), seed 3"), "{}", said.out);
    let told: Value =
        serde_json::from_str(&std::fs::read_to_string(verdict).expect("a file")).expect("JSON");
    assert!(told["faults"].as_u64().expect("a number") > 30, "{told}");
    let culprits = told["culprits"].as_array().expect("a list");
    assert!(!culprits.is_empty(), "{told}");
    assert!(culprits[0][0].as_str().expect("a name").starts_with("near[copy="));
    assert!(said.err.is_empty(), "what goes wrong on purpose is not logged: {}", said.err);
}

#[test]
fn a_run_ignores_faults_without_the_flag() {
    let place = Place::new();
    let file = impossible(
        &place,
        "[faults.kills]\nkind = \"kill\"\ntarget = \"haul/1\"\nwhen = { at = \"30ms\" }\n",
    );
    let restarts = |more: &[&str]| {
        let said = say(&[&["run", &file, "--format", "json"], more].concat());
        assert_eq!(said.code, 0, "{}{}", said.out, said.err);
        let report: Value = serde_json::from_str(&said.out).expect("JSON");
        assert_eq!(report["ledger"]["burned"], 1000);
        report["restarts"].as_u64().expect("a number")
    };
    assert_eq!(restarts(&[]), 0);
    assert_eq!(restarts(&["--faults"]), 1);
}

#[test]
fn a_file_without_faults_is_told_what_to_add() {
    let file = format!("{}/config/one-gopher.toml", env!("CARGO_MANIFEST_DIR"));
    for args in [&["chaos", &file][..], &["simulate", &file, "--faults"]] {
        let said = say(args);
        assert_eq!(said.code, 1);
        assert!(said.err.contains("kind = \"mix\""), "{}", said.err);
    }
    let said = say(&["simulate", &file, "--seeds", "5"]);
    assert_eq!(said.code, 2, "seeds are for faults");
}

#[test]
fn a_dip_of_the_throughput_is_measured_against_a_calm_run() {
    let place = Place::new();
    let slow = |dip: f64| {
        let text = format!(
            "extends = \"{}\"\nremove = [\"faults.any\"]\n[expect]\nthroughput_dip = {dip}\n\
             [faults.slow]\nkind = \"slow\"\nby = \"1ms\"\ntarget = \"haul\"\n\
             when = {{ at = \"0s\" }}\n",
            suite("one-gopher")
        );
        let file = text_of(place.write("slow.toml", text));
        say(&["simulate", &file, "--faults"])
    };
    // One of four steps at a time takes twice as long: five steps instead of four, if it is always
    // the same one.
    let (strict, lenient) = (slow(0.05), slow(0.6));
    assert_eq!(strict.code, 1, "{}", strict.out);
    assert!(strict.out.contains("FAIL  throughput dip"), "{}", strict.out);
    assert_eq!(lenient.code, 0, "{}", lenient.out);
    assert!(lenient.out.contains("PASS  throughput dip"), "{}", lenient.out);
}
