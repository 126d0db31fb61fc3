//! Pure: the books of one pile: queue, leases, attempts, capacity, dead letters. Uses no actors,
//! clocks or locks.

mod fence;
mod look;
mod rebound;
mod recall;
mod recover;
mod settlement;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::book::Book;
use crate::custody::lease::{Batch, DropReason, LeaseVerdict, Note, Notes, Unbound};
use crate::custody::ledger::Ids;
use crate::custody::{Bound, HolderId, PileKey, Want};
use gopherworks_supervision::clock::Time;
pub use look::{SeenBook, SeenState};
pub use settlement::{Charge, DeadLetter, Retry, Settlement};
use window::Durable;

/// Books that were stored together and are adjacent: moved as a whole if a cart takes them all.
#[derive(Debug)]
struct BookRun {
    /// Position of the first book.
    first: u64,
    /// Their ids, if equally spaced.
    ids: Option<Ids>,
    bytes: u64,
    /// True if they came from the pile's source.
    sourced: bool,
    books: std::vec::IntoIter<Book>,
}

/// A book that was leased before.
#[derive(Debug)]
struct ReturnedBook {
    book: Book,
    note: Note,
}

/// The books of one pile.
#[derive(Debug)]
pub struct Shelf {
    key: PileKey,
    bound: Bound,
    max_attempts: u32,
    /// Without it a book is tried again at once, unless its failure says when.
    retry: Option<Retry>,
    next_position: u64,
    next_generation: u64,
    /// Never leased. Within a run their positions are consecutive.
    fresh: VecDeque<BookRun>,
    fresh_books: usize,
    /// Returned books by position: they precede fresh books that were stored later.
    returned: BTreeMap<u64, ReturnedBook>,
    /// Returned books that may not be leased before the time in the key.
    delayed: BTreeMap<(Time, u64), ReturnedBook>,
    ready_bytes: u64,
    reserved: (usize, u64),
    leases: Vec<Option<Arc<Batch>>>,
    vacant: Vec<u32>,
    leased: usize,
    /// True if some books did not come from the pile's source.
    mixed: bool,
    /// True if books that return untried go back to the source.
    recalling: bool,
    /// Of a durable pile.
    durable: Option<Box<Durable>>,
}

impl Shelf {
    /// An empty shelf. A book with `max_attempts` (>= 1) charged attempts becomes a dead letter.
    pub fn new(key: PileKey, bound: Bound, max_attempts: u32) -> Self {
        Self {
            key,
            bound,
            max_attempts: max_attempts.max(1),
            retry: None,
            next_position: 0,
            next_generation: 1,
            fresh: VecDeque::new(),
            fresh_books: 0,
            returned: BTreeMap::new(),
            delayed: BTreeMap::new(),
            ready_bytes: 0,
            reserved: (0, 0),
            leases: Vec::new(),
            vacant: Vec::new(),
            leased: 0,
            mixed: false,
            recalling: false,
            durable: None,
        }
    }

    /// Books waiting to be leased, delayed ones included.
    pub fn ready(&self) -> usize {
        self.fresh_books + self.returned.len() + self.delayed.len()
    }

    /// Number of leased books.
    pub fn leased(&self) -> usize {
        self.leased
    }

    /// True if no book is ready or leased.
    pub fn is_idle(&self) -> bool {
        self.ready() + self.leased == 0
    }

    /// True if a book is delayed: only then does [`Shelf::lease`] need the time.
    pub fn is_delaying(&self) -> bool {
        !self.delayed.is_empty()
    }

    /// True if `books` of `bytes` in total fit now. An empty shelf admits any amount, even above
    /// its bound.
    pub fn has_room(&self, books: usize, bytes: u64) -> bool {
        let held = self.ready() + self.reserved.0;
        if held == 0 {
            return true;
        }
        let fits = |bound: Option<u64>, held: u64, more: u64| {
            bound.is_none_or(|bound| held.saturating_add(more) <= bound)
        };
        fits(self.bound.books, held as u64, books as u64)
            && fits(self.bound.bytes, self.ready_bytes + self.reserved.1, bytes)
    }

    /// How many more books the bound in books admits now; at least 1 if the shelf is empty.
    pub fn room(&self) -> usize {
        let held = self.ready() + self.reserved.0;
        if !self.has_room(1, 0) {
            return 0;
        }
        self.bound.books.map_or(usize::MAX, |most| (most as usize).saturating_sub(held).max(1))
    }

    /// Reserves space for books that are about to come; false if there is none and it is not
    /// `forced`.
    pub fn reserve(&mut self, books: usize, bytes: u64, forced: bool) -> bool {
        let ok = forced || self.has_room(books, bytes);
        if ok {
            self.reserved.0 += books;
            self.reserved.1 += bytes;
        }
        ok
    }

    /// Releases a reservation of [`Shelf::reserve`].
    pub fn release(&mut self, books: usize, bytes: u64) {
        self.reserved.0 = self.reserved.0.saturating_sub(books);
        self.reserved.1 = self.reserved.1.saturating_sub(bytes);
    }

    /// Number of books for which space in memory is reserved.
    pub fn reserved(&self) -> usize {
        self.reserved.0 - self.held_elsewhere()
    }

    /// Appends books of `bytes` in total, with their `ids` if equally spaced. The caller has
    /// checked for space.
    pub fn put_all(&mut self, books: Vec<Book>, bytes: u64, ids: Option<Ids>) {
        if !books.is_empty() {
            self.mixed = true;
            // No source can produce these again.
            self.recalling = false;
        }
        self.add(books, bytes, ids, false);
    }

    fn wake_delayed(&mut self, now: Time) {
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                break;
            }
            let entry = first.remove();
            self.note_awake(&entry.book);
            self.returned.insert(entry.note.position, entry);
        }
    }

    /// Leases up to `want` books, lowest position first; `None` if none is ready. A book larger
    /// than `want.bytes` is leased alone. `buffer` makes a buffer, called only if the books cannot
    /// stay in theirs.
    pub fn lease(
        &mut self,
        want: Want,
        now: Time,
        holder: HolderId,
        buffer: impl FnOnce() -> Vec<Book>,
    ) -> Option<Arc<Batch>> {
        if !self.delayed.is_empty() {
            self.wake_delayed(now);
        }
        let (load, bytes) = if self.returned.is_empty() {
            let first = self.fresh.front()?.first;
            let mut books = Vec::new();
            let (bytes, ids) = self.take_fresh(&mut books, want, 0, buffer);
            ((books, Notes::First(first), ids), bytes)
        } else {
            let (books, notes, bytes) = self.take_mixed(want);
            ((books, notes, None), bytes)
        };
        self.ready_bytes -= bytes;
        self.leased += load.0.len();
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.leases.push(None);
            (self.leases.len() - 1) as u32
        });
        let generation = self.next_generation;
        self.next_generation += 1;
        let batch = Arc::new(Batch::new(load, bytes, self.key, index, generation, holder));
        self.leases[index as usize] = Some(batch.clone());
        Some(batch)
    }

    /// Adds fresh books to `books`, up to `want` in total, of which `held` bytes are taken.
    /// Returns the bytes added, and the ids if equally spaced.
    fn take_fresh(
        &mut self,
        books: &mut Vec<Book>,
        want: Want,
        held: u64,
        buffer: impl FnOnce() -> Vec<Book>,
    ) -> (u64, Option<Ids>) {
        let mut buffer = Some(buffer);
        let before = books.len();
        let ids = self.fresh.front().and_then(|run| run.ids);
        let mut follows = ids;
        let mut bytes = held;
        let first = self.fresh.front().map_or(0, |run| run.first);
        while books.len() < want.books {
            let Some(run) = self.fresh.front_mut() else {
                break;
            };
            if run.first != first + (books.len() - before) as u64 {
                // A book from the store that was tried before has its place in between.
                break;
            }
            let room = want.books - books.len();
            let fits =
                |more: u64| (want.bytes).is_none_or(|most| bytes.saturating_add(more) <= most);
            let count = (books.len() - before) as u64;
            follows = follows.filter(|ids| count == 0 || run.ids == Some(ids.from(count)));
            if run.books.len() <= room && fits(run.bytes) {
                bytes = bytes.saturating_add(run.bytes);
                let run = self.fresh.pop_front().expect("it was just looked at");
                if books.is_empty() {
                    // Takes over their buffer: nothing is copied.
                    *books = run.books.collect();
                } else {
                    books.extend(run.books);
                }
                continue;
            }
            let (mut count, mut part) = (0, 0u64);
            for book in run.books.as_slice().iter().take(room) {
                let more = part.saturating_add(book.size());
                if books.len() + count > 0 && !fits(more) {
                    break;
                }
                (count, part) = (count + 1, more);
            }
            if count == 0 {
                break;
            }
            if books.is_empty()
                && let Some(buffer) = buffer.take()
            {
                *books = buffer();
            }
            books.extend(run.books.by_ref().take(count));
            run.first += count as u64;
            run.ids = run.ids.map(|ids| ids.from(count as u64));
            run.bytes -= part;
            bytes = bytes.saturating_add(part);
            if run.books.len() == 0 {
                // A single book larger than the cart.
                self.fresh.pop_front();
            }
            if count < room {
                break;
            }
        }
        self.fresh_books -= books.len() - before;
        (bytes - held, follows)
    }

    /// Leases returned and fresh books by their positions.
    fn take_mixed(&mut self, want: Want) -> (Vec<Book>, Notes, u64) {
        let (mut books, mut notes) = (Vec::new(), Vec::new());
        let mut bytes = 0u64;
        while books.len() < want.books {
            let fresh = self.fresh.front().map(|run| run.first);
            let returned = self.returned.first_entry();
            if let Some(first) = returned
                && fresh.is_none_or(|fresh| *first.key() < fresh)
            {
                let size = first.get().book.size();
                let fits = (want.bytes).is_none_or(|most| bytes.saturating_add(size) <= most);
                if !books.is_empty() && !fits {
                    break;
                }
                let ReturnedBook { book, mut note } = first.remove();
                note.deliveries += 1;
                bytes = bytes.saturating_add(size);
                books.push(book);
                notes.push(note);
                continue;
            }
            let Some(first) = fresh else {
                break;
            };
            let back = books.len();
            bytes += self.take_fresh(&mut books, want, bytes, Vec::new).0;
            let count = (books.len() - back) as u64;
            if count == 0 {
                break;
            }
            notes.extend((first..first + count).map(Note::first));
        }
        (books, Notes::Each(notes), bytes)
    }

    /// Ends a lease whose books are all acked; returns them.
    pub fn settle_whole(&mut self, batch: Arc<Batch>) -> Vec<Book> {
        self.books_of(batch).0
    }

    /// Ends a lease and returns its books: moved if no reference is left, otherwise copied.
    fn books_of(&mut self, batch: Arc<Batch>) -> (Vec<Book>, Notes) {
        self.leased -= batch.books.len();
        self.leases[batch.index as usize] = None;
        self.vacant.push(batch.index);
        match Arc::try_unwrap(batch) {
            Ok(batch) => (batch.books, batch.notes),
            Err(shared) => {
                let notes = match &shared.notes {
                    Notes::First(first) => Notes::First(*first),
                    Notes::Each(notes) => Notes::Each(notes.clone()),
                };
                (shared.books.clone(), notes)
            }
        }
    }

    fn take_back(&mut self, book: Book, note: Note, due: Option<Time>) {
        self.ready_bytes += book.size();
        let position = note.position;
        self.note_return(&book, note, due);
        let entry = ReturnedBook { book, note };
        match due {
            Some(due) => self.delayed.insert((due, position), entry),
            None => self.returned.insert(position, entry),
        };
    }

    /// Delays further attempts at books whose failure does not say when to try again.
    pub fn retry_after(&mut self, retry: Option<Retry>) {
        self.retry = retry;
    }

    /// Carries out the verdicts on a lease. Returned books are taken back even above the bound.
    pub fn settle(&mut self, unbound: Unbound, now: Time) -> Settlement {
        let Unbound { batch, verdicts, rest, begun, .. } = unbound;
        let mut done = Settlement::default();
        let (bytes, ids) = (batch.bytes, batch.ids);
        let (books, notes) = self.books_of(batch);
        if verdicts.is_empty() && rest == LeaseVerdict::Ack {
            done.acked = books;
            done.acked_bytes = bytes;
            done.acked_ids = ids;
            return done;
        }
        let mut verdicts = verdicts.into_iter();
        for (index, book) in books.into_iter().enumerate() {
            let mut note = match &notes {
                Notes::First(first) => Note::first(first + index as u64),
                Notes::Each(notes) => notes[index],
            };
            note.begun |= begun.contains(&index);
            match verdicts.next().unwrap_or_else(|| rest.clone()) {
                LeaseVerdict::Ack => {
                    done.acked_bytes += book.size();
                    done.acked.push(book);
                }
                LeaseVerdict::Drop(reason) => {
                    done.filtered += u64::from(reason == DropReason::Filtered);
                    done.split += u64::from(reason == DropReason::Split);
                    done.dropped.push(book);
                }
                // Nothing was stored in its place.
                LeaseVerdict::Split(_) => {
                    done.returned += 1;
                    self.take_back(book, note, None);
                }
                LeaseVerdict::Return if self.recalling && note.is_untouched() => {
                    done.recalled.push(book);
                }
                LeaseVerdict::Return => {
                    done.returned += 1;
                    self.take_back(book, note, None);
                }
                LeaseVerdict::Apart => {
                    note.apart = true;
                    done.returned += 1;
                    self.take_back(book, note, None);
                }
                LeaseVerdict::Refuse(failure) => {
                    note.attempts += 1;
                    let dead = failure.is_permanent() || note.attempts >= self.max_attempts;
                    done.charged.push(Charge {
                        book: book.title(),
                        pile: self.key,
                        failure: failure.clone(),
                        attempt: note.attempts,
                        dead,
                    });
                    if dead {
                        done.buried.push(DeadLetter {
                            attempts: note.attempts,
                            reason: failure.reason().to_owned(),
                            node: failure.node().cloned(),
                            pile: self.key,
                            book,
                        });
                    } else {
                        done.returned += 1;
                        let backoff = || Some(self.retry?.delay(book.id, note.attempts));
                        let delay = failure.retry_after().or_else(backoff);
                        let due = delay.filter(|delay| !delay.is_zero()).map(|delay| now + delay);
                        self.take_back(book, note, due);
                    }
                }
            }
        }
        done
    }

    /// Revokes every lease whose holder matches `lost`, without charging attempts; their carts
    /// become stale. Returns how many books came back.
    pub fn revoke(&mut self, lost: impl Fn(HolderId) -> bool) -> usize {
        self.revoke_if(|batch| lost(batch.held_by()))
    }
    fn revoke_if(&mut self, lost: impl Fn(&Batch) -> bool) -> usize {
        let held: Vec<Arc<Batch>> =
            self.leases.iter().flatten().filter(|batch| lost(batch)).cloned().collect();
        let mut returned = 0;
        for batch in held {
            let was_burning = batch.is_burning();
            if !batch.revoke() {
                continue;
            }
            let notes: Vec<Note> = (0..batch.books.len()).map(|at| batch.note(at)).collect();
            let (books, _) = self.books_of(batch);
            for (book, mut note) in books.into_iter().zip(notes) {
                returned += 1;
                note.begun |= was_burning;
                self.take_back(book, note, None);
            }
        }
        returned
    }
}
