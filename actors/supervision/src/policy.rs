//! The restart policy: when a supervisor restarts children, after which delay, and when it gives
//! up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngExt};

/// Which children are restarted after a failure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Only the child that failed.
    #[default]
    OneForOne,
    /// All children: they are killed, then started in order.
    OneForAll,
    /// The child that failed and those started after it: they are killed, then started in order.
    RestForOne,
}

/// The exits after which a child is restarted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Restart {
    /// Every exit; a normal exit counts as a failure.
    #[default]
    Permanent,
    /// Abnormal exits only.
    Transient,
    /// No exit. Its exits are not failures, and a group restart ends it permanently.
    Temporary,
}

/// Exponential backoff: the delay before a restart is `min`, doubled with each further consecutive
/// failure up to `max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The delay after the first failure.
    pub min: Duration,
    /// The longest delay; `min` if that is longer.
    pub max: Duration,
    /// Relative random deviation of a delay in both directions, from 0 (none) to 1; the result is
    /// clamped to `min..=max`.
    pub jitter: f64,
    /// A child that ran this long is healthy: its count of consecutive failures restarts at 0.
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
    /// The delay after the `failures`-th consecutive failure (from 1). Draws one number from `rng`
    /// regardless of the jitter.
    pub fn delay(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        let max = self.max.max(self.min);
        let doubled = self
            .min
            .saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX))
            .min(max);
        let chance: f64 = rng.random_range(-1.0..=1.0);
        // A NaN jitter counts as none.
        let jitter = if self.jitter.is_nan() { 0.0 } else { self.jitter.clamp(0.0, 1.0) };
        let seconds = doubled.as_secs_f64() * (1.0 + jitter * chance);
        Duration::try_from_secs_f64(seconds).unwrap_or(max).clamp(self.min, max)
    }
}

/// The restart policy of one supervisor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RestartPolicy {
    /// Which children are restarted after a failure.
    pub strategy: Strategy,
    /// Maximum number of failures within `period` that are answered with a restart; the next one
    /// escalates. 0 means no restarts.
    pub intensity: u32,
    /// The sliding window for `intensity`.
    pub period: Duration,
    /// Number of consecutive failures of one child, without a healthy period in between, that
    /// escalates. Backoff alone could keep a crash loop below the intensity limit indefinitely. 0
    /// counts as 1.
    pub in_a_row: u32,
    /// The delay before a restart.
    pub backoff: Backoff,
    /// Time that a killed child has to end. After it the child counts as hung: its epoch is fenced,
    /// and the supervisor no longer waits for it.
    pub kill_deadline: Duration,
}

impl Default for RestartPolicy {
    /// One-for-one, 5 restarts in 10 s, 10 consecutive failures, the default backoff, and 5 s to
    /// end after a kill.
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

/// The name of a child of a template.
pub(super) fn derived(prefix: &str, index: impl fmt::Display) -> Arc<str> {
    format!("{prefix}/{index}").into()
}

/// The properties of a child that the restart policy needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSpec {
    /// The name in logs and events.
    pub name: Arc<str>,
    /// The exits after which the child is restarted.
    pub restart: Restart,
    /// Time that the child has to stop when asked to; then it is killed.
    pub shutdown: Duration,
    /// The epoch of its first life under this supervisor; must exceed every epoch begun at its
    /// port.
    pub first_epoch: u64,
}
