//! What the restart policy remembers of a child.

use std::sync::Arc;

use super::super::ChildSpec;
use super::super::policy::derived;
use crate::clock::Time;

#[derive(Debug, Clone)]
pub(super) struct ChildState {
    pub(super) spec: Arc<ChildSpec>,
    // Its index among the children that share its specification.
    pub(super) index: Option<usize>,
    pub(super) epoch: u64,
    pub(super) starts: u64,
    pub(super) streak: u32,
    pub(super) life: LifeStatus,
    // Added at run time: removed once it will not be restarted.
    pub(super) dynamic: bool,
    // Asked to stop permanently.
    pub(super) leaving: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LifeStatus {
    None,
    // To be started outside the queue, at this time.
    Waiting(Time),
    Alive {
        // When `started` returned.
        since: Option<Time>,
        // The queue waits until it has started.
        queued: bool,
        ending: Option<Ending>,
    },
}

/// The state of a life that was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    // The supervisor ends it, so its exit is not a failure.
    pub(super) wanted: bool,
    // It was asked to stop, and is killed at this time.
    pub(super) kill_at: Option<Time>,
    // It was killed, and counts as hung if it has not ended by then.
    pub(super) hung_at: Option<Time>,
}

impl LifeStatus {
    pub(super) const FIRST: LifeStatus =
        LifeStatus::Alive { since: None, queued: false, ending: None };
}

impl ChildState {
    pub(super) fn new(spec: impl Into<Arc<ChildSpec>>) -> Self {
        Self {
            spec: spec.into(),
            index: None,
            epoch: 0,
            starts: 0,
            streak: 0,
            life: LifeStatus::None,
            dynamic: false,
            leaving: false,
        }
    }

    pub(super) fn name(&self) -> Arc<str> {
        match self.index {
            Some(index) => derived(&self.spec.name, index),
            None => self.spec.name.clone(),
        }
    }

    pub(super) fn alive(&self) -> bool {
        matches!(self.life, LifeStatus::Alive { .. })
    }

    // In its first life, with nothing to remember: its start time matters only after a failure.
    pub(super) fn is_first_life(&self) -> bool {
        let LifeStatus::Alive { queued, ending, .. } = self.life else {
            return false;
        };
        !queued && ending.is_none() && !self.leaving && self.starts == 1 && self.streak == 0
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        match self.life {
            LifeStatus::Alive { ending, .. } => ending,
            _ => None,
        }
    }

    pub(super) fn set_ending(&mut self, to: Ending) {
        if let LifeStatus::Alive { ending, .. } = &mut self.life {
            *ending = Some(to);
        }
    }
}
