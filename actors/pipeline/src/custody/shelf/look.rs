//! What operators look at.

use super::Shelf;
use gopherworks_supervision::clock::Time;

impl Shelf {
    /// Books that rest before their next attempt.
    pub fn delayed(&self) -> usize {
        self.delayed.len()
    }

    /// Positions of the first book that may be leased, if there is one, and of the next book to be
    /// stored. Positions grow by one a book.
    pub fn positions(&self) -> (Option<u64>, u64) {
        let fresh = self.fresh.front().map(|run| run.first);
        let returned = self.returned.keys().next().copied();
        (fresh.into_iter().chain(returned).min(), self.next_position)
    }

    /// When the first delayed book may be leased again.
    pub fn next_due(&self) -> Option<Time> {
        self.delayed.keys().next().map(|(due, _)| *due)
    }
}
