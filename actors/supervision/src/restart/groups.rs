//! Children of one template: one byte per child that has never been restarted.

use std::sync::Arc;

use super::{ChildSpec, ChildState, LifeStatus};

/// Maximum number of children in a batch.
pub(super) const MAX_BATCH: usize = 256;

/// Children that share one specification, by index.
#[derive(Debug)]
pub(super) struct RestartGroup {
    pub(super) spec: Arc<ChildSpec>,
    members: Vec<MemberState>,
    /// The number of [`MemberState::FirstLife`] children, all below `top`.
    first_lives: usize,
    top: usize,
    /// All children below this index were started once or are gone.
    unstarted: usize,
    gone: usize,
    /// True if a batch is being started.
    pub(super) batch: bool,
}

/// The state of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MemberState {
    /// Never started.
    Unstarted,
    /// In its first life (starting or started), with no other state to remember.
    FirstLife,
    /// The member has ended, and no child is restarted any more.
    Ended,
    /// Its state is stored in `Children::detailed`.
    Detailed,
    Gone,
}

impl RestartGroup {
    pub(super) fn new(spec: ChildSpec, count: usize) -> Self {
        Self {
            spec: Arc::new(spec),
            members: vec![MemberState::Unstarted; count],
            first_lives: 0,
            top: 0,
            unstarted: 0,
            gone: 0,
            batch: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    fn first_epoch(&self) -> u64 {
        self.spec.first_epoch.max(1)
    }

    pub(super) fn set(&mut self, index: usize, to: MemberState) {
        let before = std::mem::replace(&mut self.members[index], to);
        self.first_lives -= usize::from(before == MemberState::FirstLife);
        self.gone += usize::from(to == MemberState::Gone && before != MemberState::Gone);
        if to == MemberState::FirstLife {
            self.first_lives += 1;
            self.top = self.top.max(index + 1);
        }
    }

    /// True if all children are gone and no batch is being started.
    pub(super) fn is_gone(&self) -> bool {
        self.gone == self.len() && !self.batch
    }

    /// The full state of a child; `None` if it is stored elsewhere or the child is gone.
    pub(super) fn state(&self, index: usize) -> Option<ChildState> {
        let (epoch, life) = match self.members[index] {
            MemberState::Unstarted => (0, LifeStatus::None),
            MemberState::FirstLife => (self.first_epoch(), LifeStatus::FIRST),
            MemberState::Ended => (self.first_epoch(), LifeStatus::None),
            MemberState::Detailed | MemberState::Gone => return None,
        };
        Some(ChildState {
            epoch,
            starts: epoch.min(1),
            life,
            index: Some(index),
            dynamic: true,
            ..ChildState::new(self.spec.clone())
        })
    }

    /// The children whose state is stored here.
    pub(super) fn compact_members(&self) -> impl Iterator<Item = usize> {
        let members = self.members.iter().enumerate();
        members
            .filter(|(_, member)| !matches!(member, MemberState::Detailed | MemberState::Gone))
            .map(|(index, _)| index)
    }

    pub(super) fn last_first_life(&mut self) -> Option<usize> {
        if self.first_lives == 0 {
            return None;
        }
        while self.members[self.top - 1] != MemberState::FirstLife {
            self.top -= 1;
        }
        Some(self.top - 1)
    }

    pub(super) fn next_unstarted(&mut self) -> Option<usize> {
        while *self.members.get(self.unstarted)? != MemberState::Unstarted {
            self.unstarted += 1;
        }
        Some(self.unstarted)
    }

    pub(super) fn start_batch(&mut self, from: usize) -> Option<(usize, u64)> {
        let rest = self.members[from..].iter();
        let count =
            rest.take(MAX_BATCH).take_while(|member| **member == MemberState::Unstarted).count();
        if count == 0 {
            return None;
        }
        for index in from..from + count {
            self.set(index, MemberState::FirstLife);
        }
        self.batch = true;
        Some((count, self.first_epoch()))
    }
}
