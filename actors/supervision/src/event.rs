//! What a supervisor tells those who watch it.

use std::sync::Arc;
use std::time::Duration;

use super::{ChildId, Exit};
use crate::clock::Time;

/// Hears every event of a supervisor and of those nested in it, on the supervisor's thread, before what follows from it is done: what a life held
/// that is given up can be taken back before the next one starts. It must not block.
pub type Heard = Arc<dyn Fn(&SupervisionEvent) + Send + Sync>;

/// Something that happened under a supervisor. `at` is the time by its clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisionEvent {
    /// A child's `started` has returned and its port is bound.
    Started {
        /// When.
        at: Time,
        /// Which child.
        child: ChildId,
        /// Its name.
        name: Arc<str>,
        /// Which life.
        epoch: u64,
    },
    /// A life is over and all that it held is gone (or, where it hung, fenced).
    Exited {
        /// When.
        at: Time,
        /// Which child.
        child: ChildId,
        /// Its name.
        name: Arc<str>,
        /// Which life.
        epoch: u64,
        /// How it ended.
        exit: Exit,
    },
    /// A failure was counted and is answered with a restart.
    Restarting {
        /// When.
        at: Time,
        /// The child that failed.
        child: ChildId,
        /// Its name.
        name: Arc<str>,
        /// The wait before the start.
        after: Duration,
    },
    /// A nested supervisor gave up; the policy above decides what follows.
    NestedEscalated {
        /// When.
        at: Time,
        /// Which, and why.
        reason: String,
    },
    /// The policy gave up; the children are being killed.
    Escalated {
        /// When.
        at: Time,
        /// Why.
        reason: String,
    },
    /// Nobody lives, the ports are closed. The last event; after [`SupervisionEvent::Escalated`] too.
    Stopped {
        /// When.
        at: Time,
    },
}

impl SupervisionEvent {
    /// The same of a child of the nested supervisor `id`, by its name from above.
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
