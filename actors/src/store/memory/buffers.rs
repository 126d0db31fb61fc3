//! What books are carried in.

use std::sync::Mutex;

use super::lock;
use crate::book::Book;

/// What books were carried in, to be used again: large blocks are what an allocator is slow with.
#[derive(Default)]
pub(super) struct Buffers(Mutex<Vec<Vec<Book>>>);

impl Buffers {
    /// Smaller ones are left to the allocator, which is quick with them.
    const LEAST: usize = 16;
    /// Larger ones are not kept, nor more than so many.
    const MOST: usize = 4096;
    const KEPT: usize = 32;

    pub(super) fn take(&self, want: usize) -> Vec<Book> {
        if want < Self::LEAST {
            return Vec::with_capacity(want);
        }
        let kept = lock(&self.0).pop();
        match kept {
            Some(buffer) if buffer.capacity() >= want => buffer,
            _ => Vec::with_capacity(want.min(Self::MOST)),
        }
    }

    /// Drops the books, and keeps what they were in.
    pub(super) fn give(&self, mut books: Vec<Book>) {
        // Bodies may delete files when dropped: not under the lock.
        books.clear();
        if (Self::LEAST..=Self::MOST).contains(&books.capacity()) {
            let mut kept = lock(&self.0);
            if kept.len() < Self::KEPT {
                kept.push(books);
            }
        }
    }
}
