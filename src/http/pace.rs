//! Pure: how long a client may take to send or to take bytes.

use std::time::Duration;

use gopherworks_actors::clock::Time;

/// A timeout and a least rate, as one moment that moves on with each byte: a client that stalls is late after the timeout, one that
/// trickles below the rate somewhat later, and a burst buys no more than the timeout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    /// When the client is too slow unless something moves before.
    pub(super) due: Time,
    timeout: Duration,
    /// Bytes a second (>= 1).
    rate: u64,
}

impl Pace {
    pub(super) fn new(now: Time, timeout: Duration, rate: u64) -> Self {
        Self {
            due: now + timeout,
            timeout,
            rate: rate.max(1),
        }
    }

    /// So many bytes have moved.
    pub(super) fn moved(&mut self, bytes: usize, now: Time) {
        let earned = Duration::try_from_secs_f64(bytes as f64 / self.rate as f64);
        let due = self.due + earned.unwrap_or(self.timeout);
        self.due = due.min(now + self.timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Time {
        Time::ZERO + SECOND * seconds
    }

    /// When a client is late that moves `bytes` each second.
    fn late(bytes: usize) -> Option<u32> {
        let mut pace = Pace::new(at(0), SECOND * 10, 1024);
        for second in 1..1000 {
            if pace.due <= at(second) {
                return Some(second);
            }
            pace.moved(bytes, at(second));
        }
        None
    }

    #[test]
    fn a_stall_a_trickle_and_a_client_that_keeps_up() {
        assert_eq!(late(0), Some(10));
        assert_eq!(late(1), Some(11));
        assert_eq!(late(512), Some(19));
        assert_eq!(late(1024), None);
        assert_eq!(late(usize::MAX), None);
    }

    #[test]
    fn a_burst_buys_no_more_than_the_timeout() {
        let mut pace = Pace::new(at(0), SECOND * 10, 1024);
        pace.moved(1 << 30, at(1));
        assert_eq!(pace.due, at(11));
        pace.moved(1, at(5));
        assert!(pace.due < at(12), "{:?}", pace.due);
    }
}
