//! Pure: settings beside the policy: deadlines, shedding, priorities, retry budgets, slow start,
//! ejection.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Order of queued requests; within a priority the policy's order holds.
///
/// Priorities are strict: while high ones keep all workers busy, low ones wait until their
/// deadline, or are shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Served after all others.
    Low,
    /// Served after high and before low ones.
    #[default]
    Normal,
    /// Served before all others.
    High,
}

impl Priority {
    /// All priorities, lowest first.
    pub const ALL: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

    /// The priority's name in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
        }
    }
}

/// Options of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallOptions {
    /// Deadline, from the call to the reply, including time spent waiting for the queue; `None`
    /// uses the balancer's.
    pub within: Option<Duration>,
    /// Order among queued requests.
    pub priority: Priority,
    /// Affinity key: requests with equal keys go to one worker under
    /// [`super::policy::LoadPolicy::Affinity`].
    pub key: Option<u64>,
}

impl CallOptions {
    /// Sets the deadline, from the call to the reply.
    #[must_use]
    pub fn within(mut self, span: Duration) -> Self {
        self.within = Some(span);
        self
    }

    /// Sets the priority; [`Priority::Normal`] by default.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the affinity key to a hash of `key`: requests with equal keys go to one worker under
    /// [`super::policy::LoadPolicy::Affinity`]. The hash is the same in every process.
    #[must_use]
    pub fn key(mut self, key: &(impl Hash + ?Sized)) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.key = Some(hasher.finish());
        self
    }
}

/// Protection from overload and from failing workers. All disabled by default.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Resilience {
    /// Default deadline of a request, from the call to the reply; `None` is no deadline.
    pub deadline: Option<Duration>,
    /// Sheds requests that have waited too long under overload.
    pub shed: Option<Shed>,
    /// Limits retries; `None` leaves only `max_attempts`.
    pub retries: Option<RetryBudget>,
    /// A restarted worker's share of requests grows to its full size over this time.
    pub slow_start: Option<Duration>,
    /// Ejects failing or slow workers.
    pub eject: Option<Eject>,
}

/// Controlled delay. Under overload (the queue has not been empty for `interval`) requests that
/// have waited for `target` are shed, otherwise those that have waited for `interval`, instead of
/// being answered late.
///
/// Nichols and Jacobson, Controlling Queue Delay, 2012, in the form for servers by Maurer, Fail at
/// Scale, 2015.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shed {
    /// Longest wait under overload (> 0); 5 ms by default.
    pub target: Duration,
    /// How long the queue may be non-empty before that counts as overload (> 0); 100 ms by
    /// default.
    pub interval: Duration,
}

impl Default for Shed {
    fn default() -> Self {
        Self { target: Duration::from_millis(5), interval: Duration::from_millis(100) }
    }
}

/// Limits all retries of a balancer: every request adds `share` tokens, every second adds
/// `per_second`, and a retry costs one. If no token is left when a worker is lost, the request
/// fails with [`super::CallError::WorkerLost`].
///
/// As in Finagle's `RetryBudget`: if requests crash workers, retries do not multiply the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Tokens for each request (>= 0); 0.2 by default.
    pub share: f64,
    /// Tokens for each second (>= 0); 10 by default.
    pub per_second: f64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { share: 0.2, per_second: 10.0 }
    }
}

/// When workers are ejected: they get no new requests for a while. Running requests continue,
/// queued ones go to other workers.
///
/// Known as outlier detection (Envoy). At most `at_most` of the workers are ejected, but always at
/// least one may be; the last available worker never is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Eject {
    /// Consecutive failures: the worker died, or the reply counts as a failure (>= 1). 5 by
    /// default; `None` disables.
    pub failures: Option<u32>,
    /// How many times slower than the median of all workers, by moving averages (> 1). `None`, the
    /// default, disables.
    pub slower: Option<f64>,
    /// Length of the first ejection (> 0); 10 s by default. The n-th lasts n times as long, at most
    /// ten times. The count starts again once a worker has stayed in service for longer than its
    /// last ejection.
    pub pause: Duration,
    /// Largest share of the available workers to be ejected (0 to 1); 0.5 by default.
    pub at_most: f64,
}

impl Default for Eject {
    fn default() -> Self {
        Self { failures: Some(5), slower: None, pause: Duration::from_secs(10), at_most: 0.5 }
    }
}
