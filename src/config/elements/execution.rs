//! `[execution]`, `[supervision]` and `[model]`: how the topology is run.

use std::path::PathBuf;
use std::time::Duration;

pub use gopherworks_supervision::{Backoff, Strategy};

use super::Unlimited;
use crate::config::element::Element;
use crate::config::limits::{MOST_CORES, MOST_TIMES};

/// How the topology is executed. Only the seed can change the results of a run.
// Not the plan's `ExecutionPlan`, whose scratch folder is resolved.
#[derive(Debug, Clone, PartialEq, Eq, Element)]
pub struct ExecutionConfig {
    /// Cores that are used, for actors and again for blocking work. Without it all cores of the
    /// machine.
    #[key(
        default = cores(), varies, min = 1, most = MOST_CORES,
        because = "at least one core is needed"
    )]
    pub cores: u32,
    /// How nodes are assigned to cores.
    #[key(default)]
    pub placement: Placement,
    /// Seed of all random streams.
    #[key(default = 1)]
    pub seed: u64,
    /// Folder for bodies that are too large for memory. Without it the system's temporary folder.
    pub scratch: Option<PathBuf>,
    /// Most time for a drain, such as "30s"; then the run gives up. Without it there is no limit.
    pub drain_deadline: Option<Duration>,
}

/// The number of cores of this machine.
fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// How nodes are assigned to cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Element)]
#[element(words)]
pub enum Placement {
    /// A crew shares a core with the nodes at its ends; crews without a common node are spread.
    #[default]
    Together,
    /// Each node on the next core in turn: slower, for tests.
    Spread,
}

/// What happens when an actor fails.
#[derive(Debug, Clone, Copy, PartialEq, Element)]
pub struct SupervisionConfig {
    /// Which actors are restarted with the failed one.
    #[key(default)]
    pub strategy: Strategy,
    /// Restarts allowed within `period`, or "unlimited"; one more ends the run.
    #[key(as = Unlimited, default = 5, most = MOST_TIMES)]
    pub intensity: u32,
    /// The time over which `intensity` counts.
    #[key(
        default = Duration::from_secs(10), above = 0,
        because = "the period must be longer than 0"
    )]
    pub period: Duration,
    /// Consecutive failures of one actor that end the run, or "unlimited".
    #[key(as = Unlimited, default = 10, most = MOST_TIMES)]
    pub in_a_row: u32,
    /// The delay before a restart: it doubles with each consecutive failure.
    #[key(default)]
    pub backoff: Backoff,
    /// How long an ordered shutdown waits for each actor before it is killed.
    #[key(default = Duration::from_secs(5))]
    pub shutdown: Duration,
    /// How long a thread may be blocked before its actors are restarted on another thread.
    #[key(
        default = Duration::from_secs(10), above = 0,
        because = "`hang_after` must be longer than 0"
    )]
    pub hang_after: Duration,
}

#[derive(Element)]
#[element(words, remote = Strategy)]
#[allow(dead_code, reason = "it describes another enum")]
enum StrategyWord {
    /// Only the failed one.
    OneForOne,
    /// All actors of its supervisor.
    OneForAll,
    /// The failed one and those started after it.
    RestForOne,
}

#[derive(Element)]
#[element(remote = Backoff)]
struct BackoffKeys {
    /// First delay.
    #[key(default)]
    min: Duration,
    /// Longest delay.
    #[key(default)]
    max: Duration,
    /// Share by which a delay deviates at random.
    #[key(default, min = 0, max = 1, because = "jitter is a share from 0 to 1")]
    jitter: f64,
    /// An actor that ran this long is healthy: its count of consecutive failures restarts at 0.
    #[key(default)]
    reset: Duration,
}

/// What is known of the times, for predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Element)]
pub struct ModelConfig {
    /// Time of one gopher's round trip without dumps, such as "4ms". Without it the time is
    /// derived from the steps.
    #[key(above = 0, because = "a round trip must take longer than 0")]
    pub t1: Option<Duration>,
}
