//! `reload --plan`: the difference between two designs, and nothing is run.

use crate::support;

use predicates::prelude::*;
use predicates::str::{contains, is_empty};
use support::command::{Place, Running, one_crew, until};

const DESIGN: &str = r#"
[piles.manuals]
source = { kind = "generate", books = 100 }
[dumps.middle]
capacity = 80
[incinerators.furnace]
burn = { kind = "lines", path = "burned.txt" }
[crews.near]
from = "manuals"
to = "middle"
gophers = ["load push", "unload return"]
[crews.far]
like = "near"
from = "middle"
to = "furnace"
"#;

#[test]
fn the_difference_is_printed_and_what_needs_a_restart_makes_the_exit_code_1() {
    let place = Place::new();
    place.write("was.toml", DESIGN);
    place.write("wider.toml", DESIGN.replace("capacity = 80", "capacity = 90"));
    place.write("seeded.toml", format!("{DESIGN}\n[execution]\nseed = 9\n"));
    place.write("broken.toml", DESIGN.replace("\"middle\"", "\"nowhere\""));
    let compare = |file: &str| {
        let mut command = place.run(["reload", "--against", "was.toml", "--plan"]);
        command.arg(file).assert()
    };
    compare("was.toml").code(0).stdout("no changes\n");
    compare("wider.toml").code(0).stdout("~ dump middle: capacity.books 80 -> 90 (in place)\n");
    compare("seeded.toml").code(1).stdout(contains("execution.seed").and(contains("restart")));
    compare("broken.toml").code(78).stdout(is_empty()).stderr(contains("broken.toml:"));
    assert!(!place.path("burned.txt").exists(), "nothing was run");
}

#[test]
fn moves_and_json_are_for_programs() {
    let place = Place::new();
    place.write("was.toml", DESIGN);
    let now = DESIGN.replace("[dumps.middle]\ncapacity = 80", "[dumps.rest]");
    place.write("now.toml", now.replace("\"middle\"", "\"rest\""));
    let reload = ["reload", "--against", "was.toml", "--plan", "now.toml", "--move"];
    let mut command = place.run(reload);
    let out = command.args(["middle=rest", "--format", "json"]).output().expect("it runs");
    let said: serde_json::Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let steps = said["changes"]["steps"].as_array().expect("an array");
    let step = |node: &str| steps.iter().find(|step| step["node"] == node).expect("a step");
    assert_eq!(step("middle")["books"]["moved"], "rest");
    assert_eq!(step("rest")["change"], "added");
    assert_eq!(step("far")["keys"][0]["key"], "from");
    assert_eq!(said["refused"], serde_json::json!([]));
    place.run(reload).arg("rest=manuals").assert().code(2).stderr(contains("`rest`"));
}

/// A run that reads its file again at SIGHUP, with operations at the address that it prints.
#[cfg(feature = "http")]
fn started(place: &Place) -> (Running, String) {
    let source = r#"{ kind = "generate", books = 1_000_000_000 }"#;
    let operations = "[operations]\nlisten = \"127.0.0.1:0\"\nhangup = \"reload\"\n\
                      token = \"a token of a test\"\n";
    let design = one_crew(source, "[]", "\"count\"", 8);
    place.write("t.toml", format!("{design}{operations}"));
    let running = Running::start(place.process(["run", "t.toml", "--report", "r.json"]));
    running.waits_for("operations at http://");
    let text = running.text();
    let rest = text.split_once("operations at http://").expect("an address").1;
    let address = rest.split_once('/').expect("an address").0.to_owned();
    (running, address)
}

/// Status and JSON body of a reload by HTTP.
#[cfg(feature = "http")]
fn post(address: &str, token: &str, body: &str) -> (u16, serde_json::Value) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let request = format!(
        "POST /api/reload HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("it listens");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("text");
    let status = said.split(' ').nth(1).expect("a status").parse().expect("a number");
    let body = said.split_once("\r\n\r\n").expect("a body").1;
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[cfg(feature = "http")]
#[test]
fn a_run_reads_its_file_again_at_a_request_or_a_hangup() {
    use rustix::process::Signal;
    let place = Place::new();
    let (running, address) = started(&place);
    let token = "a token of a test";
    let was = place.text("t.toml");
    place.write("t.toml", was.replace("books = 8", "books = 9"));
    assert_eq!(post(&address, "another", "").0, 401);
    let (status, planned) = post(&address, token, r#"{"plan": true}"#);
    assert_eq!((status, &planned["applied"]), (200, &false.into()), "{planned}");
    let (status, done) = post(&address, token, "");
    assert_eq!((status, &done["applied"]), (200, &true.into()), "{done}");
    assert_eq!(done["text"], planned["text"]);
    assert!(done["text"].as_str().expect("text").contains("carts.books 8 -> 9"), "{done}");
    assert_eq!(post(&address, token, "").1["text"], "no changes");
    place.write("t.toml", was.replace("to = \"", "to = \"no"));
    let (status, invalid) = post(&address, token, "");
    assert_eq!(status, 422, "{invalid}");
    assert!(invalid["diagnostics"][0]["file"].as_str().expect("a file").contains("t.toml"));
    place.write("t.toml", format!("{was}\n[execution]\nseed = 77\n"));
    let (status, refused) = post(&address, token, "");
    assert_eq!(status, 409, "{refused}");
    assert!(refused["refused"][0].as_str().expect("a reason").contains("execution.seed"));
    place.write("t.toml", &was);
    running.signal(Signal::HUP);
    let changed = "carts.books 9 -> 8";
    until(changed, || running.said(changed));
    running.signal(Signal::TERM);
    let out = running.end();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    place.report("r.json").balanced();
}

#[cfg(feature = "http")]
#[test]
fn readiness_fails_during_the_grace_period_and_a_second_signal_ends_it() {
    use rustix::process::Signal;
    let place = Place::new();
    let source = r#"{ kind = "generate", books = 1_000_000_000 }"#;
    let design = one_crew(source, "[]", "\"count\"", 8);
    let operations = "[operations]\nlisten = \"127.0.0.1:0\"\ngrace = \"1h\"\n";
    place.write("t.toml", format!("{design}{operations}"));
    let running = Running::start(place.process(["run", "t.toml", "--report", "r.json"]));
    running.waits_for("operations at http://");
    let text = running.text();
    let rest = text.split_once("operations at http://").expect("an address").1;
    let address = rest.split_once('/').expect("an address").0;
    let ready = || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        let request = "GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("text");
        said.starts_with("HTTP/1.1 200")
    };
    assert!(ready());
    running.signal(Signal::TERM);
    until("readiness fails", || !ready());
    running.signal(Signal::TERM);
    assert_eq!(running.end().status.code(), Some(143));
    place.report("r.json").balanced();
}
