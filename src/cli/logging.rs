//! Logs go to stderr, past the progress bar where there is one.

use std::io::{self, Write};

use env_logger::{Builder, Env, Target};

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

/// `RUST_LOG` wins over the flags.
pub fn init(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    Builder::from_env(Env::default().default_filter_or(level))
        .format_target(false)
        .target(Target::Pipe(Box::new(PastTheBar)))
        .init();
}
