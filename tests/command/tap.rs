//! `tap` and `ctl`, which ask a run.
#![cfg(feature = "http")]

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::operations::address;
use crate::support::command::{Place, Running, lines, one_crew};

const TOKEN: &str = "a token of many letters";

/// A run that goes on until it is ended, with a token in the file `token`.
fn endless(place: &Place) -> (Running, String) {
    let generate = r#"{ kind = "generate", books = 1_000_000_000, size = "12B" }"#;
    let design = one_crew(generate, "[]", "\"count\"", 8);
    let table = format!("[operations]\nlisten = \"127.0.0.1:0\"\ntoken = {TOKEN:?}\n");
    place.write("t.toml", format!("{design}{table}"));
    place.write("token", TOKEN);
    let running = Running::start(place.process(["run", "t.toml"]));
    let address = address(&running);
    (running, address)
}

#[test]
fn a_tap_shows_a_sample_and_says_what_it_missed() {
    let place = Place::new();
    let (run, address) = endless(&place);
    let out = place.run(["tap", &address, "crew", "--limit", "300"]).output().expect("it runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{err}");
    let text = lines(&out.stdout);
    assert_eq!(text.len(), 300);
    assert!(text.iter().all(|line| line.contains("  brought  book ")), "{text:?}");
    assert!(err.contains("300 books are shown; ") && err.contains("too fast"), "{err}");

    let json = ["tap", &address, "inbox", "--limit", "2", "--format", "json", "--bodies"];
    let out = place.run(json).env("GOPHERWORKS_TOKEN", TOKEN).output().expect("it runs");
    for line in lines(&out.stdout) {
        let book: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&book["what"], &book["size"]), (&"leased".into(), &12.into()), "{line}");
        assert!(book["content"]["headers"].is_object(), "{line}");
    }
    assert_eq!(lines(&out.stdout).len(), 2, "{}", String::from_utf8_lossy(&out.stderr));
    let out = place.run(json).output().expect("it runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{err}");
    assert!(err.contains("bodies require the token") && err.contains("--token-file"), "{err}");

    // A reader that goes away ends it; the end of the run does so too.
    let mut process = place.process(["tap", &address, "fire"]);
    let mut tap = process.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut first = String::new();
    let mut reader = BufReader::new(tap.stdout.take().expect("a pipe"));
    reader.read_line(&mut first).expect("a line");
    drop(reader);
    assert_eq!(tap.wait().expect("a child").code(), Some(141), "{first}");
    let mut process = place.process(["tap", &address, "fire", "--where", "no such text"]);
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let tap = process.spawn().expect("it starts");
    run.signal(Signal::TERM);
    assert_eq!(run.end().status.code(), Some(0));
    let out = tap.wait_with_output().expect("a child");
    assert!([Some(0), Some(75)].contains(&out.status.code()), "{out:?}");
    assert!(out.stdout.is_empty());
}

#[test]
fn an_operator_pauses_scales_kills_and_drains() {
    let place = Place::new();
    let (run, address) = endless(&place);
    let ctl = |args: &[&str]| {
        let all = ["ctl", &address].into_iter().chain(args.iter().copied());
        let out = place.run(all).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let (code, _, err) = ctl(&["pause", "crew"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("401") && err.contains("--token-file") && !err.contains(TOKEN), "{err}");
    let token = ["--token-file", "token"];
    let with = |args: &[&str]| ctl(&[args, &token].concat());
    assert_eq!(with(&["pause", "crew"]).1, "pause of crew: done\n");
    assert_eq!(with(&["pause", "crew"]).1, "pause of crew: nothing to do\n");
    let (code, json, _) = with(&["resume", "crew", "--format", "json"]);
    let done: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &done["changed"]), (Some(0), &true.into()), "{json}");
    assert_eq!(with(&["scale", "crew", "3"]).1, "scale of crew: done\n");
    assert_eq!(ctl(&["scale", "crew", "0"]).0, Some(2));
    assert_eq!(with(&["kill", "crew"]).1, "kill of crew/1: done\n");
    let (code, out, err) = with(&["pause", "crow"]);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("did you mean `crew`"), "{err}");
    assert_eq!(with(&["reload"]).1, "no changes\n");
    let file = place.text("t.toml");
    place.write("t.toml", file.replace("\"count\"", "\"cuont\""));
    let (code, _, err) = with(&["reload"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("422") && err.contains("did you mean `count`"), "{err}");
    place.write("t.toml", file.replace("[crews.crew]", "[crews.crew]\nsteps = { push = \"1ms\" }"));
    let (_, planned, err) = with(&["reload", "--plan"]);
    assert!(planned.contains("1ms"), "{planned}{err}");
    place.write("t.toml", file);
    assert_eq!(with(&["drain"]).1, "drain of t: done\n");
    let out = run.end();
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let (code, _, err) = with(&["drain"]);
    assert_eq!(code, Some(75), "{err}");
}
