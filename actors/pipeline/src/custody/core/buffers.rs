//! Reuse of the buffers that carry books.

use std::sync::Mutex;

use super::lock;
use crate::book::Book;
use gopherworks_supervision::__private::PerThread;

/// Buffers that carried books, reused by the same thread: allocators are slow with large blocks,
/// and memory last used by another core is slow to access.
#[derive(Default)]
pub(super) struct Buffers(PerThread<Mutex<Vec<Vec<Book>>>>);

impl Buffers {
    /// Smaller buffers are left to the allocator, which is fast with them.
    const LEAST: usize = 16;
    /// Larger buffers are not kept, nor more than `KEPT` of a thread.
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

    /// Drops the books and keeps their buffer.
    pub(super) fn give(&self, mut books: Vec<Book>) {
        if !(Self::LEAST..=Self::MOST).contains(&books.capacity()) {
            return;
        }
        // Bodies may delete files when dropped, so this is outside the lock.
        books.clear();
        let mut kept = lock(self.0.mine());
        if kept.len() < Self::KEPT {
            kept.push(books);
        }
    }
}
