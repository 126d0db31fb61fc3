//! How long something took: on the clock on the wall, and of the cores' time.

use std::ops::{Add, Sub};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A point in time, and what this process had of the cores' time by then.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    wall: Instant,
    cpu: Duration,
}

/// How long something took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Took {
    /// On the wall.
    pub wall: Duration,
    /// On cores, by all threads of the process. On an idle machine it tells the same where one thread is never idle; on a busy one it
    /// leaves out what others had.
    pub cpu: Duration,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            wall: Instant::now(),
            cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32),
        }
    }

    /// What has passed since.
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
        Took {
            wall: self.wall - before.wall,
            cpu: self.cpu - before.cpu,
        }
    }
}

impl Add for Took {
    type Output = Took;

    fn add(self, other: Self) -> Took {
        Took {
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
        }
    }
}
