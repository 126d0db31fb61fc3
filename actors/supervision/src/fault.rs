//! Faults on purpose: what goes wrong, where, when, and how often, decided by a seed.
//!
//! A [`Rule`] names sites (a node, or a [`Point`] in its work) and says when it fires. The actors ask at their points; the rest is done
//! from outside, by [`Faults::drive`]. What fired is kept, with the time by the works' clock: the same firings, told as rules that
//! fire once at their time, are a schedule that can be replayed and made smaller.

mod engine;
mod script;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Time;

pub use engine::{Control, Faults, Fired, LEAST_PERIOD};
pub use script::{Term, parse};

/// A point in an actor's work where a fault may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// A gopher begins to load.
    Load,
    /// A gopher begins to push.
    Push,
    /// A gopher begins to unload.
    Unload,
    /// A gopher begins to return.
    Return,
    /// A gopher works on a book, a worker on a request.
    Work,
    /// An empty cart comes to a pile.
    Take,
    /// A loaded cart comes to a dump or an incinerator.
    Deliver,
    /// An incinerator burns a book.
    Burn,
    /// A cart is settled: acked at an incinerator, passed on at a dump.
    Settle,
    /// A source is read.
    Read,
    /// A wake-up comes to a pile.
    Look,
}

impl Point {
    /// All of them.
    pub const ALL: [Point; 11] = [
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
    ];

    /// Its name in config files.
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
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The actor panics, at the point or at its next poll.
    Panic {
        /// With this text.
        text: String,
    },
    /// It is killed.
    Kill,
    /// It stops in good order, unasked.
    Stop,
    /// It blocks its arbiter.
    Hang {
        /// For so long, or until it is given up.
        span: Duration,
    },
    /// Its steps and work take longer.
    Slow {
        /// By so much each.
        by: Duration,
        /// For so long from when it fires.
        span: Duration,
    },
    /// The work, the burn or the read at hand fails.
    Error {
        /// With this text.
        text: String,
        /// So that it is not tried again.
        permanent: bool,
    },
    /// The same of a book that fails every time.
    Poison,
    /// A message is late.
    Delay {
        /// By so much.
        by: Duration,
    },
    /// A message is lost on its way. What it carried goes home by its guards.
    Drop,
    /// A wake-up comes twice, a settlement is made twice.
    Duplicate,
    /// A pile says that it is full.
    Full {
        /// For so long.
        span: Duration,
    },
}

/// How far in the future "for ever" is; long enough for any run, short enough to be added to.
pub const FOR_EVER: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

impl Kind {
    /// Its name in config files.
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
        }
    }

    /// True for what happens to a message on its way, or to a wake-up or settlement: not to the actor.
    fn is_of_messages(&self) -> bool {
        matches!(self, Kind::Delay { .. } | Kind::Drop | Kind::Duplicate)
    }

    /// True for what is done to an actor as a whole where no point is named.
    fn is_a_strike(&self) -> bool {
        matches!(
            self,
            Kind::Panic { .. } | Kind::Kill | Kind::Stop | Kind::Hang { .. } | Kind::Full { .. }
        )
    }
}

/// Where a rule may fire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The actor, by its name in reports.
    pub node: Arc<str>,
    /// The point in its work; `None` for the actor as a whole.
    pub point: Option<Point>,
    /// Only messages of this crew.
    pub sender: Option<Arc<str>>,
}

/// When a rule fires.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// At these times; at a point: at the first visit from then on.
    At(Vec<Time>),
    /// Again and again, this far apart.
    Every(Duration),
    /// Again and again, by a Poisson process of this mean.
    Poisson(Duration),
    /// At the visit of this number, from 1, of all visits to its sites.
    Nth(u64),
    /// At each visit, with this chance.
    Chance(f64),
    /// At each visit with one of these items (ids of books, numbers of requests).
    Items(BTreeSet<u64>),
    /// At each visit with an item that the seed has chosen, with this chance: the same items every time.
    ItemChance(f64),
}

/// A fault as it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its name.
    pub name: Arc<str>,
    /// Where.
    pub sites: Vec<Site>,
    /// What, and when.
    pub what: What,
    /// Not before.
    pub from: Time,
    /// Not from then on.
    pub until: Time,
    /// So many times at most.
    pub times: u64,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// One thing, by time, by visits or by items.
    Kind(Kind, When),
    /// What a script says, at each visit.
    Script(Vec<Term>),
}

/// What an actor has to do about a fault at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Panic with this text.
    Panic(String),
    /// Fail.
    Error(crate::failure::Failure),
    /// Take so much longer.
    Slow(Duration),
    /// Send the message so much later.
    Delay(Duration),
    /// Lose the message.
    Drop,
    /// Do it twice.
    Duplicate,
}
