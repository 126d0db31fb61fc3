//! Logs go to stderr, past the progress bar if there is one.

use std::io::{self, Write};
use std::time::SystemTime;

use env_logger::fmt::Formatter;
use env_logger::{Builder, Env, Target};
use log::Record;

use super::progress;

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
pub fn init(verbose: u8, quiet: bool, noisy: bool) {
    let level = match (quiet, verbose) {
        (true, _) | (false, 0) if noisy => "off",
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    // Any client can provoke actix-http's error lines; the server logs what matters at level debug.
    let usual = format!("{level},actix_http=off");
    Builder::from_env(Env::default().default_filter_or(usual))
        .format(line)
        .target(Target::Pipe(Box::new(PastTheBar)))
        .init();
}

#[allow(clippy::disallowed_methods, reason = "the time of day, for people")]
fn line(out: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let (level, text) = (record.level(), record.args().to_string());
    let style = out.default_level_style(level);
    writeln!(out, "[{now} {style}{level:<5}{style:#}] {}", text.replace('\n', "\n    "))
}
