//! Fault injection: what goes wrong, where, when and how often, reproducible from a seed.
//!
//! A [`Rule`] names sites (a node, or a [`Point`] in its work) and when it fires. Actors query the
//! rules at their points; [`FaultEngine::drive`] injects the other faults from outside. Every
//! firing is recorded with its time. Converted to rules that fire once at those times, the record
//! is a schedule that can be replayed and minimised.

mod engine;
mod script;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;

pub use engine::{FaultEngine, FaultInjector, Fired, LEAST_PERIOD};
pub use script::{Term, parse};

/// A point in an actor's work at which a fault can be injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// A gopher starts loading.
    Load,
    /// A gopher starts pushing its cart.
    Push,
    /// A gopher starts unloading.
    Unload,
    /// A gopher starts returning.
    Return,
    /// A gopher processes a book, or a worker a request.
    Work,
    /// An empty cart arrives at a pile.
    Take,
    /// A loaded cart arrives at a dump or an incinerator.
    Deliver,
    /// An incinerator burns a book.
    Burn,
    /// A cart is settled: acked at an incinerator, passed on at a dump.
    Settle,
    /// A source is read.
    Read,
    /// A wake-up arrives at a pile.
    Look,
    /// The store is asked to store changes.
    Commit,
    /// The store is asked for books.
    Fetch,
}

impl Point {
    /// All points.
    pub const ALL: [Point; 13] = [
        Point::Load,
        Point::Push,
        Point::Unload,
        Point::Return,
        Point::Work,
        Point::Take,
        Point::Deliver,
        Point::Burn,
        Point::Settle,
        Point::Read,
        Point::Look,
        Point::Commit,
        Point::Fetch,
    ];

    /// The name in config files.
    pub fn name(self) -> &'static str {
        match self {
            Point::Load => "load",
            Point::Push => "push",
            Point::Unload => "unload",
            Point::Return => "return",
            Point::Work => "work",
            Point::Take => "take",
            Point::Deliver => "deliver",
            Point::Burn => "burn",
            Point::Settle => "settle",
            Point::Read => "read",
            Point::Look => "look",
            Point::Commit => "commit",
            Point::Fetch => "fetch",
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind of a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The actor panics: at the point, or at its next poll.
    Panic {
        /// The panic message.
        text: String,
    },
    /// The actor is killed.
    Kill,
    /// The actor stops normally.
    Stop,
    /// The actor blocks its arbiter.
    Hang {
        /// For how long, unless it is given up earlier.
        span: Duration,
    },
    /// Each step and each unit of work takes longer.
    Slow {
        /// Extra time for each.
        by: Duration,
        /// How long the slowdown lasts after the rule fires; zero affects that visit only.
        span: Duration,
    },
    /// The current work, burn or read fails.
    Error {
        /// The error message.
        text: String,
        /// True if it must not be retried.
        permanent: bool,
    },
    /// The current work or burn fails with a transient error. For rules that select books, so that
    /// a selected book fails at every attempt.
    Poison,
    /// A message is delayed.
    Delay {
        /// The delay of the message.
        by: Duration,
    },
    /// A message is lost. The guards it carried return their contents.
    Drop,
    /// A wake-up is sent twice, or a settlement is made twice.
    Duplicate,
    /// A pile, or the store, reports that it is full.
    Full {
        /// How long it stays full.
        span: Duration,
    },
    /// The process is killed, and started again. What sinks have not synced is lost.
    Crash {
        /// Time until it is started again.
        span: Duration,
        /// At a point of the store: whether the call took effect before the crash; `None` lets the
        /// seed decide.
        stored: Option<bool>,
    },
    /// The store can't be reached.
    Unavailable {
        /// How long the store is unreachable.
        span: Duration,
    },
    /// The store's answer is lost.
    UnknownOutcome {
        /// Whether the call took effect; `None` lets the seed decide.
        stored: Option<bool>,
    },
    /// The store answers before it has synced a change: a crash before the next sync loses the
    /// change.
    LostSync,
    /// The process is killed in the middle of a commit, of which a part has been written.
    TornWrite {
        /// Time until the process is started again.
        span: Duration,
    },
    /// The store delivers books again that the process still holds.
    Redeliver,
    /// The store ends the leases of all books that the process holds, before their time.
    LostLease,
    /// The topology is reloaded with other settings of the node, drawn from the seed. Carried out
    /// by [`FaultInjector::fired`].
    Reload,
}

/// A span longer than any run (100 years), yet short enough to be added to a [`Time`].
pub const FOR_EVER: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

impl Kind {
    /// The name in config files.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Panic { .. } => "panic",
            Kind::Kill => "kill",
            Kind::Stop => "stop",
            Kind::Hang { .. } => "hang",
            Kind::Slow { .. } => "slow",
            Kind::Error { .. } => "error",
            Kind::Poison => "poison",
            Kind::Delay { .. } => "delay",
            Kind::Drop => "drop",
            Kind::Duplicate => "duplicate",
            Kind::Full { .. } => "full",
            Kind::Crash { .. } => "crash",
            Kind::Unavailable { .. } => "unavailable",
            Kind::UnknownOutcome { .. } => "unknown_outcome",
            Kind::LostSync => "lost_sync",
            Kind::TornWrite { .. } => "torn_write",
            Kind::Redeliver => "redeliver",
            Kind::LostLease => "lost_lease",
            Kind::Reload => "reload",
        }
    }

    /// True for faults of messages, wake-ups and settlements rather than of actors.
    fn is_of_messages(&self) -> bool {
        matches!(self, Kind::Delay { .. } | Kind::Drop | Kind::Duplicate)
    }

    /// True for faults that apply to a whole actor, or the store, if the rule names no point.
    fn is_a_strike(&self) -> bool {
        matches!(self, Kind::Panic { .. } | Kind::Kill | Kind::Stop | Kind::Hang { .. })
            || matches!(self, Kind::Crash { .. } | Kind::Reload)
            || self.lasts().is_some()
    }

    /// How long the fault keeps its site in another state; `None` for a momentary fault.
    fn lasts(&self) -> Option<Duration> {
        match self {
            Kind::Full { span } | Kind::Slow { span, .. } | Kind::Unavailable { span } => {
                Some(*span)
            }
            _ => None,
        }
    }
}

/// A place where a rule can fire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultSite {
    /// The actor's name, as in reports.
    pub node: Arc<str>,
    /// The point in its work; `None` for the whole actor.
    pub point: Option<Point>,
    /// If set, only messages from this crew.
    pub sender: Option<Arc<str>>,
}

/// The condition under which a rule fires.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// At these times; if the site is a point, at the first visit at or after each time.
    At(Vec<Time>),
    /// Periodically, with this interval.
    Every(Duration),
    /// As a Poisson process with this mean interval.
    Poisson(Duration),
    /// At the visit with this number, from 1, counted over all sites of the rule.
    Nth(u64),
    /// At each visit with this probability.
    Chance(f64),
    /// At each visit with one of these items (book ids or request numbers).
    Items(BTreeSet<u64>),
    /// At each visit with an item selected by the seed, each with this probability. The selection
    /// does not change during the run.
    ItemChance(f64),
}

/// A fault rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The name. It also selects the random stream, so it should be unique.
    pub name: Arc<str>,
    /// The places where it can fire.
    pub sites: Vec<FaultSite>,
    /// The fault, and its condition.
    pub what: What,
    /// Earliest time at which it fires.
    pub from: Time,
    /// The rule fires only before this time.
    pub until: Time,
    /// Maximum number of firings.
    pub times: u64,
}

impl Rule {
    /// True if it kills the process.
    pub fn kills_the_process(&self) -> bool {
        matches!(self.what, What::Kind(Kind::Crash { .. } | Kind::TornWrite { .. }, _))
    }
}

/// The fault that a rule injects.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// One kind of fault under one condition.
    Kind(Kind, When),
    /// A script, evaluated at each visit.
    Script(Vec<Term>),
}

/// The action that an actor must take at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultAction {
    /// Panic with this message.
    Panic(String),
    /// Fail with this error.
    Error(crate::failure::Failure),
    /// Take this much longer.
    Slow(Duration),
    /// Delay the message by this much.
    Delay(Duration),
    /// Drop the message.
    Drop,
    /// Perform the action twice.
    Duplicate,
    /// Lose the answer.
    LoseAnswer {
        /// True if the call takes effect first.
        stored: bool,
    },
    /// Answer without syncing.
    SkipSync,
    /// Let the process die.
    Crash {
        /// Time until it is started again.
        span: Duration,
        /// True if the call takes effect first.
        stored: bool,
    },
    /// Write a part of the commit, and let the process die.
    Tear {
        /// Time until it is started again.
        span: Duration,
    },
    /// Deliver books again that are held.
    Redeliver,
    /// End all leases of the process.
    LoseLeases,
}
