//! Threads of a tokio runtime.

use tokio::runtime::{Builder, Runtime};

/// A runtime with so many threads; with one, everything runs on the calling thread.
///
/// # Panics
/// Where the system gives no threads.
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
