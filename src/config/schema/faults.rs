//! What goes wrong on purpose, and what is expected nevertheless.

use std::time::Duration;

/// A fault. `run` ignores it unless told otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultConfig {
    /// Where: a node (`near`, `near/1`, `front/*`), a point in its work (`near.load`), or the messages of a crew to a node (`near -> middle`);
    /// `*` and `?` stand for any letters, `[lane=1]` picks copies.
    pub target: String,
    /// What, and when.
    pub what: FaultWhatConfig,
    /// Not before this time from the start.
    pub from: Duration,
    /// Not from this time on.
    pub until: Option<Duration>,
    /// So many times at most.
    pub times: Option<u64>,
    /// The share of seeds that it is there for, above 0 to 1.
    pub odds: f64,
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultWhatConfig {
    /// One kind of thing.
    Kind {
        /// Its name.
        kind: FaultKindConfig,
        /// When.
        when: WhenConfig,
    },
    /// What a script says at each visit of a point: `5%2*panic(oops)->hang(10ms)->off`.
    Script(String),
    /// A mix that the seed draws, from all kinds that the targets know.
    Mix {
        /// From one to so many faults (>= 1).
        most: u32,
    },
}

/// Kinds of faults.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKindConfig {
    /// The actor panics.
    Panic {
        /// With this text.
        text: String,
    },
    /// It is killed.
    Kill,
    /// It stops in good order, unasked.
    Stop,
    /// It blocks its thread.
    Hang {
        /// For so long; until it is given up where that is `None`.
        span: Option<Duration>,
    },
    /// Its steps and work take longer.
    Slow {
        /// By so much each (> 0).
        by: Duration,
        /// For so long; to the end where that is `None`.
        span: Option<Duration>,
    },
    /// What it does fails.
    Error {
        /// With this text.
        text: String,
        /// For good.
        permanent: bool,
    },
    /// What it does with certain books fails every time.
    Poison,
    /// A message is late.
    Delay {
        /// By so much (> 0).
        by: Duration,
    },
    /// A message is lost.
    Drop,
    /// A wake-up or a settlement comes twice.
    Duplicate,
    /// A pile says that it is full.
    Full {
        /// For so long (> 0).
        span: Duration,
    },
}

/// When a fault fires.
#[derive(Debug, Clone, PartialEq)]
pub enum WhenConfig {
    /// At these times from the start.
    At(Vec<Duration>),
    /// Again and again, this far apart (> 0).
    Every(Duration),
    /// Again and again, by a Poisson process of this mean (> 0).
    Poisson(Duration),
    /// At the visit of this number, from 1.
    Nth(u64),
    /// At each visit with this chance, above 0 to 1.
    Chance(f64),
    /// With these books or requests.
    Items(Vec<u64>),
    /// With this share of the books or requests, the same ones every time; above 0 to 1.
    Share(f64),
}

/// What is expected of a run with faults. Nothing is lost and nothing is done twice unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ExpectConfig {
    /// Most books and requests that may be lost.
    pub lost: u64,
    /// Most books that may be burned, and requests answered, more than once.
    pub duplicates: u64,
    /// Most books and requests that may be under way at the end.
    pub in_flight: u64,
    /// Most times that supervision may give up.
    pub escalations: u64,
    /// Longest time from an actor's end to its next life's first work, for 99 of 100.
    pub recovery_p99: Option<Duration>,
    /// Largest share of the throughput that may be missing, from 0 to 1.
    pub throughput_dip: Option<f64>,
}
