//! Pure: the words for what a service needs besides a policy: deadlines, shedding, priorities, budgets, care for workers.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Who goes first where requests wait. Within a priority the policy's order holds.
///
/// Strict: where high ones keep all workers busy, low ones wait until their deadline, or are shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// After all others.
    Low,
    /// In between.
    #[default]
    Normal,
    /// Before all others.
    High,
}

impl Priority {
    /// All of them, the lowest first.
    pub const ALL: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
        }
    }
}

/// What is special about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallOptions {
    /// Time that it has from being asked to its answer, room in the queue included; the balancer's own where it is `None`.
    pub within: Option<Duration>,
    /// Who goes first.
    pub priority: Priority,
    /// Requests of one key go to one worker, under [`super::policy::Policy::Affinity`].
    pub key: Option<u64>,
}

impl CallOptions {
    /// Time that it has from being asked to its answer.
    #[must_use]
    pub fn within(mut self, span: Duration) -> Self {
        self.within = Some(span);
        self
    }

    /// Who goes first.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Whatever it is about: requests of equal keys go to one worker, under [`super::policy::Policy::Affinity`]. The same in every process.
    #[must_use]
    pub fn key(mut self, key: &(impl Hash + ?Sized)) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.key = Some(hasher.finish());
        self
    }
}

/// What protects callers from a balancer that has too much to do, and from workers that are ill. The default is nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Resilience {
    /// Time that a request has from being asked to its answer, where it does not say so itself.
    pub deadline: Option<Duration>,
    /// Refuses what has waited too long, under overload.
    pub shed: Option<Shed>,
    /// How much may be tried again.
    pub retries: Option<RetryBudget>,
    /// A worker that was started again gets its full share only after so long.
    pub slow_start: Option<Duration>,
    /// Leaves ill workers out.
    pub eject: Option<Eject>,
}

/// Controlled delay: while requests have been waiting for all of the last `interval`, nobody waits longer than `target`; else
/// nobody waits longer than `interval`. Who would is refused at once instead of being answered late.
///
/// Nichols and Jacobson, Controlling Queue Delay, 2012, in the form for servers by Maurer, Fail at Scale, 2015.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shed {
    /// Longest wait under overload (> 0).
    pub target: Duration,
    /// Longest burst that is no overload (> 0).
    pub interval: Duration,
}

impl Default for Shed {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(5),
            interval: Duration::from_millis(100),
        }
    }
}

/// How much may be tried again, in all: every request adds a share of a retry, every second adds some. A request that is
/// lost with its worker while there is nothing left is not tried again: its caller hears that the worker was lost.
///
/// As in Finagle's `RetryBudget`: when workers die of what they are asked, retries do not multiply the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Retries for each request (>= 0).
    pub share: f64,
    /// Retries for each second (>= 0).
    pub per_second: f64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            share: 0.2,
            per_second: 10.0,
        }
    }
}

/// Which workers get nothing for a while. What they have begun goes on, what waits for them goes to others.
///
/// Known as outlier detection (Envoy). Never more than `at_most` of the workers are out, and never the last one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eject {
    /// Requests that failed one after the other: their worker died of them, or the answer says so (>= 1); `None` does not count them.
    pub failures: Option<u32>,
    /// Times the median of the workers' usual times, a moving average (> 1); `None` does not look.
    pub slower: Option<f64>,
    /// For how long the first time (> 0); longer by as much each further time, up to ten times, until it has served as long again.
    pub pause: Duration,
    /// Most workers that are out, as a share of those that are up (0 to 1).
    pub at_most: f64,
}

impl Default for Eject {
    fn default() -> Self {
        Self {
            failures: Some(5),
            slower: None,
            pause: Duration::from_secs(10),
            at_most: 0.5,
        }
    }
}
