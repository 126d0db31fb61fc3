//! Pure: the policies by which requests are assigned to workers.

use std::time::Duration;

/// Which worker gets a request, and when.
///
/// The default, [`LoadPolicy::Central`] with one request per slot, keeps the backlog in the
/// balancer, from which free workers pull. Of the policies that use no information on requests it
/// has the shortest tail: a request sent to a worker early waits behind whatever that worker is
/// busy with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LoadPolicy {
    /// The backlog stays in the balancer, first come, first served; a worker has at most
    /// `per_worker` requests per slot, running ones included. Known as a central queue, and for
    /// `per_worker` > 1 as JBSQ(k) (Kogias et al., R2P2, 2019).
    Central {
        /// Requests per slot of a worker (>= 1); 2 hides the hand-over if requests are as short as
        /// a message.
        per_worker: u32,
        /// Leaves a slow worker idle if waiting for a faster one promises an earlier reply.
        skip_slow: bool,
    },
    /// Immediately to the worker with the fewest pending requests: join the shortest queue.
    LeastLoaded,
    /// Immediately to the less loaded of two random workers (Mitzenmacher, 2001).
    TwoChoices,
    /// Immediately to the next worker in turn.
    RoundRobin,
    /// Immediately to a random worker.
    Random,
    /// The backlog stays in the balancer, lowest cost hint first; no hint counts as zero.
    ShortFirst {
        /// Seconds of cost that a second of waiting offsets (>= 0); with 0, expensive requests
        /// starve under load.
        ageing: f64,
    },
    /// The backlog stays in the balancer; some workers take only short requests, the others take
    /// short ones first.
    Reserve {
        /// Workers reserved for short requests (the first ones; at least one stays unreserved).
        workers: u32,
        /// A request is short if its cost hint is at most this, or if it has none.
        short: Duration,
        /// As for [`LoadPolicy::ShortFirst`]: a long request goes ahead of short ones that arrived
        /// more than cost / ageing after it.
        ageing: f64,
    },
    /// Immediately to the worker with the earliest expected reply: its moving average of service
    /// times, multiplied by the requests it would have. Examines every worker. For workers whose
    /// speeds differ, or change over hours.
    LatencyAware {
        /// Time constant with which the average of a worker without replies decays (> 0), so that
        /// one that was slow is tried again.
        decay: Duration,
    },
    /// Immediately to the worker that the request's key maps to, or the key's next one if that is
    /// overloaded. When workers come and go, only their own keys move. A request without a key
    /// goes to the least loaded worker.
    ///
    /// Rendezvous hashing (Thaler and Ravishankar, 1996) with bounded loads (Mirrokni, Thorup and
    /// Zadimoghaddam, 2016).
    Affinity {
        /// Most pending requests of a worker, as a multiple of the mean (>= 1).
        bound: f64,
    },
}

impl LoadPolicy {
    /// Default of `ageing`.
    pub const AGEING: f64 = 0.05;

    /// [`LoadPolicy::Central`] with one request per slot, skipping no worker.
    pub const CENTRAL: LoadPolicy = LoadPolicy::Central { per_worker: 1, skip_slow: false };

    /// Default of [`LoadPolicy::LatencyAware`]'s `decay`.
    pub const DECAY: Duration = Duration::from_secs(10);

    /// Default of [`LoadPolicy::Affinity`]'s `bound`.
    pub const BOUND: f64 = 1.25;

    /// The policy's name in configuration files.
    pub fn name(&self) -> &'static str {
        match self {
            LoadPolicy::Central { .. } => "central",
            LoadPolicy::LeastLoaded => "least-loaded",
            LoadPolicy::TwoChoices => "two-choices",
            LoadPolicy::RoundRobin => "round-robin",
            LoadPolicy::Random => "random",
            LoadPolicy::ShortFirst { .. } => "short-first",
            LoadPolicy::Reserve { .. } => "reserve",
            LoadPolicy::LatencyAware { .. } => "latency-aware",
            LoadPolicy::Affinity { .. } => "affinity",
        }
    }

    /// All names.
    pub const NAMES: [&'static str; 9] = [
        "central",
        "least-loaded",
        "two-choices",
        "round-robin",
        "random",
        "short-first",
        "reserve",
        "latency-aware",
        "affinity",
    ];
}

impl Default for LoadPolicy {
    fn default() -> Self {
        Self::CENTRAL
    }
}

/// How many workers get each request.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Spread {
    /// One worker.
    #[default]
    One,
    /// This many of the least loaded workers (all with `None`); the first reply wins, the others
    /// are cancelled.
    Replicated(Option<u32>),
    /// One worker, and a second if the first takes long.
    Hedged(Hedge),
}

/// Hedged requests (Dean and Barroso, The Tail at Scale, 2013).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hedge {
    /// How long the first worker has before a second gets a copy.
    pub after: After,
    /// Maximum share of requests that get a hedge copy (0 to 1).
    pub budget: f64,
}

/// Delay of a hedge, counted from when the first worker starts the request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum After {
    /// A fixed delay.
    Delay(Duration),
    /// This quantile (between 0 and 1) of the service times so far; no hedging until 100 are
    /// known.
    Percentile(f64),
}

/// What happens to a request when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// It waits for a queue permit, which exerts back-pressure on its caller.
    #[default]
    Wait,
    /// It fails immediately with [`super::CallError::Full`].
    Reject,
}
