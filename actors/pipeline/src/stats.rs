//! Counters of nodes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of a node, which outlive its actor.
#[derive(Debug, Default)]
pub struct NodeStats {
    books: AtomicU64,
    carts: AtomicU64,
    busy: AtomicU64,
    waits: AtomicU64,
}

impl NodeStats {
    /// Counts `carts` carts that passed with `books` books in total.
    pub fn carts_with(&self, carts: usize, books: usize) {
        self.books.fetch_add(books as u64, Ordering::Relaxed);
        self.carts.fetch_add(carts as u64, Ordering::Relaxed);
    }

    /// Adds `span` to the node's busy time.
    pub fn busy_for(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.busy.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Counts a cart that had to wait.
    pub fn waited(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// Starts with the counts of `other`, a node that this one replaces.
    pub fn goes_on_from(&self, other: &Self) {
        let all = [&self.books, &self.carts, &self.busy, &self.waits];
        let before = [&other.books, &other.carts, &other.busy, &other.waits];
        for (count, before) in all.into_iter().zip(before) {
            count.fetch_add(before.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Number of books that passed.
    pub fn books(&self) -> u64 {
        self.books.load(Ordering::Relaxed)
    }

    /// Number of carts that passed.
    pub fn carts(&self) -> u64 {
        self.carts.load(Ordering::Relaxed)
    }

    /// Time spent in steps, work and burns.
    pub fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy.load(Ordering::Relaxed))
    }

    /// Number of times a cart had to wait for books, space or a restart.
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }
}
