//! The events that a supervisor publishes.

use std::sync::Arc;
use std::time::Duration;

use super::{ChildId, Exit};
use crate::clock::Time;

/// A callback for every event of a supervisor and of the supervisors nested in it. It runs on the
/// supervisor's thread before the event is acted on, so resources of a life that was given up can
/// be reclaimed before the next life starts. It must not block.
pub type EventListener = Arc<dyn Fn(&SupervisionEvent) + Send + Sync>;

/// An event of a supervisor. `at` is the time of its clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisionEvent {
    /// The `started` method of a child has returned, and its port is bound.
    Started {
        /// Time of the event.
        at: Time,
        /// Id of the child.
        child: ChildId,
        /// The child's name.
        name: Arc<str>,
        /// The epoch of the life.
        epoch: u64,
    },
    /// A life has ended, and everything it held has been dropped (or, if it hung, fenced).
    Exited {
        /// Time of the event.
        at: Time,
        /// Id of the child.
        child: ChildId,
        /// The child's name.
        name: Arc<str>,
        /// The epoch of the life.
        epoch: u64,
        /// How the life ended.
        exit: Exit,
    },
    /// A child will be restarted: after a failure, or after its thread was lost.
    Restarting {
        /// Time of the event.
        at: Time,
        /// Id of the child.
        child: ChildId,
        /// The child's name.
        name: Arc<str>,
        /// The delay before the restart.
        after: Duration,
    },
    /// A nested supervisor gave up; the policy of this supervisor decides what follows.
    NestedEscalated {
        /// Time of the event.
        at: Time,
        /// The nested supervisor, and its reason.
        reason: String,
    },
    /// The policy gave up; the children are being killed.
    Escalated {
        /// Time of the event.
        at: Time,
        /// Why the policy gave up.
        reason: String,
    },
    /// All children have ended and the ports are closed. This is the last event, also after
    /// [`SupervisionEvent::Escalated`].
    Stopped {
        /// Time of the event.
        at: Time,
    },
}

impl SupervisionEvent {
    /// Renames the child to `parent/child` and replaces its id by that of the nested supervisor.
    pub(super) fn under(mut self, id: ChildId, parent: &str) -> Self {
        if let Self::Started { child, name, .. }
        | Self::Exited { child, name, .. }
        | Self::Restarting { child, name, .. } = &mut self
        {
            *child = id;
            *name = format!("{parent}/{name}").into();
        }
        if let Self::Escalated { at, reason } = self {
            let reason = format!("{parent}: {reason}");
            return Self::NestedEscalated { at, reason };
        }
        self
    }
}
