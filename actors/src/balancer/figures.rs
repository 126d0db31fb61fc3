//! What a balancer or a requester has done, in numbers.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::desk::{Counts, Loads};

/// A distribution of durations: exact to 0.1 % in its percentiles.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tail {
    /// How many.
    pub count: u64,
    /// The mean, exact.
    pub mean: Duration,
    /// Half of them took at most this.
    pub p50: Duration,
    /// 90 in 100 took at most this.
    pub p90: Duration,
    /// 99 in 100 took at most this.
    pub p99: Duration,
    /// 999 in 1000 took at most this.
    pub p999: Duration,
    /// None took longer.
    pub max: Duration,
}

impl Tail {
    pub(crate) fn new(histogram: &Histogram<u64>, seconds: f64) -> Self {
        let count = histogram.len();
        let at = |share: f64| Duration::from_nanos(histogram.value_at_quantile(share));
        if count == 0 {
            return Self::default();
        }
        Self {
            count,
            mean: Duration::try_from_secs_f64(seconds / count as f64).unwrap_or_default(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: Duration::from_nanos(histogram.max()),
        }
    }
}

/// What a balancer has done so far. One moment's account: `counts.asked = answered + failed + cancelled + expired + shed + open`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// What has become of requests.
    pub counts: Counts,
    /// Requests that are not over.
    pub open: usize,
    /// Requests that no worker has yet.
    pub waiting: usize,
    /// From asking to the answer.
    pub response: Tail,
    /// From the balancer's taking to the first begin.
    pub waited: Tail,
    /// Pending requests of the workers.
    pub loads: Loads,
    /// Time that workers spent on requests that were answered, wanted or not.
    pub busy: Duration,
    /// Workers that are wanted.
    pub workers: usize,
    /// Workers that are left out for a while.
    pub ejected: usize,
}
