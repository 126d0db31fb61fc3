//! Ends a test that hangs: a thread with a deadline in real time.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// While it lives, the clock runs; dropped in time, nothing happens.
pub struct Watchdog {
    _alive: mpsc::Sender<()>,
}

/// Aborts the whole test process with `what` unless the returned guard is dropped within `limit`. A thread that hangs can't be
/// ended in any other way, and a test that hangs says nothing.
pub fn watchdog(what: impl Into<String>, limit: Duration) -> Watchdog {
    let what = what.into();
    let (alive, gone) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if gone.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("WATCHDOG: `{what}` did not end within {limit:?}: it hangs");
            std::process::abort();
        }
    });
    Watchdog { _alive: alive }
}
