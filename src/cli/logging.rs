//! Logs go to stderr, past the progress bar if there is one: as text, or as an object of JSON a
//! line.
//!
//! The crates log by `log`, so `env_logger` with a formatter of its own is enough. A subscriber of
//! `tracing` would need a bridge from `log` and a second filter language, for the same fields.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::SystemTime;

use clap::ValueEnum;
use env_logger::fmt::Formatter;
use env_logger::{Builder, Env, Target};
use log::kv::Key;
use log::{Level, Record};
use serde::Serialize;

use super::progress;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// An object a line, for programs: time, level, target, node, book, attempt, message
    Json,
}

static FORMAT: OnceLock<LogFormat> = OnceLock::new();

struct PastTheBar;

impl Write for PastTheBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::past(|| io::stderr().write_all(bytes)).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// `RUST_LOG` overrides the flags. A `noisy` command injects faults, so it logs nothing by default.
pub fn init(verbose: u8, quiet: bool, noisy: bool, format: LogFormat) {
    let _ = FORMAT.set(format);
    let level = match (quiet, verbose) {
        (true, _) | (false, 0) if noisy => "off",
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    // Any client can provoke actix-http's error lines; the server logs what matters at level debug.
    let usual = format!("{level},actix_http=off");
    let mut builder = Builder::from_env(Env::default().default_filter_or(usual));
    match format {
        LogFormat::Text => builder.format(line),
        LogFormat::Json => builder.format(object),
    };
    builder.target(Target::Pipe(Box::new(PastTheBar))).init();
}

#[allow(clippy::disallowed_methods, reason = "the time of day, for people")]
fn line(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let (level, text) = (record.level(), record.args().to_string());
    let style = out.default_level_style(level);
    writeln!(out, "[{now} {style}{level:<5}{style:#}] {}", text.replace('\n', "\n    "))
}

/// A line of JSON. Absent fields are unknown, or do not apply.
#[derive(Serialize)]
struct Entry<'a> {
    time: String,
    level: &'a str,
    target: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    book: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u64>,
    message: &'a str,
}

impl Entry<'_> {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}", serde_json::to_string(self)?)
    }
}

#[allow(clippy::disallowed_methods, reason = "the time of day, for programs")]
fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

fn object(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let fields = record.key_values();
    let text = |key: &str| fields.get(Key::from_str(key)).map(|value| value.to_string());
    let attempt = fields.get(Key::from_str("attempt")).and_then(|value| value.to_u64());
    let message = record.args().to_string();
    let entry = Entry {
        time: now(),
        level: name(record.level()),
        target: record.target(),
        node: text("node"),
        book: text("book"),
        attempt,
        message: &message,
    };
    entry.write(out)
}

/// Writes a message of the command as a line of JSON, if the log is JSON: one that begins with
/// `error` or `warning` has that level. False if the log is text.
pub fn said(text: &str, err: &mut impl Write) -> bool {
    if FORMAT.get() != Some(&LogFormat::Json) {
        return false;
    }
    // A mistake in a config has a code, such as `error[unknown-key]`, which is kept.
    let (level, message) = match text.split_once(": ") {
        Some(("error", rest)) => (Level::Error, rest),
        Some(("warning", rest)) => (Level::Warn, rest),
        Some((head, _)) if head.starts_with("error[") => (Level::Error, text),
        Some((head, _)) if head.starts_with("warning[") => (Level::Warn, text),
        _ => (Level::Info, text),
    };
    if !message.trim().is_empty() {
        let (target, level) = ("gopherworks", name(level));
        let entry =
            Entry { time: now(), level, target, node: None, book: None, attempt: None, message };
        // If stderr can't be written, there is no other place to report it.
        let _ = entry.write(err);
    }
    true
}
