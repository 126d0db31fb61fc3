//! `simulate` and `compare` as a user runs them: repeatable traces, virtual time, tables.

use crate::support;

use std::fs;
use std::process::Command as Process;

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::command::{Place, Report, one_crew, program, shipped};

fn json(args: &[&str]) -> Value {
    let out =
        Process::new(program()).args(args).args(["--format", "json"]).output().expect("it runs");
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("JSON")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const DRAWN: [&str; 4] = [
    "crews.near.steps.push={ wait = { exponential = \"1ms\" } }",
    "crews.near.steps.load={ wait = { uniform = [\"0s\", \"2ms\"] } }",
    "piles.manuals.source.books=2_000",
    "execution.placement=spread",
];

#[test]
fn the_same_seed_gives_the_same_trace_in_two_processes_and_another_seed_another() {
    let place = Place::new();
    let file = shipped("sixteen-gophers.toml");
    let trace = |name: &str, seed: &str| {
        let path = place.path(name);
        let mut args = vec![
            "simulate",
            file.to_str().unwrap(),
            "--seed",
            seed,
            "--trace",
            path.to_str().unwrap(),
        ];
        DRAWN.iter().for_each(|set| args.extend(["--set", set]));
        let report = json(&args);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(report["trace_sha256"], hex(&Sha256::digest(&bytes)), "what sha256sum says");
        assert_eq!(report["ledger"]["burned"], 2_000);
        (bytes, report)
    };
    let (first, report) = trace("a", "5");
    let (second, again) = trace("b", "5");
    assert!(first == second, "two processes");
    let (third, _) = trace("c", "6");
    assert!(first != third, "the seed matters");
    assert_eq!(report["virtual_s"], again["virtual_s"]);
    let text = String::from_utf8(first).unwrap();
    let line = text.lines().find(|line| line.contains("near[copy=1]/2 push")).unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!((words.len(), words[4]), (6, "since"), "{line}");
    assert!(words[3].starts_with("near[copy=1]#"), "{line}");
}

#[test]
fn ten_hours_of_sixteen_gophers_are_the_same_on_any_number_of_cores_and_in_any_process() {
    let file = shipped("sixteen-gophers.toml");
    let run = |cores: &str| {
        let file = file.to_str().unwrap();
        json(&["simulate", file, "--for", "10h", "--time-scale", "1000", "--cores", cores])
    };
    let reports = std::thread::scope(|scope| {
        ["1", "2", "4", "2"]
            .map(|cores| scope.spawn(move || run(cores)))
            .map(|run| run.join().unwrap())
    });
    for report in &reports {
        // The steps use no core, so the number of cores changes nothing: the whole trace is equal,
        // not only the set of books.
        assert_eq!(report["trace_sha256"], reports[0]["trace_sha256"]);
        assert_eq!(report["ledger"], reports[0]["ledger"]);
        assert_eq!(report["ledger"]["lost"], 0);
        let carts: u64 = (report["nodes"].as_array().unwrap().iter())
            .filter(|node| node["kind"] == "incinerator")
            .map(|node| node["carts"].as_u64().unwrap())
            .sum();
        assert!((72_000..74_000).contains(&carts), "{carts} cartloads");
        assert!(report["virtual_s"].as_f64().unwrap() >= 36_000.0);
        let speed_up = report["speed_up"].as_f64().unwrap();
        assert!((speed_up / 8.0 - 1.0).abs() < 0.01, "{speed_up}");
    }
}

#[test]
fn real_time_keeps_to_the_formula() {
    // A tenth of the books; late timers must not delay later ones.
    let file = shipped("sixteen-gophers.toml");
    let args = [
        "run",
        file.to_str().unwrap(),
        "--time-scale",
        "20",
        "--set",
        "piles.manuals.source.books=1_000",
    ];
    let report = json(&args);
    let (measured, formula) = (&report["makespan_s"], &report["makespan_formula_s"]);
    let ratio = measured.as_f64().unwrap() / formula.as_f64().unwrap();
    assert!((0.9..1.1).contains(&ratio), "{measured} s for {formula} s");
    assert_eq!(report["mode"], "run");
}

#[test]
fn a_simulation_says_what_it_measured_and_what_limits() {
    let place = Place::new();
    place
        .run(["simulate", shipped("three-gophers.toml").to_str().unwrap()])
        .assert()
        .code(0)
        .stdout(
            contains("speed-up 1.999 over one gopher")
                .and(contains("(formula 2.000)"))
                .and(contains("bottleneck: crew `haul`: push and return (1 gopher)"))
                .and(contains("trace sha256: "))
                .and(contains("s of virtual time")),
        );
    // Real work is done, in the virtual time that the config gives it.
    place.write("in/a.txt", "hello");
    place.write(
        "work.toml",
        r#"
[piles.inbox]
source = { kind = "files", root = "in" }
[incinerators.out]
burn = { kind = "files", root = "out" }
[crews.c]
from = "inbox"
to = "out"
gophers = ["load push unload return"]
work = "gzip"
steps = { push = "1h" }
"#,
    );
    let out = place.run(["simulate", "work.toml", "--format", "json"]).assert().code(0);
    let report = Report::printed(&out.get_output().stdout).0;
    assert_eq!(report["makespan_s"], 3600.0);
    assert_eq!(report["mode"], "simulate");
    assert!(place.path("out/a.txt.gz").exists());
}

#[test]
fn what_has_no_virtual_time_is_refused() {
    let place = Place::new();
    place.write(
        "program.toml",
        one_crew(
            r#"{ kind = "generate", books = 1 }"#,
            "[]",
            r#"{ kind = "command", command = ["touch", "ran"] }"#,
            1,
        ),
    );
    place
        .run(["simulate", "program.toml"])
        .assert()
        .code(1)
        .stderr(contains("starts programs").and(contains("--set incinerators.")));
    assert!(!place.path("ran").exists());
    place.write(
        "stdin.toml",
        one_crew(r#"{ kind = "lines", path = "-" }"#, "[]", r#"{ kind = "count" }"#, 1),
    );
    place.run(["simulate", "stdin.toml"]).assert().code(1).stderr(contains("reads standard input"));
    place
        .run([
            "simulate",
            shipped("one-gopher.toml").to_str().unwrap(),
            "--trace",
            "nowhere/at/all",
        ])
        .assert()
        .code(1)
        .stderr(contains("the trace nowhere/at/all"));
    place.write("bad.toml", "extends = \"nothing.toml\"");
    place.run(["simulate", "bad.toml"]).assert().code(78);
}

/// The table of the document.
const TABLE: [(&str, f64, u64); 13] = [
    ("one-gopher", 1.0, 1),
    ("two-gophers-one-cart", 1.0, 2),
    ("two-gophers", 2.0, 2),
    ("everything-doubled", 2.0, 2),
    ("three-gophers", 2.0, 3),
    ("four-gophers", 4.0, 4),
    ("eight-gophers", 8.0, 8),
    ("eight-gophers-one-core", 1.0, 8),
    ("two-gophers-staged", 1.333, 2),
    ("two-gophers-staged-doubled", 2.667, 4),
    ("four-gophers-staged", 2.667, 4),
    ("eight-gophers-staged", 4.0, 8),
    ("sixteen-gophers", 8.0, 16),
];

#[test]
fn compare_prints_the_table_of_the_document() {
    let files: Vec<String> = TABLE
        .iter()
        .map(|(name, ..)| shipped(&format!("{name}.toml")).display().to_string())
        .collect();
    let args: Vec<&str> =
        std::iter::once("compare").chain(files.iter().map(String::as_str)).collect();
    let rows = json(&args);
    for (row, (name, promised, gophers)) in rows.as_array().unwrap().iter().zip(TABLE) {
        assert_eq!(row["design"], name);
        assert_eq!(row["gophers"], gophers);
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{name}: {key}"));
        assert!((number("speed_up_formula") - promised).abs() < 0.001, "{row}");
        assert!((number("speed_up") / promised - 1.0).abs() < 0.01, "{row}");
        assert!((0.0..1.0).contains(&number("idle")), "{row}");
    }
    assert_eq!(rows.as_array().unwrap().len(), TABLE.len());
    let place = Place::new();
    let shown = contains("limited by").and(contains("█"));
    let text = place.run(&args).assert().code(0).stdout(shown);
    let text = String::from_utf8(text.get_output().stdout.clone()).unwrap();
    assert!(
        text.lines().any(|line| line.starts_with("sixteen-gophers") && line.contains("8.000")),
        "{text}"
    );
}

#[test]
fn what_if_shows_what_a_change_would_bring() {
    let (one, two) = (shipped("two-gophers-one-cart.toml"), shipped("two-gophers-staged.toml"));
    let rows = json(&[
        "compare",
        one.to_str().unwrap(),
        two.to_str().unwrap(),
        "--what-if",
        "crews.haul.carts.count=2",
        "--what-if",
        "crews.*.steps.push=2ms",
    ]);
    let rows = rows.as_array().unwrap();
    let told: Vec<(&str, Option<&str>)> = (rows.iter())
        .map(|row| (row["design"].as_str().unwrap(), row["what_if"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("two-gophers-one-cart", None),
            ("two-gophers-one-cart", Some("crews.haul.carts.count=2")),
            ("two-gophers-one-cart", Some("crews.*.steps.push=2ms")),
            ("two-gophers-staged", None),
            ("two-gophers-staged", Some("crews.*.steps.push=2ms")),
        ]
    );
    assert!((rows[1]["speed_up"].as_f64().unwrap() - 2.0).abs() < 0.02);
    let place = Place::new();
    place
        .run(["compare", one.to_str().unwrap(), "--what-if", "crews.hual.carts.count=2"])
        .assert()
        .code(78)
        .stderr(contains("none of the designs").and(contains("did you mean `haul`?")));
    place
        .run(["compare", one.to_str().unwrap(), "--what-if", "crews.haul.crats.count=2"])
        .assert()
        .code(78)
        .stderr(contains("did you mean `carts`"));
    place.run(["compare"]).assert().code(2);
}

#[test]
fn compare_touches_nothing() {
    let place = Place::new();
    place.write("in/a.txt", "hello");
    place.write(
        "work.toml",
        r#"
[piles.inbox]
source = { kind = "files", root = "in" }
[incinerators.out]
burn = { kind = "files", root = "out", manifest = "SUMS" }
[crews.c]
from = "inbox"
to = "out"
gophers = ["load push unload return"]
work = "sha256"
steps = { push = "1s" }
"#,
    );
    let before = fs::read_dir(place.root()).unwrap().count();
    place.run(["compare", "work.toml"]).assert().code(0);
    assert_eq!(fs::read_dir(place.root()).unwrap().count(), before);
    assert!(!place.path("out").exists());
    // Without step times there is nothing to compare, and the output says so.
    place
        .run(["compare", shipped("archive.toml").to_str().unwrap()])
        .assert()
        .code(0)
        .stdout(contains("no step takes time"));
}

#[test]
fn a_design_that_moves_no_time_is_named_and_ends() {
    let place = Place::new();
    let design = |source: &str, to: &str| {
        format!(
            "[piles.p]\nsource = {source}\n[piles.d]\ncapacity = {{ books = 100 }}\n\
             [incinerators.f]\nburn = \"count\"\n[crews.c]\nfrom = \"p\"\nto = \"{to}\"\n\
             gophers = [\"load push unload return\"]\n"
        )
    };
    let more = "[crews.e]\nfrom = \"d\"\nto = \"f\"\ngophers = [\"load push unload return\"]\n";
    let books = r#"{ kind = "generate", books = 100 }"#;
    let staged = design(books, "d").replace("[piles.d]", "[dumps.d]") + more;
    place.write("staged.toml", &staged);
    let short = staged.replace("steps", "");
    assert_eq!(short, staged, "no step takes time");
    let refused = place.run(["simulate", "-q", "staged.toml", "--for", "1s"]).assert().code(1);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("`p` -> `c` -> `d` -> `e` -> `f` take no time"), "{said}");
    assert!(said.contains("--set crews.c.steps.load=1ms"), "{said}");
    // The hint's advice works; and if the books end, so does the simulation.
    for args in [
        &["--for", "1s", "--set", "crews.c.steps.load=1ms"][..],
        &[],
        // A slow step at one end is enough.
        &["--for", "1s", "--set", "crews.e.steps.unload=1ms"],
    ] {
        let all = ["simulate", "-q", "staged.toml"].iter().chain(args);
        place.run(all).assert().code(0);
    }
}

#[test]
fn faults_that_come_faster_than_a_run_can_have_them_are_refused() {
    let place = Place::new();
    let design = fs::read_to_string(shipped("one-gopher.toml")).unwrap();
    let faults = |every: &str| {
        format!(
            "{design}\n[faults.x]\nkind = \"kill\"\ntarget = \"*\"\n\
             when = {{ every = \"{every}\" }}\n"
        )
    };
    place.write("often.toml", faults("1ns"));
    place.run(["validate", "often.toml"]).assert().code(78).stderr(contains("at least 1 ms apart"));
}
