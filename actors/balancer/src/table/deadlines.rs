//! Pure: a queue of deadlines.

use std::collections::{BTreeSet, VecDeque};

use super::FEW;
use super::backlog::Ref;
use gopherworks_supervision::clock::Time;

/// Deadlines, earliest first. Pushing in ascending order costs O(1). Requests that are over leave
/// tombstones, which are removed when met or when they are more than half.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    fifo: VecDeque<(Time, Ref)>,
    tree: BTreeSet<(Time, Ref)>,
    tombstones: usize,
}

impl Deadlines {
    pub(super) fn push(&mut self, due: Time, which: Ref) {
        if self.fifo.back().is_none_or(|(last, _)| *last <= due) {
            self.fifo.push_back((due, which));
        } else {
            self.tree.insert((due, which));
        }
    }

    /// The earliest live deadline; tombstones before it are removed.
    pub(super) fn first(&mut self, live: impl Fn(Ref) -> bool) -> Option<(Time, Ref)> {
        loop {
            let fifo = self.fifo.front().copied();
            let tree = self.tree.first().copied();
            let (first, from_fifo) = match (fifo, tree) {
                (Some(a), Some(b)) if b < a => (b, false),
                (Some(a), _) => (a, true),
                (None, Some(b)) => (b, false),
                (None, None) => return None,
            };
            if live(first.1) {
                return Some(first);
            }
            self.tombstones = self.tombstones.saturating_sub(1);
            if from_fifo {
                self.fifo.pop_front();
            } else {
                self.tree.pop_first();
            }
        }
    }

    /// A request with a deadline here is over: counts a tombstone, and sweeps if there are many.
    pub(super) fn forget(&mut self, live: impl Fn(Ref) -> bool) {
        self.tombstones += 1;
        if self.tombstones > FEW && self.tombstones > self.held() / 2 {
            self.fifo.retain(|(_, which)| live(*which));
            self.tree.retain(|(_, which)| live(*which));
            self.tombstones = 0;
        }
    }

    /// Length including tombstones, a measure of memory.
    pub(super) fn held(&self) -> usize {
        self.fifo.len() + self.tree.len()
    }
}
