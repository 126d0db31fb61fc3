//! Successful runs: the report's fields, output files, flags, the shipped designs, and their exit
//! codes.

use crate::support;

use std::collections::BTreeSet;

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use support::command::{Place, Report, one_crew, shipped, until};

const COUNT: &str = r#"{ kind = "count" }"#;

fn generate(books: u32) -> String {
    one_crew(&format!(r#"{{ kind = "generate", books = {books} }}"#), "[]", COUNT, 10)
}

fn keys(value: &Value) -> BTreeSet<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

#[test]
fn the_report_has_these_fields_and_no_others() {
    let place = Place::new();
    place.write("t.toml", generate(25));
    let out =
        place.run(["run", "t.toml", "--format", "json", "--seed", "7"]).assert().code(0).stderr("");
    let report = Report::printed(&out.get_output().stdout).0;
    let fields = "topology mode seed cores wall_s virtual_s makespan_s makespan_formula_s speed_up \
                  speed_up_formula bottleneck books_per_s restarts ledger nodes outcome";
    assert_eq!(keys(&report), fields.split(' ').collect());
    let ledger = "offered given_back burned dead dropped in_flight lost duplicates reburned";
    assert_eq!(keys(&report["ledger"]), ledger.split(' ').collect());
    let nodes = report["nodes"].as_array().expect("nodes");
    for node in nodes {
        let fields = "name kind books carts busy idle restarts";
        assert_eq!(keys(node), fields.split(' ').collect());
        let share = |name: &str| node[name].as_f64().expect("a share");
        assert!((share("busy") + share("idle") - 1.0).abs() < 1e-9, "{node}");
    }
    assert_eq!(report["topology"], "t");
    assert_eq!(report["mode"], "run");
    assert_eq!(report["seed"], 7);
    assert_eq!(report["virtual_s"], Value::Null, "it did not simulate");
    assert_eq!(report["restarts"], 0);
    assert_eq!(report["outcome"], "finished");
    let number = |name: &str| report[name].as_f64().expect(name);
    let books = number("books_per_s") * number("wall_s");
    assert!((books - 25.0).abs() < 0.01, "books by the time: {books}");
    let fire = nodes.iter().find(|node| node["name"] == "fire");
    let fire = fire.expect("the fire has a row");
    assert_eq!(fire["kind"], "incinerator");
    assert_eq!((&fire["books"], &fire["carts"]), (&25.into(), &3.into()));
}

#[test]
fn report_in_a_file_is_the_same_as_on_stdout() {
    let place = Place::new();
    place.write("t.toml", generate(5));
    let out =
        place.run(["run", "t.toml", "--format", "json", "--report", "r.json"]).assert().code(0);
    assert_eq!(place.report("r.json").0, Report::printed(&out.get_output().stdout).0);
}

#[test]
fn a_report_that_cannot_be_written_is_a_failure_with_its_path() {
    let place = Place::new();
    let source = r#"{ kind = "generate", books = 5 }"#;
    let burn = r#"{ kind = "lines", path = "out" }"#;
    place.write("t.toml", one_crew(source, "[]", burn, 1));
    // Found before anything runs.
    place
        .run(["run", "t.toml", "--report", "no/such/r.json"])
        .assert()
        .code(1)
        .stdout("")
        .stderr(contains("no/such/r.json").and(contains("create its folder")));
    for command in ["run", "simulate"] {
        place.run([command, "t.toml", "--report", "."]).assert().code(1).stdout("");
    }
    for flags in [
        &["run", "t.toml", "--dead", "no/such/dead"][..],
        &["simulate", "t.toml", "--trace", "no/such/trace"],
        &["simulate", "t.toml", "--report", "no/such/r.json"],
    ] {
        place.run(flags).assert().code(1).stdout("").stderr(contains("no/such"));
    }
    assert!(!place.path("out").exists(), "it ran");
}

#[test]
fn files_that_flags_name_destroy_no_other_file() {
    let place = Place::new();
    place.write("in", "a\nb\n");
    let source = r#"{ kind = "lines", path = "in" }"#;
    let burn = r#"{ kind = "lines", path = "out" }"#;
    place.write("t.toml", one_crew(source, "[]", burn, 1));
    let config = place.text("t.toml");
    std::fs::hard_link(place.path("in"), place.path("other")).expect("a link");
    for flags in [
        &["run", "t.toml", "--report", "t.toml"][..],
        &["run", "t.toml", "--report", "./in"],
        &["run", "t.toml", "--report", "other"],
        &["run", "t.toml", "--report", "out"],
        &["run", "t.toml", "--dead", "t.toml"],
        &["run", "t.toml", "--dead", "d", "--report", "./d"],
        &["simulate", "t.toml", "--trace", "in"],
        &["simulate", "t.toml", "--trace", "x", "--report", "x"],
    ] {
        place.run(flags).assert().code(1).stdout("").stderr(contains("name another file"));
        assert_eq!((place.text("t.toml"), place.text("in")), (config.clone(), "a\nb\n".into()));
        assert!(!place.path("out").exists());
    }
}

#[test]
fn a_report_replaces_an_old_one_as_a_whole_and_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.write("t.toml", generate(5));
    let mode = |name: &str| {
        let found = std::fs::metadata(place.path(name)).expect("a file");
        found.permissions().mode() & 0o777
    };
    place.run(["run", "t.toml", "--report", "r.json"]).assert().code(0);
    assert_eq!(mode("r.json"), 0o600);
    let shared = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(place.path("r.json"), shared).expect("mine");
    std::os::unix::fs::symlink("r.json", place.path("link")).expect("a link");
    place.run(["run", "t.toml", "--report", "link"]).assert().code(0);
    assert_eq!(mode("r.json"), 0o644, "what its owner chose");
    assert!(place.path("link").is_symlink());
    // A start that fails leaves the old file unchanged.
    let before = place.text("r.json");
    place.write("bad.toml", one_crew(r#"{ kind = "lines", path = "none" }"#, "[]", COUNT, 1));
    place.run(["run", "bad.toml", "--report", "r.json"]).assert().code(1);
    assert_eq!(place.text("r.json"), before);
    let names: Vec<_> = std::fs::read_dir(place.root()).expect("a folder").collect();
    assert_eq!(names.len(), 4, "no temporary file is left: {names:?}");
}

/// The number before `unit` in the first line of a report.
fn printed(text: &str, unit: &str) -> f64 {
    let (before, _) = text.split_once(unit).expect(unit);
    let number = before.split_whitespace().last().expect("a number");
    number.replace(',', "").parse().expect("a number")
}

#[test]
fn books_by_the_second_are_books_by_the_printed_time() {
    let place = Place::new();
    place.write("t.toml", generate(1234) + "steps = { load = \"1ms\" }\n");
    for command in ["run", "simulate"] {
        let out = place.run([command, "t.toml"]).assert().code(0);
        let text = String::from_utf8_lossy(&out.get_output().stdout).into_owned();
        let (time, rate) = (printed(&text, " s "), printed(&text, " books/s"));
        let books = time * rate;
        assert!((books - 1234.0).abs() < 13.0, "{command}: {books} of {text}");
    }
}

#[test]
fn help_explains_the_ledger_in_imperative_sentences() {
    let place = Place::new();
    for command in ["run", "simulate"] {
        let mut said = place.run([command, "--help"]).assert().code(0);
        for word in
            ["offered", "burned", "dead", "dropped", "unfinished", "lost", "duplicates", "reburned"]
        {
            said = said.stdout(contains(format!("\n  {word} ")));
        }
        said.stdout(contains("books/s"));
    }
}

#[test]
fn a_misspelt_command_kind_or_flag_gets_a_suggestion() {
    let place = Place::new();
    place.write("t.toml", generate(1));
    for (args, said) in [
        (&["rnu", "t.toml"][..], "did you mean `run`?"),
        (&["simlate", "t.toml"], "'simulate'"),
        (&["dead", "lsit", "dead"], "'list'"),
        (&["run", "t.toml", "--sed", "1"], "'--seed'"),
        (&["run", "t.toml", "--format", "jsn"], "'json'"),
        (&["kinds", "lnes"], "did you mean `lines`?"),
        (&["explain", "unknwon-key"], "did you mean `unknown-key`?"),
        (&["dead", "list", "--fromat", "json"], "'--format'"),
        (&["t.toml"], "gopherworks run t.toml"),
    ] {
        place.run(args).assert().code(2).stdout("").stderr(contains(said));
    }
}

#[test]
fn shipped_designs_burn_all_their_books_on_any_number_of_cores() {
    for name in ["one-gopher", "two-gophers", "two-gophers-staged"] {
        for cores in ["1", "2", "4"] {
            let place = Place::new();
            let file = shipped(&format!("{name}.toml"));
            let file = file.to_str().expect("UTF-8");
            let args = ["run", file, "--cores", cores, "--time-scale", "0.05"];
            let out = place.run(args.iter().chain(&["--format", "json"])).assert().code(0);
            let report = Report::printed(&out.get_output().stdout);
            report.balanced();
            assert_eq!(report.ledger("offered"), 10_000, "{name} on {cores}");
            assert_eq!(report.ledger("burned"), 10_000, "{name} on {cores}");
            assert_eq!(report.0["topology"], name);
            assert_eq!(report.0["cores"].to_string(), cores);
        }
    }
}

#[test]
fn shipped_configs_are_valid_from_any_folder() {
    for name in ["one-gopher", "two-gophers", "two-gophers-staged", "archive"] {
        let place = Place::new();
        let file = shipped(&format!("{name}.toml"));
        place.run(["validate".as_ref(), file.as_os_str()]).assert().code(0).stdout(contains("ok"));
        // The same config by a relative path.
        let mut here = place.run(["validate", &format!("{name}.toml")]);
        here.current_dir(file.parent().expect("a folder"));
        here.assert().code(0);
    }
}

#[test]
fn validate_says_what_would_be_read_and_written_and_touches_nothing() {
    let place = Place::new();
    let source = r#"{ kind = "lines", path = "in/books" }"#;
    let burn = r#"{ kind = "files", root = "out" }"#;
    place.write("folder/t.toml", one_crew(source, "[]", burn, 1));
    let out = place.run(["validate", "folder/t.toml", "--format", "json"]).assert().code(0);
    let said: Value = serde_json::from_slice(&out.get_output().stdout).expect("JSON");
    let path = |name: &str| Value::from(place.path(name).to_str().expect("UTF-8"));
    assert_eq!(said[0]["valid"], true);
    assert_eq!(said[0]["reads"], Value::Array(vec![path("folder/in/books")]));
    assert_eq!(said[0]["writes"], Value::Array(vec![path("folder/out")]));
    place
        .run(["validate", "folder/t.toml"])
        .assert()
        .stdout(contains("reads").and(contains("folder/in/books")))
        .stdout(contains("writes").and(contains("folder/out")));
    assert!(!place.path("folder/out").exists());
}

#[test]
fn data_goes_to_stdout_and_logs_to_stderr() {
    let place = Place::new();
    place.write("t.toml", generate(5));
    place
        .run(["run", "t.toml"])
        .assert()
        .code(0)
        .stdout(contains("burned 5").and(contains("balanced")))
        .stderr("");
    // No message is mixed in: stdout is exactly one report.
    let out = place
        .run(["-vv", "run", "t.toml", "--format", "json"])
        .assert()
        .code(0)
        .stderr(predicate::str::is_empty().not());
    Report::printed(&out.get_output().stdout).balanced();
    place.run(["run", "t.toml", "-q"]).assert().code(0).stdout("").stderr("");
    place.run(["run", "t.toml", "-q", "-v"]).assert().code(2);
}

#[test]
fn there_are_no_colours_and_no_bars_in_a_pipe() {
    let place = Place::new();
    place.write("t.toml", generate(5));
    place.write("bad.toml", "nonsense = 1");
    for no_color in [false, true] {
        for args in [["run", "t.toml"], ["run", "bad.toml"], ["validate", "bad.toml"]] {
            let mut command = place.run(args);
            if no_color {
                command.env("NO_COLOR", "1");
            }
            command
                .assert()
                .stdout(contains("\u{1b}").not())
                .stderr(contains("\u{1b}").not().and(contains("\r").not()));
        }
    }
}

#[test]
fn set_and_the_environment_override_the_file_and_set_wins() {
    let place = Place::new();
    place.write("t.toml", generate(5));
    let burned = |env: Option<&str>, set: Option<&str>| {
        let mut command = place.run(["run", "t.toml", "--format", "json"]);
        if let Some(books) = env {
            command.env("GOPHERWORKS__PILES__INBOX__SOURCE__BOOKS", books);
        }
        command.args(set.map(|books| format!("--set=piles.inbox.source.books={books}")));
        let out = command.assert().code(0);
        Report::printed(&out.get_output().stdout).ledger("burned")
    };
    assert_eq!(burned(None, None), 5);
    assert_eq!(burned(Some("6"), None), 6);
    assert_eq!(burned(None, Some("7")), 7);
    assert_eq!(burned(Some("6"), Some("7")), 7);
}

#[test]
fn for_makes_generate_endless_and_drains() {
    let place = Place::new();
    // The source has one book, but never ends with `--for`. A small pile keeps the drain short.
    let config = generate(1).replace("max_attempts = 2", "capacity = { books = 20 }");
    place.write("t.toml", config + "steps = { load = \"1ms\" }\n");
    let out = place.run(["run", "t.toml", "--for", "200ms", "--format", "json"]).assert().code(0);
    let report = Report::printed(&out.get_output().stdout);
    report.balanced();
    assert!(report.ledger("burned") > 1, "{}", report.0);
    assert_eq!(report.ledger("in_flight"), 0);
    assert!(report.0["wall_s"].as_f64().expect("seconds") >= 0.2);
}

#[test]
fn a_drain_past_its_deadline_gives_up_with_75_and_a_balanced_ledger() {
    let place = Place::new();
    // Holds a lock as long as it lives.
    let script = "exec 9>>lock; flock 9; exec cat never";
    let endless = format!(r#"{{ kind = "command", command = ["sh", "-c", {script:?}] }}"#);
    place.fifo("never");
    let source = r#"{ kind = "generate", books = 3 }"#;
    place.write("t.toml", one_crew(source, "[]", &endless, 1));
    let args = ["run", "t.toml", "--for", "50ms", "--drain-deadline", "50ms"];
    place
        .run(args.iter().chain(&["--report", "r.json"]))
        .assert()
        .code(75)
        .stderr(contains("deadline"));
    let report = place.report("r.json");
    assert_eq!(report.balanced().ledger("burned"), 0);
    assert!(report.ledger("in_flight") > 0);
    let lock = std::fs::File::open(place.path("lock")).expect("a lock");
    until("the program is dead, too", || lock.try_lock().is_ok());
}

#[test]
fn kinds_lists_what_is_shipped() {
    let place = Place::new();
    let out = place.run(["kinds", "--format", "json"]).assert().code(0);
    let said: Value = serde_json::from_slice(&out.get_output().stdout).expect("JSON");
    let kinds = said.as_array().expect("a list");
    let roles = |role: &str| -> Vec<&str> {
        let mine = kinds.iter().filter(|kind| kind["role"] == role);
        mine.map(|kind| kind["name"].as_str().expect("a name")).collect()
    };
    assert_eq!(roles("source"), ["files", "generate", "lines"]);
    let works: &[&str] = match cfg!(feature = "expressions") {
        true => &[
            "balancer", "filter", "gunzip", "gzip", "map", "parse", "sha256", "split", "unzstd",
            "zstd",
        ],
        false => &["balancer", "gunzip", "gzip", "sha256", "unzstd", "zstd"],
    };
    assert_eq!(roles("work"), works);
    assert_eq!(roles("burn"), ["balancer", "command", "count", "files", "http", "lines"]);
    assert_eq!(roles("worker"), ["command", "http", "sleep", "spin", "xyz"]);
    place
        .run(["kinds", "gzip"])
        .assert()
        .code(0)
        .stdout(contains("level").and(contains("sha256").not()));
    place.run(["kinds", "gzipp"]).assert().code(2).stdout("").stderr(contains("gzipp"));
}

#[test]
fn wrong_usage_is_2() {
    let place = Place::new();
    place.write("t.toml", generate(1));
    for args in [
        &[][..],
        &["run"],
        &["validate"],
        &["burn", "t.toml"],
        &["run", "t.toml", "--cores", "0"],
        &["run", "t.toml", "--cores", "many"],
        &["run", "t.toml", "--for", "30"],
        &["run", "t.toml", "--time-scale", "-1"],
        &["run", "t.toml", "--time-scale", "NaN"],
        &["run", "t.toml", "--seed", "x"],
        &["run", "t.toml", "--format", "yaml"],
        &["dead", "list"],
    ] {
        place.run(args).assert().code(2).stdout("");
    }
    place.run(["--help"]).assert().code(0).stderr("");
    place.run(["--version"]).assert().code(0).stderr("");
}
