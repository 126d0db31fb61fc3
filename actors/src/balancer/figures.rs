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

/// A distribution as a histogram with fixed bounds, as monitoring systems want it.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets {
    /// Upper bounds in seconds, ascending, the last one infinite; with how many are in the bucket, not counting those below it.
    pub buckets: Vec<(f64, u64)>,
    /// How many in all.
    pub count: u64,
    /// The sum of all, in seconds.
    pub seconds: f64,
}

/// Upper bounds in seconds of [`Buckets`].
pub const BOUNDS: [f64; 17] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 60.0,
];

impl Buckets {
    pub(crate) fn new(histogram: &Histogram<u64>, seconds: f64) -> Self {
        let mut buckets: Vec<(f64, u64)> = BOUNDS.iter().map(|bound| (*bound, 0)).collect();
        buckets.push((f64::INFINITY, 0));
        for value in histogram.iter_recorded() {
            // A time on a bound is not above it.
            let at = histogram.lowest_equivalent(value.value_iterated_to()) as f64 / 1e9;
            let bucket = buckets.iter_mut().find(|(bound, _)| at <= *bound);
            if let Some((_, count)) = bucket {
                *count += value.count_since_last_iteration();
            }
        }
        Self {
            buckets,
            count: histogram.len(),
            seconds,
        }
    }
}

/// What a balancer has done so far. One moment's account: `counts.asked = answered + errors + failed + cancelled + expired + shed + open`.
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
