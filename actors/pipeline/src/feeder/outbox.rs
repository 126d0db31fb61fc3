//! Pure: books read but not yet put, dealing them to copies, and their ids.

use std::collections::VecDeque;

use super::position::Progress;
use crate::book::{Book, BookId};
use crate::custody::Numbered;
use crate::source::Mark;

/// Books for one pile, in runs as they were read: a run for which the pile has space is moved as a
/// whole.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    runs: VecDeque<Numbered>,
    pub(super) books: usize,
    /// How far the pile has got, if that is stored.
    pub(super) progress: Option<Box<Progress>>,
    /// The mark of each book, if the source marks them.
    pub(super) marks: VecDeque<Option<Mark>>,
    /// The token of the source's owner, if it is owned.
    pub(super) owner: u64,
}

impl Outbox {
    pub(super) fn new(progress: Option<Box<Progress>>, owner: u64) -> Self {
        Self { progress, owner, ..Self::default() }
    }

    /// Removes books that an earlier run has stored.
    pub(super) fn skip(&mut self, books: &mut Vec<Book>) {
        if let Some(progress) = &mut self.progress {
            progress.skip(books);
        }
    }

    pub(super) fn push(&mut self, run: Numbered) {
        if !run.is_empty() {
            self.books += run.len();
            self.runs.push_back(run);
        }
    }

    /// Returns a run to the front.
    pub(super) fn push_front(&mut self, run: Numbered) {
        self.books += run.len();
        self.runs.push_front(run);
    }

    /// Removes the first books, at most `most` (>= 1): a whole run if it is no longer than that.
    pub(super) fn pop(&mut self, most: usize) -> Numbered {
        let Some(front) = self.runs.front_mut() else {
            return Numbered::default();
        };
        let run = front.split_to(most);
        if front.is_empty() {
            self.runs.pop_front();
        }
        self.books -= run.len();
        run
    }
}

/// Deals books in turn: the n-th of all goes to outbox n mod `outboxes`. `next` is the outbox of
/// the first.
pub(super) fn dealt(books: Vec<Book>, outboxes: usize, next: &mut usize) -> Vec<Vec<Book>> {
    if outboxes == 1 {
        return vec![books];
    }
    let each = books.len().div_ceil(outboxes);
    let mut runs: Vec<Vec<Book>> = (0..outboxes).map(|_| Vec::with_capacity(each)).collect();
    for book in books {
        runs[*next].push(book);
        *next += 1;
        if *next == outboxes {
            *next = 0;
        }
    }
    runs
}

/// Ids of books of a split source: the k-th book of copy j has the id that a single reader dealing
/// to all copies would give it, in whatever order the copies read.
///
/// A row is one book per copy. Rows are numbered in blocks, by the first copy that reaches a
/// block.
#[derive(Debug)]
pub(super) struct Rows {
    /// First ids of the blocks, from block `from` on.
    blocks: VecDeque<u64>,
    from: u64,
    /// By copy: the row of its next book.
    next: Vec<u64>,
}

impl Rows {
    const BLOCK: u64 = 1024;

    pub(super) fn new(copies: usize) -> Self {
        Self { blocks: VecDeque::new(), from: 0, next: vec![0; copies] }
    }

    /// Reserves the ids of the next `count` books of a copy. `block` allocates that many
    /// consecutive ids and returns the first.
    pub(super) fn take(
        &mut self,
        count: usize,
        copy: usize,
        mut block: impl FnMut(u64) -> BookId,
    ) -> Numbers {
        let copies = self.next.len() as u64;
        let mut row = self.next[copy];
        let end = row + count as u64;
        let mut numbers = Numbers { step: copies, runs: VecDeque::new(), len: count };
        while row < end {
            let at = (row / Self::BLOCK - self.from) as usize;
            while self.blocks.len() <= at {
                self.blocks.push_back(block(Self::BLOCK * copies).0);
            }
            let within = row % Self::BLOCK;
            let rows = (Self::BLOCK - within).min(end - row);
            let first = self.blocks[at] + within * copies + copy as u64;
            numbers.runs.push_back((first, rows as usize));
            row += rows;
        }
        self.next[copy] = end;
        let last = self.next.iter().min().copied().unwrap_or(0);
        while self.from < last / Self::BLOCK && self.blocks.pop_front().is_some() {
            self.from += 1;
        }
        numbers
    }
}

/// Reserved ids, to be assigned without a lock.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    step: u64,
    /// First id and length of each run.
    runs: VecDeque<(u64, usize)>,
    len: usize,
}

impl Numbers {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Appends ids of the same copy.
    pub(super) fn add(&mut self, more: Numbers) {
        self.step = more.step;
        self.len += more.len;
        self.runs.extend(more.runs);
    }

    /// Assigns the first ids to `books`, of which there are at most `len`.
    pub(super) fn give(&mut self, books: Vec<Book>) -> Numbered {
        let mut left = books.len();
        debug_assert!(left <= self.len, "each book has a number");
        self.len -= left;
        let step = self.step;
        let runs = std::iter::from_fn(|| {
            let (first, count) = self.runs.front_mut().filter(|_| left > 0)?;
            let given = (*first, left.min(*count));
            left -= given.1;
            if given.1 < *count {
                *first += given.1 as u64 * step;
                *count -= given.1;
            } else {
                self.runs.pop_front();
            }
            Some(given)
        });
        Numbered::by_runs(books, step, runs)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn books(count: usize) -> Vec<Book> {
        vec![Book::default(); count]
    }

    proptest! {
        /// In whatever order and amounts the copies read, the k-th book of each has the id that a
        /// single dealing reader would give it.
        #[test]
        fn split_sources_number_books_as_one_that_deals(
            copies in 1usize..5,
            reads in prop::collection::vec((0usize..4, 1usize..1500), 1..40),
        ) {
            let (mut rows, mut given) = (Rows::new(copies), 0);
            let mut seen = vec![0u64; copies];
            for (copy, count) in reads {
                let copy = copy % copies;
                let mut numbers = rows.take(count, copy, |ids| {
                    given += ids;
                    BookId(given - ids + 1)
                });
                let some = numbers.give(books(count));
                for book in some.books() {
                    prop_assert_eq!(book.id.0, seen[copy] * copies as u64 + copy as u64 + 1);
                    seen[copy] += 1;
                }
            }
            let (least, most) = (*seen.iter().min().unwrap(), *seen.iter().max().unwrap());
            prop_assert!(rows.blocks.len() as u64 <= (most - least) / Rows::BLOCK + 2);
        }

        /// No book is lost, duplicated or out of order, however an outbox is emptied.
        #[test]
        fn outboxes_keep_what_they_are_dealt(
            outboxes in 1usize..4,
            runs in prop::collection::vec(0usize..50, 0..10),
            most in 1usize..70,
        ) {
            let (mut next, mut id) = (0, 0);
            let mut all: Vec<Outbox> = (0..outboxes).map(|_| Outbox::default()).collect();
            for count in runs {
                let mut some = books(count);
                some.iter_mut().for_each(|book| {
                    id += 1;
                    book.id.0 = id;
                });
                for (outbox, run) in all.iter_mut().zip(dealt(some, outboxes, &mut next)) {
                    outbox.push(Numbered::of(run));
                }
            }
            let mut at = 0;
            for (number, outbox) in all.iter_mut().enumerate() {
                let mut want = number as u64 + 1;
                while outbox.books > 0 {
                    let run = outbox.pop(most);
                    prop_assert!(!run.is_empty() && run.len() <= most);
                    for book in run.books() {
                        prop_assert_eq!(book.id.0, want);
                        want += outboxes as u64;
                        at += 1;
                    }
                }
                prop_assert!(outbox.pop(most).is_empty());
            }
            prop_assert_eq!(at, id);
        }
    }
}
