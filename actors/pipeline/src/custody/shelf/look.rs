//! The books of a pile, for the JSON API.

use super::{ReturnedBook, Shelf};
use crate::book::Book;
use crate::custody::HolderId;
use gopherworks_supervision::clock::Time;

/// A book of a pile, as it is at present.
#[derive(Debug, Clone)]
pub struct SeenBook {
    /// The book as it was stored.
    pub book: Book,
    /// Whether it may be leased, is delayed or is leased.
    pub state: SeenState,
    /// Attempts charged on this pile.
    pub attempts: u32,
}

/// The state of a book on a pile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenState {
    /// The book may be leased.
    Ready,
    /// The book may be leased again from this time on.
    Delayed(Time),
    /// The book is leased by this node.
    Leased(HolderId),
}

impl SeenBook {
    fn returned(entry: &ReturnedBook, state: SeenState) -> Self {
        Self { book: entry.book.clone(), state, attempts: entry.note.attempts }
    }
}

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

    /// At most `most` books after the first `skipped`: leased ones, then ready ones (returned ones
    /// first), then delayed ones, each group only if it is wanted. Takes time in proportion to
    /// `skipped + most`.
    pub fn look(
        &self,
        (leased, ready, delayed): (bool, bool, bool),
        (skipped, most): (usize, usize),
    ) -> Vec<SeenBook> {
        let batches = self.leases.iter().flatten().filter(|_| leased);
        let leased = batches.flat_map(|batch| {
            let state = SeenState::Leased(batch.held_by());
            batch.books.iter().enumerate().map(move |(at, book)| {
                let attempts = batch.note(at).attempts;
                SeenBook { book: book.clone(), state, attempts }
            })
        });
        let returned = self.returned.values().filter(|_| ready);
        let returned = returned.map(|entry| SeenBook::returned(entry, SeenState::Ready));
        let fresh = self.fresh.iter().filter(|_| ready).flat_map(|run| run.books.as_slice());
        let fresh =
            fresh.map(|book| SeenBook { book: book.clone(), state: SeenState::Ready, attempts: 0 });
        let delayed = self
            .delayed
            .iter()
            .filter(|_| delayed)
            .map(|((due, _), entry)| SeenBook::returned(entry, SeenState::Delayed(*due)));
        leased.chain(returned).chain(fresh).chain(delayed).skip(skipped).take(most).collect()
    }
}
