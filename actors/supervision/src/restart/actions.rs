//! The actions of the restart policy, and the outcomes of a supervisor.

use std::fmt;
use std::time::Duration;

use super::super::Exit;

/// Identifies a child of one supervisor: its position in the start order, from 0. Ids are never
/// reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub usize);

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// How a supervisor ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisorOutcome {
    /// The child was stopped on request.
    Stopped,
    /// Its children failed more often than the policy allows.
    Escalated {
        /// The child, the number of failures and the period, and the message and place of the last
        /// failure.
        reason: String,
    },
}

/// An action to execute. Actions must be executed in the order in which they are returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartAction {
    /// Start a life now.
    Start {
        /// Id of the child.
        child: ChildId,
        /// The epoch of the life.
        epoch: u64,
        /// How often this child has been restarted, including this time.
        restarts: u64,
    },
    /// Start a batch of first lives now, of children that were added together.
    StartBatch {
        /// The first child; the ids of the others follow.
        first: ChildId,
        /// Number of children.
        count: usize,
        /// The epoch of each life.
        epoch: u64,
    },
    /// Ask a child to stop.
    Stop {
        /// Id of the child.
        child: ChildId,
    },
    /// Kill a child.
    Kill {
        /// Id of the child.
        child: ChildId,
    },
    /// Give up a life that did not end in time. Its later effects must be suppressed.
    Fence {
        /// Id of the child.
        child: ChildId,
        /// The epoch of the life.
        epoch: u64,
        /// The exit to report, such as [`Exit::Hung`] or [`Exit::Blocked`].
        exit: Exit,
    },
    /// Remove a child that was added at run time: it will not be restarted.
    Forget {
        /// Id of the child.
        child: ChildId,
    },
    /// Informational: a child failed or was lost, and will be restarted.
    Restarting {
        /// Id of the child.
        child: ChildId,
        /// The delay before the first start.
        after: Duration,
    },
    /// Informational: every child has been started once, or will not be retried.
    Up,
    /// Informational: the policy gives up; kills follow.
    Escalate {
        /// The reason, as text.
        reason: String,
    },
    /// The supervisor has ended and no child is alive.
    End(SupervisorOutcome),
}
