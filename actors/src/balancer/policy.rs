//! Pure: the words for who gets a request.

use std::time::Duration;

/// Who gets a request, and when.
///
/// The default, [`Policy::Central`] with one request a place, keeps the backlog in the balancer: it has the best tail of those that know
/// nothing of a request (it is the document's simple balancer: workers pull from one queue). A request that is sent early waits
/// behind whatever its worker is busy with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Policy {
    /// The backlog stays in the balancer; a worker has at most `per_worker` requests for each of its places, running ones included.
    /// First come, first served. Known as a central queue, and for `per_worker` > 1 as JBSQ(k) (Kogias et al., R2P2, 2019).
    Central {
        /// Requests for each place of a worker (>= 1); 2 hides the hand-over where requests are as short as a message.
        per_worker: u32,
        /// Leaves a slow worker idle where waiting for a faster one promises an earlier answer.
        skip_slow: bool,
    },
    /// At once to the worker with the fewest pending requests: the document's heap, join the shortest queue.
    LeastLoaded,
    /// At once to the one with fewer pending of two drawn by chance (Mitzenmacher, 2001).
    TwoChoices,
    /// At once to the next in turn.
    RoundRobin,
    /// At once to any.
    Random,
    /// The backlog stays in the balancer, the cheapest request first, by its cost hint; one without a hint counts as short.
    ShortFirst {
        /// Seconds of cost that a second of waiting makes up for (>= 0): 0 lets an expensive request starve under load.
        ageing: f64,
    },
    /// The backlog stays in the balancer; some workers take only short requests, the others short ones first.
    Reserve {
        /// Workers that take only short requests (the first ones; at least one is left for the others).
        workers: u32,
        /// A request that costs at most this is short; one without a hint is.
        short: Duration,
        /// As for [`Policy::ShortFirst`]: after cost / ageing a long request comes before younger short ones.
        ageing: f64,
    },
    /// At once to the worker that promises the earliest answer: a moving average of what requests take there, times those that
    /// it would have. Looks at every worker. For workers that differ from each other, or from hour to hour.
    LatencyAware {
        /// How soon the past is forgotten where a worker is not asked (> 0), so that one that was slow is tried again.
        decay: Duration,
    },
    /// At once to the worker that the request's key belongs to, or to the next one of the key where that has too much to do. When
    /// workers come and go, only their own keys move. A request without a key goes to the least loaded.
    ///
    /// Rendezvous hashing (Thaler and Ravishankar, 1996) with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2016).
    Affinity {
        /// Most pending requests of a worker, as a multiple of the mean (>= 1).
        bound: f64,
    },
}

impl Policy {
    /// Cost that a second of waiting makes up for, where nothing else is said.
    pub const AGEING: f64 = 0.05;

    /// One request a place, no worker skipped.
    pub const CENTRAL: Policy = Policy::Central {
        per_worker: 1,
        skip_slow: false,
    };

    /// How soon a latency-aware balancer forgets, where nothing else is said.
    pub const DECAY: Duration = Duration::from_secs(10);

    /// How unequal affinity may make the workers, where nothing else is said.
    pub const BOUND: f64 = 1.25;

    /// The word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Policy::Central { .. } => "central",
            Policy::LeastLoaded => "least-loaded",
            Policy::TwoChoices => "two-choices",
            Policy::RoundRobin => "round-robin",
            Policy::Random => "random",
            Policy::ShortFirst { .. } => "short-first",
            Policy::Reserve { .. } => "reserve",
            Policy::LatencyAware { .. } => "latency-aware",
            Policy::Affinity { .. } => "affinity",
        }
    }

    /// All words.
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

impl Default for Policy {
    fn default() -> Self {
        Self::CENTRAL
    }
}

/// How many workers are asked the same.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Spread {
    /// One.
    #[default]
    One,
    /// So many at once (all where it is `None`), the least loaded ones; the first answer wins, the others are cancelled.
    Replicated(Option<u32>),
    /// A second one, if the first takes long.
    Hedged(Hedge),
}

/// When a second worker is asked (Dean and Barroso, The Tail at Scale, 2013).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hedge {
    /// How long the first has.
    pub after: After,
    /// Most copies made, as a share of all requests (0 to 1).
    pub budget: f64,
}

/// How long the first worker has before a second one is asked, from the moment at which it began.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum After {
    /// So long.
    Delay(Duration),
    /// As long as this share (between 0 and 1) of the requests has taken so far at a worker.
    Percentile(f64),
}

/// What becomes of a request that finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Full {
    /// It waits for room; the queue stays bounded, the caller waits.
    #[default]
    Wait,
    /// It is refused at once.
    Reject,
}
