//! How long commits take, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gopherworks_balancer::figures::{BOUNDS, Buckets};

/// A histogram of durations, written by one thread and read by any.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Number of durations by bound of [`BOUNDS`], and number beyond the last bound.
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Times {
    /// Adds a duration.
    pub(crate) fn took(&self, span: Duration) {
        let at = BOUNDS.iter().position(|bound| span.as_secs_f64() <= *bound);
        self.counts[at.unwrap_or(BOUNDS.len())].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// All durations so far.
    pub(crate) fn buckets(&self) -> Buckets {
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        Buckets {
            count: buckets.iter().map(|(_, count)| count).sum(),
            seconds: self.nanos.load(Ordering::Relaxed) as f64 / 1e9,
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_bucket_of_its_bound() {
        let times = Times::default();
        for millis in [0, 1, 2, 100_000] {
            times.took(Duration::from_millis(millis));
        }
        let Buckets { buckets, count, seconds } = times.buckets();
        let in_bucket = |bound: f64| buckets.iter().find(|(at, _)| *at == bound).map(|at| at.1);
        assert_eq!([0.0001, 0.001, 0.0025, f64::INFINITY].map(in_bucket), [Some(1); 4]);
        assert_eq!((count, seconds), (4, 100.003));
    }
}
