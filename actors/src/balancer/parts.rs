//! What a balancer is made of, and how it treats requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::policy::{Full, Policy, Spread};
use super::resilience::Resilience;
use crate::clock::{Clock, Seed};
use crate::failure::Failure;
use crate::pool::Pool;
use crate::trace::Tracer;
use crate::worker::Work;

/// Makes the work of one place of a worker, given the worker's number from 0; for every life anew.
pub type MakeWorker<W> = Arc<dyn Fn(usize) -> Result<W, Failure> + Send + Sync>;
/// What a request is known to take before it runs.
pub type Cost<W> = Arc<dyn Fn(&<W as Work>::Request) -> Option<Duration> + Send + Sync>;
/// A request again, for the copy of this number.
pub type Again<W> = Arc<dyn Fn(&<W as Work>::Request, u32) -> <W as Work>::Request + Send + Sync>;

/// Whether an answer counts as a failure of its worker.
pub type Failed<W> = Arc<dyn Fn(&<W as Work>::Reply) -> bool + Send + Sync>;

/// How a balancer treats requests.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Who gets a request.
    pub policy: Policy,
    /// How many workers are asked the same.
    pub spread: Spread,
    /// Requests that wait at most, besides one for each place of a worker; `None` does not bound.
    pub queue: Option<u32>,
    /// What becomes of a request that finds the queue full.
    pub full: Full,
    /// Workers (>= 1).
    pub workers: usize,
    /// Requests that one worker does at a time (>= 1).
    pub places: usize,
    /// How often an idempotent request may be the end of a worker (>= 1).
    pub max_attempts: u32,
    /// Deadlines, shedding, budgets, care for workers.
    pub resilience: Resilience,
}

impl Default for Settings {
    /// Central, one worker with one place, 1024 waiting requests, 3 attempts.
    fn default() -> Self {
        Self {
            policy: Policy::CENTRAL,
            spread: Spread::One,
            queue: Some(1024),
            full: Full::Wait,
            workers: 1,
            places: 1,
            max_attempts: 3,
            resilience: Resilience::default(),
        }
    }
}

/// What a balancer is made of.
pub struct Parts<W: Work> {
    /// Its name; its workers are `NAME/1`, `NAME/2` and so on.
    pub name: Arc<str>,
    /// How it treats requests.
    pub settings: Settings,
    /// Makes the work of one place.
    pub make: MakeWorker<W>,
    /// A request again: only where this is there may a request be begun more than once.
    pub again: Option<Again<W>>,
    /// What a request is known to take.
    pub cost: Option<Cost<W>>,
    /// Whether an answer counts as a failure of its worker, for [`super::resilience::Eject`].
    pub failed: Option<Failed<W>>,
    /// Time.
    pub clock: Clock,
    /// Chance.
    pub seed: Seed,
    /// Threads for work that blocks.
    pub pool: Arc<Pool>,
    /// Hears of every move.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// Called when the last request that was under way is over.
    pub idle: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl<W: Work> fmt::Debug for Parts<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("name", &self.name).finish()
    }
}
