//! Keys of books that leave the process: unique across all runs, and unchanged when a book is
//! offered again.

use crate::support;

use rustix::process::Signal;
use support::command::{Place, Running, one_crew, until};
use support::upstream::{Says, Upstream};

const LINES: &str = r#"{ kind = "lines", path = "in" }"#;
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BAD: &str = "HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n";

/// A server that refuses bodies that begin with `bad` until it has received `enough` requests.
fn server(enough: usize) -> Upstream {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    Upstream::start(move |heard| {
        let before = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let bad = before < enough && heard.body.starts_with(b"bad");
        Says::Bytes(if bad { BAD } else { OK }.into())
    })
}

/// Key and body of every request, in order of arrival.
fn heard(server: &Upstream) -> Vec<(String, String)> {
    let heard = server.heard().into_iter().map(|heard| {
        let key = heard.all("idempotency-key")[0].to_owned();
        assert_eq!(heard.line, format!("POST /{key}"));
        (key, String::from_utf8_lossy(&heard.body).into_owned())
    });
    heard.collect()
}

fn design(server: &Upstream, source: &str) -> String {
    let burn = format!("{{ kind = \"http\", url = \"http://{}/{{id}}\" }}", server.address);
    one_crew(source, "[]", &burn, 2)
}

#[test]
fn two_runs_and_two_processes_share_no_key() {
    let server = server(0);
    let place = Place::new();
    place.write("in", "one\ntwo\n");
    place.write("t.toml", design(&server, LINES));
    let mut together: Vec<_> = (0..2)
        .map(|_| place.process(["run", "-q", "t.toml"]).spawn().expect("it starts"))
        .collect();
    for process in &mut together {
        assert!(process.wait().expect("it ends").success());
    }
    place.run(["run", "-q", "t.toml"]).assert().code(0);
    let mut keys: Vec<_> = heard(&server).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 6);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 6, "{keys:?}");
}

#[test]
fn a_dead_letter_that_is_offered_keeps_its_key() {
    let server = server(2);
    let place = Place::new();
    place.write("in", "good\nbad\n");
    place.write("t.toml", design(&server, LINES));
    let run = ["run", "-q", "t.toml", "--dead", "dead"];
    place.run(run).assert().code(3);
    place.run(["dead", "offer", "dead"]).assert().code(0);
    let heard = heard(&server);
    assert_eq!(heard.len(), 3, "{heard:?}");
    assert_eq!(heard[2], heard[1]);
    assert_ne!(heard[0].0, heard[1].0);
}

#[test]
fn a_file_that_a_run_did_not_burn_has_its_key_in_the_next() {
    let server = server(2);
    let place = Place::new();
    place.write("in/a", "bad a");
    place.write("in/b", "bad b");
    let source = r#"{ kind = "files", root = "in", remember = "state" }"#;
    place.write("t.toml", design(&server, source));
    let run = |code| {
        place.run(["run", "-q", "t.toml", "--dead", "dead"]).assert().code(code);
    };
    run(3);
    run(0);
    let before = heard(&server);
    assert_eq!(before.len(), 4);
    assert_eq!(before[..2], before[2..], "nothing has changed");
    assert_ne!(before[0].0, before[1].0);
    place.write("in/a", "another a");
    run(0);
    let after = heard(&server);
    assert_eq!(after.len(), 5, "the other one is burned");
    assert!(before.iter().all(|(key, _)| *key != after[4].0));
}

/// A server that gives no answer to the first request, and then answers with the request's body.
fn silent_once() -> Upstream {
    let asked = std::sync::atomic::AtomicUsize::new(0);
    Upstream::start(move |heard| {
        if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            return Says::Nothing;
        }
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", heard.body.len());
        Says::Bytes([head.as_bytes(), &heard.body].concat())
    })
}

#[cfg(feature = "sqlite")]
#[test]
fn a_book_of_a_store_has_one_key_in_all_runs_also_as_a_request() {
    use std::collections::{BTreeMap, BTreeSet};

    let (burn, work) = (silent_once(), silent_once());
    let place = Place::new();
    place.write("in", "one\ntwo\n");
    let store = "[store]\nkind = \"sqlite\"\npath = \"works.db\"\n\n";
    let asks = r#"work = { kind = "balancer", to = "desk" }"#;
    let design = design(&burn, LINES).replace("work = []", asks);
    let url = format!("http://{}/{{id}}", work.address);
    let workers = format!("{{ count = 1, work = {{ kind = \"http\", url = \"{url}\" }} }}");
    place.write("t.toml", format!("{store}{design}\n[balancers.desk]\nworkers = {workers}\n"));
    // Killed during the work on a book, and then during a burn.
    for silent in [&work, &burn] {
        let running = Running::start(place.process(["run", "-q", "t.toml"]));
        until("a request came", || !silent.heard().is_empty());
        running.signal(Signal::KILL);
        running.end();
    }
    place.run(["run", "-q", "t.toml"]).assert().code(0);
    place.write("in", "one\ntwo\nthree\n");
    place.run(["run", "-q", "t.toml"]).assert().code(0);
    let by_body = |server: &Upstream| {
        let mut keys = BTreeMap::<String, BTreeSet<String>>::new();
        for (key, body) in heard(server) {
            keys.entry(body).or_default().insert(key);
        }
        keys
    };
    let (burned, worked) = (by_body(&burn), by_body(&work));
    assert_eq!(burned, worked, "one identity everywhere");
    let keys: BTreeSet<&String> = burned.values().flatten().collect();
    assert!(burned.len() == 3 && keys.len() == 3, "each has its own: {burned:?}");
    assert!(burned.values().all(|keys| keys.len() == 1), "and keeps it: {burned:?}");
}
