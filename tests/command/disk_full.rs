//! A full disk, imitated by a limit on the size of files: a book that does not fit becomes a dead
//! letter with its reason, and no partial file has a final name.

use crate::support;

use std::process::Command as Process;

use assert_cmd::Command;
use rustix::process::Signal;
use support::command::{
    Gate, PATIENCE, Place, Running, lines, one_crew, plain, program, tree, until,
};

/// `gopherworks` with a limit on the size of files, in blocks of 512 bytes.
fn limited(place: &Place, blocks: u32, args: &[&str]) -> Command {
    let mut process = Process::new("sh");
    let script = format!(r#"trap "" XFSZ; ulimit -f {blocks}; exec "$0" "$@""#);
    process.args(["-c", &script, program()]).args(args);
    process.current_dir(place.root());
    plain(&mut process);
    let mut command = Command::from_std(process);
    command.timeout(PATIENCE);
    command
}

fn config(source: &str) -> String {
    let burn = r#"{ kind = "files", root = "out" }"#;
    one_crew(source, "[]", burn, 4)
}

#[test]
fn what_does_not_fit_dies_with_its_reason_and_the_rest_is_written() {
    let place = Place::new();
    let small = [b's'; 100];
    let large = vec![b'l'; 300_000];
    for (name, body) in [("a", &small[..]), ("b", &large), ("c", &small), ("d", &large)] {
        place.write(format!("in/{name}"), body);
    }
    place.write("t.toml", config(r#"{ kind = "files", root = "in" }"#));
    let args = ["run", "t.toml", "--report", "r.json", "--dead", "dead"];
    limited(&place, 64, &args).assert().code(3);
    let report = place.report("r.json");
    report.balanced();
    assert_eq!((report.ledger("burned"), report.ledger("dead")), (2, 2));
    assert_eq!(report.ledger("in_flight"), 0);
    let written = tree(&place.path("out"));
    let names: Vec<_> = written.keys().map(|name| name.to_str()).collect();
    assert_eq!(names, [Some("a"), Some("c")]);
    assert!(written.values().all(|body| body == &small));
    let out = place.run(["dead", "list", "dead", "--format", "json"]).assert();
    let letters: serde_json::Value =
        serde_json::from_slice(&out.get_output().stdout).expect("JSON");
    let letters = letters.as_array().expect("a list");
    let titles: Vec<_> = letters.iter().map(|letter| letter["title"].as_str()).collect();
    assert_eq!(titles, [Some("b"), Some("d")]);
    for letter in letters {
        let reason = letter["reason"].as_str().expect("a reason");
        assert!(reason.contains("File too large"), "{reason}");
    }
    // Without the limit the letters burn.
    place.run(["dead", "offer", "dead"]).assert().code(0);
    assert_eq!(tree(&place.path("out")), tree(&place.path("in")));
}

#[test]
fn an_archive_on_a_full_disk_leaves_no_half_file_and_finishes_when_there_is_room() {
    let place = Place::new();
    // Bytes that gzip can't compress.
    let mut seed = 1_u32;
    let mut noise = |length: usize| -> Vec<u8> {
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            seed.to_le_bytes()[1]
        };
        (0..length).map(|_| next()).collect()
    };
    for number in 0..10 {
        place.write(format!("in/small{number}"), noise(50));
        place.write(format!("in/large{number}"), noise(100_000));
    }
    let file = support::command::shipped("archive.toml");
    let file = file.to_str().expect("UTF-8");
    let mut full = limited(&place, 64, &["run", file, "--report", "r.json"]);
    full.env("INBOX", place.path("in"));
    full.env("OUTBOX", place.path("out"));
    full.assert().code(3);
    let report = place.report("r.json");
    report.balanced();
    assert_eq!((report.ledger("burned"), report.ledger("dead")), (10, 10));
    let names: Vec<_> = tree(&place.path("out")).into_keys().collect();
    let large = |name: &&std::path::PathBuf| name.to_string_lossy().contains("large");
    assert_eq!(names.iter().filter(large).count(), 0, "{names:?}");
    assert_eq!(names.len(), 11, "ten files and the manifest: {names:?}");
    assert_eq!(place.text("out/SHA256SUMS").lines().count(), 10);

    let mut again = place.run(["run", file, "--report", "r.json"]);
    again.env("INBOX", place.path("in"));
    again.env("OUTBOX", place.path("out"));
    again.assert().code(0);
    assert_eq!(place.report("r.json").balanced().ledger("burned"), 10);
    assert_eq!(place.text("out/SHA256SUMS").lines().count(), 20);
}

#[test]
fn lines_beyond_a_limit_on_files_end_the_run_and_no_line_is_torn() {
    let place = Place::new();
    let source = r#"{ kind = "generate", books = 200, size = "400B" }"#;
    let burn = r#"{ kind = "lines", path = "out" }"#;
    place.write("t.toml", one_crew(source, "[]", burn, 5));
    let args = ["run", "t.toml", "--report", "r.json"];
    let out = limited(&place, 64, &args).assert().code(1);
    let err = String::from_utf8_lossy(&out.get_output().stderr).into_owned();
    assert!(err.contains("File too large") && err.contains("fire"), "{err}");
    let report = place.report("r.json");
    report.balanced();
    // Books that can be read again count as never offered.
    let left = report.ledger("in_flight") + report.ledger("given_back");
    let burned = report.ledger("burned");
    assert!(burned > 0 && left > 0, "{}", report.0);
    assert_eq!(report.ledger("dead"), 0, "{}", report.0);
    let text = place.text("out");
    let whole = lines(text.as_bytes());
    assert_eq!(whole.len() as i64, burned, "as many lines as burned books");
    assert!(whole.iter().all(|line| line.len() == 400));
    assert!(text.ends_with('\n'));
}

#[test]
fn a_full_disk_is_waited_for_until_a_second_signal_and_charges_no_book() {
    let place = Place::new();
    let source = r#"{ kind = "lines", path = "in" }"#;
    let burn = r#"{ kind = "lines", path = "/dev/full" }"#;
    place.write("t.toml", one_crew(source, "[]", burn, 5));
    let mut input = Gate::new(&place.fifo("in"));
    let args = ["run", "t.toml", "--report", "r.json"];
    let running = Running::start(place.process(args));
    input.open(200);
    let said = "incinerator fire is unavailable: writing /dev/full: No space left on device";
    until("it says so", || running.said(said));
    running.signal(Signal::TERM);
    let waits = "draining waits for incinerator fire";
    until("it says what it waits for", || running.said(waits));
    running.signal(Signal::TERM);
    let out = running.end();
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(143), "{err}");
    assert_eq!(err.matches("is unavailable").count(), 1, "{err}");
    assert!(err.contains("incinerator fire could not accept"), "{err}");
    let report = place.report("r.json");
    report.balanced();
    assert_eq!((report.ledger("dead"), report.ledger("burned")), (0, 0));
    assert!(report.ledger("in_flight") > 0);
    assert_eq!(report.0["restarts"], 0);
}

#[test]
fn a_drain_gives_back_what_waits_for_a_full_disk() {
    let place = Place::new();
    let source = r#"{ kind = "generate", books = 200 }"#;
    let burn = r#"{ kind = "lines", path = "/dev/full" }"#;
    place.write("t.toml", one_crew(source, "[]", burn, 5));
    let running = Running::start(place.process(["run", "t.toml", "--report", "r.json"]));
    running.waits_for("is unavailable");
    running.signal(Signal::TERM);
    let out = running.end();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    let report = place.report("r.json");
    assert_eq!(report.balanced().ledger("offered"), 0);
}

#[test]
fn a_report_that_does_not_fit_is_a_failure() {
    let place = Place::new();
    place.write("t.toml", config(r#"{ kind = "generate", books = 1 }"#));
    limited(&place, 1, &["run", "t.toml", "--report", "r.json"]).assert().code(1);
}
