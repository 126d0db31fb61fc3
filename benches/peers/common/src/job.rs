//! What a request of the balancer costs: nothing, a core's time, or time without a core.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// What a request of the balancer costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// Nothing.
    Empty,
    /// Iterations of [`spin`]: those of most requests, and those of one in twenty.
    Spin(u64, u64),
    /// Time that passes without a core: that of most requests, and that of one in twenty.
    Sleep(Duration, Duration),
}

impl Job {
    /// The job of this name, calibrated.
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

    /// True if it waits without a core.
    pub fn sleeps(self) -> bool {
        matches!(self, Job::Sleep(..))
    }

    /// Serves a request that does not sleep, and answers with its number.
    ///
    /// # Panics
    /// Where the job sleeps.
    #[inline]
    pub fn work(self, number: u64) -> u64 {
        match self {
            Job::Empty => {}
            Job::Spin(usual, long) => spin(if is_long(number) { long } else { usual }),
            Job::Sleep(..) => panic!("a job that sleeps is to be awaited"),
        }
        black_box(number)
    }

    /// How long a request sleeps, if the job is one that does.
    #[inline]
    pub fn slept(self, number: u64) -> Option<Duration> {
        match self {
            Job::Sleep(usual, long) => Some(if is_long(number) { long } else { usual }),
            _ => None,
        }
    }

    /// Serves a request and answers with its number.
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

/// Which ones are long looks drawn by chance, and is the same for all programs.
fn is_long(number: u64) -> bool {
    ((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33).is_multiple_of(20)
}

/// Keeps a core busy: a chain of steps, each of which waits for the one before. A chain of multiplications alone is made shorter by one compiler and not by
/// the other, eight steps into one; with a shift between them it is not.
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

/// Iterations of [`spin`] in a microsecond: as the runner says (`PEERS_SPINS_PER_US`), or as the fastest of some tries shows.
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
