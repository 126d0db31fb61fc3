//! Keys of `[balancers.x]` that protect its callers from overload and from failing workers.
//!
//! The types are the engine's; each struct here describes the one of its name.

use std::time::Duration;

pub use gopherworks_balancer::resilience::{Eject, Priority, Resilience, RetryBudget, Shed};

use crate::config::element::Element;
use crate::config::limits::{LARGEST_FACTOR, MOST_TIMES};

#[derive(Element)]
#[element(remote = Resilience)]
struct ResilienceKeys {
    /// Time from a request to its reply, such as "200ms"; then the request fails, wherever it is.
    /// Without it requests have no deadline.
    #[key(above = 0, because = "a deadline must be longer than 0")]
    deadline: Option<Duration>,
    /// Sheds requests under overload that would be answered late (CoDel): the `target`, or a
    /// table. Without it nothing is shed.
    shed: Option<Shed>,
    /// Limits the retries of all requests: the `share`, or a table. Without it only `max_attempts`
    /// limits them.
    #[key(name = "retry_budget")]
    retries: Option<RetryBudget>,
    /// Time over which a restarted worker's share of requests grows to its full size, such as
    /// "10s". Without it the worker gets its full share at once.
    #[key(above = 0, because = "a slow start must be longer than 0")]
    slow_start: Option<Duration>,
    /// Ejects workers that fail or are slow: they get no requests for a while. The `failures`, or
    /// a table. Without it no worker is ejected.
    eject: Option<Eject>,
}

#[derive(Element)]
#[element(remote = Shed, short = target)]
struct ShedKeys {
    /// Longest wait under overload, that is while requests have been waiting for all of the last
    /// `interval`.
    #[key(default, above = 0, because = "a target must be longer than 0")]
    target: Duration,
    /// Longest wait otherwise; at least the `target`.
    #[key(default, above = 0, because = "an interval must be longer than 0")]
    interval: Duration,
}

#[derive(Element)]
#[element(remote = RetryBudget, short = share)]
struct RetryBudgetKeys {
    /// Retries allowed for each request.
    #[key(default, min = 0, most = LARGEST_FACTOR, because = "a budget is a number of at least 0")]
    share: f64,
    /// Retries allowed for each second.
    #[key(default, min = 0, most = LARGEST_FACTOR, because = "a budget is a number of at least 0")]
    per_second: f64,
}

#[derive(Element)]
#[element(remote = Eject, short = failures)]
struct EjectKeys {
    /// Consecutive failures of a worker: error replies, or its death.
    #[key(
        default,
        min = 1,
        most = MOST_TIMES,
        because = "a worker is ejected after at least one failure"
    )]
    failures: Option<u32>,
    /// How many times slower than the median of all workers. Without it slow workers are not
    /// ejected.
    #[key(
        above = 1,
        most = LARGEST_FACTOR,
        because = "`slower` is a factor above 1 of the median"
    )]
    slower: Option<f64>,
    /// Length of the first ejection; each further one is longer.
    #[key(default, above = 0, because = "a pause must be longer than 0")]
    pause: Duration,
    /// Largest share of the available workers that may be ejected.
    #[key(default, above = 0, max = 1, because = "the ejected share is above 0 and at most 1")]
    at_most: f64,
}

#[derive(Element)]
#[element(words, remote = Priority)]
#[allow(dead_code, reason = "it names the words of another enum")]
enum PriorityWord {
    /// After all others.
    Low,
    /// After high and before low ones.
    Normal,
    /// Before all others.
    High,
}
