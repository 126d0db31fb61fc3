//! What an operator sees of a store.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Account, Holder, PileName, SourceState, Tries};
use crate::book::Book;

/// What a store holds.
#[derive(Debug, Clone, Default)]
pub struct Survey {
    /// A name that no other store has: with a book's id, an identity for the outside world.
    pub store: Arc<str>,
    /// All piles, in the order in which they were created; those without books too.
    pub piles: Vec<Surveyed>,
    /// The processes that have the store open, or hold books of it.
    pub holders: Vec<Holder>,
    /// The shares of sources that were ever owned, if the engine is shared.
    pub sources: Vec<SourceState>,
    /// The account over all runs, if the engine keeps it.
    pub account: Option<Account>,
}

/// What a store holds of a pile. Numbers may be a moment behind those of a running process.
#[derive(Debug, Clone)]
pub struct Surveyed {
    /// Its name in the store.
    pub name: PileName,
    /// All books: held, delayed and ready.
    pub books: u64,
    /// Total bytes of their bodies.
    pub bytes: u64,
    /// Books that are held; `None` if only the holder knows.
    pub held: Option<u64>,
    /// Books that may not be delivered before a time, if the engine counts them.
    pub delayed: Option<u64>,
    /// How long ago the first book was stored, if that is known.
    pub oldest: Option<Duration>,
    /// Dead letters that died here.
    pub dead: u64,
}

/// A book on a pile, which is not held for the caller.
#[derive(Debug, Clone)]
pub struct Peeked {
    /// The book as it was stored last.
    pub book: Book,
    /// Attempts and deliveries on this pile.
    pub tries: Tries,
    /// When it may be delivered, from now, if it is delayed.
    pub due: Option<Duration>,
}

/// Something in a store that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong.
    pub what: String,
    /// True if it was repaired; it could be, and was asked to.
    pub is_repaired: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.what, if self.is_repaired { " (repaired)" } else { "" })
    }
}
