//! What a service manager hears from a run, and logs as JSON.

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::command::{PATIENCE, Place, Running, one_crew};

fn endless() -> String {
    one_crew(r#"{ kind = "generate", books = 1_000_000_000 }"#, "[]", "\"count\"", 8)
}

#[test]
fn a_service_manager_hears_of_the_start_the_watchdog_and_the_end() {
    let place = Place::new();
    place.write("t.toml", endless());
    let socket = UnixDatagram::bind(place.path("notify")).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let next = || {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
    };
    let mut process = place.process(["run", "t.toml"]);
    process.env("NOTIFY_SOCKET", place.path("notify")).env("WATCHDOG_USEC", "100000");
    let running = Running::start(process);
    assert_eq!([next(), next(), next()], ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    running.signal(Signal::TERM);
    while next() != "STOPPING=1" {}
    assert_eq!(running.end().status.code(), Some(0));
    // A watchdog that is meant for another process is left alone.
    let mut process = place.process(["run", "t.toml", "--for", "300ms"]);
    process.env("NOTIFY_SOCKET", place.path("notify"));
    process.env("WATCHDOG_USEC", "10000").env("WATCHDOG_PID", "1");
    let out = Running::start(process).end();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    socket.set_nonblocking(true).expect("a socket");
    let mut heard = Vec::new();
    let mut buffer = [0; 256];
    while let Ok(length) = socket.recv(&mut buffer) {
        heard.push(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned());
    }
    let watchdogs = heard.iter().filter(|said| *said == "WATCHDOG=1").count();
    let at = heard.iter().position(|said| said == "READY=1").expect("a start");
    assert!(!heard[at..].contains(&"WATCHDOG=1".to_owned()), "{watchdogs} {heard:?}");
    assert_eq!(heard.last().map(String::as_str), Some("STOPPING=1"));
}

#[test]
fn a_log_of_json_has_an_object_a_line() {
    let place = Place::new();
    let source = r#"{ kind = "generate", books = 3 }"#;
    place.write("t.toml", one_crew(source, r#"["gunzip"]"#, "\"count\"", 1));
    let args = ["run", "t.toml", "--log-format", "json", "-v"];
    let out = place.run(args).output().expect("it runs");
    assert_eq!(out.status.code(), Some(3));
    let text = String::from_utf8(out.stderr).expect("UTF-8");
    let lines: Vec<Value> = (text.lines())
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        for field in ["time", "level", "target", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
    }
    let failed = lines.iter().find(|line| line["level"] == "error").expect("a dead letter");
    assert_eq!((&failed["node"], &failed["book"]), (&"crew".into(), &"book 1".into()), "{text}");
    assert_eq!(failed["attempt"], 1, "{text}");
    let message = failed["message"].as_str().expect("text");
    assert!(message.contains("failed permanently"), "{text}");
    // Messages of the command itself are objects as well.
    assert!(lines.iter().any(|line| line["level"] == "info" && line["target"] == "gopherworks"));
    let wrong = ["run", "missing.toml", "--log-format", "json"];
    let out = place.run(wrong).output().expect("it runs");
    let text = String::from_utf8(out.stderr).expect("UTF-8");
    let line: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(line["level"], "error", "{text}");
}
