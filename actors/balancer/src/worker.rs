//! What workers do: [`Work`], and kinds of work made of closures.

use std::future::Future;

mod closures;

pub use closures::{BlockingFn, FnWork, Function, Functions, blocking, from_fn};

/// What a worker does with a request. Each concurrency slot of a worker has its own instance,
/// which gets one request at a time.
///
/// After a panic the worker's factory makes new instances. The future of a cancelled request is
/// dropped at one of its awaits, and the same instance gets the next request, so its state must be
/// consistent at every await.
pub trait Work: Send + 'static {
    /// Type of a request.
    type Request: Send + 'static;
    /// Type of a reply.
    type Reply: Send + 'static;

    /// Serves one request. A panic here or in the future fails the worker; the request is then
    /// retried on another worker if it is idempotent.
    fn work(&mut self, request: Self::Request) -> impl Future<Output = Self::Reply>;

    /// True if it may block its thread: it then runs in the thread pool, never on an arbiter. A
    /// cancel or a kill takes effect only at its awaits; until then it runs on, and its reply
    /// still counts if the request is not over.
    fn blocks(&self) -> bool {
        false
    }
}
