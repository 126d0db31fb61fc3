//! The configuration of a supervisor.

use std::fmt;

use super::super::{Fuzz, Heard, Policy};
use crate::clock::{Clock, Seed};

/// Supervisor configuration.
#[derive(Clone)]
pub struct Setup {
    /// The restart policy.
    pub policy: Policy,
    /// The clock for delays, deadlines and event times.
    pub clock: Clock,
    /// The seed for the jitter of the backoff.
    pub seed: Seed,
    /// Random scheduling of child polls, for simulations. Default: none.
    pub fuzz: Option<Fuzz>,
    /// A callback for every event; unlike a subscriber it misses none. Default: none.
    pub heard: Option<Heard>,
}

impl Setup {
    /// A configuration with the required fields only.
    pub fn new(policy: Policy, clock: Clock, seed: Seed) -> Self {
        Self { policy, clock, seed, fuzz: None, heard: None }
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("policy", &self.policy).finish_non_exhaustive()
    }
}
