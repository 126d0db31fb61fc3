//! Books of a source that have their ids.

use crate::book::{Book, BookId};
use crate::custody::ledger::Ids;

/// Books with ids, and the sums an engine needs; computed when the ids are assigned, so that the
/// books are walked only once.
#[derive(Debug, Default)]
pub struct Numbered {
    books: std::vec::IntoIter<Book>,
    bytes: u64,
    ids: Option<Ids>,
}

impl Numbered {
    /// Wraps books that have ids.
    pub fn of(books: Vec<Book>) -> Self {
        let (bytes, ids) = Ids::and_bytes_of(&books);
        Self::new(books, bytes, ids)
    }

    /// Assigns consecutive ids, starting with `first`.
    pub fn from(mut books: Vec<Book>, first: BookId) -> Self {
        let bytes = number(&mut books, first, 1);
        let ids = (!books.is_empty()).then_some(Ids { first, step: 1 });
        Self::new(books, bytes, ids)
    }

    fn new(books: Vec<Book>, bytes: u64, ids: Option<Ids>) -> Self {
        let books = books.into_iter();
        Self { books, bytes, ids }
    }

    /// Assigns ids by runs, each given by its first id and its length; within a run ids are `step`
    /// (>= 1) apart. The lengths add up to the number of books.
    pub(crate) fn by_runs(
        mut books: Vec<Book>,
        step: u64,
        runs: impl IntoIterator<Item = (u64, usize)>,
    ) -> Self {
        let (mut bytes, mut ids, mut at) = (0, None, 0);
        for (first, count) in runs {
            bytes += number(&mut books[at..at + count], BookId(first), step);
            let own = Ids { first: BookId(first), step };
            ids = match ids {
                None if at == 0 => Some(own),
                before => before.filter(|ids: &Ids| ids.at(at as u64) == own.first),
            };
            at += count;
        }
        debug_assert_eq!(at, books.len(), "each book has an id");
        Self::new(books, bytes, ids)
    }

    /// Number of books.
    pub fn len(&self) -> usize {
        self.books.len()
    }

    /// True if there are no books.
    pub fn is_empty(&self) -> bool {
        self.books.as_slice().is_empty()
    }

    /// The books, in order.
    pub fn books(&self) -> &[Book] {
        self.books.as_slice()
    }

    /// Total size of the bodies in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The books, their bytes, and their ids if known to be equally spaced.
    pub fn into_parts(self) -> (Vec<Book>, u64, Option<Ids>) {
        (self.books.collect(), self.bytes, self.ids)
    }

    /// Removes and returns the first `count` books, or all if there are fewer.
    pub(crate) fn split_to(&mut self, count: usize) -> Self {
        if count >= self.books.len() {
            return std::mem::take(self);
        }
        let first = Self::of(self.books.by_ref().take(count).collect());
        self.bytes -= first.bytes;
        self.ids = self.ids.map(|ids| ids.from(count as u64));
        first
    }
}

/// Assigns ids; returns the bytes of all bodies.
fn number(books: &mut [Book], first: BookId, step: u64) -> u64 {
    let (mut id, mut bytes) = (first.0, 0);
    for book in books {
        book.id = BookId(id);
        id += step;
        bytes += book.size();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::book::Body;

    fn books(sizes: &[usize]) -> Vec<Book> {
        let bodies = sizes.iter().map(|size| Body::from(vec![0; *size]));
        bodies.map(Book::new).collect()
    }

    proptest! {
        /// The sums kept equal those computed from the books, however they are split.
        #[test]
        fn what_is_known_is_true(
            runs in prop::collection::vec(
                (1u64..100, prop::collection::vec(0usize..9, 1..9)), 1..5
            ),
            step in 1u64..4,
            parts in prop::collection::vec(1usize..12, 1..9),
        ) {
            let sizes: Vec<usize> = runs.iter().flat_map(|(_, sizes)| sizes.clone()).collect();
            let (mut first, mut given) = (1, Vec::new());
            for (gap, sizes) in &runs {
                // Some runs continue the previous one at the same spacing, some do not.
                first += if gap % 2 == 0 { 0 } else { *gap };
                given.push((first, sizes.len()));
                first += step * sizes.len() as u64;
            }
            let mut all = Numbered::by_runs(books(&sizes), step, given.iter().copied());
            let wanted = given.iter().flat_map(|(first, count)| {
                (0..*count as u64).map(move |at| first + at * step)
            });
            let ids: Vec<u64> = all.books().iter().map(|book| book.id.0).collect();
            prop_assert_eq!(ids, wanted.collect::<Vec<_>>());
            let mut left = sizes.len();
            for part in parts {
                let some = all.split_to(part);
                prop_assert_eq!(some.len(), part.min(left));
                left -= some.len();
                for one in [&some, &all] {
                    let (bytes, ids) = Ids::and_bytes_of(one.books());
                    prop_assert_eq!(one.bytes(), bytes);
                    // A single book fits any spacing.
                    prop_assert!(one.ids.is_none() || one.len() < 2 || one.ids == ids, "{:?} \
                        {ids:?}", one.ids);
                    prop_assert!(one.ids.is_none_or(|ids| ids.first == one.books()[0].id));
                }
            }
        }
    }
}
