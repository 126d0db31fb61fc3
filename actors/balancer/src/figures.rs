//! Statistics of balancers and requesters.

use std::time::Duration;

use hdrhistogram::Histogram;

pub use crate::table::{Loads, RequestCounts, WorkerLoad};

/// Percentiles of durations, exact to 0.1 %.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tail {
    /// Number of durations.
    pub count: u64,
    /// The exact mean.
    pub mean: Duration,
    /// 50th percentile.
    pub p50: Duration,
    /// 90th percentile.
    pub p90: Duration,
    /// 99th percentile.
    pub p99: Duration,
    /// 99.9th percentile.
    pub p999: Duration,
    /// The longest duration.
    pub max: Duration,
}

impl Tail {
    #[doc(hidden)]
    pub fn new(histogram: &Histogram<u64>, seconds: f64) -> Self {
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

/// A histogram with fixed bounds, as monitoring systems expect it.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets {
    /// Upper bounds in seconds, ascending and ending with infinity, each with the count of its
    /// bucket alone (not cumulative).
    pub buckets: Vec<(f64, u64)>,
    /// Number of durations.
    pub count: u64,
    /// Sum of all durations, in seconds.
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
            // A duration equal to a bound belongs to that bound's bucket.
            let at = histogram.lowest_equivalent(value.value_iterated_to()) as f64 / 1e9;
            let bucket = buckets.iter_mut().find(|(bound, _)| at <= *bound);
            if let Some((_, count)) = bucket {
                *count += value.count_since_last_iteration();
            }
        }
        Self { buckets, count: histogram.len(), seconds }
    }
}

/// Statistics of a balancer since its start. A consistent snapshot: `counts.asked = answered +
/// errors + failed + cancelled + expired + shed + open`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// How many requests ended in which way.
    pub counts: RequestCounts,
    /// Requests in flight, queued or running.
    pub open: usize,
    /// Requests in the balancer's backlog, not yet at a worker.
    pub waiting: usize,
    /// Time from the call to the reply.
    pub response: Tail,
    /// Time from acceptance to the first start.
    pub waited: Tail,
    /// Pending requests of each worker.
    pub loads: Loads,
    /// Total time workers spent on requests that they answered, including replies that came too
    /// late.
    pub busy: Duration,
    /// Number of workers wanted.
    pub workers: usize,
    /// Workers ejected at present.
    pub ejected: usize,
}
