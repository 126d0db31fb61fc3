//! What becomes of a book in the end.

use crate::book::Book;
use crate::failure::Failure;
use crate::pool::MOST_WAITING_BURNS;

/// Consumes books. One instance serves an incinerator, from several threads at once where carts arrive at once.
///
/// A burn that has begun on a hung thread can't be called back: outside effects must be idempotent by the book's id or name.
pub trait Burn: Send + Sync + 'static {
    /// Consumes one book. When it returns `Ok`, its effect is as durable as the kind promises.
    ///
    /// # Errors
    /// Transient: one attempt is charged and the book returns to its pile. Permanent: it is buried.
    fn burn(&self, book: &Book) -> Result<(), Failure>;

    /// Consumes the books of one cart together, for kinds that gain by it (one child process, one write, one sync): one result a book, in order.
    /// `None`, the default, means that the kind has no such way and [`Burn::burn`] is called for each; a life of an incinerator asks until it hears that.
    fn burn_cart(&self, books: &[&Book]) -> Option<Vec<Result<(), Failure>>> {
        let _ = books;
        None
    }

    /// Consumes one book after the other up to the first that fails, and counts those that are done. Provided: [`Burn::burn`] is what is written, and this
    /// is what is called where burning does not wait, so that a cart costs one call through a pointer and not one for each book.
    ///
    /// # Errors
    /// Those of [`Burn::burn`], for the book after the `done` first.
    fn burn_until(&self, books: &[Book], done: &mut usize) -> Result<(), Failure> {
        for book in books {
            self.burn(book)?;
            *done += 1;
        }
        Ok(())
    }

    /// True if burning may wait for a disk, a network or a process: it then runs in the blocking pool, never on an arbiter.
    fn blocks(&self) -> bool {
        true
    }

    /// True if burning spends most of its time in waiting for a disk, a network or another process. It then takes none of the works' cores: carts burn on
    /// threads of their own, up to [`Burn::at_once`] of them, and work goes on meanwhile. Asked only of a burn that blocks.
    fn waits(&self) -> bool {
        false
    }

    /// How many carts of an incinerator burn at once at most (>= 1) where burning [waits](Burn::waits); the works have
    /// [`MOST_BURNING_THREADS`](crate::pool::MOST_BURNING_THREADS) threads for them in all.
    fn at_once(&self) -> usize {
        MOST_WAITING_BURNS
    }

    /// The fire is out: no book will come again. Called once on the last instance, off the arbiters.
    ///
    /// # Errors
    /// An error makes the run fail.
    fn finish(&self) -> Result<(), Failure> {
        Ok(())
    }
}
