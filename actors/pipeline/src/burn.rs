//! Burns: what an incinerator does with books.

use crate::book::Book;
use gopherworks_supervision::failure::Failure;
#[cfg(doc)]
use gopherworks_supervision::pool::MOST_BURNING_THREADS;
use gopherworks_supervision::pool::MOST_WAITING_BURNS;

/// Consumes books. One instance serves an incinerator, from several threads at once if carts
/// arrive together.
///
/// A burn in progress on a hung thread cannot be cancelled, so its side effects must be idempotent
/// per book id or name.
pub trait Burn: Send + Sync + 'static {
    /// Consumes one book. `Ok` means that the effect is as durable as the kind promises.
    ///
    /// # Errors
    /// Transient: an attempt is charged and the book returns to its pile. Permanent: it becomes a
    /// dead letter.
    fn burn(&self, book: &Book) -> Result<(), Failure>;

    /// Consumes one book in its attempt of this number, from 1, for kinds that pass the number on.
    ///
    /// # Errors
    /// As for [`Burn::burn`], which it is by default.
    fn burn_attempt(&self, book: &Book, attempt: u32) -> Result<(), Failure> {
        let _ = attempt;
        self.burn(book)
    }

    /// Consumes the books of a cart together, for kinds that benefit (one child process, one
    /// write, one sync); returns one result per book, in order. `None`, the default, means not
    /// supported: [`Burn::burn`] is called for each book, and this method not again until the
    /// incinerator restarts.
    fn burn_cart(&self, books: &[&Book]) -> Option<Vec<Result<(), Failure>>> {
        let _ = books;
        None
    }

    /// Consumes books up to the first failure, counting successes in `done`. Provided method, for
    /// burns that do not block: one dynamic call per cart instead of one per book. Implement
    /// [`Burn::burn`] instead.
    ///
    /// # Errors
    /// The error of [`Burn::burn`] for the book at index `done`.
    fn burn_until(&self, books: &[Book], done: &mut usize) -> Result<(), Failure> {
        for book in books {
            self.burn(book)?;
            *done += 1;
        }
        Ok(())
    }

    /// True, the default, if burning may wait for a disk, a network or a process: it then runs in
    /// the thread pool, never on an arbiter.
    fn blocks(&self) -> bool {
        true
    }

    /// True if burning spends most of its time waiting for a disk, a network or another process.
    /// It then uses none of the run's cores: up to [`Burn::at_once`] carts burn on separate
    /// threads while other work continues. Only used if [`Burn::blocks`] is true. False by
    /// default.
    fn waits(&self) -> bool {
        false
    }

    /// Maximum number of carts of an incinerator that burn at once (>= 1), if burning
    /// [waits](Burn::waits). All incinerators share [`MOST_BURNING_THREADS`] threads for such
    /// burns.
    fn at_once(&self) -> usize {
        MOST_WAITING_BURNS
    }

    /// Makes the effects of all burns that have returned as durable as the kind can. Called on the
    /// latest instance before their acks are stored, if books of durable piles were burned; blocks
    /// no arbiter. Does nothing by default.
    ///
    /// # Errors
    /// The acks wait, and it is called again after a pause.
    fn sync(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Finishes at the end of the run, when no further books can come. Called once on the last
    /// instance, never on an arbiter.
    ///
    /// # Errors
    /// An error fails the run.
    fn finish(&self) -> Result<(), Failure> {
        Ok(())
    }
}
