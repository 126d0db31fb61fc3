//! Changes of custody, as they are handed to the keeper.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::book::{Book, BookId};
use crate::custody::ledger::{BookOutcome, Ids};
use crate::custody::shelf::DeadLetter;
use crate::custody::{Numbered, PileKey};
use crate::store::{Checkpoint, StoreError, Tries};
use gopherworks_supervision::clock::Time;

/// A change of custody. The changes of one book are in order.
#[derive(Debug)]
pub(crate) enum Change {
    /// New books of a durable pile.
    Arrived(Arrived),
    /// Books moved to the end of a durable pile. `books` has their content, or is empty if the
    /// store has it already. They stay in memory if they are `held`.
    Passed { to: PileKey, ids: BookIds, books: Vec<Book>, held: bool, known: Known },
    /// Books ended, but not as dead letters.
    Ended { outcome: BookOutcome, ids: BookIds },
    /// A book became a dead letter.
    Buried { id: BookId, reason: Arc<str>, node: Option<Arc<str>>, attempts: u32 },
    /// A book returned to its place in its pile, and stays in memory if it is `held`.
    Returned { pile: PileKey, id: BookId, tries: Tries, due: Option<Time>, held: bool },
}

/// New books, and what waits for them.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) pile: PileKey,
    pub(crate) books: Numbered,
    /// Position of the source behind these books.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// True if the books stay in memory once they are stored.
    pub(crate) held: bool,
    pub(crate) then: Then,
}

/// What happens once new books are stored.
#[derive(Debug)]
pub(crate) enum Then {
    /// Nothing waits: the books came from the pile's source.
    Sourced,
    /// The offer of the books is answered.
    Offered(Offered),
}

/// Channel for the answer to an offer.
pub(crate) type Offered = oneshot::Sender<Result<(), RefusedOffer>>;

/// An offer that the store can't keep, with its books and the reason.
pub(crate) type RefusedOffer = (Vec<Book>, StoreError);

/// Whether passed books are in the store already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Known {
    /// No: they came from a pile in memory.
    No,
    /// Only if they were on a durable pile before they came to a pile in memory.
    Perhaps,
    Yes,
}

/// Ids of several books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BookIds {
    /// Equally spaced ids, and their number.
    Spaced(Ids, u64),
    Each(Vec<BookId>),
}

impl BookIds {
    /// Ids of `books`, which are `ids` if that is given.
    pub(crate) fn of(books: &[Book], ids: Option<Ids>) -> Self {
        match ids {
            Some(ids) => Self::Spaced(ids, books.len() as u64),
            None => Self::Each(books.iter().map(|book| book.id).collect()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Spaced(_, count) => *count as usize,
            Self::Each(ids) => ids.len(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = BookId> + '_ {
        let (spaced, each) = match self {
            Self::Spaced(ids, count) => (Some((*ids, *count)), &[][..]),
            Self::Each(ids) => (None, ids.as_slice()),
        };
        let spaced = spaced.into_iter().flat_map(|(ids, count)| (0..count).map(move |n| ids.at(n)));
        spaced.chain(each.iter().copied())
    }
}

impl Change {
    /// A dead letter.
    pub(crate) fn buried(dead: &DeadLetter) -> Self {
        let DeadLetter { book, reason, node, attempts, .. } = dead;
        let (reason, node) = (reason.as_str().into(), node.clone());
        Change::Buried { id: book.id, reason, node, attempts: *attempts }
    }

    /// Number of books, and bytes of the bodies that it keeps in memory.
    pub(crate) fn size(&self) -> (usize, u64) {
        match self {
            Change::Arrived(arrived) => (arrived.books.len(), arrived.books.bytes()),
            Change::Passed { ids, books, .. } => (ids.len(), books.iter().map(Book::size).sum()),
            Change::Ended { ids, .. } => (ids.len(), 0),
            Change::Buried { .. } | Change::Returned { .. } => (1, 0),
        }
    }

    /// Ids of the books that must be in the store before this change can be committed.
    pub(crate) fn ids(&self) -> Vec<BookId> {
        match self {
            Change::Arrived(_) => Vec::new(),
            Change::Passed { ids, .. } | Change::Ended { ids, .. } => ids.iter().collect(),
            Change::Buried { id, .. } | Change::Returned { id, .. } => vec![*id],
        }
    }

    /// True if something waits until this change is stored.
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(self, Change::Arrived(_))
    }
}
