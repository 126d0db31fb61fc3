//! Reports of balancers and requesters.

use gopherworks_balancer::figures::Tail;
use schemars::JsonSchema;
use serde::Serialize;

/// A distribution of durations, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct TailReport {
    /// Number of durations.
    pub count: u64,
    /// Mean, in seconds.
    pub mean_s: f64,
    /// 50th percentile, in seconds.
    pub p50_s: f64,
    /// 90th percentile.
    pub p90_s: f64,
    /// 99th percentile.
    pub p99_s: f64,
    /// 99.9th percentile.
    pub p999_s: f64,
    /// Longest, in seconds.
    pub max_s: f64,
}

impl From<Tail> for TailReport {
    fn from(tail: Tail) -> Self {
        Self {
            count: tail.count,
            mean_s: tail.mean.as_secs_f64(),
            p50_s: tail.p50.as_secs_f64(),
            p90_s: tail.p90.as_secs_f64(),
            p99_s: tail.p99.as_secs_f64(),
            p999_s: tail.p999.as_secs_f64(),
            max_s: tail.max.as_secs_f64(),
        }
    }
}

/// One balancer's row. `asked = answered + failed + cancelled + expired + shed + in_flight`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BalancerReport {
    /// Name of the balancer.
    pub name: String,
    /// Name of its policy.
    pub policy: &'static str,
    /// Requests accepted.
    pub asked: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests that failed: their worker answered with an error or was lost, or the balancer was
    /// closed.
    pub failed: u64,
    /// The part of `failed` that a worker answered with an error.
    pub errors: u64,
    /// Requests cancelled because the caller no longer wanted an answer.
    pub cancelled: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// Hedged or replicated copies; retries are not included.
    pub copies: u64,
    /// Copies that were started but not needed.
    pub wasted: u64,
    /// Requests requeued because their worker was lost.
    pub retried: u64,
    /// Requests whose deadline passed before the answer.
    pub expired: u64,
    /// Requests shed under overload.
    pub shed: u64,
    /// Requests refused because the queue was full; not part of `asked`.
    pub rejected: u64,
    /// Number of times that a worker was ejected.
    pub ejected: u64,
    /// Time from the call to the answer.
    pub response: TailReport,
    /// Time from acceptance to the start at a worker.
    pub waited: TailReport,
    /// Share of the run in which places were busy, 0 to 1.
    pub busy: f64,
    /// Mean over time of the workers' mean pending requests.
    pub pending_mean: f64,
    /// Mean over time of the variance of pending requests between workers.
    pub pending_variance: f64,
    /// A row for each worker.
    pub workers: Vec<WorkerReport>,
}

impl BalancerReport {
    /// Outcomes of requests, by name, with counts.
    pub fn outcomes(&self) -> [(&'static str, u64); 6] {
        [
            ("answered", self.answered),
            ("failed", self.failed),
            ("cancelled", self.cancelled),
            ("expired", self.expired),
            ("shed", self.shed),
            ("rejected", self.rejected),
        ]
    }
}

/// One worker's row.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WorkerReport {
    /// Name of the worker: `balancer/number`.
    pub name: String,
    /// Mean over time of its pending requests, running ones included.
    pub pending_mean: f64,
    /// Variance over time of its pending requests.
    pub pending_variance: f64,
    /// Number of restarts.
    pub restarts: u64,
}

/// One requester's row.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RequesterReport {
    /// Name of the requester.
    pub name: String,
    /// The balancer that it asks.
    pub to: String,
    /// Its load: `closed`, `open`, `batch` or `outside`.
    pub load: &'static str,
    /// Requests made.
    pub asked: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests that failed: their worker answered with an error or was lost, or the balancer was
    /// closed.
    pub failed: u64,
    /// The part of `failed` that a worker answered with an error.
    pub refused: u64,
    /// Requests refused by the balancer: its queue was full, it was overloaded, or the deadline
    /// passed.
    pub rejected: u64,
    /// Requests whose caller left before the answer.
    pub cancelled: u64,
    /// Requests in flight.
    pub in_flight: u64,
    /// asked - answered - failed - rejected - cancelled - in_flight: always 0.
    pub lost: i64,
    /// Answers per second of the run.
    pub per_s: f64,
    /// Time from the call to the answer, including waiting for space in the queue.
    pub response: TailReport,
}

impl RequesterReport {
    /// Number of requests that should have been answered but were not.
    ///
    /// All requests of a batch should be. Other loads measure capacity, so refusals are results,
    /// and clients outside have received an error; both count only if no request was answered at
    /// all.
    pub fn left_undone(&self) -> u64 {
        match self.load {
            "batch" => self.failed + self.rejected,
            _ if self.answered == 0 => self.failed + self.rejected,
            "outside" => self.failed - self.refused,
            _ => self.failed,
        }
    }
}
