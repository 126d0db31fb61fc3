//! Sources of books.

use std::sync::Arc;

use bytes::Bytes;

use crate::book::Book;
use gopherworks_supervision::failure::Failure;

/// Identifies a book of a source in all runs, such as half a digest of what is read.
pub type Mark = [u8; 16];

/// Produces the books of one pile.
///
/// A source is read by one thread at a time. Books that it has returned belong to the pile; it is
/// never asked for them again.
pub trait Source: Send + 'static {
    /// Returns the next books, at most `want` (>= 1). An empty vector means none at present,
    /// `None` the end of the source.
    ///
    /// # Errors
    /// After a transient failure it is called again, with the supervisor's backoff; a permanent
    /// one ends the source and fails the run.
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure>;

    /// True, the default, if [`Source::next`] may wait for a disk, a network or a person: it then
    /// runs on a separate thread, never on an arbiter.
    fn blocks(&self) -> bool {
        true
    }

    /// Splits the source for `copies` (>= 2) copies of a pile, so that each reads its part on its
    /// own thread: part j produces books j, j + copies, j + 2 copies, ... of the whole. Called
    /// once, before the first [`Source::next`]; a source that was split is not read itself.
    /// `None`, the default, means that it cannot be split: one reader deals its books out.
    fn split(&mut self, copies: usize) -> Option<Vec<Box<dyn Source>>> {
        let _ = copies;
        None
    }

    /// Total number of books, if known.
    fn total(&self) -> Option<u64> {
        None
    }

    /// Where the source goes on, as bytes that [`Source::resume`] understands in a later run. Asked
    /// before each [`Source::next`] if the pile is durable: it is stored with the books, so that
    /// each is read once, whenever the process is killed. The source has to give the same books
    /// from there on. `None`, the default: books that were read and not yet stored are read again
    /// in the next run if the source then gives them.
    fn position(&self) -> Option<Bytes> {
        None
    }

    /// Goes on at a position of an earlier run. Called once, before the first [`Source::next`]; of
    /// a source that is split, on each part. False if what was read then is not there any more:
    /// the source begins anew.
    ///
    /// # Errors
    /// The source can't go on there; the run does not start.
    fn resume(&mut self, position: &[u8]) -> Result<bool, Failure> {
        let _ = position;
        Err(Failure::permanent("it can't go on where an earlier run has ended"))
    }

    /// Has a source whose order may change from run to run, such as a walk over folders, leave out
    /// what earlier runs have read: the books with these marks. Called once, before the first
    /// [`Source::next`], if the pile is durable; without marks in the first run. True if the
    /// source marks its books: their marks are stored with them, so that each is read once,
    /// whenever the process is killed. It is then never split. False by default.
    fn leave_out(&mut self, marks: Vec<Mark>) -> bool {
        let _ = marks;
        false
    }

    /// Identifies a book that the last [`Source::next`] has returned. A book without a mark, the
    /// default, is read again in later runs.
    fn mark(&self, book: &Book) -> Option<Mark> {
        let _ = book;
        None
    }

    /// True if a later run can produce again the books that this one has read and not burned. On a
    /// drain, books not yet leased, and leased ones whose work or burn has not begun, then go back
    /// unprocessed and count as never offered. Called once, before the first [`Source::next`].
    /// False by default.
    ///
    /// Must be false for sources that are consumed by reading, such as a pipe.
    fn regains(&self) -> bool {
        false
    }

    /// The receiver of notifications about burned books, for sources that remember them across
    /// runs. None by default.
    fn receipts(&self) -> Option<Arc<dyn Receipts>> {
        None
    }
}

/// Notified of burned books, after the burn returned. Called from several threads, never on an
/// arbiter.
pub trait Receipts: Send + Sync + 'static {
    /// These books of the source were burned and will not come back in this run.
    ///
    /// # Errors
    /// An error is logged; the books stay burned, and may be repeated in the next run.
    fn burned(&self, books: &[&Book]) -> Result<(), Failure>;

    /// Makes the notifications durable at the end of the run. Called once, even if some books were
    /// not burned.
    ///
    /// # Errors
    /// An error fails the run.
    fn finish(&self) -> Result<(), Failure> {
        Ok(())
    }
}
