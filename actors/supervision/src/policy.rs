//! When a supervisor restarts, how soon, and when it gives up.

use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};

/// Whom a failure takes along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Only the child that failed is started again.
    #[default]
    OneForOne,
    /// All children are killed and started again, in order.
    OneForAll,
    /// The child that failed and those after it are killed and started again, in order.
    RestForOne,
}

/// Which exits a child is started again after.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Restart {
    /// All of them; a normal exit is a failure too.
    #[default]
    Permanent,
    /// Abnormal ones.
    Transient,
    /// None. Its exits are no failures, and a group restart ends it for good.
    Temporary,
}

/// How long to wait before a restart: `min`, doubled with every further failure in a row, never above `max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The wait after the first failure.
    pub min: Duration,
    /// The longest wait; `min` counts where it is longer.
    pub max: Duration,
    /// The part of a wait that chance takes off or adds, from 0 (none) to 1; the result stays between `min` and `max`.
    pub jitter: f64,
    /// A child that ran this long is healthy: its failures in a row count from 0 again.
    pub reset: Duration,
}

impl Default for Backoff {
    /// 10 ms to 30 s, 20% jitter, reset after 60 s.
    fn default() -> Self {
        Self {
            min: Duration::from_millis(10),
            max: Duration::from_secs(30),
            jitter: 0.2,
            reset: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The wait after the `failures`-th failure in a row (from 1). Draws from `rng` once, whatever the jitter.
    pub fn delay(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        let max = self.max.max(self.min);
        let doubled = self
            .min
            .saturating_mul(
                1u32.checked_shl(failures.saturating_sub(1))
                    .unwrap_or(u32::MAX),
            )
            .min(max);
        let chance: f64 = rng.random_range(-1.0..=1.0);
        // A jitter that is no number takes and adds nothing.
        let jitter = if self.jitter.is_nan() {
            0.0
        } else {
            self.jitter.clamp(0.0, 1.0)
        };
        let seconds = doubled.as_secs_f64() * (1.0 + jitter * chance);
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(max)
            .clamp(self.min, max)
    }
}

/// How one supervisor treats its children.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// Whom a failure takes along.
    pub strategy: Strategy,
    /// How many failures of its children within `period` it answers with a restart; the next one escalates. 0 restarts nothing.
    pub intensity: u32,
    /// The sliding window of `intensity`.
    pub period: Duration,
    /// How many failures of one child in a row, without a healthy stretch between, escalate: backoff alone could keep a child
    /// that always fails below the intensity for ever. 0 counts as 1.
    pub in_a_row: u32,
    /// How long to wait before a restart.
    pub backoff: Backoff,
    /// How long a killed child has to be gone. Then it counts as hung: its epoch is fenced, and nobody waits for it.
    pub kill_deadline: Duration,
}

impl Default for Policy {
    /// One for one, 5 restarts in 10 s, 10 failures in a row, the default backoff, 5 s to be gone after a kill.
    fn default() -> Self {
        Self {
            strategy: Strategy::OneForOne,
            intensity: 5,
            period: Duration::from_secs(10),
            in_a_row: 10,
            backoff: Backoff::default(),
            kill_deadline: Duration::from_secs(5),
        }
    }
}

/// What the restart policy has to know of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSpec {
    /// For people.
    pub name: Arc<str>,
    /// Which exits it is started again after.
    pub restart: Restart,
    /// How long it may take to stop when asked to.
    pub shutdown: Duration,
    /// The number of its first life here; higher than any that its port has seen.
    pub first_epoch: u64,
}
