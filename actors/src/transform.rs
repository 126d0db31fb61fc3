//! What is done to a book on its way.

use crate::book::Book;
use crate::failure::Failure;

/// Work on one book, done by the gopher that pushes it. Each gopher has an instance of its own, made by a factory.
///
/// A panic charges one attempt to the book at hand, returns the rest of the cart uncounted, and the gopher is
/// re-created with a new instance.
pub trait Transform: Send + 'static {
    /// The worked book, under the same id; `None` drops it on purpose (counted as `dropped` in the ledger).
    ///
    /// # Errors
    /// Transient: one attempt is charged and the original book returns to its pile. Permanent: it is buried.
    fn apply(&mut self, book: Book) -> Result<Option<Book>, Failure>;

    /// True if the work may take more than a few microseconds or touches a disk: it then runs in the blocking pool, never on an arbiter.
    fn blocks(&self) -> bool {
        true
    }
}
