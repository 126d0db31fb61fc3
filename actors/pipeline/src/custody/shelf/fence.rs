//! Fencing: books whose leases in a shared store are about to expire leave this process.

use std::collections::HashSet;

use super::{ReturnedBook, Shelf};
use crate::book::{Book, BookId};
use crate::custody::lease::Note;

impl Shelf {
    /// Revokes the leases of carts that carry one of these books, and removes the books; other
    /// books of those carts return to the pile.
    pub fn fence(&mut self, lost: &HashSet<BookId>) -> Vec<Book> {
        self.revoke_if(|batch| batch.books.iter().any(|book| lost.contains(&book.id)));
        let mut gone = Vec::new();
        for run in std::mem::take(&mut self.fresh) {
            if !run.books.as_slice().iter().any(|book| lost.contains(&book.id)) {
                self.fresh.push_back(run);
                continue;
            }
            self.fresh_books -= run.books.len();
            for (position, book) in (run.first..).zip(run.books) {
                if lost.contains(&book.id) {
                    gone.push(book);
                    continue;
                }
                let note = Note { deliveries: 0, ..Note::first(position) };
                self.returned.insert(position, ReturnedBook { book, note });
            }
        }
        for (position, entry) in std::mem::take(&mut self.returned) {
            match lost.contains(&entry.book.id) {
                true => gone.push(entry.book),
                false => _ = self.returned.insert(position, entry),
            }
        }
        for (key, entry) in std::mem::take(&mut self.delayed) {
            if lost.contains(&entry.book.id) {
                self.note_awake(&entry.book);
                gone.push(entry.book);
            } else {
                self.delayed.insert(key, entry);
            }
        }
        self.ready_bytes -= gone.iter().map(Book::size).sum::<u64>();
        // The process that gets them next records its own tries.
        self.forget_noted(lost);
        gone
    }
}
