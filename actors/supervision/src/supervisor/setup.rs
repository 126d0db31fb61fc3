//! What a supervisor is started with.

use std::fmt;

use super::super::{Fuzz, Heard, Policy};
use crate::clock::{Clock, Seed};

/// What a supervisor goes by.
#[derive(Clone)]
pub struct Setup {
    /// When it starts a child again, and when it gives up.
    pub policy: Policy,
    /// Time.
    pub clock: Clock,
    /// Of the jitter of the backoff.
    pub seed: Seed,
    /// A schedule that chance decides; for simulations.
    pub fuzz: Option<Fuzz>,
    /// Hears every event, and misses none.
    pub heard: Option<Heard>,
}

impl Setup {
    /// Nothing but what has to be said.
    pub fn new(policy: Policy, clock: Clock, seed: Seed) -> Self {
        Self {
            policy,
            clock,
            seed,
            fuzz: None,
            heard: None,
        }
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
