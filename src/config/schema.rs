//! The config language as plain data: what a file says, before names are resolved.
//!
//! These structs know nothing of what runs. A file, the environment and a builder fill the same ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

mod balancing;
mod faults;
mod resilience;

pub use balancing::{
    ArrivalsConfig, BalancerConfig, FullConfig, HedgeConfig, HttpConfig, LoadConfig, OrderConfig,
    PolicyConfig, ReplicateConfig, RequesterConfig, WorkersConfig,
};
pub use faults::{ExpectConfig, FaultConfig, FaultKindConfig, FaultWhatConfig, WhenConfig};
pub use resilience::{
    EjectConfig, PriorityConfig, ResilienceConfig, RetryBudgetConfig, ShedConfig,
};

/// A topology as data. Node names are `[a-z][a-z0-9_]*`, unique across all kinds of nodes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TopologyConfig {
    /// What the topology is called in reports; the file's stem where it was read from a file.
    pub name: String,
    /// How many copies of every node but the `shared` ones, along each axis; see [`crate::plan::unfold`].
    pub copies: BTreeMap<String, u32>,
    /// Nodes that all copies have in common.
    pub shared: Vec<String>,
    /// Piles by name.
    pub piles: BTreeMap<String, PileConfig>,
    /// Staging dumps by name.
    pub dumps: BTreeMap<String, DumpConfig>,
    /// Incinerators by name.
    pub incinerators: BTreeMap<String, IncineratorConfig>,
    /// Crews by name.
    pub crews: BTreeMap<String, CrewConfig>,
    /// Relays by name.
    pub relays: BTreeMap<String, RelayConfig>,
    /// Balancers by name.
    pub balancers: BTreeMap<String, BalancerConfig>,
    /// Requesters by name.
    pub requesters: BTreeMap<String, RequesterConfig>,
    /// How many cores run it.
    pub execution: ExecutionConfig,
    /// What happens when an actor fails.
    pub supervision: SupervisionConfig,
    /// What is known of the times, for predictions.
    pub model: ModelConfig,
    /// What goes wrong on purpose, by name.
    pub faults: BTreeMap<String, FaultConfig>,
    /// What is expected nevertheless.
    pub expect: ExpectConfig,
}

/// A kind by name with its options, e.g. `{ kind = "gzip", level = 6 }`.
#[derive(Debug, Clone, PartialEq)]
pub struct KindConfig {
    /// The kind's name in the catalog.
    pub kind: String,
    /// Its options, everything but `kind`. Relative paths are resolved already.
    pub options: toml::Table,
}

/// A pile.
#[derive(Debug, Clone, PartialEq)]
pub struct PileConfig {
    /// Where its books come from; `None` where the application offers them.
    pub source: Option<KindConfig>,
    /// Most books and bytes that are ready at once.
    pub capacity: Capacity,
    /// Slots.
    pub exclusive: Exclusive,
    /// Attempts a book has before it is a dead letter (>= 1).
    pub max_attempts: u32,
}

/// A staging dump.
#[derive(Debug, Clone, PartialEq)]
pub struct DumpConfig {
    /// Most books and bytes that are admitted at once.
    pub capacity: Capacity,
    /// Slots.
    pub exclusive: Exclusive,
    /// Attempts a book has before it is a dead letter (>= 1).
    pub max_attempts: u32,
}

/// An incinerator.
#[derive(Debug, Clone, PartialEq)]
pub struct IncineratorConfig {
    /// What becomes of the books.
    pub burn: KindConfig,
    /// Slots.
    pub exclusive: Exclusive,
}

/// A bound in books, in bytes, or both; `None` does not bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capacity {
    /// Books.
    pub books: Option<u64>,
    /// Bytes of bodies.
    pub bytes: Option<u64>,
}

/// How many gophers may do a step at a node at once; `None` does not limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exclusive {
    /// Slots for loading from it.
    pub load: Option<u32>,
    /// Slots for unloading into it.
    pub unload: Option<u32>,
}

/// A crew of gophers with its carts.
#[derive(Debug, Clone, PartialEq)]
pub struct CrewConfig {
    /// The pile or dump that it empties.
    pub from: String,
    /// The dump or incinerator that it fills.
    pub to: String,
    /// One entry a gopher (the `N *` form is expanded): its duties as step names, e.g. `["load", "push"]`.
    pub gophers: Vec<Vec<String>>,
    /// Its carts.
    pub carts: CartsConfig,
    /// Work on each book, applied left to right.
    pub work: Vec<KindConfig>,
    /// What the steps cost.
    pub steps: StepsConfig,
    /// How many copies of the crew alone, along each axis: own gophers and carts, the same `from` and `to`.
    pub copies: BTreeMap<String, u32>,
}

/// A relay: carries one pile over to another, in order, and ends when its input is closed and drained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayConfig {
    /// The pile or dump that it empties.
    pub from: String,
    /// The pile without a source, dump or incinerator that it fills.
    pub to: String,
    /// Most books that it carries at once (>= 1); 64 by default, less where the other end holds less.
    pub books: Option<u64>,
}

/// The carts of a crew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CartsConfig {
    /// How many circulate (>= 1).
    pub count: u32,
    /// Most books in one (>= 1).
    pub books: u64,
    /// Most bytes in one; a single larger book travels alone.
    pub bytes: Option<u64>,
}

/// What the steps cost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepsConfig {
    /// Loading.
    pub load: StepTimeConfig,
    /// Pushing.
    pub push: StepTimeConfig,
    /// Unloading.
    pub unload: StepTimeConfig,
    /// Returning the empty cart.
    pub return_: StepTimeConfig,
}

/// What one step costs; a bare duration in a file is a fixed wait.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepTimeConfig {
    /// Time that passes without a core.
    pub wait: Option<SpanConfig>,
    /// Time on a core.
    pub cpu: Option<SpanConfig>,
}

/// A duration, or a distribution of durations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SpanConfig {
    /// Always the same.
    Fixed(Duration),
    /// `{ uniform = ["0s", "10s"] }`.
    Uniform(Duration, Duration),
    /// `{ exponential = "500us" }`: the mean.
    Exponential(Duration),
    /// `{ lognormal = { mean = "1ms", cv2 = 10 } }`.
    LogNormal {
        /// The mean.
        mean: Duration,
        /// The variance by the square of the mean (>= 0).
        cv2: f64,
    },
    /// `{ bimodal = { short = "500us", long = "100ms", share = 0.005 } }`.
    Bimodal {
        /// The usual one.
        short: Duration,
        /// The rare one.
        long: Duration,
        /// The share of the rare one, 0 to 1.
        share: f64,
    },
}

/// How it runs; changes no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionConfig {
    /// Arbiters, and threads of the blocking pool (>= 1).
    pub cores: u32,
    /// How nodes are laid on arbiters.
    pub placement: Placement,
    /// Seed of every random stream.
    pub seed: u64,
    /// Folder for bodies too large for memory; the system's temporary folder by default.
    pub scratch: Option<PathBuf>,
    /// How long a drain may take before the run gives up.
    pub drain_deadline: Option<Duration>,
}

/// How nodes are laid on arbiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// A crew with the piles and fires it touches shares one arbiter; what is not connected spreads.
    #[default]
    Together,
    /// Every node on the next arbiter in turn: slower, for tests of crossing.
    Spread,
}

/// What happens when an actor fails.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SupervisionConfig {
    /// Who is restarted with the failed one.
    pub strategy: StrategyConfig,
    /// Restarts allowed within `period`; one more ends the run. `u32::MAX` sets no limit.
    pub intensity: u32,
    /// Window of `intensity`.
    pub period: Duration,
    /// Failures in a row of one child, without a healthy stretch of `backoff.reset`, that end the run. `u32::MAX` sets no limit.
    pub in_a_row: u32,
    /// Delay before a restart.
    pub backoff: BackoffConfig,
    /// How long an ordered shutdown waits for each actor before it is killed.
    pub shutdown: Duration,
    /// How long a thread may be blocked before its actors are given up and started on another (> 0).
    pub hang_after: Duration,
}

/// Who is restarted with the failed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StrategyConfig {
    /// The failed one alone.
    #[default]
    OneForOne,
    /// All.
    OneForAll,
    /// The failed one and those started after it.
    RestForOne,
}

/// Delay before a restart: `min` doubled for each failure in a row, at most `max`, spread by `jitter`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffConfig {
    /// First delay.
    pub min: Duration,
    /// Longest delay.
    pub max: Duration,
    /// Share by which a delay is spread, 0 to 1.
    pub jitter: f64,
    /// A life at least this long starts the count of failures in a row anew.
    pub reset: Duration,
}

/// What is known of the times, for predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModelConfig {
    /// One round trip of one gopher without dumps; derived from the steps where it is `None`.
    pub t1: Option<Duration>,
}

impl Default for PileConfig {
    fn default() -> Self {
        Self {
            source: None,
            capacity: Capacity { books: Some(4096), bytes: None },
            exclusive: Exclusive::default(),
            max_attempts: 3,
        }
    }
}

impl Default for DumpConfig {
    fn default() -> Self {
        Self { capacity: Capacity::default(), exclusive: Exclusive::default(), max_attempts: 3 }
    }
}

impl Default for CartsConfig {
    fn default() -> Self {
        Self { count: 1, books: 64, bytes: None }
    }
}

impl Default for ExecutionConfig {
    fn default() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            placement: Placement::default(),
            seed: 1,
            scratch: None,
            drain_deadline: None,
        }
    }
}

impl Default for SupervisionConfig {
    fn default() -> Self {
        Self {
            strategy: StrategyConfig::default(),
            intensity: 5,
            period: Duration::from_secs(10),
            in_a_row: 10,
            backoff: BackoffConfig::default(),
            shutdown: Duration::from_secs(5),
            hang_after: Duration::from_secs(10),
        }
    }
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(10),
            max: Duration::from_secs(30),
            jitter: 0.2,
            reset: Duration::from_secs(60),
        }
    }
}
