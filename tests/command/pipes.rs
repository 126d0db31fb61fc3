//! Books in pipes: lines through stdin and stdout, a reader that goes away, and programs as burns.

use crate::support;

use std::fs;
use std::process::{Command as Process, Stdio};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use rustix::process::Signal;
use serde_json::Value;
use support::command::{
    Gate, PATIENCE, Place, Report, Running, lines, one_crew, plain, program, shipped, until,
};

const STREAM: &str = r#"{ kind = "lines", path = "-" }"#;

fn numbers(count: usize) -> String {
    (0..count).map(|number| format!("line {number}\n")).collect()
}

#[test]
fn stdout_has_the_books_and_nothing_else() {
    for format in ["text", "json"] {
        let place = Place::new();
        place.write("folder/t.toml", one_crew(STREAM, "[]", STREAM, 7));
        let args = ["run", "folder/t.toml", "--format", format, "--report", "r"];
        place
            .run(args)
            .write_stdin(numbers(1000))
            .assert()
            .code(0)
            .stdout(numbers(1000))
            .stderr(contains("1000").or(contains("1,000")))
            .stderr(contains("warning").not());
        assert_eq!(place.report("r").balanced().ledger("burned"), 1000);
        assert!(!place.path("-").exists() && !place.path("folder/-").exists());
    }
}

#[test]
fn empty_input_and_a_last_line_without_an_end() {
    let place = Place::new();
    place.write("t.toml", one_crew(STREAM, "[]", STREAM, 2));
    for (given, taken) in [("", ""), ("\n", "\n"), ("a\n\nb", "a\n\nb\n")] {
        place.run(["run", "t.toml", "-q"]).write_stdin(given).assert().code(0).stdout(taken);
    }
}

#[test]
fn a_reader_that_goes_away_neither_hangs_nor_panics() {
    let place = Place::new();
    place.write("t.toml", one_crew(STREAM, "[]", STREAM, 10));
    let mut shell = Process::new("bash");
    let script =
        r#"seq 20000 | "$0" run t.toml --report r.json 2>err | head -1; echo "${PIPESTATUS[1]}""#;
    shell.args(["-c", script, program()]).current_dir(place.root());
    plain(&mut shell);
    let out = Command::from_std(shell).timeout(PATIENCE).assert().code(0);
    let said = lines(&out.get_output().stdout);
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(said[0], "1");
    // What head read before it ended is burned and the rest unfinished, or the pipe took
    // everything.
    let report = place.report("r.json");
    report.balanced();
    let left = report.ledger("in_flight") > 0;
    assert_eq!(said[1], if left { "141" } else { "0" }, "{}", report.0);
    assert_eq!(report.ledger("dead"), 0, "{}", report.0);
    let err = place.text("err");
    for word in ["panicked", "error", "WARN", "ERROR"] {
        assert!(!err.contains(word), "{err}");
    }
}

#[test]
fn a_reader_that_is_gone_ends_the_run_before_the_input_is_read() {
    let place = Place::new();
    place.write("in", numbers(300_000));
    let source = r#"{ kind = "lines", path = "in" }"#;
    place.write("t.toml", one_crew(source, "[]", STREAM, 10));
    let mut process = place.process(["run", "t.toml", "--report", "r.json"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let out = process.stdin(Stdio::null()).stdout(writer).output();
    let out = out.expect("it runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(141), "{err}");
    let report = place.report("r.json");
    report.balanced();
    assert_eq!((report.ledger("burned"), report.ledger("dead")), (0, 0));
    assert!(report.ledger("offered") < 300_000, "{}", report.0);
}

#[test]
fn an_output_that_is_the_input_is_refused_by_every_name_and_stays_as_it_was() {
    let place = Place::new();
    let text = numbers(3);
    place.write("same", &text);
    fs::hard_link(place.path("same"), place.path("hard")).expect("a link");
    std::os::unix::fs::symlink("same", place.path("soft")).expect("a link");
    let source = r#"{ kind = "lines", path = "same" }"#;
    for (out, code) in [("same", 78), ("./x/../same", 78), ("hard", 1), ("soft", 1)] {
        let burn = format!("{{ kind = \"lines\", path = {out:?}, append = true }}");
        for burn in [burn.replace(", append = true", ""), burn] {
            place.write("t.toml", one_crew(source, "[]", &burn, 2));
            let told = contains("same").and(contains("input").or(contains("is read by")));
            let ran = place.run(["run", "t.toml", "-q"]).assert();
            ran.code(code).stderr(told);
            assert_eq!(place.text("same"), text, "{burn}");
        }
    }
}

#[test]
fn a_file_of_lines_has_one_writer() {
    let place = Place::new();
    let burn = r#"{ kind = "lines", path = "out" }"#;
    let source = r#"{ kind = "lines", path = "in" }"#;
    place.write("first.toml", one_crew(source, "[]", burn, 1));
    let mut input = Gate::new(&place.fifo("in"));
    let running = Running::start(place.process(["run", "first.toml"]));
    input.open(1);
    until("a line is out", || !place.text("out").is_empty());
    let source = r#"{ kind = "generate", books = 1 }"#;
    place.write("second.toml", one_crew(source, "[]", burn, 1));
    let holder = format!("another process (pid {}) writes to it", running.id());
    let refused = place.run(["run", "second.toml"]).assert().code(1);
    refused.stderr(contains("out").and(contains(holder)));
    running.signal(Signal::TERM);
    assert_eq!(running.end().status.code(), Some(0));
    assert_eq!(place.text("out"), "\n");
    // Two nodes of one config write to the file.
    let twice = one_crew(source, "[]", burn, 1)
        + "[incinerators.other]\nburn = { kind = \"lines\", path = \"./out\" }\n\
           [crews.again]\nfrom = \"inbox\"\nto = \"other\"\n\
           gophers = [\"load push unload return\"]\n";
    place.write("twice.toml", twice);
    let refused = place.run(["validate", "twice.toml"]).assert().code(78);
    refused.stderr(contains("writes to").and(contains("already")));
}

#[test]
fn lines_that_were_burned_are_not_given_again() {
    let place = Place::new();
    place.write("in", "a\nbad\nc\n");
    let source = r#"{ kind = "lines", path = "in", remember = "memory" }"#;
    let script = r#"line=$(cat); echo "$line $GOPHERWORKS_BOOK_ID" >> tried; [ "$line" != bad ]"#;
    let burn = command(&["sh", "-c", script], "");
    place.write("t.toml", one_crew(source, "[]", &burn, 2));
    let run = |code: i32| {
        let ran = place.run(["run", "t.toml", "-q", "--report", "r.json"]).assert();
        ran.code(code);
        place.report("r.json").balanced().ledger("offered")
    };
    assert_eq!(run(3), 3);
    assert_eq!(run(3), 1);
    let tried = place.text("tried");
    let bad: Vec<_> = tried.lines().filter(|line| line.starts_with("bad")).collect();
    assert_eq!(bad.len(), 4, "two attempts a run: {tried}");
    assert!(bad.iter().all(|line| *line == bad[0]), "one key: {tried}");
    place.write("in", "a\nbad\nc\nnew\n");
    assert_eq!(run(3), 2);
}

/// A source on a fifo that has no writer, beside a pile whose burned line shows that the run has
/// started.
#[test]
fn a_source_on_a_fifo_without_a_writer_ends_with_the_first_signal() {
    let place = Place::new();
    place.fifo("in");
    let crew = |name: &str, from: &str, to: &str| {
        format!(
            "[crews.{name}]\nfrom = \"{from}\"\nto = \"{to}\"\n\
             gophers = [\"load push unload return\"]\n"
        )
    };
    let piles = "[piles.fifo]\nsource = { kind = \"lines\", path = \"in\" }\n\
                 [piles.made]\nsource = { kind = \"generate\", books = 1 }\n\
                 [incinerators.fire]\nburn = \"count\"\n\
                 [incinerators.up]\nburn = { kind = \"lines\", path = \"up\" }\n";
    let crews = crew("a", "fifo", "fire") + &crew("b", "made", "up");
    place.write("t.toml", format!("{piles}{crews}"));
    let running = Running::start(place.process(["run", "t.toml", "-q", "--report", "r.json"]));
    until("it is under way", || !place.text("up").is_empty());
    running.signal(Signal::TERM);
    assert_eq!(running.end().status.code(), Some(0));
    assert_eq!(place.report("r.json").balanced().ledger("burned"), 1);
}

#[test]
fn a_sink_on_a_fifo_without_a_reader_waits_for_it_and_can_be_stopped() {
    let place = Place::new();
    let fifo = place.fifo("out");
    let source = r#"{ kind = "generate", books = 3, size = "5B" }"#;
    let burn = r#"{ kind = "lines", path = "out" }"#;
    place.write("t.toml", one_crew(source, "[]", burn, 1));
    let args = ["run", "t.toml", "--report", "r.json"];
    let running = Running::start(place.process(args));
    let waits = "no process reads from it";
    until(waits, || running.said(waits));
    running.signal(Signal::TERM);
    // `generate` can give its books again.
    assert_eq!(running.end().status.code(), Some(0));
    assert_eq!(place.report("r.json").balanced().ledger("offered"), 0);

    let running = Running::start(place.process(args));
    until(waits, || running.said(waits));
    let taken = std::thread::spawn(move || fs::read(fifo).expect("the reader's end"));
    let out = running.end();
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(0), "{err}");
    assert!(err.contains("incinerator fire resumes after"), "{err}");
    let taken = taken.join().expect("it reads");
    assert_eq!(taken.len(), 3 * 6);
}

#[test]
fn a_report_without_a_reader_is_no_failure() {
    let place = Place::new();
    let source = r#"{ kind = "generate", books = 3 }"#;
    place.write("t.toml", one_crew(source, "[]", r#""count""#, 10));
    for args in [
        &["run", "t.toml"][..],
        &["kinds"],
        &["validate", "t.toml"],
        &["simulate", "t.toml"],
        &["compare", "t.toml"],
        &["schema"],
        &["graph", "t.toml"],
        &["--help"],
    ] {
        let mut process = place.process(args);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let out = process.stdin(Stdio::null()).stdout(writer).output().expect("it runs");
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(0), "{args:?}: {err}");
        assert_eq!(err, "", "{args:?}");
    }
    let file = shipped("archive.toml");
    assert!(file.exists());
}

#[test]
fn output_that_cannot_be_written_is_a_failure_of_every_command() {
    let place = Place::new();
    let source = r#"{ kind = "generate", books = 3 }"#;
    place.write("t.toml", one_crew(source, "[]", r#""count""#, 10));
    place.write("bad.toml", one_crew(source, r#"["gunzip"]"#, r#""count""#, 10));
    place.run(["run", "bad.toml", "--dead", "dead"]).assert().code(3);
    let chaos = shipped("chaos/four-gophers.toml");
    let chaos = chaos.to_str().expect("UTF-8");
    let balancer = shipped("simple-balancer.toml");
    let balancer = balancer.to_str().expect("UTF-8");
    for args in [
        &["run", "t.toml"][..],
        &["run", "t.toml", "--format", "json"],
        &["run", "t.toml", "--report", "/dev/full"],
        &["run", "t.toml", "-q", "--report", "/dev/full"],
        &["simulate", "t.toml"],
        &["simulate", "t.toml", "--format", "json"],
        &["simulate", "t.toml", "--report", "/dev/full"],
        &["simulate", "t.toml", "--trace", "/dev/full"],
        &["simulate", chaos, "--faults"],
        &["simulate", chaos, "--faults", "--verdict", "/dev/full"],
        &["simulate", chaos, "--faults", "--trace", "/dev/full"],
        &["simulate", chaos, "--faults", "--seeds", "2"],
        &["chaos", chaos, "--for", "10ms"],
        &["compare", "t.toml"],
        &["compare", "t.toml", "--format", "json"],
        &["compare", balancer, "--policies", "central"],
        &["validate", "t.toml"],
        &["validate", "t.toml", "--format", "json"],
        &["graph", "t.toml"],
        &["schema"],
        &["kinds"],
        &["kinds", "--format", "json"],
        &["explain"],
        &["dead", "list", "dead"],
        &["dead", "list", "dead", "--format", "json"],
        &["dead", "show", "dead"],
        &["dead", "show", "dead", "1", "--body"],
        &["--help"],
        &["--version"],
        &["run", "--help"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut process = place.process(args);
        if !args.contains(&"/dev/full") {
            process.stdout(full.expect("Linux"));
        }
        let out = process.stdin(Stdio::null()).output().expect("it runs");
        let err = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {err}");
        assert!(err.contains("No space left"), "{args:?}: {err}");
        // A full stderr changes no exit code and causes no panic.
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut process = place.process(args);
        process.stdout(Stdio::null()).stderr(full.expect("Linux"));
        let code = process.stdin(Stdio::null()).status().expect("it runs").code();
        let wanted = i32::from(args.contains(&"/dev/full"));
        assert_eq!(code, Some(wanted), "{args:?}");
    }
}

fn command(words: &[&str], more: &str) -> String {
    let words = serde_json::to_string(words).expect("JSON");
    format!("{{ kind = \"command\", command = {words}{more} }}")
}

/// Runs lines through a command; returns exit code, report and the reasons of dead letters.
fn through(place: &Place, given: &str, burn: &str) -> (i32, Report, Vec<String>) {
    place.write("in", given);
    let source = r#"{ kind = "lines", path = "in" }"#;
    place.write("t.toml", one_crew(source, "[]", burn, 2));
    let args = ["run", "t.toml", "--report", "r.json", "--dead", "dead"];
    let out = place.run(args).output().expect("it runs");
    let list = place.run(["dead", "list", "dead", "--format", "json"]);
    let list = { list }.output().expect("it runs").stdout;
    let letters: Vec<Value> = serde_json::from_slice(&list).expect("JSON");
    let reason = |letter: &Value| letter["reason"].as_str().expect("a reason").to_owned();
    let reasons = letters.iter().map(reason).collect();
    let report = place.report("r.json");
    report.balanced();
    (out.status.code().expect("a code"), report, reasons)
}

#[test]
fn a_program_gets_each_body_by_itself_or_a_cart_together() {
    let place = Place::new();
    let script = r#"printf '[%s]' "$(cat)" >> "$OUT""#;
    let out = place.path("out");
    let env = format!(", env = {{ OUT = {:?} }}", out.to_str().expect("UTF-8"));
    let (code, _, _) = through(&place, "a\nb\nc\n", &command(&["sh", "-c", script], &env));
    assert_eq!(code, 0);
    assert_eq!(place.text("out"), "[a][b][c]");
    let script = r#"printf '[%s:%s]' "$GOPHERWORKS_BOOKS" "$(tr '\n' ,)" >> "$OUT""#;
    let more = format!(r#", per = "cart"{env}"#);
    std::fs::remove_file(&out).expect("it was there");
    let (code, report, _) = through(&place, "a\nb\nc\n", &command(&["sh", "-c", script], &more));
    assert_eq!((code, report.ledger("burned")), (0, 3));
    // The number of books in a cart may vary; each body must arrive once, with its cart.
    let text = place.text("out");
    let carts: Vec<_> = text.trim_matches(['[', ']']).split("][").collect();
    let mut bodies = Vec::new();
    for cart in carts {
        let (books, list) = cart.split_once(':').expect("a number");
        let list: Vec<_> = list.split_terminator(',').collect();
        assert_eq!(books, list.len().to_string());
        assert!(list.len() <= 2, "{text}");
        bodies.extend(list);
    }
    assert_eq!(bodies, ["a", "b", "c"]);
}

#[test]
fn a_program_that_fails_makes_dead_letters_with_its_exit_code_and_its_words() {
    let place = Place::new();
    let script = "if grep -q bad; then echo not that one >&2; exit 42; fi";
    let burn = command(&["sh", "-c", script], "");
    let (code, report, reasons) = through(&place, "a\nbad\nc\n", &burn);
    assert_eq!(code, 3);
    assert_eq!((report.ledger("burned"), report.ledger("dead")), (2, 1));
    assert!(reasons[0].contains("42"), "{reasons:?}");
    assert!(reasons[0].contains("not that one"), "{reasons:?}");
}

#[test]
fn a_program_that_cannot_be_started_is_named_and_charges_no_book() {
    let place = Place::new();
    place.write("in", "a\nb\n");
    let burn = command(&["no-such-program-anywhere"], "");
    let source = r#"{ kind = "lines", path = "in" }"#;
    place.write("t.toml", one_crew(source, "[]", &burn, 2));
    let running = Running::start(place.process(["run", "t.toml", "-q", "--report", "r.json"]));
    running.waits_for("is unavailable");
    running.signal(Signal::TERM);
    let out = running.end();
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(err.contains("no-such-program-anywhere"), "{err}");
    let report = place.report("r.json");
    assert_eq!(report.balanced().ledger("dead"), 0, "{err}");
    assert_eq!(report.ledger("burned"), 0);
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_all_that_it_started() {
    let place = Place::new();
    place.fifo("never");
    // The grandchild holds the lock as long as it lives.
    let script = r#"exec 9>>lock; flock 9; cat never & wait"#;
    let folder = place.root().to_str().expect("UTF-8");
    let more = format!(r#", timeout = "200ms", folder = {folder:?}"#);
    let (code, _, reasons) = through(&place, "a\n", &command(&["sh", "-c", script], &more));
    assert_eq!(code, 3);
    assert!(reasons[0].contains("killed after 200ms"), "{reasons:?}");
    let lock = std::fs::File::open(place.path("lock")).expect("a lock");
    support::command::until("all of them are dead", || lock.try_lock().is_ok());
}

#[test]
fn a_program_killed_by_a_signal_and_one_that_reads_nothing() {
    let place = Place::new();
    let burn = command(&["sh", "-c", "kill -9 $$"], "");
    let (code, _, reasons) = through(&place, "a\n", &burn);
    assert_eq!(code, 3);
    assert!(reasons[0].contains("signal: 9"), "{reasons:?}");
    // The body is larger than a pipe's buffer and is not read: the exit code decides.
    std::fs::remove_file(place.path("dead")).expect("letters");
    let large = "x".repeat(1 << 19) + "\n";
    let (code, report, _) = through(&place, &large, &command(&["true"], ""));
    assert_eq!((code, report.ledger("burned")), (0, 1));
}

#[test]
fn a_config_comes_from_standard_input() {
    let place = Place::new();
    place.write("in", "a\nb\n");
    let design = one_crew(
        "{ kind = \"lines\", path = \"in\" }",
        "[]",
        "{ kind = \"lines\", path = \"out\" }",
        2,
    );
    let done = place.run(["run", "-", "--report", "r.json"]).write_stdin(&*design).output();
    let done = done.expect("it runs");
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    // Its relative paths start at the current folder.
    assert_eq!(place.text("out"), "a\nb\n");
    assert_eq!(place.report("r.json").0["topology"], "stdin");
    let dead = design.replace("path = \"out\"", "path = \"out\", max_line = \"0B\"");
    place.run(["run", "-"]).write_stdin(dead).assert().code(3);
    place
        .run(["dead", "offer", "state/stdin.dead.jsonl"])
        .assert()
        .code(1)
        .stderr(contains("came from standard input").and(contains("--topology FILE")));
    place.write("t.toml", &design);
    place.run(["dead", "offer", "state/stdin.dead.jsonl", "--topology", "t.toml"]).assert().code(0);
    for (text, wanted) in [
        ("[piles", vec!["<stdin>:1:"]),
        ("extends = \"base.toml\"\n", vec!["`base.toml`", "start at the current folder"]),
        (&*design.replace("\"in\"", "\"-\""), vec!["read as the config already", "<stdin>:2:"]),
    ] {
        let said = place.run(["validate", "-"]).write_stdin(text).output().expect("it runs");
        assert_eq!(said.status.code(), Some(78), "{said:?}");
        let said = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
        for wanted in wanted {
            assert!(said.contains(wanted), "{wanted}: {said}");
        }
    }
    let mut process = place.process(["validate", "-"]);
    process.stdin(std::process::Stdio::null());
    let said = process.output().expect("it runs");
    assert!(String::from_utf8_lossy(&said.stderr).contains("no pipe and no file"), "{said:?}");
}
