//! `top`, on a pseudo-terminal and without one.
#![cfg(feature = "top")]
// The deadlines of tests are in real time.
#![allow(clippy::disallowed_methods)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::operations::address;
use crate::support::command::{PATIENCE, Place, Running, one_crew};

/// A run that goes on until it is ended.
fn endless(place: &Place, more: &str) -> Running {
    let generate = r#"{ kind = "generate", books = 1_000_000_000 }"#;
    let design = one_crew(generate, "[]", "\"count\"", 8);
    let table = "[operations]\nlisten = \"127.0.0.1:0\"\nsample = \"100ms\"\n";
    place.write("t.toml", format!("{design}{table}{more}"));
    Running::start(place.process(["run", "t.toml"]))
}

/// A command on a terminal of 80 columns and 24 rows.
struct OnTerminal {
    child: Child,
    master: File,
    slave: OwnedFd,
    /// What it has printed.
    out: String,
}

impl OnTerminal {
    fn start(place: &Place, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("a terminal");
        unlockpt(&master).expect("a terminal");
        let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("UTF-8");
        let slave = File::options().read(true).write(true).open(name).expect("a terminal");
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).expect("a terminal");
        let io = || Stdio::from(slave.try_clone().expect("a copy"));
        let mut process = place.process(args);
        process.env("TERM", "xterm").envs(variables.iter().copied());
        let spawned = process.stdin(io()).stdout(io()).stderr(io()).spawn();
        let (child, master) = (spawned.expect("it starts"), File::from(master));
        Self { child, master, slave: slave.into(), out: String::new() }
    }

    /// Reads until `what` has been printed.
    #[track_caller]
    fn waits_for(&mut self, what: &str) {
        let start = Instant::now();
        while !self.out.contains(what) {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let left = Timespec::try_from(left).expect("a time");
            let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
            let count = poll(&mut ready, Some(&left)).expect("a terminal");
            assert!(count > 0, "no `{what}`:\n{}", self.out.escape_debug());
            let mut buffer = [0; 4096];
            let length = self.master.read(&mut buffer).expect("a terminal");
            self.out.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }

    fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("a terminal").local_modes;
        !modes.contains(LocalModes::ICANON)
    }

    /// Waits for the end, and asserts that the terminal is as it was.
    #[track_caller]
    fn ends(mut self, code: i32) -> String {
        self.waits_for("\u{1b}[?1049l");
        let status = self.child.wait().expect("a child");
        assert_eq!(status.code(), Some(code), "{}", self.out.escape_debug());
        assert!(!self.is_raw());
        self.out
    }
}

#[test]
fn a_terminal_shows_the_run_and_is_restored_whatever_ends_it() {
    let place = Place::new();
    let run = endless(&place, "");
    let address = address(&run);
    let mut top = OnTerminal::start(&place, &["top", &address], &[]);
    top.waits_for("incinerator");
    assert!(top.is_raw() && top.out.contains("\u{1b}[?1049h"));
    top.master.write_all(b"\r").expect("a terminal");
    // Spaces are no part of the output, since the screen is blank.
    top.waits_for("capacity");
    top.master.write_all(b"q").expect("a terminal");
    top.ends(0);

    let mut top = OnTerminal::start(&place, &["top", &address], &[]);
    let mut plain = OnTerminal::start(&place, &["top", &address], &[("NO_COLOR", "1")]);
    top.waits_for("incinerator");
    plain.waits_for("incinerator");
    // The run ends: both say so, one of them in red.
    run.signal(Signal::TERM);
    assert_eq!(run.end().status.code(), Some(0));
    top.waits_for("stale:");
    plain.waits_for("stale:");
    let id = i32::try_from(top.child.id()).expect("a process id");
    kill_process(Pid::from_raw(id).expect("a process id"), Signal::TERM).expect("it runs");
    assert!(top.ends(143).contains("\u{1b}[38;5;"));
    plain.master.write_all(b"\x03").expect("a terminal");
    let said = plain.ends(0);
    assert!(!said.contains("\u{1b}[38;5;"), "{}", said.escape_debug());
}

#[test]
fn a_pipe_gets_one_table_that_fits() {
    let place = Place::new();
    let token = "a token of many letters";
    let run = endless(&place, &format!("public = true\ntoken = \"{token}\"\n"));
    let address = address(&run);
    let refused = place.run(["top", &address]).output().expect("it runs");
    let err = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{err}");
    assert!(err.contains("401") && err.contains("--token-file"), "{err}");
    fs::write(place.path("token"), format!("{token}\n")).expect("a file");
    let by_file = ["top", &address, "--token-file", "token"];
    let mut shown = Vec::new();
    for mut top in [place.run(by_file), place.run(["top", &address])] {
        let out = top.env("COLUMNS", "80").env("GOPHERWORKS_TOKEN", token).output();
        let out = out.expect("it runs");
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        shown.push(String::from_utf8(out.stdout).expect("UTF-8"));
    }
    for text in &shown {
        assert!(text.starts_with("t  up "), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80 && !line.contains('\u{1b}'), "{line}");
        }
        let names = ["node", "inbox", "crew", "fire"];
        let rows: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(rows.iter().filter(|row| names.contains(row)).count(), 4, "{text}");
    }
    fs::write(place.path("token"), "another token").expect("a file");
    let out = place.run(by_file).env("GOPHERWORKS_TOKEN", token).output().expect("it runs");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(err.contains("not that of") && !err.contains("another token"), "{err}");
    run.signal(Signal::TERM);
    run.end();
    let gone = place.run(["top", &address]).output().expect("it runs");
    let err = String::from_utf8_lossy(&gone.stderr);
    assert_eq!(gone.status.code(), Some(75), "{err}");
    assert!(err.contains("no answer from") && err.contains("help: "), "{err}");
}
