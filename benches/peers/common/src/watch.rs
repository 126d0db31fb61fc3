//! Measures elapsed time and core time.

use std::ops::{Add, Sub};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A point in time, and the core time that this process had used by then.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    wall: Instant,
    cpu: Duration,
}

/// A duration, as elapsed time and as core time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Took {
    /// Elapsed time.
    pub wall: Duration,
    /// Core time of all threads of the process. On an idle machine it equals the elapsed time of a
    /// program that keeps one thread busy; on a busy machine it excludes the time of other
    /// processes.
    pub cpu: Duration,
}

impl Moment {
    /// The present moment.
    pub fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Self { wall: Instant::now(), cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32) }
    }

    /// The time that has passed since `self`.
    pub fn elapsed(self) -> Took {
        Self::now() - self
    }

    /// The earlier one.
    pub fn earlier(self, other: Self) -> Self {
        if other.wall < self.wall { other } else { self }
    }

    /// The later one.
    pub fn later(self, other: Self) -> Self {
        if other.wall > self.wall { other } else { self }
    }
}

impl Sub for Moment {
    type Output = Took;

    fn sub(self, before: Self) -> Took {
        Took { wall: self.wall - before.wall, cpu: self.cpu - before.cpu }
    }
}

impl Add for Took {
    type Output = Took;

    fn add(self, other: Self) -> Took {
        Took { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}
