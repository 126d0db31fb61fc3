//! The configuration of a supervisor.

use std::fmt;

use super::super::{EventListener, Fuzz, RestartPolicy};
use crate::clock::{Clock, Seed};

/// Supervisor configuration.
#[derive(Clone)]
pub struct Setup {
    /// The restart policy.
    pub policy: RestartPolicy,
    /// The clock for delays, deadlines and event times.
    pub clock: Clock,
    /// The seed for the jitter of the backoff.
    pub seed: Seed,
    /// Random scheduling of child polls, for simulations. Default: none.
    pub fuzz: Option<Fuzz>,
    /// A callback for every event; unlike a subscriber it misses none. Default: none.
    pub listener: Option<EventListener>,
}

impl Setup {
    /// A configuration with the required fields only.
    pub fn new(policy: RestartPolicy, clock: Clock, seed: Seed) -> Self {
        Self { policy, clock, seed, fuzz: None, listener: None }
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("policy", &self.policy).finish_non_exhaustive()
    }
}
