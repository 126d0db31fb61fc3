//! The cost of a balancer's request: none, core time, or elapsed time without a core.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The cost of a balancer's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// No work.
    Empty,
    /// Iterations of [`spin`]: of most requests, and of one request in twenty.
    Spin(u64, u64),
    /// Time to sleep: of most requests, and of one request in twenty.
    Sleep(Duration, Duration),
}

impl Job {
    /// The job of this name, with calibrated iterations; `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        let spinning = |usual: f64, long: f64| {
            let per_us = spins_per_us();
            Job::Spin((usual * per_us) as u64, (long * per_us) as u64)
        };
        Some(match name {
            "empty" => Job::Empty,
            "10us" => spinning(10.0, 10.0),
            "50us" => spinning(50.0, 50.0),
            "mix" => spinning(10.0, 200.0),
            "sleep" => Job::Sleep(Duration::from_millis(2), Duration::from_millis(40)),
            _ => return None,
        })
    }

    /// True if the job sleeps instead of using a core.
    pub fn sleeps(self) -> bool {
        matches!(self, Job::Sleep(..))
    }

    /// Serves a request that does not sleep, and returns its number.
    ///
    /// # Panics
    /// If the job sleeps.
    #[inline]
    pub fn work(self, number: u64) -> u64 {
        match self {
            Job::Empty => {}
            Job::Spin(usual, long) => spin(if is_long(number) { long } else { usual }),
            Job::Sleep(..) => panic!("a job that sleeps is to be awaited"),
        }
        black_box(number)
    }

    /// How long a request sleeps; `None` for jobs that do not sleep.
    #[inline]
    pub fn slept(self, number: u64) -> Option<Duration> {
        match self {
            Job::Sleep(usual, long) => Some(if is_long(number) { long } else { usual }),
            _ => None,
        }
    }

    /// Serves a request and returns its number.
    #[inline]
    pub async fn serve(self, number: u64) -> u64 {
        match self.slept(number) {
            Some(span) => {
                tokio::time::sleep(span).await;
                number
            }
            None => self.work(number),
        }
    }
}

/// Long requests look random, but are the same for all programs.
fn is_long(number: u64) -> bool {
    ((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33).is_multiple_of(20)
}

/// Keeps a core busy with a chain of dependent steps. One of the compilers shortens a chain of
/// multiplications alone, eight steps into one; the shift between them prevents that.
#[inline(never)]
pub fn spin(times: u64) {
    let mut x = times;
    for _ in 0..times {
        x = (x ^ (x >> 33))
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
    }
    black_box(x);
}

/// Iterations of [`spin`] per microsecond: `PEERS_SPINS_PER_US` if the runner sets it, otherwise
/// the fastest of several measurements.
pub fn spins_per_us() -> f64 {
    let said = std::env::var("PEERS_SPINS_PER_US").ok();
    if let Some(said) = said.and_then(|said| said.parse().ok()) {
        return said;
    }
    let times = 200_000;
    let tries = (0..50).map(|_| {
        let start = Instant::now();
        spin(times);
        times as f64 / start.elapsed().as_nanos() as f64 * 1000.0
    });
    tries.fold(0.0, f64::max)
}
