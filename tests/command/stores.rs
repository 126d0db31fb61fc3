//! Piles in a database: the command is killed at any moment, and the next run goes on.

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use gopherworks::supervision::clock::Seed;
use predicates::prelude::*;
use predicates::str::contains;
use rand::rngs::SysRng;
use rand::{RngExt, TryRng};
use rustix::process::Signal;
use support::command::{Gate, Place, Report, Running, shipped, until};

/// Two crews with a dump between them, all piles in a database. `slow` is the time of a trip of
/// eight books to the sink.
fn design(source: &str, burn: &str, slow: &str) -> String {
    format!(
        "[store]\nkind = \"sqlite\"\npath = \"state/works.db\"\n\n\
         [piles.inbox]\nsource = {source}\ncapacity = 256\nmax_attempts = 1000\n\n\
         [dumps.middle]\ncapacity = 64\nmax_attempts = 1000\n\n\
         [incinerators.out]\nburn = {burn}\n\n\
         [crews.near]\nfrom = \"inbox\"\nto = \"middle\"\n\
         gophers = [\"2 * load push unload return\"]\ncarts = {{ count = 4, books = 8 }}\n\n\
         [crews.far]\nfrom = \"middle\"\nto = \"out\"\n\
         gophers = [\"load push unload return\"]\ncarts = {{ count = 2, books = 8 }}\n\
         steps = {{ load = \"{slow}\" }}\n"
    )
}

const LINES: &str = r#"{ kind = "lines", path = "in.txt" }"#;
const OUT: &str = r#"{ kind = "lines", path = "out.txt" }"#;

fn line(number: usize) -> String {
    format!("job {number:06}")
}

/// How often each line was written whole. A write that a kill has cut leaves part of one.
fn written(place: &Place) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let text = place.text("out.txt");
    for line in text.lines().filter(|text| text.len() == line(0).len()) {
        *found.entry(line.to_owned()).or_insert(0) += 1;
    }
    found
}

/// The account over all earlier runs, from a run that has nothing to do.
fn account(place: &Place) -> Report {
    let args = ["run", "t.toml", "--quiet", "--report", "last.json"];
    place.run(args).assert().success();
    place.report("last.json")
}

#[track_caller]
fn is_complete(place: &Place, all: usize) {
    let report = account(place);
    let ended = |name: &str| report.0["account"][name].as_u64();
    assert_eq!(ended("offered"), Some(all as u64), "read once each: {}", report.0["account"]);
    assert_eq!(ended("burned"), Some(all as u64), "{}", report.0["account"]);
    assert_eq!(report.balanced().ledger("offered"), 0, "{}", report.0);
}

/// The random moments at which the command is killed, and how often: `few` times, or as the
/// environment says.
pub fn moments(few: usize) -> (impl RngExt, usize) {
    let kills = std::env::var("GOPHERWORKS_KILLS").ok().and_then(|kills| kills.parse().ok());
    let kills: usize = kills.unwrap_or(few);
    let seed: u64 = std::env::var("GOPHERWORKS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| SysRng.try_next_u64().expect("the system gives random numbers"));
    println!("GOPHERWORKS_SEED={seed} GOPHERWORKS_KILLS={kills}");
    (Seed(seed).stream("kills", "moments"), kills)
}

/// Runs the command until the output has grown by `more` bytes, and kills it.
fn kill_after(place: &Place, more: u64) {
    let length = || fs::metadata(place.path("out.txt")).map_or(0, |found| found.len());
    let more = length() + more;
    let mut running = Running::start(place.process(["run", "t.toml"]));
    until("some is written", || length() >= more || running.has_ended());
    assert!(!running.has_ended(), "{}", running.text());
    running.signal(Signal::KILL);
    assert_eq!(running.end().status.code(), None);
}

#[test]
fn no_kill_loses_a_line_or_reads_one_twice() {
    let (mut random, kills) = moments(20);
    let place = Place::new();
    let all = kills * 150;
    place.write("in.txt", (0..all).map(|number| line(number) + "\n").collect::<String>());
    place.write("t.toml", design(LINES, OUT, "8ms"));
    for _ in 0..kills {
        kill_after(&place, random.random_range(1..120) * 11);
    }
    let done = place.run(["run", "t.toml", "--report", "r.json"]).assert().success();
    let said = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    place.report("r.json").balanced();
    let written = written(&place);
    let repeated: usize = written.values().map(|times| times - 1).sum();
    assert_eq!(written.len(), all, "lost some; {said}");
    // Carts in hand, and what is burned in half a second.
    assert!(repeated <= kills * (16 + 500), "{repeated} repeated");
    is_complete(&place, all);
}

const FILES: &str = r#"{ kind = "files", root = "in" }"#;

/// Writes files with these lines.
fn write_files(place: &Place, numbers: std::ops::Range<usize>) {
    for number in numbers {
        place.write(format!("in/{}/{number}", number % 7), line(number));
    }
}

#[test]
fn no_kill_loses_a_file_or_reads_one_twice() {
    let (mut random, kills) = moments(20);
    let (place, kills) = (Place::new(), kills.div_ceil(2));
    let all = kills * 150;
    place.write("t.toml", design(FILES, OUT, "8ms"));
    for kill in 0..kills {
        // The folders change from run to run.
        write_files(&place, kill * 150..(kill + 1) * 150);
        kill_after(&place, random.random_range(1..120) * 11);
    }
    let done = place.run(["run", "t.toml", "--report", "r.json"]).assert().success();
    let said = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    place.report("r.json").balanced();
    assert_eq!(written(&place).len(), all, "lost some; {said}");
    is_complete(&place, all);
}

#[test]
fn files_are_read_once_and_again_once_they_change() {
    let place = Place::new();
    write_files(&place, 0..20);
    // The copies share the files, and their number may change.
    let copies = |copies: usize| {
        format!("copies = {copies}\nshared = [\"out\"]\n\n{}", design(FILES, OUT, "0s"))
    };
    place.write("t.toml", copies(3));
    place.run(["run", "t.toml"]).assert().success();
    assert_eq!(written(&place).len(), 20);
    write_files(&place, 20..23);
    place.write("in/0/7", line(99));
    place.write("t.toml", copies(2));
    place.run(["run", "t.toml"]).assert().success();
    let before = written(&place);
    assert!(before.len() == 24 && before.values().all(|times| *times == 1), "{before:?}");
    let nothing = place.run(["run", "t.toml"]).assert().success();
    nothing.stderr(contains("was read to its end by an earlier run").and(contains("--again")));
    assert_eq!(written(&place), before);
    place.run(["run", "t.toml", "--again"]).assert().success();
    let again = written(&place);
    assert_eq!(again.values().sum::<usize>(), 24 + 23, "{again:?}");
    place.run(["run", "t.toml"]).assert().success();
    assert_eq!(written(&place), again);
}

#[test]
fn a_source_that_has_ended_is_read_anew_only_when_it_is_asked_for() {
    for source in [LINES, r#"{ kind = "generate", books = 12 }"#] {
        let place = Place::new();
        place.write("in.txt", (0..12).map(|number| line(number) + "\n").collect::<String>());
        place.write("t.toml", design(source, OUT, "0s"));
        let lines = || place.text("out.txt").lines().count();
        place.run(["run", "t.toml"]).assert().success().stderr(contains("--again").not());
        let again = place.run(["run", "t.toml"]).assert().success();
        again.stderr(contains("the source of inbox was read to its end by an earlier run"));
        assert_eq!(lines(), 12, "{source}");
        place
            .run(["run", "t.toml", "--again"])
            .assert()
            .success()
            .stderr(contains("--again").not());
        assert_eq!(lines(), 24, "{source}");
        place.run(["run", "t.toml"]).assert().success();
        assert_eq!(lines(), 24, "{source}");
    }
}

#[test]
fn the_position_of_a_source_is_not_taken_for_that_of_another() {
    let place = Place::new();
    place.write("in.txt", "a\nb\nc\n");
    write_files(&place, 0..3);
    place.write("t.toml", design(LINES, OUT, "0s"));
    place.run(["run", "t.toml"]).assert().success();
    let copies = format!("copies = 2\nshared = [\"out\"]\n\n{}", design(LINES, OUT, "0s"));
    for (design, why) in [
        (copies, "copies of the pile shared it"),
        (design(FILES, OUT, "0s"), "another kind of source"),
    ] {
        place.write("t.toml", design);
        let refused = place.run(["run", "t.toml"]).assert().code(1);
        refused.stderr(contains(why).and(contains("`run --again` reads it anew")));
    }
    place.run(["run", "t.toml", "--again"]).assert().success();
    assert_eq!(written(&place).len(), 3);
    // Nor the other way round.
    place.write("t.toml", design(LINES, OUT, "0s"));
    let refused = place.run(["run", "t.toml"]).assert().code(1);
    refused.stderr(contains("another kind of source"));
}

#[test]
fn a_generated_book_is_made_once_and_has_one_id_in_all_lives() {
    let (mut random, kills) = moments(20);
    let (place, kills) = (Place::new(), kills.div_ceil(4));
    let all = kills * 60;
    let script = "echo $GOPHERWORKS_BOOK_ID >> out.txt";
    let burn = format!(r#"{{ kind = "command", command = ["bash", "-c", "{script}"] }}"#);
    let source = format!(r#"{{ kind = "generate", books = {all} }}"#);
    // Between the durable piles, one in memory: its books are stored where they were before.
    let design = design(&source, &burn, "0s")
        .replace("[crews.near]\nfrom = \"inbox\"", "[crews.near]\nfrom = \"between\"")
        + "\n[dumps.between]\nstore = \"memory\"\ncapacity = 32\n\n[crews.first]\n\
           from = \"inbox\"\nto = \"between\"\ngophers = [\"load push unload return\"]\n\
           carts = { count = 2, books = 8 }\n";
    place.write("t.toml", design);
    for _ in 0..kills {
        kill_after(&place, random.random_range(1..400));
    }
    place.run(["run", "t.toml"]).assert().success();
    let text = place.text("out.txt");
    let ids: BTreeSet<&str> = text.lines().collect();
    assert_eq!(ids.len(), all, "{text}");
    is_complete(&place, all);
}

#[test]
fn a_drain_keeps_the_rest_for_the_next_run() {
    let place = Place::new();
    place.write("in.txt", (0..400).map(|number| line(number) + "\n").collect::<String>());
    place.write("t.toml", design(LINES, OUT, "8ms"));
    let mut kept = 400;
    for signal in [Signal::TERM, Signal::INT] {
        let running = Running::start(place.process(["run", "t.toml", "--report", "r.json"]));
        let before = place.text("out.txt").len();
        until("a line is written", || place.text("out.txt").len() > before);
        running.signal(signal);
        let out = running.end();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(0), "{err}");
        let report = place.report("r.json");
        let left = report.balanced().ledger("kept");
        assert!(left > 0 && left <= kept, "{}", report.0);
        assert_eq!(report.ledger("in_flight"), left);
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(said.contains(&format!("kept {left} book")), "{said}");
        kept = left;
    }
    place.run(["run", "t.toml", "--report", "r.json"]).assert().success();
    let report = place.report("r.json");
    assert!(report.balanced().ledger("recovered") > 0, "{}", report.0);
    let written = written(&place);
    assert_eq!(written.len(), 400);
    assert!(written.values().all(|times| *times == 1), "an orderly end repeats nothing");
    is_complete(&place, 400);
}

#[test]
fn a_second_process_is_refused_and_told_of_the_first() {
    let place = Place::new();
    place.write("in.txt", "a\nb\n");
    let burn = r#"{ kind = "command", command = ["bash", "-c", "echo >> began; read _ < gate"] }"#;
    place.write("t.toml", design(LINES, burn, "0s"));
    let mut gate = Gate::new(&place.fifo("gate"));
    let running = Running::start(place.process(["run", "t.toml"]));
    until("a burn begins", || !place.text("began").is_empty());
    let second = place.run(["run", "t.toml"]).assert().code(75);
    let said = String::from_utf8_lossy(&second.get_output().stderr).into_owned();
    assert!(said.contains(&running.id().to_string()), "{said}");
    gate.open(2);
    assert_eq!(running.end().status.code(), Some(0));
}

#[test]
fn no_output_is_a_file_of_the_store() {
    let place = Place::new();
    let log = r#"{ kind = "lines", path = "state/works.db-wal" }"#;
    place.write("t.toml", design(LINES, log, "1ms"));
    place.write("in.txt", "a\n");
    let refused = place.run(["run", "t.toml"]).assert().code(1);
    refused.stderr(contains("keep the store elsewhere"));
    assert!(!place.path("state/works.db").exists());
    place.write("t.toml", design(LINES, OUT, "1ms"));
    for name in ["state/works.db", "state/works.db-wal", "state/works.db.lock"] {
        for flag in ["--report", "--dead"] {
            let refused = place.run(["run", "t.toml", flag, name]).assert().code(1);
            refused.stderr(contains("a file of the store").or(contains("what the design writes")));
        }
    }
    assert!(!place.path("out.txt").exists());
}

#[test]
fn a_book_that_kills_the_process_becomes_a_dead_letter() {
    let place = Place::new();
    place.write("in.txt", "good\nbad\nfine\n");
    let script = "read x; [ $x = bad ] && kill -9 $PPID && exit; echo $x >> out.txt";
    let burn =
        format!(r#"{{ kind = "command", command = ["bash", "-c", "{script}"], parallel = 1 }}"#);
    let design = design(LINES, &burn, "0s").replace("max_attempts = 1000", "max_attempts = 2");
    place.write("t.toml", design.replace("books = 8", "books = 1"));
    let mut lives = 0;
    let code = loop {
        let done = place.run(["run", "t.toml", "--report", "r.json"]).output().expect("it runs");
        lives += 1;
        assert!(lives < 10, "{}", String::from_utf8_lossy(&done.stderr));
        if let Some(code) = done.status.code() {
            break code;
        }
    };
    // It is charged in each life, wherever it was stored last.
    assert_eq!((code, lives), (3, 3));
    assert_eq!(place.report("r.json").balanced().ledger("dead"), 1);
    let out = place.text("out.txt");
    assert!(out.contains("good") && out.contains("fine") && !out.contains("bad"), "{out}");
}

#[test]
fn books_of_a_pile_that_was_renamed_stay_and_are_told() {
    let place = Place::new();
    place.write("in.txt", (0..400).map(|number| line(number) + "\n").collect::<String>());
    let design = design(LINES, OUT, "8ms");
    place.write("t.toml", &design);
    let running = Running::start(place.process(["run", "t.toml"]));
    until("a line is written", || !place.text("out.txt").is_empty());
    running.signal(Signal::TERM);
    assert_eq!(running.end().status.code(), Some(0));
    place.write("t.toml", design.replace("middle", "center"));
    let done = place.run(["run", "t.toml"]).assert().success();
    let said = String::from_utf8_lossy(&done.get_output().stderr).into_owned();
    assert!(said.contains("books on `middle`"), "{said}");
    // Back under its name, they are burned.
    place.write("t.toml", &design);
    place.run(["run", "t.toml"]).assert().success();
    assert_eq!(written(&place).len(), 400);
    is_complete(&place, 400);
}

#[test]
fn only_a_run_opens_the_store() {
    let place = Place::new();
    place.write("in.txt", "a\n");
    let design = design(r#"{ kind = "generate", books = 9 }"#, r#""count""#, "0s")
        .replace("[dumps.middle]\n", "[dumps.middle]\nstore = \"memory\"\n");
    place.write("t.toml", design);
    let valid = place.run(["validate", "t.toml"]).assert().success();
    let said = String::from_utf8_lossy(&valid.get_output().stdout).into_owned();
    let promise = |pile: &str| said.lines().find(|line| line.contains(pile)).map(str::to_owned);
    let [inbox, middle] = ["  inbox: books", "  middle: books"].map(promise);
    assert!(inbox.is_some_and(|line| line.contains("kill -9, power loss;")), "{said}");
    assert!(middle.is_some_and(|line| line.contains("not kill -9")), "{said}");
    let simulated = place.run(["simulate", "t.toml"]).assert().success();
    let said = String::from_utf8_lossy(&simulated.get_output().stderr).into_owned();
    assert!(said.contains("opens no store"), "{said}");
    let fault = "[faults.it]\nkind = \"error\"\ntarget = \"store.commit\"\nwhen = { nth = 1 }\n";
    place.write("faults.toml", format!("extends = \"t.toml\"\n{fault}"));
    for args in [&["simulate", "faults.toml", "--faults"][..], &["chaos", "faults.toml"]] {
        let done = place.run(args).assert().success();
        let output = done.get_output();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("opens no store"), "{said}");
        let verdict = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(verdict.contains(", 1 faults"), "{verdict}");
    }
    place.run(["graph", "t.toml"]).assert().success();
    assert!(!place.path("state").exists());
    place.run(["run", "t.toml"]).assert().success();
    assert!(place.path("state/works.db").exists());
}

#[test]
fn the_shipped_config_goes_on_where_it_was() {
    let place = Place::new();
    place.write("jobs", (0..50).map(|number| line(number) + "\n").collect::<String>());
    let file = shipped("durable.toml");
    for more in [0, 3] {
        let mut jobs = place.text("jobs");
        jobs.extend((50..50 + more).map(|number| line(number) + "\n"));
        fs::write(place.path("jobs"), jobs).expect("a file");
        let mut command = place.run(["run".as_ref(), file.as_os_str()]);
        command.env("INBOX", place.path("jobs")).env("OUTBOX", place.path("out.txt"));
        command.env("STATE", place.path("works.db")).assert().success();
        assert_eq!(written(&place).len(), 50 + more);
    }
    assert!(written(&place).values().all(|times| *times == 1));
}
