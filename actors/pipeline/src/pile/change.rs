//! Changes of a pile while it is in use: its bounds, and what leads to it and from it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};

use super::core::PileCore;
use crate::custody::Bound;

impl PileCore {
    /// Sets the piles to wake when this one closes.
    pub fn leads_to(&self, downstream: Vec<Weak<PileCore>>) {
        *self.downstream.write().unwrap_or_else(PoisonError::into_inner) = downstream;
    }

    /// Sets the piles that crews empty into this one.
    pub fn comes_from(&self, upstream: Vec<Arc<PileCore>>) {
        *self.upstream.write().unwrap_or_else(PoisonError::into_inner) = upstream;
        self.ring();
    }

    /// Capacity in books; `None` is unbounded.
    pub fn capacity_books(&self) -> Option<u64> {
        Some(self.capacity[0].load(Ordering::Relaxed)).filter(|most| *most != u64::MAX)
    }

    /// Capacity in bytes; `None` is unbounded.
    pub fn capacity_bytes(&self) -> Option<u64> {
        Some(self.capacity[1].load(Ordering::Relaxed)).filter(|most| *most != u64::MAX)
    }

    /// Changes its bounds. What it holds beyond them stays until crews have carried it on.
    pub fn rebound(&self, bound: Bound, max_attempts: u32) {
        self.context.custody.rebound(self.key, bound, max_attempts);
        for (most, now) in self.capacity.iter().zip([bound.books, bound.bytes]) {
            most.store(now.unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        self.has_room();
    }

    /// Undoes [`PileCore::close_empty`].
    pub fn reopen(&self) {
        self.closed.store(false, Ordering::Release);
        self.ring();
    }

    /// Closes a pile that is removed: from now on it takes no books. False, and nothing changes, if
    /// it has some.
    pub fn close_empty(&self) -> bool {
        let gate = self.gate();
        let is_empty =
            self.counts().is_drained() && gate.takers.is_empty() && gate.givers.is_empty();
        if is_empty {
            self.closed.store(true, Ordering::Release);
        }
        drop(gate);
        self.room.notify_waiters();
        is_empty
    }
}
