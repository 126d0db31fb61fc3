//! Programs that a run starts: where they are found, how many run at once, the cost of one bad
//! book, and that none outlives the run.

use crate::support;

use std::os::unix::fs::PermissionsExt;

use predicates::prelude::*;
use predicates::str::contains;
use rustix::process::Signal;
use support::command::{Gate, Place, Report, Running, one_crew, until};

/// A config whose burn runs `command` (a TOML array), with further options.
fn burning(place: &Place, name: &str, books: u32, command: &str, more: &str) {
    let burn = format!(r#"{{ kind = "command", command = {command}{more} }}"#);
    let source = format!(r#"{{ kind = "generate", books = {books} }}"#);
    place.write(name, one_crew(&source, "[]", &burn, 10));
}

/// A config whose worker runs `command`, with one request.
fn asking(place: &Place, name: &str, command: &str, more: &str) {
    place.write(
        name,
        format!(
            "[balancers.desk]\nworkers = {{ count = 1, work = {{ kind = \"command\", \
             command = {command}{more} }} }}\n\
             [requesters.one]\nto = \"desk\"\nload = {{ kind = \"batch\", requests = 1 }}\n"
        ),
    );
}

fn script(place: &Place, name: &str, text: &str) {
    let path = place.write(name, format!("#!/bin/sh\n{text}\n"));
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("a mode");
}

#[test]
fn a_program_with_a_slash_starts_at_the_file_that_wrote_it() {
    let place = Place::new();
    script(&place, "jobs/bin/say", "pwd > \"$OUT\"");
    place.write("jobs/inner/keep", "");
    let out = place.path("out");
    let env = format!(", env = {{ OUT = {out:?} }}");
    for (more, folder) in [("", ""), (", folder = \"inner\"", "jobs/inner")] {
        burning(&place, "jobs/burn.toml", 1, r#"["bin/say"]"#, &format!("{env}{more}"));
        asking(&place, "jobs/ask.toml", r#"["./bin/say"]"#, &format!("{env}{more}"));
        // A config in another folder keeps the programs of the config that it extends.
        place.write("other/t.toml", "extends = \"../jobs/burn.toml\"\n");
        let root = place.root().canonicalize().expect("a folder");
        for file in ["jobs/burn.toml", "jobs/ask.toml", "other/t.toml"] {
            place.run(["validate", file]).assert().code(0).stderr("");
            place.run(["run", "-q", file]).assert().code(0);
            let said = place.text("out");
            assert_eq!(
                said.trim_end(),
                root.join(folder).to_str().expect("UTF-8").trim_end_matches('/')
            );
            std::fs::remove_file(&out).expect("it ran");
        }
    }
    // A bare name is not looked up beside the config.
    burning(&place, "jobs/burn.toml", 1, r#"["say-nothing"]"#, "");
    script(&place, "jobs/say-nothing", "exit 0");
    place
        .run(["validate", "jobs/burn.toml"])
        .assert()
        .stderr(contains("no such program `say-nothing` on the PATH"));
}

#[test]
fn programs_that_are_not_there_are_warned_of_with_their_place() {
    let place = Place::new();
    script(&place, "filter", "exit 0");
    place.write("plain", "");
    for (command, words) in [
        (r#"["./flter"]"#, ["no such program `", "did you mean `filter`?"]),
        (r#"["bahs", "-c", "x"]"#, ["no such program `bahs` on the PATH", "did you mean `bash`?"]),
        (r#"["bash -c x"]"#, ["no such program", r#"["bash", "-c", "x"]"#]),
        (r#"["./plain"]"#, ["is not executable", "chmod +x "]),
        (r#"["./"]"#, ["is a folder, not a program", "t.toml:"]),
        (r#"["bash"], folder = "none""#, ["no such folder", "to run the program in"]),
    ] {
        for make in [
            (|place: &Place, command: &str| burning(place, "t.toml", 0, command, ""))
                as fn(&Place, &str),
            |place, command| asking(place, "t.toml", command, ""),
        ] {
            make(&place, command);
            place
                .run(["validate", "t.toml"])
                .assert()
                .code(0)
                .stderr(contains("warning[missing-program]: "))
                .stderr(contains(words[0]).and(contains(words[1])))
                .stderr(contains(" --> t.toml:").and(contains("^^^")));
        }
    }
    burning(&place, "t.toml", 0, r#"["./flter"]"#, "");
    place.run(["run", "t.toml"]).assert().stderr(contains("did you mean `filter`?"));
}

#[test]
fn one_bad_book_of_a_cart_is_the_only_dead_letter() {
    let place = Place::new();
    place.write("in", "1\n2\nbad\n4\n5\n");
    let burn = r#"{ kind = "command", command = ["sh", "-c", "! grep -q bad"], per = "cart" }"#;
    let source = r#"{ kind = "lines", path = "in" }"#;
    place.write("t.toml", one_crew(source, "[]", burn, 10));
    let out = place.run(["run", "t.toml", "--format", "json"]).assert().code(3);
    let report = Report::printed(&out.get_output().stdout);
    report.balanced();
    assert_eq!((report.ledger("burned"), report.ledger("dead")), (4, 1));
}

#[test]
fn as_many_programs_run_at_once_as_there_are_carts_whatever_the_cores() {
    let place = Place::new();
    let mut gate = Gate::new(&place.fifo("gate"));
    let bash = r#"["bash", "-c", "echo >> began; read _ < gate"]"#;
    for (more, carts, at_once) in [("", 5, 5), (", parallel = 2", 5, 2)] {
        burning(&place, "t.toml", 10, bash, more);
        place.write("began", "");
        let mut process =
            place.process(["run", "-q", "t.toml", "--cores", "1", "--report", "r.json"]);
        process.args(["--set", &format!("crews.crew.carts.count={carts}")]);
        process.args(["--set", "crews.crew.carts.books=1"]);
        let running = Running::start(process);
        until("so many run", || place.text("began").len() >= at_once);
        assert_eq!(place.text("began").len(), at_once);
        gate.open(10);
        assert_eq!(running.end().status.code(), Some(0));
        assert_eq!(place.report("r.json").ledger("burned"), 10);
    }
    burning(&place, "t.toml", 10, bash, ", parallel = 0");
    let refused = contains("0 is too small: at least 1");
    place.run(["validate", "t.toml"]).assert().code(78).stderr(refused);
}

#[test]
fn no_program_outlives_its_parent_however_that_dies() {
    // The grandchild holds the lock as well, and would outlive a parent that is killed alone.
    let bash = r#"["bash", "-c", "exec 9>>lock; flock -s 9; sleep 1000 & echo >> began; wait"]"#;
    for signal in [Signal::KILL, Signal::HUP, Signal::QUIT, Signal::ABORT] {
        let place = Place::new();
        burning(&place, "burn.toml", 1, bash, "");
        asking(&place, "ask.toml", bash, "");
        for file in ["burn.toml", "ask.toml"] {
            place.write("began", "");
            let running = Running::start(place.process(["run", "-q", file]));
            until("the program runs", || !place.text("began").is_empty());
            running.signal(signal);
            if signal == Signal::HUP {
                // The first signal drains like SIGTERM, which waits for the program.
                running.signal(Signal::KILL);
            }
            running.end();
            let lock = std::fs::File::open(place.path("lock")).expect("a lock");
            until("every program is dead", || lock.try_lock().is_ok());
        }
    }
}

#[test]
fn programs_know_the_attempt_at_a_book() {
    let place = Place::new();
    script(&place, "second", "echo $GOPHERWORKS_ATTEMPT >> out\n[ $GOPHERWORKS_ATTEMPT = 2 ]");
    let program = r#"{ kind = "command", command = ["./second"] }"#;
    let desk = format!("[balancers.desk]\nworkers = {{ count = 1, work = {program} }}\n");
    let asks = r#"{ kind = "balancer", to = "desk" }"#;
    let source = r#"{ kind = "generate", books = 1 }"#;
    for (work, burn, desk) in
        [("[]", program, ""), ("[]", asks, &*desk), (&*format!("[{asks}]"), "\"count\"", &desk)]
    {
        place.write("t.toml", format!("{}{desk}", one_crew(source, work, burn, 1)));
        place.run(["run", "-q", "t.toml"]).assert().code(0);
        assert_eq!(place.text("out"), "1\n2\n", "{work} {burn}");
        std::fs::remove_file(place.path("out")).expect("it ran");
    }
}
