//! Several processes on one nats-server: no line is lost if one of them, or the server, is killed.

use crate::support;

#[path = "../../actors/stores/jetstream/tests/jetstream/server.rs"]
#[allow(dead_code, reason = "its own tests use all of it")]
mod server;

use rand::RngExt;
use rustix::process::Signal;
use server::{Server, free_port, program};
use support::command::{Place, Running, until};

use crate::many::{SLOTS, design_on, length, line, list, start, written};
use crate::stores::moments;

fn store(port: u16) -> String {
    format!("kind = \"jetstream\"\nurl = \"nats://127.0.0.1:{port}\"")
}

fn write_lines(place: &Place, all: usize) {
    place.write("in.txt", (0..all).map(|number| line(number) + "\n").collect::<String>());
}

/// Waits until `more` bytes are written, while all processes run.
fn grows(place: &Place, running: &mut [Running], more: u64) {
    let wanted = length(place) + more;
    until("some is written", || {
        let ended = running.iter_mut().find_map(|it| it.has_ended().then(|| it.text()));
        assert_eq!(ended, None, "it ended by itself");
        length(place) >= wanted
    });
}

#[track_caller]
fn ends(running: Running) {
    let ended = running.end();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// Asserts that each line was written, and few of them again.
#[track_caller]
fn has_all(place: &Place, all: usize, most: usize) {
    let written = written(place);
    let repeated: usize = written.values().map(|times| times - 1).sum();
    println!("{} lines, {repeated} repeated", written.len());
    assert_eq!(written.len(), all, "some are lost");
    assert!(repeated <= most, "{repeated} repeated");
}

#[test]
fn no_kill_of_one_of_three_loses_a_line() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let server = Server::start(&program, place.root(), free_port());
    let (mut random, kills) = moments(3);
    let all = kills * 150 + 1_000;
    write_lines(&place, all);
    design_on(&place, &store(server.port), "post", "32ms");
    let mut running = SLOTS.map(|slot| start(&place, slot, &[]));
    for _ in 0..kills {
        grows(&place, &mut running, random.random_range(1..150) * 11);
        let at = random.random_range(0..SLOTS.len());
        running[at].signal(Signal::KILL);
        let killed = std::mem::replace(&mut running[at], start(&place, SLOTS[at], &[]));
        assert_eq!(killed.end().status.code(), None);
    }
    grows(&place, &mut running, 150 * 11);
    // One is stopped: the others get its books when its leases have ended.
    let [stopped, others @ ..] = running;
    stopped.signal(Signal::STOP);
    others.into_iter().for_each(ends);
    has_all(&place, all, (kills + 1) * 64);
    stopped.signal(Signal::CONT);
    ends(stopped);
    has_all(&place, all, (kills + 2) * 64);
    let listed = list(&place);
    let sources = listed["sources"].as_array().expect("sources");
    assert!(sources.iter().all(|it| it["ended"] == true) && !sources.is_empty(), "{listed}");
}

/// The server syncs what it confirms. The processes go on when it is back.
#[test]
fn no_kill_of_the_server_loses_a_line() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let port = free_port();
    let start_server = || Server::syncing(&program, place.root(), port, "always");
    let mut server = start_server();
    let (mut random, kills) = moments(2);
    let all = kills * 150 + 500;
    write_lines(&place, all);
    design_on(&place, &store(port), "post", "32ms");
    let mut running = ["a", "b"].map(|slot| start(&place, slot, &[]));
    for _ in 0..kills {
        grows(&place, &mut running, random.random_range(1..150) * 11);
        server.kill();
        server = start_server();
    }
    running.into_iter().for_each(ends);
    // The server may forget acks of its last moments, and which process holds which books.
    has_all(&place, all, (kills + 1) * 256);
    drop(server);
}

/// No text is unzipped: all books die, on a pile that is read while no run has it open.
#[test]
#[ignore = "`pile show` does not find the books of a stream that a loader has just stored"]
fn letters_and_books_of_a_stream_are_seen_replayed_and_forgotten() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let server = Server::start(&program, place.root(), free_port());
    write_lines(&place, 100);
    design_on(&place, &store(server.port), "post", "0s");
    let design = place.text("t.toml").replace("max_attempts = 1000", "max_attempts = 1");
    let works = design.replace("[crews.near]", "[crews.near]\nwork = \"gunzip\"");
    place.write("t.toml", &works);
    let json = |args: &[&str]| {
        let all = [args, &["--format", "json", "--quiet"]].concat();
        let out = place.run(all).assert().success().get_output().stdout.clone();
        serde_json::from_slice::<serde_json::Value>(&out).expect("JSON")
    };
    // Other processes may burn what a loader stores, so it waits for them until it is drained.
    let loader = start(&place, "a", &["--only", "inbox"]);
    let show = ["pile", "show", "t.toml", "inbox", "--most", "100", "--format", "json", "--quiet"];
    until("all lines are stored", || {
        let out = place.run(show).output().expect("it runs").stdout;
        let shown = serde_json::from_slice::<serde_json::Value>(&out).unwrap_or_default();
        shown.as_array().map_or(0, Vec::len) == 100
    });
    loader.signal(Signal::TERM);
    ends(loader);
    let shown = json(&["pile", "show", "t.toml", "inbox", "--most", "70"]);
    assert_eq!(shown.as_array().map_or(0, Vec::len), 70, "{shown}");
    place.run(["run", "t.toml"]).assert().code(3);
    let count = || json(&["dead", "list", "t.toml"]).as_array().map_or(0, Vec::len);
    assert_eq!(count(), 100);
    place.run(["dead", "replay", "t.toml"]).assert().success();
    place.write("t.toml", design);
    ends(start(&place, "a", &[]));
    has_all(&place, 100, 0);
    assert_eq!(count(), 0);
}

/// Positions grow in the batches of their books, and copies of a pile share them.
#[test]
fn files_are_read_once_and_again_when_it_is_asked_for() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let server = Server::start(&program, place.root(), free_port());
    let write = |numbers: std::ops::Range<usize>| {
        numbers.for_each(|number| _ = place.write(format!("in/{number}"), line(number)));
    };
    design_on(&place, &store(server.port), "post", "0s");
    let text = place.text("t.toml");
    let text = text.replace("\"lines\", path = \"in.txt\"", "\"files\", root = \"in\"");
    place.write("t.toml", format!("copies = 2\nshared = [\"out\"]\n\n{text}"));
    let times = |extra: &[&str]| {
        ends(start(&place, "a", extra));
        let written = written(&place);
        (written.len(), written.values().sum::<usize>())
    };
    write(0..200);
    assert_eq!(times(&[]), (200, 200));
    write(200..203);
    assert_eq!(times(&[]), (203, 203));
    assert_eq!(times(&[]), (203, 203));
    assert_eq!(times(&["--again"]), (203, 406));
    assert_eq!(times(&[]), (203, 406));
}
