//! Pure: input and output types of the request table.

use std::time::Duration;

use super::Ref;
use crate::policy::{LoadPolicy, Spread};
use crate::resilience::{Priority, Resilience};
use gopherworks_supervision::clock::Time;

/// Configuration of the table.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Which worker gets a request.
    pub policy: LoadPolicy,
    /// How many workers get each request.
    pub spread: Spread,
    /// Number of workers (>= 1).
    pub workers: usize,
    /// Concurrency slots of each worker (>= 1).
    pub places: usize,
    /// Attempts of a request: it is retried until this many workers failed on it (>= 1).
    pub max_attempts: u32,
    /// Deadlines, shedding, retry budget, slow start, ejection.
    pub resilience: Resilience,
}

/// Options of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Terms {
    /// Cost hint, if there is one.
    pub cost: Option<Duration>,
    /// Deadline; `None` is no deadline.
    pub due: Option<Time>,
    /// Order among queued requests.
    pub priority: Priority,
    /// Affinity key, for [`LoadPolicy::Affinity`].
    pub key: Option<u64>,
}

/// Why a request ended without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The request's deadline has passed.
    Expired {
        /// True if a worker had started it: it may have had its effect.
        begun: bool,
    },
    /// Shed under overload.
    Shed {
        /// How long the request had been queued.
        waited: Duration,
    },
}

/// Counters of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RequestCounts {
    /// Requests accepted.
    pub asked: u64,
    /// Requests answered without an error.
    pub answered: u64,
    /// Requests failed because their worker was lost, or the balancer closed.
    pub failed: u64,
    /// Requests whose reply counts as a failure.
    pub errors: u64,
    /// Requests cancelled by their callers.
    pub cancelled: u64,
    /// Replicas and hedges assigned to a worker, not counting retries.
    pub copies: u64,
    /// Copies whose work was not used: another one answered first, or the request had ended.
    pub wasted: u64,
    /// Retries: requests requeued because their worker was lost.
    pub retried: u64,
    /// Requests whose deadline passed before there was a reply.
    pub expired: u64,
    /// Requests shed under overload.
    pub shed: u64,
    /// Requests not accepted because the queue was full or their deadline had passed. Not included
    /// in `asked`.
    pub rejected: u64,
    /// Ejections of workers.
    pub ejected: u64,
}

impl RequestCounts {
    /// Every way in which a request ends, with its count. All but `rejected` are included in
    /// `asked`.
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

    /// Accepted requests that are over.
    pub fn over(&self) -> u64 {
        self.answered + self.errors + self.failed + self.cancelled + self.expired + self.shed
    }
}

/// A request that a worker starts.
#[derive(Debug)]
pub struct Begun<U> {
    /// Key and number of the copy.
    pub which: Ref,
    /// What the worker gets of the payload.
    pub item: U,
    /// When the balancer accepted the request.
    pub submitted: Time,
}

/// What a reply or the loss of a worker means for its request.
#[derive(Debug, PartialEq, Eq)]
pub enum RequestVerdict<T> {
    /// The request is over, and this is its only result.
    Over(T),
    /// Another copy is in flight, or it was requeued for a retry.
    GoesOn,
    /// The request was over before: answered by another copy, cancelled, expired or shed.
    Stale,
}
