//! What protects a balancer and its callers, and which requests go first.

use std::time::Duration;

/// What protects callers from a balancer that has too much to do, and from workers that are ill. The default is nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ResilienceConfig {
    /// Time that a request has from being asked to its answer (> 0).
    pub deadline: Option<Duration>,
    /// Refuses what has waited too long, under overload.
    pub shed: Option<ShedConfig>,
    /// How much may be tried again, in all.
    pub retry_budget: Option<RetryBudgetConfig>,
    /// A worker that was started again gets its full share only after so long (> 0).
    pub slow_start: Option<Duration>,
    /// Leaves ill workers out for a while.
    pub eject: Option<EjectConfig>,
}

/// Controlled delay (CoDel): how long requests may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShedConfig {
    /// Under overload (> 0).
    pub target: Duration,
    /// Else; and what has waited so long without a break is an overload (>= `target`).
    pub interval: Duration,
}

impl Default for ShedConfig {
    fn default() -> Self {
        Self { target: Duration::from_millis(5), interval: Duration::from_millis(100) }
    }
}

/// How much may be tried again, in all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudgetConfig {
    /// Retries for each request (>= 0).
    pub share: f64,
    /// Retries for each second (>= 0).
    pub per_second: f64,
}

impl Default for RetryBudgetConfig {
    fn default() -> Self {
        Self { share: 0.2, per_second: 10.0 }
    }
}

/// Which workers get nothing for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EjectConfig {
    /// Failures one after the other (>= 1).
    pub failures: u32,
    /// Times the median of what a request takes at the workers (> 1); `None` does not look.
    pub slower: Option<f64>,
    /// For how long the first time (> 0).
    pub pause: Duration,
    /// Most workers that are out, as a share of those that are up (> 0, at most 1).
    pub at_most: f64,
}

impl Default for EjectConfig {
    fn default() -> Self {
        Self { failures: 5, slower: None, pause: Duration::from_secs(10), at_most: 0.5 }
    }
}

/// Which requests go first where they wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PriorityConfig {
    /// After all others.
    Low,
    /// In between.
    #[default]
    Normal,
    /// Before all others.
    High,
}
