//! Pure: service times of requests.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Service times, for hedge delays that are a percentile.
#[derive(Debug)]
pub(super) struct Times {
    took: Histogram<u64>,
    /// The last quantile computed, and the number of requests from which it is computed anew.
    known: Option<Duration>,
    look_at: u64,
}

/// Requests needed before a percentile is used.
const ENOUGH: u64 = 100;

impl Default for Times {
    fn default() -> Self {
        Self { took: histogram(), known: None, look_at: ENOUGH }
    }
}

/// An auto-resizing histogram of nanoseconds, exact to 0.1 %.
pub fn histogram() -> Histogram<u64> {
    match Histogram::new(3) {
        Ok(mut histogram) => {
            histogram.auto(true);
            histogram
        }
        Err(error) => unreachable!("3 digits are between 0 and 5: {error}"),
    }
}

/// Records one duration.
pub fn record(histogram: &mut Histogram<u64>, span: Duration) {
    record_n(histogram, span, 1);
}

/// Records a duration `count` times.
pub(crate) fn record_n(histogram: &mut Histogram<u64>, span: Duration, count: u64) {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    // Only `record_n` resizes the histogram; an auto-resizing one does not fail.
    if histogram.record_n(nanos, count).is_err() {
        histogram.saturating_record_n(nanos, count);
    }
}

impl Times {
    pub(super) fn took(&mut self, span: Duration) {
        record(&mut self.took, span);
    }

    /// The quantile `share` (0 to 1) of service times, once there are enough of them.
    pub(super) fn quantile(&mut self, share: f64) -> Option<Duration> {
        let seen = self.took.len();
        if seen >= self.look_at {
            // Computing it walks all buckets; the more data there is, the less often it is worth
            // it.
            self.look_at = seen + (seen / 16).max(ENOUGH);
            let nanos = self.took.value_at_quantile(share);
            self.known = Some(Duration::from_nanos(nanos));
        }
        self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_known_after_a_hundred_requests() {
        let mut times = Times::default();
        for ms in 1..=100 {
            assert_eq!(times.quantile(0.95), None);
            times.took(Duration::from_millis(ms));
        }
        let delay = times.quantile(0.95).expect("a hundred are enough");
        assert!((94..=96).contains(&delay.as_millis()), "{delay:?}");
    }
}
