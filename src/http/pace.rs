//! Pure: how long a client may take to send or to take bytes.

use std::time::Duration;

use gopherworks_actors::clock::Time;

/// A timeout and a least rate, as one allowance of time. Waiting for the client spends it, each
/// byte earns some back, and it never exceeds the timeout: a client that stalls is late after the
/// timeout, one that trickles below the rate somewhat later, and a burst buys no more than the
/// timeout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    left: Duration,
    /// Since when the client is waited for; `None` while it is not.
    since: Option<Time>,
    timeout: Duration,
    /// Bytes a second (>= 1).
    rate: u64,
}

impl Pace {
    /// Nothing is waited for yet.
    pub(super) fn new(timeout: Duration, rate: u64) -> Self {
        Self { left: timeout, since: None, timeout, rate: rate.max(1) }
    }

    /// From now on the client is waited for.
    pub(super) fn wait(&mut self, now: Time) {
        self.since.get_or_insert(now);
    }

    /// True while the client is waited for.
    pub(super) fn waits(&self) -> bool {
        self.since.is_some()
    }

    /// The client is not waited for any more.
    pub(super) fn rest(&mut self, now: Time) {
        self.spend(now);
        self.since = None;
    }

    /// Notes that this many bytes have moved.
    pub(super) fn moved(&mut self, bytes: usize, now: Time) {
        self.spend(now);
        let earned = Duration::try_from_secs_f64(bytes as f64 / self.rate as f64);
        let left = self.left.saturating_add(earned.unwrap_or(self.timeout));
        self.left = left.min(self.timeout);
    }

    /// When the client is too slow, unless something moves before.
    pub(super) fn due(&self) -> Time {
        self.since.map_or(Time::MAX, |since| since + self.left)
    }

    fn spend(&mut self, now: Time) {
        if let Some(since) = self.since.replace(now) {
            self.left = self.left.saturating_sub(now - since);
        } else {
            self.since = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Time {
        Time::ZERO + SECOND * seconds
    }

    /// When a client is late that is waited for and moves `bytes` each second; it is never waited
    /// for where `rests`.
    fn late(bytes: usize, rests: bool) -> Option<u32> {
        let mut pace = Pace::new(SECOND * 10, 1024);
        for second in 1..1000 {
            if !rests {
                pace.wait(at(second - 1));
            }
            if pace.due() <= at(second) {
                return Some(second);
            }
            pace.moved(bytes, at(second));
            pace.rest(at(second));
        }
        None
    }

    #[test]
    fn a_stall_a_trickle_and_a_client_that_keeps_up() {
        assert_eq!(late(0, false), Some(10));
        assert_eq!(late(1, false), Some(11));
        assert_eq!(late(512, false), Some(19));
        assert_eq!(late(1024, false), None);
        assert_eq!(late(usize::MAX, false), None);
        assert_eq!(late(0, true), None);
    }

    #[test]
    fn a_burst_buys_no_more_than_the_timeout() {
        let mut pace = Pace::new(SECOND * 10, 1024);
        pace.wait(at(0));
        pace.moved(1 << 30, at(1));
        assert_eq!(pace.due(), at(11));
        pace.moved(1, at(5));
        assert!((at(11)..at(12)).contains(&pace.due()), "{:?}", pace.due());
        // What is left stays left while nothing is waited for.
        pace.rest(at(10));
        assert_eq!(pace.due(), Time::MAX);
        pace.wait(at(100));
        assert!((at(101)..at(102)).contains(&pace.due()), "{:?}", pace.due());
    }
}
