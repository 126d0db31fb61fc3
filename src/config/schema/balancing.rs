//! Balancers with their workers, and requesters.

use std::time::Duration;

use super::{KindConfig, PriorityConfig, ResilienceConfig, SpanConfig};

/// A balancer with its workers.
#[derive(Debug, Clone, PartialEq)]
pub struct BalancerConfig {
    /// Who gets a request.
    pub policy: PolicyConfig,
    /// How many workers are asked the same at once; `None` where it is one.
    pub replicate: Option<ReplicateConfig>,
    /// When a second worker is asked the same.
    pub hedge: Option<HedgeConfig>,
    /// Most requests that wait (>= 1); `None` does not bound.
    pub queue: Option<u32>,
    /// What becomes of a request that finds the queue full.
    pub full: FullConfig,
    /// True if a request may be begun more than once. `None` is true where a request is sent to several workers, else false.
    pub idempotent: Option<bool>,
    /// Attempts of an idempotent request whose worker died of it (>= 1); [`BalancerConfig::ATTEMPTS`] by default.
    pub max_attempts: Option<u32>,
    /// What protects its callers, under overload and from ill workers.
    pub resilience: ResilienceConfig,
    /// Its workers.
    pub workers: WorkersConfig,
}

impl BalancerConfig {
    /// Most requests that wait where nothing else is said.
    pub const QUEUE: u32 = 1024;

    /// Attempts of an idempotent request where nothing else is said.
    pub const ATTEMPTS: u32 = 3;

    /// A balancer of one worker, with defaults for the rest.
    #[must_use]
    pub fn new(work: KindConfig) -> Self {
        Self {
            policy: PolicyConfig::default(),
            replicate: None,
            hedge: None,
            queue: Some(Self::QUEUE),
            full: FullConfig::default(),
            idempotent: None,
            max_attempts: None,
            resilience: ResilienceConfig::default(),
            workers: WorkersConfig { count: 1, concurrency: 1, work },
        }
    }
}

/// Who gets a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PolicyConfig {
    /// The backlog stays in the balancer; first come, first served.
    Central {
        /// Requests at a worker for each of its places (>= 1), running ones included.
        per_worker: u32,
        /// Leaves a slow worker idle where a faster one promises an earlier answer.
        skip_slow: bool,
    },
    /// At once to the worker with the fewest pending requests.
    LeastLoaded,
    /// At once to the less loaded of two drawn by chance.
    TwoChoices,
    /// At once to the next in turn.
    RoundRobin,
    /// At once to any.
    Random,
    /// The backlog stays in the balancer, the cheapest request first.
    ShortFirst {
        /// Seconds of cost that a second of waiting makes up for (>= 0).
        ageing: f64,
    },
    /// Some workers take only short requests.
    Reserve {
        /// How many of them (>= 1, fewer than all).
        workers: u32,
        /// A request that costs at most this is short (> 0).
        short: Duration,
        /// As for [`PolicyConfig::ShortFirst`].
        ageing: f64,
    },
    /// At once to the worker that promises the earliest answer, by what requests have taken there.
    LatencyAware {
        /// How soon the past of a worker that is not asked is forgotten (> 0).
        decay: Duration,
    },
    /// At once to the worker of the request's key.
    Affinity {
        /// Most pending requests of a worker, as a multiple of the mean (>= 1).
        bound: f64,
    },
}

impl PolicyConfig {
    /// One request for each place, no worker is skipped.
    pub const CENTRAL: Self = Self::Central { per_worker: 1, skip_slow: false };
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self::CENTRAL
    }
}

/// How many workers are asked the same at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicateConfig {
    /// Every worker.
    All,
    /// So many (>= 2).
    Some(u32),
}

/// When a second worker is asked the same: one of `after` and `percentile` says it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HedgeConfig {
    /// When the first one has been at it so long (> 0).
    pub after: Option<Duration>,
    /// When the first one has been at it longer than this share of all requests took so far, between 0 and 1.
    pub percentile: Option<f64>,
    /// Most second requests, as a share of all (> 0, at most 1).
    pub budget: f64,
}

impl HedgeConfig {
    /// Share of second requests where nothing else is said.
    pub const BUDGET: f64 = 0.05;
}

/// What becomes of a request that finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FullConfig {
    /// It waits for room, and its requester with it.
    #[default]
    Wait,
    /// It is refused at once.
    Reject,
}

/// The workers of a balancer.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkersConfig {
    /// How many (>= 1).
    pub count: u32,
    /// Requests that one of them does at a time (>= 1).
    pub concurrency: u32,
    /// What they do.
    pub work: KindConfig,
}

/// A requester.
#[derive(Debug, Clone, PartialEq)]
pub struct RequesterConfig {
    /// The balancer that it asks.
    pub to: String,
    /// When it asks.
    pub load: LoadConfig,
    /// In which order it takes the answers to a batch.
    pub order: OrderConfig,
    /// Which requests go first where they wait.
    pub priority: PriorityConfig,
    /// Its requests are about so many things in turn (>= 1), each with a key of its own; `None` has no keys.
    pub keys: Option<u32>,
}

/// When a requester asks.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one a requester, read once")]
pub enum LoadConfig {
    /// Clients in a loop: each thinks, asks and waits for its answer.
    Closed {
        /// How many clients (>= 1).
        count: u32,
        /// What a client thinks before each request.
        think: SpanConfig,
        /// Requests of all clients together (>= 1); `None` is without an end.
        requests: Option<u64>,
    },
    /// Requests come however many are under way. One of `rate` and `utilisation` says how often.
    Open {
        /// Requests a second (> 0).
        rate: Option<f64>,
        /// The share of what the workers can do (> 0).
        utilisation: Option<f64>,
        /// With which spread.
        arrivals: ArrivalsConfig,
        /// How many (>= 1); `None` is without an end.
        requests: Option<u64>,
    },
    /// All at once at the start.
    Batch {
        /// How many (>= 1).
        requests: u64,
    },
    /// Requests come over HTTP.
    Http(HttpConfig),
}

/// A requester that serves HTTP: every request that comes is asked of the balancer, and its answer is the response.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpConfig {
    /// Address and port, such as `127.0.0.1:8080`; port 0 is any that is free.
    pub listen: String,
    /// True where others than this machine may come.
    pub public: bool,
    /// Requests whose path begins with it are served, others are not found.
    pub path: String,
    /// Where health, metrics and a snapshot are, below this path; `None` serves none of them.
    pub admin: Option<String>,
    /// Most bytes of a request's body (>= 1).
    pub body: u64,
    /// Most headers of a request (>= 1).
    pub headers: u32,
    /// Most connections at once (>= 1); further ones wait until one ends.
    pub connections: u32,
    /// Requests that have the same value of this header are about the same thing: they have one key, for the policy `affinity`.
    pub key_header: Option<String>,
    /// Status of successful answers that bring none of their own (200 to 299).
    pub status: u16,
    /// Methods that are served; others are answered 405. `None` serves all but CONNECT and TRACE.
    pub methods: Option<Vec<String>>,
    /// Hosts that a request for `admin` may name besides those that are listened on; `*` is any.
    pub hosts: Vec<String>,
    /// How long a client may take to send a request's head, and may stall while it sends a body (> 0).
    pub read_timeout: Duration,
    /// How long a client may stall while it takes an answer (> 0).
    pub write_timeout: Duration,
    /// Bytes a second of a body or an answer that a client has to keep up, beyond the timeouts (>= 1).
    pub min_rate: u64,
    /// How long a connection may be idle between two requests (> 0).
    pub keep_alive: Duration,
    /// How long it goes on as before once it is to end, and says that it is not ready.
    pub grace: Duration,
    /// How long requests and answers may take once the port is closed (> 0).
    pub shutdown_timeout: Duration,
    /// Requests after which it is done (>= 1); `None` is without an end.
    pub requests: Option<u64>,
}

impl HttpConfig {
    /// Serves on this address, with defaults for the rest: all paths, 1 MiB bodies, 64 headers, 1024 connections, 5 s to send
    /// and 10 s to take, 1 KiB a second.
    #[must_use]
    pub fn new(listen: impl Into<String>) -> Self {
        Self {
            listen: listen.into(),
            public: false,
            path: "/".to_owned(),
            admin: None,
            body: 1 << 20,
            headers: 64,
            connections: 1024,
            key_header: None,
            status: 200,
            methods: None,
            hosts: Vec::new(),
            read_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
            min_rate: 1 << 10,
            keep_alive: Duration::from_secs(15),
            grace: Duration::ZERO,
            shutdown_timeout: Duration::from_secs(30),
            requests: None,
        }
    }
}

/// The spread of arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArrivalsConfig {
    /// Independent of each other: exponential gaps.
    #[default]
    Poisson,
    /// Equal gaps.
    Fixed,
}

/// In which order a requester takes the answers to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OrderConfig {
    /// As they come.
    #[default]
    Completion,
    /// As the requests were sent.
    Input,
}
