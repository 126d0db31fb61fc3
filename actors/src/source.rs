//! Where books come from.

use std::sync::Arc;

use crate::book::Book;
use crate::failure::Failure;

/// Produces the books of one pile.
///
/// A source is read by one reader, never by two at once. What it has handed over belongs to the pile; a source
/// is never asked for the same book again.
pub trait Source: Send + 'static {
    /// The next books, at most `want` (>= 1); an empty vector means "none just now, ask again", `None` that the source is done.
    ///
    /// # Errors
    /// A transient failure is met by asking again (with the supervisor's backoff); a permanent one ends the source and fails the run.
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure>;

    /// True if [`Source::next`] may wait for a disk, a network or a person: it then runs on a thread of its own, off the arbiters.
    fn blocks(&self) -> bool {
        true
    }

    /// Takes it apart for `copies` (>= 2) copies of a design: the part at j gives the books j, j + copies, j + 2 copies ... that the whole would have
    /// given, so that each copy reads its own on its own thread. Asked once, before the first [`Source::next`]; whoever answers with parts is not read
    /// itself. `None`, the default: it can't be, and one reader deals its books out.
    fn split(&mut self, copies: usize) -> Option<Vec<Box<dyn Source>>> {
        let _ = copies;
        None
    }

    /// How many books it will give in all, if it knows.
    fn total(&self) -> Option<u64> {
        None
    }

    /// True if a later run can give again what this one has read and not burned. On a drain, its books
    /// that no cart has taken, and those of carts whose work or burn has not begun, are then not
    /// worked off: they count as never offered. Asked once, before the first [`Source::next`].
    ///
    /// Not for what is gone once it is read, such as a pipe.
    fn regains(&self) -> bool {
        false
    }

    /// Who wants to know which of this source's books were burned (a source that remembers across runs).
    fn receipts(&self) -> Option<Arc<dyn Receipts>> {
        None
    }
}

/// Hears of books that were burned, after the burn returned. Called off the arbiters, from several threads.
pub trait Receipts: Send + Sync + 'static {
    /// These books of the source were burned and will not come back in this run.
    ///
    /// # Errors
    /// An error is logged; the books stay burned and may be done again in the next run.
    fn burned(&self, books: &[&Book]) -> Result<(), Failure>;

    /// The run is over: make what was heard durable. Called once; may be called after some books were never burned.
    ///
    /// # Errors
    /// An error makes the run fail.
    fn finish(&self) -> Result<(), Failure> {
        Ok(())
    }
}
