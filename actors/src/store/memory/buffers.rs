//! What books are carried in.

use std::sync::Mutex;

use super::lock;
use crate::book::Book;
use crate::threads::PerThread;

/// What books were carried in, to be used again by the same thread: large blocks are what an allocator is slow with, and those of another
/// core are far away.
#[derive(Default)]
pub(super) struct Buffers(PerThread<Mutex<Vec<Vec<Book>>>>);

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
        let kept = lock(self.0.mine()).pop();
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
            let mut kept = lock(self.0.mine());
            if kept.len() < Self::KEPT {
                kept.push(books);
            }
        }
    }
}
