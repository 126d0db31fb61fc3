//! Transforms: the work of gophers on books.

use crate::book::Book;
use gopherworks_supervision::failure::Failure;

/// What a work makes of one book.
#[derive(Debug)]
pub enum Product {
    /// The worked book.
    Book(Book),
    /// Nothing: the work dropped the book on purpose.
    Dropped,
    /// Nothing: the book does not meet a condition. Counted as dropped, and as `filtered`.
    Filtered,
    /// New books in its place, without ids. Only on the way to a dump, with all piles in memory;
    /// elsewhere the book fails permanently. The book counts as dropped, and as `split`; the new
    /// ones count as offered.
    Split(Vec<Book>),
}

/// Work on one book, done by the gopher that pushes it. Each gopher has its own instance, made by
/// a factory.
///
/// A panic charges an attempt to the book at hand and returns the rest of the cart without
/// charging; the gopher restarts with a new instance.
pub trait Transform: Send + 'static {
    /// Returns the worked book, whose id is kept; `None` drops it on purpose (counted as `dropped`
    /// in the ledger).
    ///
    /// # Errors
    /// Transient: an attempt is charged and the original book returns to its pile. Permanent: it
    /// becomes a dead letter.
    fn apply(&mut self, book: Book) -> Result<Option<Book>, Failure>;

    /// Like [`Transform::apply`], which it calls by default, for works that tell why a book is
    /// dropped.
    ///
    /// # Errors
    /// As for [`Transform::apply`].
    fn work(&mut self, book: Book) -> Result<Product, Failure> {
        Ok(self.apply(book)?.map_or(Product::Dropped, Product::Book))
    }

    /// True, the default, if the work may take more than a few microseconds or access a disk: it
    /// then runs in the thread pool, never on an arbiter.
    fn blocks(&self) -> bool {
        true
    }
}
