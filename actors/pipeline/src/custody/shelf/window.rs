//! The window of a durable pile: the first of its books are in memory, all others are *behind*,
//! in the store only. A book that is behind has its place in the bound of the pile like any other.
//!
//! The books of a *shared* store belong to all processes: what comes is stored there and leaves
//! this process, and only what was fetched is in its account.

use std::collections::HashSet;

use super::Shelf;
use crate::book::{Book, BookId};
use crate::custody::Want;
use crate::custody::lease::Note;
use gopherworks_supervision::clock::Time;

/// What the shelf of a durable pile knows of the store.
#[derive(Debug)]
pub(super) struct Durable {
    /// Maximum number and bytes of ready and delayed books in memory.
    window: Want,
    /// True if other processes use the pile.
    shared: bool,
    /// Of a shared pile: 0 once no process has books of it and none can come.
    elsewhere: usize,
    /// Returned books that the journal has not recorded yet.
    noted: Vec<Noted>,
    /// Of a bounded shared pile: books and bytes that the store had ready for any process at the
    /// last look, and those that this process has added since. Space is reserved for them.
    outside: (usize, u64),
    /// True while the keeper looks at the store again and again.
    looks: bool,
    /// Books that are behind; space is reserved for them.
    behind: usize,
    /// New books that will be behind once they are stored.
    coming: usize,
    /// Books behind that a fetch can find.
    stored: usize,
    /// True if the keeper has been asked to fetch.
    asked: bool,
    /// Bytes of delayed books in memory.
    delayed_bytes: u64,
}

/// A book that has returned.
#[derive(Debug)]
pub struct Noted {
    /// The book's id.
    pub id: BookId,
    /// Attempts on it, and marks.
    pub note: Note,
    /// When it may be leased again.
    pub due: Option<Time>,
    /// False if it is in the store only.
    pub held: bool,
}

impl Shelf {
    /// Makes it the shelf of a durable pile with that many books in memory.
    pub fn keep_window(&mut self, window: Want, shared: bool) {
        self.durable = Some(Box::new(Durable {
            window,
            shared,
            elsewhere: usize::from(shared),
            noted: Vec::new(),
            outside: (0, 0),
            looks: false,
            behind: 0,
            coming: 0,
            stored: 0,
            asked: false,
            delayed_bytes: 0,
        }));
    }

    /// Number of books for which space is reserved though they are not on their way to memory.
    pub(super) fn held_elsewhere(&self) -> usize {
        self.durable.as_ref().map_or(0, |durable| durable.behind + durable.outside.0)
    }

    /// Notes that a shared pile has books that any process may get.
    fn add_outside(&mut self, books: usize, bytes: u64) {
        let is_bounded = self.bound.books.is_some() || self.bound.bytes.is_some();
        if let Some(durable) = self.durable.as_mut().filter(|_| is_bounded) {
            durable.outside.0 += books;
            durable.outside.1 += bytes;
            self.reserve(books, bytes, true);
        }
    }

    /// Notes how many books the store has ready of a shared pile. False if none: there is no need
    /// to look again before this process adds some.
    pub fn found_outside(&mut self, books: usize, bytes: u64) -> bool {
        let Some(durable) = &mut self.durable else {
            return false;
        };
        let before = std::mem::take(&mut durable.outside);
        durable.looks = books > 0;
        self.release(before.0, before.1);
        self.add_outside(books, bytes);
        books > 0
    }

    /// True once if the keeper has to begin to look how many books the store has ready.
    pub fn must_look(&mut self) -> bool {
        let must = |durable: &mut Box<Durable>| {
            durable.outside.0 > 0 && !std::mem::replace(&mut durable.looks, true)
        };
        self.durable.as_mut().is_some_and(must)
    }

    /// Books that are in the store only.
    pub fn behind(&self) -> usize {
        self.durable.as_ref().map_or(0, |durable| durable.behind)
    }

    /// Number of books that are in the store only, plus 1 while other processes may hold books.
    pub fn late(&self) -> usize {
        self.durable.as_ref().map_or(0, |durable| durable.behind + durable.elsewhere)
    }

    /// Records that no process has books of this pile and none can come.
    pub fn is_over(&mut self) {
        if let Some(durable) = &mut self.durable {
            durable.elsewhere = 0;
        }
    }

    fn is_shared(&self) -> bool {
        self.durable.as_ref().is_some_and(|durable| durable.shared)
    }

    /// Books and bytes in memory that are ready now.
    fn in_window(&self, durable: &Durable) -> (usize, u64) {
        (self.fresh_books + self.returned.len(), self.ready_bytes - durable.delayed_bytes)
    }

    /// True if books that come now go behind: others are there already, or the window is full.
    pub fn goes_behind(&self, books: usize, bytes: u64) -> bool {
        let Some(durable) = &self.durable else {
            return false;
        };
        let (held, held_bytes) = self.in_window(durable);
        let (held, held_bytes) = (held + self.reserved.0, held_bytes + self.reserved.1);
        durable.shared
            || durable.behind + durable.coming > 0
            || held + books > durable.window.books
            || durable.window.bytes.is_some_and(|most| held_bytes.saturating_add(bytes) > most)
    }

    /// Adds books that are known to be offered, behind.
    pub fn send_behind(&mut self, books: usize, bytes: u64) {
        if self.is_shared() {
            return self.add_outside(books, bytes);
        }
        self.reserve(books, bytes, true);
        if let Some(durable) = &mut self.durable {
            durable.behind += books;
        }
    }

    /// New books are on their way behind; they count as behind once they are stored.
    pub fn expect_behind(&mut self, books: usize, bytes: u64) {
        self.reserve(books, bytes, true);
        if let Some(durable) = &mut self.durable {
            durable.coming += books;
        }
    }

    /// Expected books are stored.
    pub fn came_behind(&mut self, books: usize, bytes: u64) {
        if self.is_shared() {
            self.expect_less(books, bytes);
            return self.add_outside(books, bytes);
        }
        if let Some(durable) = &mut self.durable {
            durable.coming -= books;
            durable.behind += books;
        }
    }

    /// Expected books were refused by the store.
    pub fn expect_less(&mut self, books: usize, bytes: u64) {
        if let Some(durable) = &mut self.durable {
            durable.coming -= books;
        }
        self.release(books, bytes);
    }

    /// Books have left the store, or came into memory.
    pub fn leave_behind(&mut self, books: usize, bytes: u64) {
        let is_shared = self.is_shared();
        if let Some(durable) = &mut self.durable {
            if is_shared {
                let (had, had_bytes) = durable.outside;
                let (less, less_bytes) = (had.min(books), had_bytes.min(bytes));
                durable.outside = (had - less, had_bytes - less_bytes);
                return self.release(less, less_bytes);
            }
            durable.behind = durable.behind.saturating_sub(books);
        }
        self.release(books, bytes);
    }

    /// The store has `books` more behind the window, which can be fetched.
    pub fn stored_behind(&mut self, books: usize) {
        if let Some(durable) = &mut self.durable {
            match durable.shared {
                true => durable.elsewhere = 1,
                false => durable.stored += books,
            }
            durable.asked = false;
        }
    }

    /// Space in the window, for a fetch that was asked for; `None` if none is needed any more.
    pub fn fetchable(&mut self) -> Option<Want> {
        let durable = self.durable.as_ref()?;
        let (held, held_bytes) = self.in_window(durable);
        let books = durable.window.books.saturating_sub(held);
        let bytes = durable.window.bytes.map(|most| most.saturating_sub(held_bytes));
        let wanted = books > 0 && (durable.shared || durable.stored > 0);
        if let Some(durable) = self.durable.as_mut().filter(|_| !wanted) {
            durable.asked = false;
        }
        wanted.then_some(Want { books, bytes })
    }

    /// True if books should be fetched now: there are some, and less than half of the window is
    /// left. Says so once until [`Shelf::fetched`].
    pub fn asks(&mut self) -> bool {
        let can =
            |durable: &&Durable| durable.window.books > 0 && (durable.shared || durable.stored > 0);
        let Some(durable) = self.durable.as_deref().filter(can) else {
            return false;
        };
        let (held, held_bytes) = self.in_window(durable);
        let low = held <= durable.window.books / 2
            && durable.window.bytes.is_none_or(|most| held_bytes <= most / 2);
        let asks = low && !durable.asked;
        if let Some(durable) = self.durable.as_mut().filter(|_| asks) {
            durable.asked = true;
        }
        asks
    }

    /// Books were fetched; they are added by [`Shelf::recover`]. Of those that can't be fetched
    /// yet, none is asked for until their time.
    pub fn fetched(&mut self, books: usize, bytes: u64) {
        self.leave_behind(books, bytes);
        if let Some(durable) = &mut self.durable {
            durable.stored = durable.stored.saturating_sub(books);
            durable.asked = books == 0;
            if durable.shared && books > 0 {
                durable.elsewhere = 1;
            }
        }
    }

    pub(super) fn note_return(&mut self, book: &Book, note: Note, due: Option<Time>) {
        if let Some(durable) = &mut self.durable {
            durable.delayed_bytes += due.map_or(0, |_| book.size());
            durable.noted.push(Noted { id: book.id, note, due, held: true });
        }
    }

    pub(super) fn note_awake(&mut self, book: &Book) {
        if let Some(durable) = &mut self.durable {
            durable.delayed_bytes -= book.size();
        }
    }

    /// Drops the notes on books that this process no longer has.
    pub(super) fn forget_noted(&mut self, gone: &HashSet<BookId>) {
        if let Some(durable) = &mut self.durable {
            durable.noted.retain(|noted| !gone.contains(&noted.id));
        }
    }

    /// Books that have returned since the last call. Delayed ones beyond the window go behind,
    /// those that rest longest first; they are returned as well, to be dropped.
    pub fn take_noted(&mut self) -> (Vec<Noted>, Vec<Book>) {
        let Some(durable) = self.durable.as_mut().filter(|durable| !durable.noted.is_empty())
        else {
            return (Vec::new(), Vec::new());
        };
        let mut noted = std::mem::take(&mut durable.noted);
        let (most, mut out) = (durable.window, Vec::new());
        let mut bytes = durable.delayed_bytes;
        while self.delayed.len() > most.books || most.bytes.is_some_and(|most| bytes > most) {
            let Some(((due, _), entry)) = self.delayed.pop_last() else {
                break;
            };
            let (id, size) = (entry.book.id, entry.book.size());
            bytes -= size;
            self.ready_bytes -= size;
            noted.push(Noted { id, note: entry.note, due: Some(due), held: false });
            self.send_behind(1, size);
            out.push(entry.book);
        }
        if let Some(durable) = &mut self.durable {
            durable.delayed_bytes = bytes;
        }
        (noted, out)
    }
}
