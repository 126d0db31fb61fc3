//! Signals: the first drains, the second stops at once with every book back on its pile; the next
//! run resumes.

use crate::support;

use std::fs;
use std::process::Command as Process;
use std::time::Duration;

use gopherworks::supervision::clock::Stopwatch;
use proptest::prelude::*;
use rustix::process::Signal;
use support::command::{Gate, Place, Running, one_crew, plain, program, shipped, tree, until};

const BOOKS: usize = 30;

/// A run in which each burn reports its start and then waits for a line of the fifo `gate`.
fn gated(place: &Place, source: &str) -> (Running, Gate) {
    let gate = gated_design(place, source);
    let args = ["run", "t.toml", "--report", "r.json", "--dead", "dead"];
    (Running::start(place.process(args)), gate)
}

/// As `gated`, started by a shell that ignores `signal`, as `nohup` does.
fn ignoring(place: &Place, signal: &str) -> (Running, Gate) {
    let gate = gated_design(place, &generate());
    let mut shell = Process::new("bash");
    let run = format!("trap '' {signal}; exec \"$0\" run t.toml --report r.json");
    shell.args(["-c", &run, program()]).current_dir(place.root());
    plain(&mut shell);
    (Running::start(shell), gate)
}

fn gated_design(place: &Place, source: &str) -> Gate {
    let script = "exec 9>>lock; flock -s 9; echo >> began; read _ < gate";
    let burn = format!(r#"{{ kind = "command", command = ["bash", "-c", {script:?}] }}"#);
    place.write("t.toml", one_crew(source, "[]", &burn, 3));
    Gate::new(&place.fifo("gate"))
}

fn began(place: &Place) -> usize {
    place.text("began").len()
}

fn generate() -> String {
    format!(r#"{{ kind = "generate", books = {BOOKS} }}"#)
}

/// Asserts that no program of the run is alive.
#[track_caller]
fn all_dead(place: &Place) {
    let lock = fs::File::open(place.path("lock")).expect("a lock");
    until("every program is dead", || lock.try_lock().is_ok());
}

#[test]
fn one_signal_drains() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::new();
        let (mut running, mut gate) = gated(&place, &generate());
        until("a burn begins", || began(&place) > 0);
        running.signal(signal);
        assert!(!running.has_ended(), "a burn is under way");
        gate.open(BOOKS);
        let out = running.end();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(0), "{err}");
        assert!(err.contains("drain"), "{err}");
        let report = place.report("r.json");
        report.balanced();
        assert_eq!(report.ledger("in_flight"), 0);
        assert_eq!(report.ledger("burned") as usize, began(&place));
    }
}

#[test]
fn a_drain_with_dead_letters_is_3() {
    let place = Place::new();
    let script = "echo >> began; read _ < gate; exit 1";
    let burn = format!(r#"{{ kind = "command", command = ["bash", "-c", {script:?}] }}"#);
    let source = r#"{ kind = "generate", books = 1 }"#;
    place.write("t.toml", one_crew(source, "[]", &burn, 1));
    let mut gate = Gate::new(&place.fifo("gate"));
    let running = Running::start(place.process(["run", "t.toml", "--report", "r.json"]));
    until("a burn begins", || began(&place) > 0);
    running.signal(Signal::TERM);
    gate.open(2);
    assert_eq!(running.end().status.code(), Some(3));
    let report = place.report("r.json");
    assert_eq!(report.balanced().ledger("dead"), 1);
}

#[test]
fn two_signals_stop_at_once_with_every_book_back_on_its_pile() {
    for (first, second, code) in [
        (Signal::TERM, Signal::TERM, 143),
        (Signal::INT, Signal::INT, 130),
        (Signal::TERM, Signal::INT, 130),
        (Signal::INT, Signal::TERM, 143),
    ] {
        let place = Place::new();
        let (running, mut gate) = gated(&place, &generate());
        gate.open(4);
        until("five burns have begun", || began(&place) >= 5);
        running.signal(first);
        let drains = "draining";
        // Wait until the first is handled: two signals that arrive together count as one.
        until(drains, || running.said(drains));
        running.signal(second);
        let out = running.end();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{err}");
        let report = place.report("r.json");
        report.balanced();
        assert_eq!(report.ledger("dead"), 0, "{}", report.0);
        assert!(report.ledger("burned") <= 4);
        let left = report.ledger("offered") - report.ledger("burned");
        assert_eq!(report.ledger("in_flight"), left);
        assert!(left > 0);
        assert!(place.text("dead").is_empty());
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(said.contains(&format!("unfinished {left}")), "{said}");
        all_dead(&place);
    }
}

#[test]
fn a_run_that_waits_for_its_input_drains() {
    let place = Place::new();
    place.write(
        "t.toml",
        one_crew(
            r#"{ kind = "lines", path = "in" }"#,
            "[]",
            r#"{ kind = "lines", path = "out" }"#,
            1,
        ),
    );
    let mut input = Gate::new(&place.fifo("in"));
    let running = Running::start(place.process(["run", "t.toml", "--report", "r.json"]));
    input.open(3);
    until("three lines are out", || place.text("out").len() == 3);
    // The writer's end stays open, so the input never ends.
    running.signal(Signal::TERM);
    let out = running.end();
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(0), "{err}");
    let report = place.report("r.json");
    assert_eq!(report.balanced().ledger("burned"), 3);
    assert_eq!(report.ledger("in_flight"), 0);
}

/// Longest time from the moment for which a stop is promised to the end of the process: a second,
/// and as much again for other tests on the machine; a debug build is three times as slow.
const PROMISED: Duration = Duration::from_secs(if cfg!(debug_assertions) { 6 } else { 2 });

/// Starts about this many actors, which move books continuously.
fn loaded(place: &Place, actors: usize, args: &[&str]) -> Running {
    let (mut design, copies) = (shipped("sixteen-gophers.toml"), (actors / 13).max(2));
    if actors == 1 {
        // The smallest design: one crew with one gopher.
        let source = r#"{ kind = "generate", books = 900000000 }"#;
        design = place.write("t.toml", one_crew(source, "[]", "\"count\"", 10));
    }
    let mut process = place.process(["run".as_ref(), design.as_os_str()]);
    process.args(["-v", "--report", "r.json"]).args(args);
    if actors > 1 {
        process.args(["--set", &format!("copies={copies}")]);
        process.args(["--set", "piles.manuals.source.books=900000000"]);
    }
    Running::start(process)
}

/// Waits until all actors have started and have used half a second of core time.
fn at_full_load(running: &Running) {
    running.waits_for("have started");
    let before = running.ticks();
    until("it has worked for a while", || {
        running.ticks().zip(before).is_none_or(|(now, before)| now >= before + 50)
    });
}

/// The least of up to three measurements that keeps the promise: other programs may delay one.
#[track_caller]
fn promised(what: &str, mut measure: impl FnMut() -> Duration) {
    let mut took = Duration::MAX;
    for _ in 0..3 {
        took = took.min(measure());
        if took < PROMISED {
            return;
        }
    }
    panic!("{what} took {took:?}");
}

#[test]
fn every_stop_keeps_its_promise_with_any_number_of_actors() {
    for actors in [1, 64, 1_024, 10_000] {
        for (first, second, code) in [
            (Some(Signal::TERM), Signal::INT, 130),
            (Some(Signal::HUP), Signal::HUP, 129),
            (None, Signal::QUIT, 131),
        ] {
            if second == Signal::HUP && ignores_hangup() {
                eprintln!("SKIPPED: these tests run with SIGHUP ignored, as under nohup");
                continue;
            }
            promised(&format!("{second:?} at {actors} actors"), || {
                let place = Place::new();
                let running = loaded(&place, actors, &["--drain-deadline", "1h"]);
                at_full_load(&running);
                if let Some(first) = first {
                    running.signal(first);
                    running.waits_for("draining");
                }
                let asked = Stopwatch::start();
                running.signal(second);
                let out = running.end();
                let took = asked.elapsed();
                // The run may have drained just before.
                assert!([Some(code), Some(0)].contains(&out.status.code()), "{out:?}");
                place.report("r.json").balanced();
                took
            });
        }
        promised(&format!("`--for` and the drain deadline at {actors} actors"), || {
            let place = Place::new();
            let args = ["--for", "500ms", "--drain-deadline", "100ms"];
            let running = loaded(&place, actors, &args);
            running.waits_for("have started");
            let started = Stopwatch::start();
            let out = running.end();
            let took = started.elapsed();
            assert!([Some(75), Some(0)].contains(&out.status.code()), "{out:?}");
            place.report("r.json").balanced();
            took.saturating_sub(Duration::from_millis(600))
        });
    }
}

/// True if these tests run with SIGHUP ignored, which the programs that they start inherit.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 != 0)
}

#[test]
fn a_hangup_drains() {
    if ignores_hangup() {
        eprintln!("SKIPPED: these tests run with SIGHUP ignored, as under nohup");
        return;
    }
    let place = Place::new();
    let (mut running, mut gate) = gated(&place, &generate());
    until("a burn begins", || began(&place) > 0);
    running.signal(Signal::HUP);
    running.waits_for("draining");
    assert!(!running.has_ended(), "a burn is under way");
    gate.open(BOOKS);
    assert_eq!(running.end().status.code(), Some(0));
    place.report("r.json").balanced();
}

#[test]
fn a_hangup_that_is_ignored_changes_nothing() {
    let place = Place::new();
    let (running, mut gate) = ignoring(&place, "HUP");
    until("a burn begins", || began(&place) > 0);
    running.signal(Signal::HUP);
    gate.open(BOOKS);
    assert!(!running.said("draining"));
    let out = running.end();
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert_eq!(began(&place), BOOKS, "nothing was cut short");
}

/// A config in which each job reports its start and then waits for a line of the fifo `gate`.
fn jobs(place: &Place, source: &str) -> Gate {
    let script = "echo >> began; read _ < gate";
    let job = format!(r#"{{ kind = "command", command = ["bash", "-c", {script:?}] }}"#);
    place.write("t.toml", one_crew(source, "[]", &job, 64));
    Gate::new(&place.fifo("gate"))
}

#[test]
fn a_drain_ends_after_the_job_in_hand_and_the_next_run_does_the_others() {
    const JOBS: usize = 36;
    for source in [
        r#"{ kind = "files", root = "in", remember = "seen" }"#,
        r#"{ kind = "lines", path = "list" }"#,
    ] {
        let place = Place::new();
        (0..JOBS).for_each(|number| _ = place.write(format!("in/{number}"), "a job"));
        place.write("list", "a job\n".repeat(JOBS));
        let mut gate = jobs(&place, source);
        let run = || Running::start(place.process(["run", "t.toml", "--report", "r.json"]));
        let running = run();
        until("a job begins", || began(&place) == 1);
        running.signal(Signal::INT);
        running.waits_for("draining");
        gate.open(1);
        let out = running.end();
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert_eq!(out.status.code(), Some(0), "{said}");
        assert!(said.contains("went back to the source"), "{said}");
        assert_eq!(began(&place), 1, "{said}");
        let report = place.report("r.json");
        assert_eq!(report.balanced().ledger("offered"), 1);
        assert_eq!(report.ledger("given_back") as usize, JOBS - 1);
        // If the source remembers, the next run does only the other jobs; otherwise it does all
        // again.
        let left = JOBS - usize::from(source.contains("remember"));
        let running = run();
        gate.open(left);
        let out = running.end();
        assert_eq!(out.status.code(), Some(0), "{out:?}");
        assert_eq!(began(&place), 1 + left);
        let report = place.report("r.json");
        assert_eq!(report.balanced().ledger("burned") as usize, left);
        assert_eq!(report.ledger("given_back"), 0);
    }
}

#[test]
fn what_can_not_be_read_again_is_worked_off() {
    let place = Place::new();
    let mut gate = jobs(&place, r#"{ kind = "lines", path = "in" }"#);
    let mut input = Gate::new(&place.fifo("in"));
    let running = Running::start(place.process(["run", "t.toml", "--report", "r.json"]));
    input.open(5);
    until("a job begins", || began(&place) == 1);
    running.signal(Signal::INT);
    running.waits_for("draining");
    gate.open(5);
    assert_eq!(running.end().status.code(), Some(0));
    let report = place.report("r.json");
    assert_eq!(report.balanced().ledger("given_back"), 0);
    assert_eq!(report.ledger("burned") as usize, began(&place));
}

const FILES: usize = 150;

/// The archive config on a folder of small files.
fn archive(place: &Place) -> Process {
    let file = shipped("archive.toml");
    let mut process = place.process(["run".as_ref(), file.as_os_str()]);
    process.args(["--report", "r.json"]);
    // Small carts give many moments at which the run can be interrupted.
    process.args(["--set", "crews.packers.carts.books=2"]);
    process.args(["--set", "crews.burners.carts.books=2"]);
    process.env("INBOX", place.path("in"));
    process.env("OUTBOX", place.path("out"));
    process
}

/// Asserts that every file with a final name is complete; returns their number.
fn whole(place: &Place) -> usize {
    if !place.path("out").exists() {
        return 0;
    }
    let files = tree(&place.path("out")).into_keys();
    let packed: Vec<_> = files.filter(|name| name.as_os_str() != "SHA256SUMS").collect();
    for name in &packed {
        assert!(name.extension().is_some_and(|end| end == "gz"), "{name:?}");
        let plain = name.with_extension("");
        let out = Process::new("gunzip")
            .arg("-c")
            .arg(place.path("out").join(name))
            .output()
            .expect("gunzip runs");
        assert!(out.status.success(), "{name:?} is half-written");
        let original = fs::read(place.path("in").join(&plain)).expect("its original");
        assert_eq!(out.stdout, original, "{name:?}");
    }
    packed.len()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 8, failure_persistence: None, max_shrink_iters: 8, ..ProptestConfig::default()
    })]

    #[test]
    fn an_archive_that_is_broken_off_at_any_moment_is_finished_by_the_next_run(
        moments in prop::collection::vec((0..FILES, 0..3_usize), 1..4),
    ) {
        let place = Place::new();
        for number in 0..FILES {
            let body = format!("{number}\n").repeat(1 + number * 40);
            place.write(format!("in/folder {}/{number}", number % 7), body);
        }
        for (after, how) in moments {
            let before = count(&place.path("out"));
            let mut running = Running::start(archive(&place));
            // One file more than before: the run handles signals by then, and is in the middle of
            // its work.
            until("so many files more, or the end", || {
                running.has_ended() || count(&place.path("out")) > before + after
            });
            if !running.has_ended() {
                match how {
                    0 => running.signal(Signal::TERM),
                    1 => {
                        running.signal(Signal::TERM);
                        until("it drains, or has ended", || {
                            running.said("draining") || running.has_ended()
                        });
                        if !running.has_ended() {
                            running.signal(Signal::TERM);
                        }
                    }
                    _ => running.signal(Signal::KILL),
                }
            }
            let out = running.end();
            match out.status.code() {
                Some(0) => {
                    let report = place.report("r.json");
                    prop_assert_eq!(report.balanced().ledger("in_flight"), 0);
                }
                Some(143) => {
                    let report = place.report("r.json");
                    let left = report.ledger("offered") - report.ledger("burned");
                    prop_assert_eq!(report.balanced().ledger("in_flight"), left);
                    prop_assert_eq!(report.ledger("dead"), 0);
                }
                None => prop_assert_eq!(how, 2, "only kill -9 leaves no exit code"),
                code => prop_assert!(false, "exit code {:?}: \
                    {}", code, String::from_utf8_lossy(&out.stderr)),
            }
            whole(&place);
        }
        let out = Running::start(archive(&place)).end();
        prop_assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        prop_assert_eq!(whole(&place), FILES);
        let sums = Process::new("sha256sum")
            .args(["--strict", "--quiet", "-c"])
            .arg(place.path("out/SHA256SUMS"))
            .current_dir(place.path("in"))
            .status()
            .expect("sha256sum runs");
        prop_assert!(sums.success());
        prop_assert_eq!(place.text("out/SHA256SUMS").lines().count(), FILES);
        // Another run finds nothing to do, and no temporary files are left.
        let out = Running::start(archive(&place)).end();
        prop_assert_eq!(out.status.code(), Some(0));
        prop_assert_eq!(place.report("r.json").ledger("offered"), 0);
        let scratch = place.path("out/.gopherworks/tmp");
        let left = fs::read_dir(&scratch).map_or(0, |entries| entries.count());
        prop_assert_eq!(left, 0, "temporary files are left");
    }
}

/// Number of files below a folder, while others write there.
fn count(folder: &std::path::Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let entries = entries.flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() && entry.file_name() != ".gopherworks" => {
                count(&entry.path())
            }
            Ok(kind) if kind.is_file() => 1,
            _ => 0,
        })
        .sum()
}
