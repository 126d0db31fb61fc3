//! `run --operations` and `[operations]`.

use crate::support;

use std::io::{Read, Write};

use rustix::process::Signal;
use support::command::{Place, Running, one_crew, shipped};

/// The response to a GET.
fn get(address: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it listens");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("text");
    said
}

/// Address of the server, as the run prints it.
pub fn address(running: &Running) -> String {
    running.waits_for("operations at http://");
    let text = running.text();
    let rest = text.split_once("operations at http://").expect("an address").1;
    rest.split_once('/').expect("an address").0.to_owned()
}

#[test]
fn a_flag_or_a_table_serves_and_a_signal_ends_it() {
    let generate = r#"{ kind = "generate", books = 1_000_000_000 }"#;
    let design = one_crew(generate, "[]", "\"count\"", 8);
    let table = format!("{design}[operations]\nlisten = \"127.0.0.1:0\"\n");
    for (file, flags) in
        [(&design, &["--operations=127.0.0.1:0"][..]), (&table, &[]), (&table, &["--operations"])]
    {
        let place = Place::new();
        place.write("t.toml", file);
        let args = ["run", "t.toml"].into_iter().chain(flags.iter().copied());
        let running = Running::start(place.process(args));
        let address = address(&running);
        assert!(get(&address, "/health/ready").starts_with("HTTP/1.1 200"));
        assert!(get(&address, "/metrics").contains("gopherworks_books_total{topology=\"t\""));
        running.signal(Signal::TERM);
        let out = running.end();
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(std::net::TcpStream::connect(&address).is_err());
    }
}

#[test]
fn it_is_off_unless_wanted() {
    let place = Place::new();
    let out = place.run(["run"]).arg(shipped("four-gophers.toml")).output().expect("it runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && !err.contains("operations at"), "{err}");
}

#[test]
fn a_public_address_needs_a_token_and_the_mistake_names_its_place() {
    let place = Place::new();
    let design = one_crew(r#"{ kind = "generate", books = 1 }"#, "[]", "\"count\"", 1);
    place.write("t.toml", &design);
    let out = place.run(["run", "t.toml", "--operations=0.0.0.0:0"]).output().expect("it runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(78), "{err}");
    assert!(err.contains("0.0.0.0:0 is reachable from other machines"), "{err}");
    let lines = "[operations]\nlisten = \"0.0.0.0:0\"\npublic = true\n";
    place.write("t.toml", format!("{design}{lines}"));
    let out = place.run(["run", "t.toml"]).output().expect("it runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(78), "{err}");
    assert!(err.contains("t.toml:15:10") && err.contains("set a `token`"), "{err}");
    // A token that is too short is not shown.
    let token = "GOPHERWORKS__OPERATIONS__TOKEN";
    let out = place.run(["run", "t.toml"]).env(token, "hunter2").output().expect("it runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(78), "{err}");
    assert!(err.contains("at least 16 characters") && !err.contains("hunter2"), "{err}");
}
