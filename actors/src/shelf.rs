//! Pure: the books of one pile. Queue, leases, attempts, capacity, burial. No actor, no clock, no lock.

mod recall;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::book::Book;
use crate::clock::Time;
use crate::failure::Failure;
use crate::lease::{Batch, Note, Notes, Unbound, Verdict};
use crate::ledger::Ids;
use crate::store::{Bound, PileKey, Want};

/// A book that will not be tried again here, with the reason.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// The book as it was put on the pile where it died.
    pub book: Book,
    /// That pile.
    pub pile: PileKey,
    /// Why.
    pub reason: String,
    /// Attempts that were charged.
    pub attempts: u32,
    /// The node that failed at it last, where that is known.
    pub node: Option<Arc<str>>,
}

/// An attempt at a book that failed, and was charged.
#[derive(Debug, Clone)]
pub struct Charge {
    /// The book's name, or `book` and its id where it has none.
    pub book: String,
    /// The pile that it was taken from.
    pub pile: PileKey,
    /// Why it failed.
    pub failure: Failure,
    /// True if it is a dead letter now.
    pub dead: bool,
}

/// What a settlement did.
#[derive(Debug, Default)]
pub struct Settlement {
    /// Acked books, in order.
    pub acked: Vec<Book>,
    /// Bytes of their bodies.
    pub acked_bytes: u64,
    /// Their ids, where it is known that they are at equal distances.
    pub acked_ids: Option<Ids>,
    /// Books dropped on purpose, in order.
    pub dropped: Vec<Book>,
    /// Books that went to the dead letters.
    pub buried: Vec<DeadLetter>,
    /// Attempts that were charged.
    pub charged: Vec<Charge>,
    /// How many are back on the pile (or will be, after their delay).
    pub returned: usize,
    /// Books that go back to their source.
    pub recalled: Vec<Book>,
}

/// Books that came together and stand one behind the other: they are moved as one where a cart takes them all.
#[derive(Debug)]
struct Run {
    /// Place of the first.
    first: u64,
    /// Their ids, where they are at equal distances.
    ids: Option<Ids>,
    bytes: u64,
    /// They came from the pile's source.
    sourced: bool,
    books: std::vec::IntoIter<Book>,
}

/// A book that has been on lease before.
#[derive(Debug)]
struct Entry {
    book: Book,
    note: Note,
}

/// The books of one pile.
#[derive(Debug)]
pub struct Shelf {
    key: PileKey,
    bound: Bound,
    max_attempts: u32,
    next_place: u64,
    next_generation: u64,
    /// Never leased before; their places follow each other without a gap.
    fresh: VecDeque<Run>,
    fresh_books: usize,
    /// Returned books by place: all of them come before the fresh ones that were put later.
    returned: BTreeMap<u64, Entry>,
    /// Returned books that wait for their time.
    delayed: BTreeMap<(Time, u64), Entry>,
    ready_bytes: u64,
    reserved: (usize, u64),
    leases: Vec<Option<Arc<Batch>>>,
    vacant: Vec<u32>,
    leased: usize,
    /// Some books came from elsewhere than the pile's source.
    mixed: bool,
    /// Books that return untouched go back to the source.
    recalling: bool,
}

impl Shelf {
    /// An empty shelf. A book that was charged `max_attempts` (>= 1) attempts is buried.
    pub fn new(key: PileKey, bound: Bound, max_attempts: u32) -> Self {
        Self {
            key,
            bound,
            max_attempts: max_attempts.max(1),
            next_place: 0,
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
        }
    }

    /// Books that could be leased now or after their delay.
    pub fn ready(&self) -> usize {
        self.fresh_books + self.returned.len() + self.delayed.len()
    }

    /// Books on lease.
    pub fn leased(&self) -> usize {
        self.leased
    }

    /// True if nothing is ready or on lease.
    pub fn is_idle(&self) -> bool {
        self.ready() + self.leased == 0
    }

    /// Bytes of the ready books.
    pub fn ready_bytes(&self) -> u64 {
        self.ready_bytes
    }

    /// True if a book waits for its time: only then does [`Shelf::lease`] look at the clock.
    pub fn is_delaying(&self) -> bool {
        !self.delayed.is_empty()
    }

    /// When the first delayed book is due.
    pub fn next_due(&self) -> Option<Time> {
        self.delayed.keys().next().map(|(due, _)| *due)
    }

    /// True if `books` of `bytes` in all may be admitted now. Something larger than the whole bound is admitted alone.
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

    /// How many more books the bound in books admits now, at least 1 if the shelf is empty.
    pub fn room(&self) -> usize {
        let held = self.ready() + self.reserved.0;
        if !self.has_room(1, 0) {
            return 0;
        }
        self.bound.books.map_or(usize::MAX, |most| {
            (most as usize).saturating_sub(held).max(1)
        })
    }

    /// Keeps room for books that are about to come; false if there is none.
    pub fn reserve(&mut self, books: usize, bytes: u64) -> bool {
        let ok = self.has_room(books, bytes);
        if ok {
            self.reserved.0 += books;
            self.reserved.1 += bytes;
        }
        ok
    }

    /// Gives up room kept by [`Shelf::reserve`].
    pub fn release(&mut self, books: usize, bytes: u64) {
        self.reserved.0 = self.reserved.0.saturating_sub(books);
        self.reserved.1 = self.reserved.1.saturating_sub(bytes);
    }

    /// Room kept and not used yet, in books.
    pub fn reserved(&self) -> usize {
        self.reserved.0
    }

    /// Puts a book behind all others. The caller has asked for room.
    pub fn put(&mut self, book: Book) {
        let bytes = book.size();
        let ids = Ids {
            first: book.id,
            step: 1,
        };
        self.put_all(vec![book], bytes, Some(ids));
    }

    /// Puts books, of `bytes` in all, behind all others. `ids` where they are at equal distances. The caller has asked for room.
    pub fn put_all(&mut self, books: Vec<Book>, bytes: u64, ids: Option<Ids>) {
        if !books.is_empty() {
            self.mixed = true;
            // No source can give these again.
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
            self.returned.insert(entry.note.place, entry);
        }
    }

    /// Leases up to `want`, oldest place first; `None` if no book is ready. One book larger than `want.bytes` goes alone. `buffer` makes what they
    /// are put into, where they can't stay in what they came in.
    pub fn lease(
        &mut self,
        want: Want,
        now: Time,
        holder: u64,
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
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.leases.push(None);
            (self.leases.len() - 1) as u32
        });
        let generation = self.next_generation;
        self.next_generation += 1;
        let batch = Arc::new(Batch::new(load, bytes, self.key, slot, generation, holder));
        self.leases[slot as usize] = Some(batch.clone());
        Some(batch)
    }

    /// Adds fresh books of up to `want` in all, `held` bytes of which are there already. Gives the bytes added, and the ids where they are at equal distances.
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
        while books.len() < want.books {
            let Some(run) = self.fresh.front_mut() else {
                break;
            };
            let room = want.books - books.len();
            let fits =
                |more: u64| (want.bytes).is_none_or(|most| bytes.saturating_add(more) <= most);
            let count = (books.len() - before) as u64;
            follows = follows.filter(|ids| count == 0 || run.ids == Some(ids.from(count)));
            if run.books.len() <= room && fits(run.bytes) {
                bytes = bytes.saturating_add(run.bytes);
                let run = self.fresh.pop_front().expect("it was just looked at");
                if books.is_empty() {
                    // What they came in goes with them: nothing is copied.
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
                // One book, larger than the whole cart.
                self.fresh.pop_front();
            }
            if count < room {
                break;
            }
        }
        self.fresh_books -= books.len() - before;
        (bytes - held, follows)
    }

    /// The same where books have come back: they go first.
    fn take_mixed(&mut self, want: Want) -> (Vec<Book>, Notes, u64) {
        let (mut books, mut notes) = (Vec::new(), Vec::new());
        let mut bytes = 0u64;
        while books.len() < want.books
            && let Some(first) = self.returned.first_entry()
        {
            let size = first.get().book.size();
            let fits = (want.bytes).is_none_or(|most| bytes.saturating_add(size) <= most);
            if !books.is_empty() && !fits {
                return (books, Notes::Each(notes), bytes);
            }
            let Entry { book, mut note } = first.remove();
            note.deliveries += 1;
            bytes = bytes.saturating_add(size);
            books.push(book);
            notes.push(note);
        }
        if let Some(first) = self.fresh.front().map(|run| run.first) {
            let back = books.len();
            bytes += self.take_fresh(&mut books, want, bytes, Vec::new).0;
            let fresh = (books.len() - back) as u64;
            notes.extend((first..first + fresh).map(Note::first));
        }
        (books, Notes::Each(notes), bytes)
    }

    /// A lease is over whose books are all acked: gives them.
    pub fn settle_whole(&mut self, batch: Arc<Batch>) -> Vec<Book> {
        self.books_of(batch).0
    }

    /// The books of a lease that is over: moved where nobody else looks at them, else copied.
    fn books_of(&mut self, batch: Arc<Batch>) -> (Vec<Book>, Notes) {
        self.leased -= batch.books.len();
        self.leases[batch.slot as usize] = None;
        self.vacant.push(batch.slot);
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
        let place = note.place;
        let entry = Entry { book, note };
        match due {
            Some(due) => self.delayed.insert((due, place), entry),
            None => self.returned.insert(place, entry),
        };
    }

    /// Carries out the verdicts on a lease. Returned books are taken back whatever the bound says.
    pub fn settle(&mut self, unbound: Unbound, now: Time) -> Settlement {
        let Unbound {
            batch,
            verdicts,
            rest,
            begun,
            ..
        } = unbound;
        let mut done = Settlement::default();
        let (bytes, ids) = (batch.bytes, batch.ids);
        let (books, notes) = self.books_of(batch);
        if verdicts.is_empty() && rest == Verdict::Ack {
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
                Verdict::Ack => {
                    done.acked_bytes += book.size();
                    done.acked.push(book);
                }
                Verdict::Drop => done.dropped.push(book),
                Verdict::Return if self.recalling && note.is_untouched() => {
                    done.recalled.push(book);
                }
                Verdict::Return => {
                    done.returned += 1;
                    self.take_back(book, note, None);
                }
                Verdict::Apart => {
                    note.apart = true;
                    done.returned += 1;
                    self.take_back(book, note, None);
                }
                Verdict::Refuse(failure) => {
                    note.attempts += 1;
                    let dead = failure.is_permanent() || note.attempts >= self.max_attempts;
                    done.charged.push(Charge {
                        book: book.title(),
                        pile: self.key,
                        failure: failure.clone(),
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
                        let due = failure.retry_after().map(|delay| now + delay);
                        self.take_back(book, note, due);
                    }
                }
            }
        }
        done
    }

    /// Takes back every lease whose holder `lost` names, uncounted; their carts can do nothing any more.
    /// Gives how many books returned.
    pub fn revoke(&mut self, lost: impl Fn(u64) -> bool) -> usize {
        let held: Vec<Arc<Batch>> = self
            .leases
            .iter()
            .flatten()
            .filter(|batch| lost(batch.held_by()))
            .cloned()
            .collect();
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
