//! Books in pipes: lines through stdin and stdout, a reader that goes away, and programs that burn books.

use crate::support;

use std::process::{Command as Process, Stdio};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;
use support::command::{PATIENCE, Place, Report, lines, one_crew, plain, program, shipped};

const STREAM: &str = r#"{ kind = "lines", path = "-" }"#;

fn numbers(count: usize) -> String {
    (0..count)
        .map(|number| format!("line {number}\n"))
        .collect()
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
        place
            .run(["run", "t.toml", "-q"])
            .write_stdin(given)
            .assert()
            .code(0)
            .stdout(taken);
    }
}

#[test]
fn a_reader_that_goes_away_neither_hangs_nor_panics() {
    let place = Place::new();
    place.write("t.toml", one_crew(STREAM, "[]", STREAM, 10));
    let mut shell = Process::new("bash");
    let script =
        r#"seq 20000 | "$0" run t.toml --report r.json 2>err | head -1; echo "${PIPESTATUS[1]}""#;
    shell
        .args(["-c", script, program()])
        .current_dir(place.root());
    plain(&mut shell);
    let out = Command::from_std(shell).timeout(PATIENCE).assert().code(0);
    let said = lines(&out.get_output().stdout);
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(said[0], "1");
    // What head took before it left is burned, the rest are dead letters; or the pipe took all.
    let report = place.report("r.json");
    report.balanced();
    let code = if report.ledger("dead") > 0 { "3" } else { "0" };
    assert_eq!(said[1], code, "{}", report.0);
    assert_eq!(report.ledger("offered"), 20_000);
    assert!(
        !place.text("err").contains("panicked"),
        "{}",
        place.text("err")
    );
}

#[test]
fn a_report_that_nobody_reads_is_no_failure() {
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
        let out = process
            .stdin(Stdio::null())
            .stdout(writer)
            .output()
            .expect("it runs");
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
    place.write(
        "bad.toml",
        one_crew(source, r#"["gunzip"]"#, r#""count""#, 10),
    );
    place
        .run(["run", "bad.toml", "--dead", "dead"])
        .assert()
        .code(3);
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
        // A stderr that takes nothing changes no exit code, and is no panic.
        let full = std::fs::File::options().write(true).open("/dev/full");
        let mut process = place.process(args);
        process.stdout(Stdio::null()).stderr(full.expect("Linux"));
        let code = process
            .stdin(Stdio::null())
            .status()
            .expect("it runs")
            .code();
        let wanted = i32::from(args.contains(&"/dev/full"));
        assert_eq!(code, Some(wanted), "{args:?}");
    }
}

fn command(words: &[&str], more: &str) -> String {
    let words = serde_json::to_string(words).expect("JSON");
    format!("{{ kind = \"command\", command = {words}{more} }}")
}

/// Runs lines through a command and gives the exit code, the report and the reasons of what died.
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
    // How full a cart is when it leaves is not promised; that every body comes once, in its cart, is.
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
fn a_program_that_cannot_be_started_makes_dead_letters_with_its_name() {
    let place = Place::new();
    let burn = command(&["no-such-program-anywhere"], "");
    let (code, report, reasons) = through(&place, "a\nb\n", &burn);
    assert_eq!((code, report.ledger("dead")), (3, 2));
    for reason in reasons {
        assert!(reason.contains("no-such-program-anywhere"), "{reason}");
    }
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
    // Much more than a pipe holds, and nobody reads it: its exit code decides.
    std::fs::remove_file(place.path("dead")).expect("letters");
    let large = "x".repeat(1 << 19) + "\n";
    let (code, report, _) = through(&place, &large, &command(&["true"], ""));
    assert_eq!((code, report.ledger("burned")), (0, 1));
}
