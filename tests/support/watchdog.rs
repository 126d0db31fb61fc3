//! Ends a test that hangs, with a thread and a deadline in real time.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Runs the deadline until it is dropped.
pub struct Watchdog {
    _alive: mpsc::Sender<()>,
}

/// Aborts the test process with `what` unless the returned guard is dropped within `limit`. A
/// thread that hangs can't be ended in any other way.
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
