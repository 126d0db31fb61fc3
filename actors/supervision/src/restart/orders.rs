//! What the restart policy wants done, to whom, and how it ends.

use std::fmt;
use std::time::Duration;

use super::super::Exit;

/// A child of one supervisor: its place in the order of starts, from 0. An id is never used for another child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub usize);

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// How a supervisor ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was told to.
    Stopped,
    /// Its children failed more than its policy bears.
    Escalated {
        /// Which child, how many failures in which time, and the last one's text and place.
        reason: String,
    },
}

/// What the machine wants done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Do {
    /// Start a life now.
    Start {
        /// Which child.
        child: ChildId,
        /// The number of the life.
        epoch: u64,
        /// How often this child has been started again, this time included.
        restarts: u64,
    },
    /// Start lives now that are the first of children that were added together.
    StartLot {
        /// The first of them; the ids of the others follow.
        first: ChildId,
        /// How many.
        count: usize,
        /// The number of the life of each.
        epoch: u64,
    },
    /// Ask a child to stop.
    Stop {
        /// Which child.
        child: ChildId,
    },
    /// Kill a child.
    Kill {
        /// Which child.
        child: ChildId,
    },
    /// Give a life up: it did not end in time. Whatever it still does must have no effect.
    Fence {
        /// Which child.
        child: ChildId,
        /// Which life.
        epoch: u64,
        /// What its end is called: [`Exit::Hung`] or [`Exit::Blocked`].
        exit: Exit,
    },
    /// Forget a child that was added at run time: it will not come back.
    Forget {
        /// Which child.
        child: ChildId,
    },
    /// Nothing to do: a failure was counted, and its restart will come.
    Restarting {
        /// The child that failed.
        child: ChildId,
        /// The wait before the first start.
        after: Duration,
    },
    /// Nothing to do: every child has been started once (or was not to be tried again).
    Up,
    /// Nothing to do: the policy gives up; kills follow.
    Escalate {
        /// Why, for people.
        reason: String,
    },
    /// All is over, nobody lives.
    End(Outcome),
}
