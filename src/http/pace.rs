//! How long a client may take to send or to read bytes. Pure.

use std::time::Duration;

use gopherworks_supervision::clock::Time;

/// A timeout and a least rate, as one time budget. Waiting for the client spends it and each byte
/// refills it, up to the timeout: a stalled client is late after the timeout, one slower than the
/// rate somewhat later, and a burst earns no more than the timeout.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    left: Duration,
    /// When the present wait for the client began; `None` if there is none.
    since: Option<Time>,
    timeout: Duration,
    /// Bytes per second (>= 1).
    rate: u64,
}

impl Pace {
    /// Creates a pace that is not waiting yet.
    pub(super) fn new(timeout: Duration, rate: u64) -> Self {
        Self { left: timeout, since: None, timeout, rate: rate.max(1) }
    }

    /// Begins to wait for the client.
    pub(super) fn wait(&mut self, now: Time) {
        self.since.get_or_insert(now);
    }

    /// True while waiting for the client.
    pub(super) fn waits(&self) -> bool {
        self.since.is_some()
    }

    /// Ends the wait for the client.
    pub(super) fn rest(&mut self, now: Time) {
        self.spend(now);
        self.since = None;
    }

    /// Records that bytes have moved.
    pub(super) fn moved(&mut self, bytes: usize, now: Time) {
        self.spend(now);
        let earned = Duration::try_from_secs_f64(bytes as f64 / self.rate as f64);
        let left = self.left.saturating_add(earned.unwrap_or(self.timeout));
        self.left = left.min(self.timeout);
    }

    /// When the client is late unless bytes move before.
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

    /// Seconds until a client is late that moves `bytes` per second; with `rests`, it is never
    /// waited for.
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
        // Without a wait, the budget does not change.
        pace.rest(at(10));
        assert_eq!(pace.due(), Time::MAX);
        pace.wait(at(100));
        assert!((at(101)..at(102)).contains(&pace.due()), "{:?}", pace.due());
    }
}
