//! The account of balancers and requesters.

use gopherworks_actors::balancer::figures::Tail;
use serde::Serialize;

/// A distribution of durations, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TailReport {
    /// How many.
    pub count: u64,
    /// The mean.
    pub mean_s: f64,
    /// Half of them took at most this.
    pub p50_s: f64,
    /// 90 in 100 took at most this.
    pub p90_s: f64,
    /// 99 in 100 took at most this.
    pub p99_s: f64,
    /// 999 in 1000 took at most this.
    pub p999_s: f64,
    /// None took longer.
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
#[derive(Debug, Clone, Serialize)]
pub struct BalancerReport {
    /// Name of the balancer.
    pub name: String,
    /// The word for its policy.
    pub policy: &'static str,
    /// Requests taken.
    pub asked: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests that failed: their worker answered with an error or was lost, or the balancer was
    /// closed.
    pub failed: u64,
    /// Those of `failed` that a worker answered with an error.
    pub errors: u64,
    /// Requests cancelled because the caller no longer wanted an answer.
    pub cancelled: u64,
    /// Requests that are not over.
    pub in_flight: u64,
    /// Second and further copies that were made, besides retries.
    pub copies: u64,
    /// Copies that were begun for nothing.
    pub wasted: u64,
    /// Times that a request was put back since its worker was lost.
    pub retried: u64,
    /// Requests whose deadline passed before there was an answer.
    pub expired: u64,
    /// Requests that had waited too long under overload.
    pub shed: u64,
    /// Requests that were never taken, as there was no room (in time); not among those asked.
    pub rejected: u64,
    /// Times that a worker was left out for a while.
    pub ejected: u64,
    /// From asking to the answer.
    pub response: TailReport,
    /// From the balancer's taking to the begin.
    pub waited: TailReport,
    /// Share of the run that places were busy, 0 to 1.
    pub busy: f64,
    /// Mean over time of the workers' mean pending requests.
    pub pending_mean: f64,
    /// Mean over time of the variance of pending requests between workers.
    pub pending_variance: f64,
    /// A row for each worker.
    pub workers: Vec<WorkerReport>,
}

impl BalancerReport {
    /// Every way in which a request ends, by its word, with how many have.
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
#[derive(Debug, Clone, Serialize)]
pub struct WorkerReport {
    /// Name of the worker: `balancer/number`.
    pub name: String,
    /// Mean over time of its pending requests, running ones included.
    pub pending_mean: f64,
    /// Variance over time of its pending requests.
    pub pending_variance: f64,
    /// Restarts.
    pub restarts: u64,
}

/// One requester's row.
#[derive(Debug, Clone, Serialize)]
pub struct RequesterReport {
    /// Name of the requester.
    pub name: String,
    /// The balancer that it asks.
    pub to: String,
    /// When it asks: `closed`, `open`, `batch` or `outside`.
    pub load: &'static str,
    /// Requests made.
    pub asked: u64,
    /// Answered.
    pub answered: u64,
    /// Failed: their worker answered with an error or was lost, or the balancer was closed.
    pub failed: u64,
    /// Those of `failed` that a worker answered with an error.
    pub refused: u64,
    /// Refused by the balancer: its queue was full, it was overloaded, or the deadline passed.
    pub rejected: u64,
    /// Requests whose caller left before the answer.
    pub cancelled: u64,
    /// Not over.
    pub in_flight: u64,
    /// asked - answered - failed - rejected - cancelled - in_flight: always 0.
    pub lost: i64,
    /// Answers in a second of the run.
    pub per_s: f64,
    /// From asking to the answer, waiting for room in the queue included.
    pub response: TailReport,
}

impl RequesterReport {
    /// Requests that should have been answered and were not.
    ///
    /// Each request of a batch should be. Elsewhere refusals for lack of capacity are what the
    /// load was made to find out, and a client from outside has been told of an error; both count
    /// only where not one request was answered.
    pub fn left_undone(&self) -> u64 {
        match self.load {
            "batch" => self.failed + self.rejected,
            _ if self.answered == 0 => self.failed + self.rejected,
            "outside" => self.failed - self.refused,
            _ => self.failed,
        }
    }
}
