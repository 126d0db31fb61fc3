//! What a settlement of a lease made of its books.

use std::sync::Arc;
use std::time::Duration;

use crate::book::{Book, BookId};
use crate::custody::PileKey;
use crate::custody::ledger::Ids;
use gopherworks_supervision::Backoff;
use gopherworks_supervision::clock::Seed;
use gopherworks_supervision::failure::Failure;

/// A book that will not be tried again, with the reason.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The book as it was stored on the pile where it died.
    pub book: Book,
    /// The pile where it died.
    pub pile: PileKey,
    /// Why it was given up.
    pub reason: String,
    /// Number of attempts charged.
    pub attempts: u32,
    /// The node that failed on it last, if known.
    pub node: Option<Arc<str>>,
}

/// A failed attempt that was charged to a book.
#[derive(Debug, Clone)]
pub struct Charge {
    /// The book's name, or `book` and its id if it has none.
    pub book: String,
    /// The pile that it was leased from.
    pub pile: PileKey,
    /// Why the attempt failed.
    pub failure: Failure,
    /// Number of the attempt on this pile, from 1.
    pub attempt: u32,
    /// True if the book is now a dead letter.
    pub dead: bool,
}

/// Result of a settlement.
#[derive(Debug, Default)]
pub struct Settlement {
    /// Acked books, in order.
    pub acked: Vec<Book>,
    /// Total bytes of the acked bodies.
    pub acked_bytes: u64,
    /// Ids of the acked books, if known to be equally spaced.
    pub acked_ids: Option<Ids>,
    /// Books dropped on purpose, in order.
    pub dropped: Vec<Book>,
    /// Number of dropped books that did not meet a condition.
    pub filtered: u64,
    /// Number of dropped books that others were stored in place of.
    pub split: u64,
    /// New dead letters.
    pub buried: Vec<DeadLetter>,
    /// Failed attempts that were charged.
    pub charged: Vec<Charge>,
    /// Number of books returned to the pile, delayed ones included.
    pub returned: usize,
    /// Books that go back to their source.
    pub recalled: Vec<Book>,
    /// Returned books that are in the store only from now on.
    pub resting: Vec<Book>,
}

/// Delays between the attempts at a book.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// The delay after the first failed attempt, and how it grows; `reset` has no effect.
    pub backoff: Backoff,
    /// Seed of the random deviations.
    pub seed: Seed,
}

impl Retry {
    /// Time from the `attempts`-th failed attempt (from 1) at a book to the next: the same whenever
    /// it is asked for.
    pub(super) fn delay(&self, book: BookId, attempts: u32) -> Duration {
        let mut chance = self.seed.stream(&book.to_string(), &attempts.to_string());
        self.backoff.delay(attempts, &mut chance)
    }
}
