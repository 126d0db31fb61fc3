//! `[balancers.x]`: a balancer with its workers.

use std::time::Duration;

pub use gopherworks_balancer::policy::{LoadPolicy, WhenFull};

use super::{KindConfig, Resilience, Service, Unbounded};
use crate::config::element::Element;
use crate::config::limits::{LARGEST_FACTOR, MOST_PLACES, MOST_TIMES, MOST_WAITING};

/// A balancer, which hands requests to its workers.
#[derive(Debug, Clone, PartialEq, Element)]
#[element(def = balancer, at_most_one(replicate, hedge))]
pub struct BalancerConfig {
    /// Which worker gets a request, and when: a word, or a table with `kind` and its options.
    #[key(default, set)]
    pub policy: LoadPolicy,
    /// How many workers get each request, a number or "all"; the first reply wins. It excludes
    /// `hedge` and implies `idempotent`. Without it one worker gets it.
    #[key(
        min = 2,
        most = MOST_PLACES,
        because = "a replicated request goes to at least 2 workers",
        set
    )]
    pub replicate: Option<ReplicateConfig>,
    /// When a second worker gets the request too: a duration, or a table; the first reply wins. It
    /// excludes `replicate` and implies `idempotent`. Without it there are no second requests.
    pub hedge: Option<HedgeConfig>,
    /// Most queued requests, or "unbounded".
    #[key(
        default = Some(1024),
        as = Unbounded,
        min = 1,
        most = MOST_WAITING,
        because = "a queue of 0 admits nothing",
        set
    )]
    pub queue: Option<u32>,
    /// What happens to a request when the queue is full.
    #[key(default)]
    pub full: WhenFull,
    /// True if a request may be executed more than once. Without it true if `replicate` or `hedge`
    /// is set, else false.
    pub idempotent: Option<bool>,
    /// Attempts of an idempotent request whose worker dies. Without it 3.
    #[key(min = 1, most = MOST_TIMES, because = "a request needs at least one attempt", set)]
    pub max_attempts: Option<u32>,
    /// Deadlines, load shedding, retry budget, slow start and ejection of workers.
    #[key(flatten, set)]
    pub resilience: Resilience,
    /// The workers, and what they do.
    #[key(stand_in = KindConfig::default().into())]
    pub workers: WorkersConfig,
}

impl BalancerConfig {
    /// Default of `max_attempts`.
    pub const ATTEMPTS: u32 = 3;
}

/// The workers of a balancer.
#[derive(Debug, Clone, PartialEq, Element)]
#[element(hint = "say what they do: `workers = { count = 4, work = \"...\" }`")]
pub struct WorkersConfig {
    /// How many workers.
    #[key(
        default = 1,
        min = 1,
        most = MOST_PLACES,
        by_plan,
        because = "a balancer needs at least one worker"
    )]
    pub count: u32,
    /// Requests that one worker does at a time.
    #[key(
        default = 1,
        min = 1,
        most = MOST_PLACES,
        by_plan,
        because = "a worker serves at least one request at a time"
    )]
    pub concurrency: u32,
    /// What the workers do: a kind, or a table with `kind` and its options.
    #[key(as = Service, stand_in)]
    pub work: KindConfig,
}

impl From<KindConfig> for WorkersConfig {
    fn from(work: KindConfig) -> Self {
        Self::new(work)
    }
}

#[derive(Element)]
#[element(by_kind = policy, kebab, remote = LoadPolicy)]
#[allow(dead_code, reason = "it describes another enum")]
enum PolicyKeys {
    /// The backlog stays in the balancer: first come, first served.
    Central {
        /// Requests at a worker for each that it does at a time, running ones included; 2 hides
        /// the hand-over of short requests.
        #[key(
            default = 1,
            min = 1,
            most = MOST_TIMES,
            because = "a worker holds at least one request at a time"
        )]
        per_worker: u32,
        /// True leaves a slow worker idle if waiting for a faster one promises an earlier reply.
        #[key(default)]
        skip_slow: bool,
    },
    /// At once to the worker with the fewest pending requests.
    LeastLoaded,
    /// At once to the less loaded of two random workers.
    TwoChoices,
    /// At once to the next worker in turn.
    RoundRobin,
    /// At once to a random worker.
    Random,
    /// The backlog stays in the balancer: the cheapest request first, by its known cost.
    ShortFirst {
        /// Seconds of cost that a second of waiting offsets; with 0 expensive requests starve.
        #[key(
            default = LoadPolicy::AGEING,
            min = 0,
            most = LARGEST_FACTOR,
            because = "ageing is a number of at least 0"
        )]
        ageing: f64,
    },
    /// Some workers take only short requests, the others take short ones first.
    Reserve {
        /// How many workers take only short requests, fewer than all.
        #[key(min = 1, most = MOST_PLACES, by_plan, because = "at least one worker is reserved")]
        workers: u32,
        /// Largest cost of a short request, such as "5ms".
        #[key(above = 0, because = "a short request must take longer than 0")]
        short: Duration,
        /// Seconds of cost that a second of waiting offsets; with 0 expensive requests starve.
        #[key(
            default = LoadPolicy::AGEING,
            min = 0,
            most = LARGEST_FACTOR,
            because = "ageing is a number of at least 0"
        )]
        ageing: f64,
    },
    /// At once to the worker with the earliest expected reply, by the times of past requests.
    LatencyAware {
        /// How soon the past of a worker without requests is forgotten.
        #[key(default = LoadPolicy::DECAY, above = 0, because = "a decay must take longer than 0")]
        decay: Duration,
    },
    /// At once to the worker of the request's key; without a key to the least loaded worker.
    Affinity {
        /// Most pending requests of a worker, as a multiple of the mean.
        #[key(
            default = LoadPolicy::BOUND,
            min = 1,
            most = LARGEST_FACTOR,
            because = "a bound is a number of at least 1"
        )]
        bound: f64,
    },
}

#[derive(Element)]
#[element(words, remote = WhenFull)]
#[allow(dead_code, reason = "it describes another enum")]
enum FullWord {
    /// It waits, and its requester with it.
    Wait,
    /// It fails at once.
    Reject,
}

/// How many workers get the same request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicateConfig {
    /// Every worker.
    All,
    /// This number of workers (>= 2).
    Some(u32),
}

impl From<u32> for ReplicateConfig {
    fn from(workers: u32) -> Self {
        Self::Some(workers)
    }
}

impl ReplicateConfig {
    /// The number; `None` for every worker.
    pub(crate) fn number(&self) -> Option<u32> {
        match self {
            Self::All => None,
            Self::Some(workers) => Some(*workers),
        }
    }
}

/// When a second worker gets the same request.
// Not the engine's `Hedge`, which has one of the two alternatives: the plan reports both.
#[derive(Debug, Clone, Copy, PartialEq, Element)]
#[element(short = after, exactly_one(after, percentile))]
pub struct HedgeConfig {
    /// When the first worker has taken so long, such as "30ms". It excludes `percentile`.
    #[key(above = 0)]
    pub after: Option<Duration>,
    /// When the first worker has taken longer than this share of all requests so far, such as
    /// 0.95. It excludes `after`.
    #[key(above = 0, below = 1)]
    pub percentile: Option<f64>,
    /// Most second requests, as a share of all requests.
    #[key(default = 0.05, above = 0, max = 1, because = "a budget is a share above 0 and up to 1")]
    pub budget: f64,
}
