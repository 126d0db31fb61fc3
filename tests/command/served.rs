//! Served requesters from the command line: the grace period before the port is closed, and
//! logging.
#![cfg(feature = "http")]

use crate::support;

use rustix::process::Signal;
use support::command::{Place, Running, until};

/// The response to a GET; `None` if the server no longer listens.
fn get(address: &str, path: &str) -> Option<String> {
    use std::io::{Read, Write};

    let mut stream = std::net::TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    said.lines().next().map(str::to_owned)
}

#[test]
fn a_server_serves_on_for_its_grace_unless_a_second_signal_comes() {
    for (grace, signals, code) in [("4s", 1, 0), ("1h", 2, 143)] {
        let place = Place::new();
        let load = format!(
            r#"{{ kind = "http", listen = "127.0.0.1:0", admin = "/admin", grace = "{grace}" }}"#
        );
        let desk = r#"workers = { count = 1, work = { kind = "sleep", time = "1ms" } }"#;
        let file = format!(
            "[balancers.desk]\n{desk}\n[requesters.web]\nto = \"desk\"\nload = {load}\n\
             [execution]\ndrain_deadline = \"1s\"\n"
        );
        place.write("t.toml", file);
        let running = Running::start(place.process(["run", "t.toml"]));
        running.waits_for("serves http://");
        let text = running.text();
        let address = text.split_once("serves http://").expect("an address").1;
        let address = address.split_once('/').expect("an address").0;
        let ready = || get(address, "/admin/health/ready");
        assert_eq!(ready().as_deref(), Some("HTTP/1.1 200 OK"));
        running.signal(Signal::TERM);
        until("it is not ready", || ready().is_some_and(|said| said.starts_with("HTTP/1.1 503")));
        assert_eq!(get(address, "/x").as_deref(), Some("HTTP/1.1 200 OK"));
        if signals == 2 {
            running.signal(Signal::TERM);
        }
        let out = running.end();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{err}");
        assert_eq!(get(address, "/x"), None);
    }
}

#[test]
fn malformed_requests_do_not_fill_the_log() {
    use std::io::{Read, Write};

    for (flags, lines) in [([].as_slice(), 0), (&["-vv"], 50)] {
        let place = Place::new();
        let desk = r#"workers = { count = 1, work = { kind = "sleep", time = "1ms" } }"#;
        let load = r#"{ kind = "http", listen = "127.0.0.1:0" }"#;
        let file =
            format!("[balancers.desk]\n{desk}\n[requesters.web]\nto = \"desk\"\nload = {load}\n");
        place.write("t.toml", file);
        let running = Running::start(place.process(["run", "t.toml"].iter().chain(flags)));
        running.waits_for("serves http://");
        let text = running.text();
        let address = text.split_once("serves http://").expect("an address").1;
        let address = address.split_once('/').expect("an address").0;
        for _ in 0..50 {
            let mut stream = std::net::TcpStream::connect(address).expect("it listens");
            stream.write_all(b"\x16\x03\x01 what is this\r\n\r\n").expect("it listens");
            let _ = stream.read_to_end(&mut Vec::new());
        }
        running.signal(Signal::TERM);
        let out = running.end();
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(err.matches("malformed").count(), lines, "{err}");
        assert!(!err.contains("stream error"), "{err}");
    }
}
