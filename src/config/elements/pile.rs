//! `[piles.x]`, `[dumps.x]` and `[incinerators.x]`: where books wait, and where they end.

use std::time::Duration;

use super::{Burn, KindConfig, PileStore, Source};
use crate::config::element::Element;
use crate::config::limits::{MOST_BOOKS, MOST_SLOTS, MOST_TIMES};

/// A pile, where books wait for crews.
#[derive(Debug, Clone, PartialEq, Element)]
#[element(def = pile)]
pub struct PileConfig {
    /// Where the books come from: a kind, or a table with `kind` and its options. Without it the
    /// application offers them.
    #[key(as = Source, set)]
    pub source: Option<KindConfig>,
    /// Most books and bytes that are ready at once. A bare number is of books.
    #[key(default = Capacity { books: Some(4096), bytes: None })]
    pub capacity: Capacity,
    /// How many gophers are served at once.
    #[key(default)]
    pub exclusive: LoadSlots,
    /// Attempts that a book has before it becomes a dead letter.
    #[key(
        default = 3, min = 1, most = MOST_TIMES, because = "a book needs at least one attempt", set
    )]
    pub max_attempts: u32,
    /// How long a book waits after a failed attempt before it is tried again. No gopher and no
    /// cart waits with it. Without this key it is tried at once.
    #[key(set)]
    pub retry: Option<RetryConfig>,
    /// Where its books are kept. Without it in `[store]`, if there is one, else in memory.
    #[key(set)]
    pub store: Option<PileStore>,
}

/// A dump, which some crews fill and others empty.
#[derive(Debug, Clone, PartialEq, Element)]
#[element(def = dump)]
pub struct DumpConfig {
    /// Most books and bytes that are admitted at once. A bare number is of books. Without it the
    /// dump exerts no back-pressure on the crews that fill it.
    #[key(default)]
    pub capacity: Capacity,
    /// How many gophers are served at once.
    #[key(default)]
    pub exclusive: Exclusive,
    /// Attempts that a book has before it becomes a dead letter.
    #[key(
        default = 3, min = 1, most = MOST_TIMES, because = "a book needs at least one attempt", set
    )]
    pub max_attempts: u32,
    /// How long a book waits after a failed attempt before it is tried again. No gopher and no
    /// cart waits with it. Without this key it is tried at once.
    #[key(set)]
    pub retry: Option<RetryConfig>,
    /// Where its books are kept. Without it in `[store]`, if there is one, else in memory.
    #[key(set)]
    pub store: Option<PileStore>,
}

/// Delays between the attempts at a book: the first, doubled with each further failed attempt.
/// A failure that says when to try again, such as an answer with `Retry-After`, has its own.
#[derive(Debug, Clone, Copy, PartialEq, Element)]
#[element(short = min)]
pub struct RetryConfig {
    /// Delay after the first failed attempt.
    #[key(default = Duration::from_secs(1), above = 0, because = "a delay must be longer than 0")]
    pub min: Duration,
    /// Longest delay.
    #[key(
        default = Duration::from_secs(300), above = 0, because = "a delay must be longer than 0"
    )]
    pub max: Duration,
    /// Share by which a delay deviates at random.
    #[key(default = 0.2, min = 0, max = 1, because = "jitter is a share from 0 to 1")]
    pub jitter: f64,
}

/// An incinerator, where books end.
#[derive(Debug, Clone, PartialEq, Element)]
#[element(def = incinerator)]
pub struct IncineratorConfig {
    /// What becomes of the books: a kind, or a table with `kind` and its options.
    #[key(as = Burn, stand_in, set)]
    pub burn: KindConfig,
    /// How many gophers are served at once.
    #[key(default)]
    pub exclusive: UnloadSlots,
}

/// A bound in books, in bytes, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Element)]
#[element(short = books)]
pub struct Capacity {
    /// Most books. Without it their number is not bounded.
    #[key(min = 1, most = MOST_BOOKS, because = "a capacity of 0 admits nothing")]
    pub books: Option<u64>,
    /// Most bytes of bodies, such as "8MiB" or a number of bytes. Without it they are not bounded.
    #[key(as = Size, min = 1, because = "a capacity of 0 admits nothing")]
    pub bytes: Option<u64>,
}

/// How many gophers may load from a pile at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Element)]
pub struct LoadSlots {
    /// How many gophers load here at once. Without it their number is not limited.
    #[key(min = 1, most = MOST_SLOTS, because = "with 0 slots no gopher can proceed")]
    pub load: Option<u32>,
}

/// How many gophers may unload into an incinerator at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Element)]
pub struct UnloadSlots {
    /// How many gophers unload here at once. Without it their number is not limited.
    #[key(min = 1, most = MOST_SLOTS, because = "with 0 slots no gopher can proceed")]
    pub unload: Option<u32>,
}

/// How many gophers may load from a node, and unload into it, at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Element)]
pub struct Exclusive {
    /// How many gophers load here at once. Without it their number is not limited.
    #[key(min = 1, most = MOST_SLOTS, because = "with 0 slots no gopher can proceed")]
    pub load: Option<u32>,
    /// How many gophers unload here at once. Without it their number is not limited.
    #[key(min = 1, most = MOST_SLOTS, because = "with 0 slots no gopher can proceed")]
    pub unload: Option<u32>,
}

impl From<LoadSlots> for Exclusive {
    fn from(slots: LoadSlots) -> Self {
        Self { load: slots.load, unload: None }
    }
}

impl From<UnloadSlots> for Exclusive {
    fn from(slots: UnloadSlots) -> Self {
        Self { load: None, unload: slots.unload }
    }
}
