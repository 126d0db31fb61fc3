//! Sleeps that are not rounded to milliseconds: one thread per process waits for the earliest one.
//!
//! tokio's timers are nearly free but tick in milliseconds: a sleep of 2 ms takes 3 ms. A sleep
//! here costs the wake-up of a thread.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::panic::guarded;

static SLEEPERS: Mutex<Sleepers> = Mutex::new(Sleepers { next: 0, waiting: BTreeMap::new() });
static EARLIER: Condvar = Condvar::new();
static THREAD: Once = Once::new();

struct Sleepers {
    next: u64,
    /// Keyed by deadline, then by order of registration.
    waiting: BTreeMap<(Instant, u64), Waker>,
}

fn sleepers() -> MutexGuard<'static, Sleepers> {
    // No waker runs or is dropped under this lock, so a poisoned map is still consistent.
    SLEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A sleep until a point of the machine's monotonic clock.
pub(super) struct Exact {
    until: Instant,
    turn: Option<u64>,
}

impl Exact {
    pub(super) fn new(until: Instant) -> Self {
        Self { until, turn: None }
    }

    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if Instant::now() >= self.until {
            return Poll::Ready(());
        }
        THREAD.call_once(start);
        // Cloned before taking the lock: `clone` runs the caller's code.
        let waker = cx.waker().clone();
        let (earliest, _before) = {
            let mut sleepers = sleepers();
            let turn = *self.turn.get_or_insert_with(|| {
                sleepers.next += 1;
                sleepers.next
            });
            let me = (self.until, turn);
            let before = sleepers.waiting.insert(me, waker);
            let first = sleepers.waiting.first_key_value();
            (first.is_some_and(|(key, _)| *key == me), before)
        };
        if earliest {
            EARLIER.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Exact {
    fn drop(&mut self) {
        if let Some(turn) = self.turn {
            let waker = sleepers().waiting.remove(&(self.until, turn));
            drop(waker);
        }
    }
}

/// Panics if the thread cannot be spawned: no sleep would ever end without it.
fn start() {
    let spawned = std::thread::Builder::new().name("gopherworks-timer".to_owned()).spawn(run);
    if let Err(error) = spawned {
        panic!("no thread for timers: {error}");
    }
}

#[allow(clippy::disallowed_methods, reason = "this is the clock")]
fn run() {
    let mut due: Vec<Waker> = Vec::new();
    loop {
        let mut all = sleepers();
        loop {
            let now = Instant::now();
            while let Some(first) = all.waiting.first_entry()
                && first.key().0 <= now
            {
                due.push(first.remove());
            }
            if !due.is_empty() {
                break;
            }
            let wait = match all.waiting.first_key_value() {
                Some(((at, _), _)) => *at - now,
                None => Duration::MAX,
            };
            all = match EARLIER.wait_timeout(all, wait) {
                Ok((all, _)) => all,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        drop(all);
        for waker in due.drain(..) {
            // Wakers run user code; a panic in one must not prevent the other wake-ups.
            if let Err(text) = guarded(|| waker.wake()) {
                log::error!("a waker panicked: {text}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use crate::clock::Clock;
    use std::time::Duration;

    #[test]
    fn sleeps_end_in_order_and_never_early() {
        let clock = Clock::real();
        let sleeps = (0..50_u64).rev().map(|at| {
            let clock = clock.clone();
            async move {
                let until = clock.now() + Duration::from_micros(100 * at);
                clock.sleep_exactly(until - clock.now()).await;
                assert!(clock.now() + Duration::from_micros(1) >= until);
                at
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        // The runtime has no timers: none are needed.
        let ended = runtime.expect("a runtime").block_on(join_all(sleeps));
        assert_eq!(ended.len(), 50);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "this is the clock")]
    fn a_sleep_that_is_dropped_is_forgotten() {
        let clock = Clock::real();
        let mut sleep = Box::pin(clock.sleep_exactly(Duration::from_secs(3600)));
        assert!((&mut sleep).now_or_never().is_none());
        assert!((&mut sleep).now_or_never().is_none());
        let far = |all: &super::Sleepers| {
            let now = std::time::Instant::now() + Duration::from_secs(1800);
            all.waiting.keys().filter(|(at, _)| *at > now).count()
        };
        assert_eq!(far(&super::sleepers()), 1);
        drop(sleep);
        assert_eq!(far(&super::sleepers()), 0);
    }

    #[test]
    fn where_time_is_simulated_it_is_a_sleep_as_any() {
        let clock = Clock::simulated();
        let sleep = clock.sleep_exactly(Duration::from_micros(3));
        assert_eq!(sleep.deadline().as_nanos(), 3000);
        assert!(sleep.now_or_never().is_none());
        assert!(clock.sleep_exactly(Duration::ZERO).now_or_never().is_some());
    }
}
