//! Threads of a tokio runtime.

use tokio::runtime::{Builder, Runtime};

/// A runtime with `threads` threads; with one, everything runs on the calling thread.
///
/// # Panics
/// If the system can't create the threads.
pub fn runtime(threads: usize) -> Runtime {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    if threads > 1 {
        builder.worker_threads(threads);
    }
    builder.enable_time().build().expect("a runtime")
}
