//! What a balancer is built from, and its settings.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::{LoadPolicy, Spread, WhenFull};
use crate::resilience::Resilience;
use crate::trace::RequestTracer;
use crate::worker::Work;
use gopherworks_supervision::clock::{Clock, Seed};
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::pool::Pool;

/// Makes the work of one concurrency slot, given the worker's number from 0; called anew for every
/// incarnation of the worker.
pub type MakeWorker<W> = Arc<dyn Fn(usize) -> Result<W, Failure> + Send + Sync>;
/// Cost hint: how long a request is expected to take, if known.
pub type Cost<W> = Arc<dyn Fn(&<W as Work>::Request) -> Option<Duration> + Send + Sync>;
/// Repeats a request, for the copy with this number.
pub type Again<W> = Arc<dyn Fn(&<W as Work>::Request, u32) -> <W as Work>::Request + Send + Sync>;

/// Whether an answer counts as a failure of its worker.
pub type Failed<W> = Arc<dyn Fn(&<W as Work>::Reply) -> bool + Send + Sync>;

/// Settings of a balancer.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Which worker gets a request.
    pub policy: LoadPolicy,
    /// How many workers get each request.
    pub spread: Spread,
    /// Longest queue in requests, not counting one for each concurrency slot; `None` is unbounded.
    pub queue: Option<u32>,
    /// What happens to a request when the queue is full.
    pub full: WhenFull,
    /// Number of workers (>= 1).
    pub workers: usize,
    /// Concurrency slots of each worker (>= 1).
    pub places: usize,
    /// Attempts (>= 1) at an idempotent request: each worker that fails on it uses up one.
    pub max_attempts: u32,
    /// Deadlines, shedding, retry budget, slow start, ejection; all disabled by default.
    pub resilience: Resilience,
}

impl Default for Settings {
    /// Central policy, one worker with one slot, 1024 queued requests, waiting if full, 3
    /// attempts.
    fn default() -> Self {
        Self {
            policy: LoadPolicy::CENTRAL,
            spread: Spread::One,
            queue: Some(1024),
            full: WhenFull::Wait,
            workers: 1,
            places: 1,
            max_attempts: 3,
            resilience: Resilience::default(),
        }
    }
}

/// What a balancer is built from.
pub struct Parts<W: Work> {
    /// The balancer's name; its workers are named `NAME/1`, `NAME/2` and so on.
    pub name: Arc<str>,
    /// Policy, sizes and limits.
    pub settings: Settings,
    /// Makes the work of one concurrency slot.
    pub make: MakeWorker<W>,
    /// Repeats a request. Without it, requests are not idempotent: each starts at most once.
    pub again: Option<Again<W>>,
    /// Cost hint, used by [`LoadPolicy::ShortFirst`] and [`LoadPolicy::Reserve`].
    pub cost: Option<Cost<W>>,
    /// Whether a reply counts as a failure of its worker, for [`crate::resilience::Eject`].
    pub failed: Option<Failed<W>>,
    /// The clock, real or simulated.
    pub clock: Clock,
    /// Seed of random choices.
    pub seed: Seed,
    /// Thread pool for blocking work.
    pub pool: Arc<Pool>,
    /// Receives a record of every event.
    pub tracer: Option<Arc<dyn RequestTracer>>,
    /// Called whenever the last request in flight is over.
    pub idle: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl<W: Work> fmt::Debug for Parts<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("name", &self.name).finish()
    }
}
