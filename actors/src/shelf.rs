//! Pure: the books of one pile. Queue, leases, attempts, capacity, burial. No actor, no clock, no lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::book::Book;
use crate::clock::Time;
use crate::lease::{Batch, Entry, Unbound, Verdict};
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
}

/// What a settlement did.
#[derive(Debug, Default)]
pub struct Settlement {
    /// Acked books, in order.
    pub acked: Vec<Entry>,
    /// Books dropped on purpose, in order.
    pub dropped: Vec<Entry>,
    /// Books that went to the dead letters.
    pub buried: Vec<DeadLetter>,
    /// How many are back on the pile (or will be, after their delay).
    pub returned: usize,
}

/// The books of one pile.
#[derive(Debug)]
pub struct Shelf {
    key: PileKey,
    bound: Bound,
    max_attempts: u32,
    next_place: u64,
    next_generation: u64,
    fresh: VecDeque<Entry>,
    /// Returned books by place: all of them come before the fresh ones that were put later.
    returned: BTreeMap<u64, Entry>,
    /// Returned books that wait for their time.
    delayed: BTreeMap<(Time, u64), Entry>,
    ready_bytes: u64,
    reserved: (usize, u64),
    leases: Vec<Option<Arc<Batch>>>,
    vacant: Vec<u32>,
    leased: usize,
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
            returned: BTreeMap::new(),
            delayed: BTreeMap::new(),
            ready_bytes: 0,
            reserved: (0, 0),
            leases: Vec::new(),
            vacant: Vec::new(),
            leased: 0,
        }
    }

    /// Books that could be leased now or after their delay.
    pub fn ready(&self) -> usize {
        self.fresh.len() + self.returned.len() + self.delayed.len()
    }

    /// Books on lease.
    pub fn leased(&self) -> usize {
        self.leased
    }

    /// Bytes of the ready books.
    pub fn ready_bytes(&self) -> u64 {
        self.ready_bytes
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
        self.ready_bytes += book.size();
        self.fresh.push_back(Entry {
            book,
            place: self.next_place,
            attempts: 0,
            deliveries: 0,
            begun: false,
            apart: false,
        });
        self.next_place += 1;
    }

    fn wake_delayed(&mut self, now: Time) {
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                break;
            }
            let entry = first.remove();
            self.returned.insert(entry.place, entry);
        }
    }

    /// Leases up to `want`, oldest place first; `None` if no book is ready. One book larger than `want.bytes` goes alone.
    pub fn lease(&mut self, want: Want, now: Time, holder: u64) -> Option<Arc<Batch>> {
        if !self.delayed.is_empty() {
            self.wake_delayed(now);
        }
        let ready = self.fresh.len() + self.returned.len();
        let most = want.books.min(ready);
        if most == 0 {
            return None;
        }
        let mut entries = Vec::with_capacity(most);
        let mut bytes = 0u64;
        while entries.len() < most {
            let next = match self.returned.first_key_value() {
                Some((_, entry)) => entry,
                None => self.fresh.front().expect("counted as ready"),
            };
            let size = next.book.size();
            if !entries.is_empty()
                && want
                    .bytes
                    .is_some_and(|most| bytes.saturating_add(size) > most)
            {
                break;
            }
            let mut entry = match self.returned.pop_first() {
                Some((_, entry)) => entry,
                None => self.fresh.pop_front().expect("counted as ready"),
            };
            entry.deliveries += 1;
            bytes = bytes.saturating_add(size);
            entries.push(entry);
        }
        self.ready_bytes -= bytes;
        self.leased += entries.len();
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.leases.push(None);
            (self.leases.len() - 1) as u32
        });
        let generation = self.next_generation;
        self.next_generation += 1;
        let batch = Arc::new(Batch::new(
            entries, bytes, self.key, slot, generation, holder,
        ));
        self.leases[slot as usize] = Some(batch.clone());
        Some(batch)
    }

    fn forget(&mut self, batch: &Batch) {
        self.leased -= batch.entries.len();
        self.leases[batch.slot as usize] = None;
        self.vacant.push(batch.slot);
    }

    /// The entries of a lease that is over: moved where nobody else looks at them, else copied.
    fn entries_of(&mut self, batch: Arc<Batch>) -> Vec<Entry> {
        self.forget(&batch);
        match Arc::try_unwrap(batch) {
            Ok(batch) => batch.entries,
            Err(shared) => shared.entries.clone(),
        }
    }

    fn take_back(&mut self, entry: Entry, due: Option<Time>) {
        self.ready_bytes += entry.book.size();
        match due {
            Some(due) => self.delayed.insert((due, entry.place), entry),
            None => self.returned.insert(entry.place, entry),
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
        let entries = self.entries_of(batch);
        if verdicts.is_empty() && rest == Verdict::Ack {
            done.acked = entries;
            return done;
        }
        let mut verdicts = verdicts.into_iter();
        for (index, mut entry) in entries.into_iter().enumerate() {
            entry.begun |= begun.contains(&index);
            match verdicts.next().unwrap_or_else(|| rest.clone()) {
                Verdict::Ack => done.acked.push(entry),
                Verdict::Drop => done.dropped.push(entry),
                Verdict::Return => {
                    done.returned += 1;
                    self.take_back(entry, None);
                }
                Verdict::Apart => {
                    entry.apart = true;
                    done.returned += 1;
                    self.take_back(entry, None);
                }
                Verdict::Refuse(failure) => {
                    entry.attempts += 1;
                    if failure.is_permanent() || entry.attempts >= self.max_attempts {
                        done.buried.push(DeadLetter {
                            attempts: entry.attempts,
                            reason: failure.reason().to_owned(),
                            pile: self.key,
                            book: entry.book,
                        });
                    } else {
                        done.returned += 1;
                        let due = failure.retry_after().map(|delay| now + delay);
                        self.take_back(entry, due);
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
        let mut books = 0;
        for batch in held {
            let was_burning = batch.is_burning();
            if !batch.revoke() {
                continue;
            }
            for mut entry in self.entries_of(batch) {
                books += 1;
                entry.begun |= was_burning;
                self.take_back(entry, None);
            }
        }
        books
    }
}
