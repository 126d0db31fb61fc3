//! Pure: what a desk is told, and what it tells.

use std::time::Duration;

use super::Ref;
use crate::balancer::policy::{Policy, Spread};
use crate::balancer::resilience::{Priority, Resilience};
use crate::clock::Time;

/// What the desk is told of its balancer.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Who gets a request.
    pub policy: Policy,
    /// How many workers are asked the same.
    pub spread: Spread,
    /// Workers (>= 1).
    pub workers: usize,
    /// Requests that one worker does at a time (>= 1).
    pub places: usize,
    /// Attempts that a request has (>= 1): how often it may begin and be the end of its worker.
    pub max_attempts: u32,
    /// Deadlines, shedding, budgets, care for workers.
    pub resilience: Resilience,
}

/// What is special about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// What it is known to take, if it is.
    pub cost: Option<Duration>,
    /// When it has to be over.
    pub due: Option<Time>,
    /// Who goes first.
    pub priority: Priority,
    /// Who is asked, by [`Policy::Affinity`].
    pub key: Option<u64>,
}

/// Why a request was ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its time was over. `begun`: a worker had begun it.
    Expired {
        /// It may have had its effect.
        begun: bool,
    },
    /// It would have waited too long.
    Shed {
        /// How long it had waited.
        waited: Duration,
    },
}

/// What has become of requests so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests taken.
    pub asked: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests given up as their worker was lost.
    pub failed: u64,
    /// Requests that a worker answered with an error.
    pub errors: u64,
    /// Requests that nobody wanted an answer to any more.
    pub cancelled: u64,
    /// Second and further copies of a request that a worker got, besides retries.
    pub copies: u64,
    /// Copies that were begun for nothing: another one answered first, or the request was cancelled.
    pub wasted: u64,
    /// Times that a request was put back since its worker was lost.
    pub retried: u64,
    /// Requests whose deadline passed before there was an answer.
    pub expired: u64,
    /// Requests that had waited too long under overload.
    pub shed: u64,
    /// Requests that were never taken, as there was no room for them (in time). They are not among those asked.
    pub rejected: u64,
    /// Times that a worker was left out for a while.
    pub ejected: u64,
}

impl Counts {
    /// Every way in which a request ends, by its word, with how many have. All but `rejected` are among those asked.
    pub fn outcomes(&self) -> [(&'static str, u64); 6] {
        [
            ("answered", self.answered),
            ("failed", self.failed + self.errors),
            ("cancelled", self.cancelled),
            ("expired", self.expired),
            ("shed", self.shed),
            ("rejected", self.rejected),
        ]
    }

    /// Requests that are over, of those asked.
    pub fn over(&self) -> u64 {
        self.answered + self.errors + self.failed + self.cancelled + self.expired + self.shed
    }
}

/// A request that a worker begins.
#[derive(Debug)]
pub struct Begun<U> {
    /// Which.
    pub which: Ref,
    /// What of it the worker gets.
    pub item: U,
    /// When it came to the balancer.
    pub submitted: Time,
}

/// What an answer, or the loss of a worker, means for its request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// The request is over with this: the only one.
    Over(T),
    /// Another copy goes on, or it was put back for another try.
    GoesOn,
    /// It was over before: somebody else answered, or nobody wants the answer.
    Stale,
}
