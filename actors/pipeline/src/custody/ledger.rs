//! The ledger: every offered book must be burned, dead, dropped, or in flight, exactly once.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::book::{Book, BookId};
use gopherworks_supervision::__private::{CachePadded, Count};

/// The ledger at one instant. `lost` and `duplicates` are 0 unless gopherworks has a defect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerReport {
    /// Books that piles accepted from sources and the application, without those given back.
    pub offered: u64,
    /// Books among them that were on durable piles when the run began.
    pub recovered: u64,
    /// Books returned to sources that can produce them again.
    pub given_back: u64,
    /// Books burned, each id once.
    pub burned: u64,
    /// Books that became dead letters.
    pub dead: u64,
    /// Books dropped on purpose by work.
    pub dropped: u64,
    /// Books among them that did not meet a condition.
    pub filtered: u64,
    /// Books among the dropped that others, which count as offered, were stored in place of.
    pub split: u64,
    /// Books on piles and dumps, in carts, and being burned.
    pub in_flight: u64,
    /// offered - burned - dead - dropped - in_flight.
    pub lost: i64,
    /// Ids that ended (burned, dead, dropped) more than once.
    pub duplicates: u64,
    /// Bodies whose burn began again after an earlier burn had begun.
    pub reburned: u64,
}

impl LedgerReport {
    /// True if every book is accounted for exactly once.
    pub fn balances(&self) -> bool {
        self.lost == 0 && self.duplicates == 0
    }
}

/// Counts outcomes of books. Written by the store under the lock of the shelf concerned.
#[derive(Debug, Default)]
pub struct Ledger {
    numbered: AtomicU64,
    offered: Count,
    given_back: AtomicU64,
    /// Offered books that went to a shared store, where any process may get them.
    departed: AtomicU64,
    burned: Count,
    dead: AtomicU64,
    dropped: AtomicU64,
    filtered: AtomicU64,
    split: AtomicU64,
    duplicates: AtomicU64,
    reburned: AtomicU64,
    /// Lower ids are of earlier runs.
    first: u64,
    /// Books of earlier runs in memory that have not ended.
    recovered: Mutex<HashSet<BookId>>,
    recoveries: AtomicU64,
    /// Sharded by the two lowest bits of the id, so that copies which are dealt books in turn do
    /// not contend.
    ended: [CachePadded<Mutex<IdSet>>; SHARDS as usize],
}

const SHARDS: u64 = 4;

/// Equally spaced ids, as produced by sources and by dealing to copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    /// The first id.
    pub first: BookId,
    /// Difference between consecutive ids (>= 1).
    pub step: u64,
}

impl Ids {
    /// Ids of `books`, if equally spaced.
    pub fn of(books: &[Book]) -> Option<Self> {
        Self::and_bytes_of(books).1
    }

    /// Total bytes of `books`, and their ids if equally spaced, in one walk.
    pub(crate) fn and_bytes_of(books: &[Book]) -> (u64, Option<Self>) {
        let (Some(first), second) = (books.first(), books.get(1)) else {
            return (0, None);
        };
        let first = first.id.0;
        let step = second.map_or(1, |second| second.id.0.wrapping_sub(first));
        let (mut bytes, mut id, mut follow) = (0, first, true);
        for book in books {
            bytes += book.size();
            follow &= book.id.0 == id;
            id = id.wrapping_add(step);
        }
        // A negative step wraps around to a large one: rejected.
        let follow = follow && step > 0 && step <= u64::MAX / 2;
        let ids = Self { first: BookId(first), step };
        (bytes, follow.then_some(ids))
    }

    /// The id at `index`.
    pub fn at(self, index: u64) -> BookId {
        BookId(self.first.0 + index * self.step)
    }

    /// The ids without the first `count`.
    #[must_use]
    pub fn from(self, count: u64) -> Self {
        Self { first: self.at(count), ..self }
    }
}

/// Final outcome of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BookOutcome {
    /// The book was burned.
    Burned,
    /// The book became a dead letter.
    Dead,
    /// The book was dropped on purpose.
    Dropped,
}

impl Ledger {
    /// A ledger that gives ids from `next_id` on.
    pub fn from(next_id: u64) -> Self {
        let mut ledger = Self { first: next_id.max(1), ..Self::default() };
        ledger.numbered = AtomicU64::new(ledger.first - 1);
        for (shard, ended) in (0..SHARDS).zip(&mut ledger.ended) {
            // The first id of this run in the shard, divided.
            let first = (ledger.first + SHARDS - 1 - shard) / SHARDS;
            *ended = CachePadded::new(Mutex::new(IdSet::from(first)));
        }
        ledger
    }

    /// A ledger for shared stores, where any id may belong to another process.
    pub fn shared(next_id: u64) -> Self {
        let numbered = AtomicU64::new(next_id.max(1) - 1);
        Self { numbered, first: u64::MAX, ..Self::default() }
    }

    /// Counts books that left this process: its account no longer includes them.
    pub fn depart(&self, count: u64) {
        self.departed.fetch_add(count, Relaxed);
    }

    /// Counts books of earlier runs, which are in flight again.
    pub fn recover(&self, count: u64) {
        self.recoveries.fetch_add(count, Relaxed);
        self.offered.add(count);
    }

    /// Takes over counted books from the store. Those of earlier runs are remembered until they
    /// end, or leave again.
    pub fn take_over(&self, ids: impl IntoIterator<Item = BookId>) {
        let earlier = ids.into_iter().filter(|id| id.0 < self.first);
        self.earlier().extend(earlier);
    }

    /// Books are in the store only.
    pub fn leave(&self, ids: impl IntoIterator<Item = BookId>) {
        let mut earlier = None;
        for id in ids.into_iter().filter(|id| id.0 < self.first) {
            earlier.get_or_insert_with(|| self.earlier()).remove(&id);
        }
    }

    fn earlier(&self) -> MutexGuard<'_, HashSet<BookId>> {
        self.recovered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves `count` consecutive ids; returns the first.
    pub fn number(&self, count: u64) -> BookId {
        BookId(self.numbered.fetch_add(count, Relaxed) + 1)
    }

    /// Counts books stored on a pile.
    pub fn offer(&self, count: u64) {
        self.offered.add(count);
    }

    /// Counts offered books that were returned to their source.
    pub fn recall(&self, count: u64) {
        self.given_back.fetch_add(count, Relaxed);
    }

    /// Records the outcome of the books with these ids.
    pub fn end(&self, outcome: BookOutcome, ids: impl IntoIterator<Item = BookId>) {
        let (mut first, mut again) = (0, 0);
        for id in ids {
            let new = match id.0 < self.first {
                true => self.earlier().remove(&id),
                false => self.shard(id.0).insert(id.0 / SHARDS),
            };
            match new {
                true => first += 1,
                false => again += 1,
            }
        }
        self.count(outcome, first, again);
    }

    /// Records the outcome of the first `count` books of `ids`.
    pub fn end_all(&self, outcome: BookOutcome, ids: Ids, count: u64) {
        // Only then are the ids within a shard consecutive.
        if !SHARDS.is_multiple_of(ids.step) || ids.first.0 < self.first {
            return self.end(outcome, (0..count).map(|at| ids.at(at)));
        }
        let in_turn = SHARDS / ids.step;
        let mut first = 0;
        for at in 0..in_turn.min(count) {
            let id = ids.at(at).0;
            let here = (count - at).div_ceil(in_turn);
            first += (self.shard(id)).insert_range(id / SHARDS, id / SHARDS + here);
        }
        self.count(outcome, first, count - first);
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, IdSet> {
        let shard = &self.ended[(id % SHARDS) as usize];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, outcome: BookOutcome, first: u64, again: u64) {
        match outcome {
            BookOutcome::Burned => self.burned.add(first),
            BookOutcome::Dead => _ = self.dead.fetch_add(first, Relaxed),
            BookOutcome::Dropped => _ = self.dropped.fetch_add(first, Relaxed),
        }
        if again > 0 {
            self.duplicates.fetch_add(again, Relaxed);
        }
    }

    /// Counts dropped books that did not meet a condition, or were split.
    pub fn drops(&self, filtered: u64, split: u64) {
        for (counter, count) in [(&self.filtered, filtered), (&self.split, split)] {
            if count > 0 {
                counter.fetch_add(count, Relaxed);
            }
        }
    }

    /// Counts books burned although an earlier burn of them had begun.
    pub fn reburned(&self, count: u64) {
        if count > 0 {
            self.reburned.fetch_add(count, Relaxed);
        }
    }

    /// The account, given the number of books in flight at the same instant.
    pub fn report(&self, in_flight: u64) -> LedgerReport {
        let given_back = self.given_back.load(Relaxed);
        let offered = self.offered.get() - given_back - self.departed.load(Relaxed);
        let burned = self.burned.get();
        let dead = self.dead.load(Relaxed);
        let dropped = self.dropped.load(Relaxed);
        LedgerReport {
            offered,
            recovered: self.recoveries.load(Relaxed),
            given_back,
            burned,
            dead,
            dropped,
            filtered: self.filtered.load(Relaxed),
            split: self.split.load(Relaxed),
            in_flight,
            lost: offered as i64 - (burned + dead + dropped + in_flight) as i64,
            duplicates: self.duplicates.load(Relaxed),
            reburned: self.reburned.load(Relaxed),
        }
    }
}

const CHUNK: u64 = 4096;
const WORDS: usize = (CHUNK / 64) as usize;

#[derive(Debug)]
enum Chunk {
    Some { bits: Box<[u64; WORDS]>, set: u32 },
    Full,
}

/// A set of ids that arrive roughly in order. Needs memory only from the first gap to the last id:
/// a bit per id, and a few bytes for each full 4,096.
#[derive(Debug, Default)]
pub struct IdSet {
    base: u64,
    chunks: VecDeque<Chunk>,
}

impl IdSet {
    /// A set that has all ids below `first`.
    pub fn from(first: u64) -> Self {
        let mut set = Self { base: first / CHUNK, chunks: VecDeque::new() };
        set.insert_range(first / CHUNK * CHUNK, first);
        set
    }

    /// Adds `id`; false if it was in the set.
    pub fn insert(&mut self, id: u64) -> bool {
        self.insert_range(id, id + 1) == 1
    }

    /// Adds `from..to`; returns how many of them are new.
    pub fn insert_range(&mut self, mut from: u64, to: u64) -> u64 {
        let mut new = 0;
        while from < to {
            let (number, bit) = (from / CHUNK, from % CHUNK);
            let in_chunk = (to - from).min(CHUNK - bit);
            if let Some(index) = number.checked_sub(self.base) {
                new += self.insert_bits(index as usize, bit, in_chunk);
            }
            from += in_chunk;
        }
        new
    }

    /// Adds `count` (>= 1) bits from `bit` on, within one chunk; returns how many are new.
    fn insert_bits(&mut self, index: usize, mut bit: u64, mut count: u64) -> u64 {
        while self.chunks.len() <= index {
            let bits = Box::new([0u64; WORDS]);
            self.chunks.push_back(Chunk::Some { bits, set: 0 });
        }
        let Chunk::Some { bits, set } = &mut self.chunks[index] else {
            return 0;
        };
        let mut new = 0;
        while count > 0 {
            let (at, low) = ((bit / 64) as usize, bit % 64);
            let here = count.min(64 - low);
            let mask = (u64::MAX >> (64 - here)) << low;
            new += (mask & !bits[at]).count_ones();
            bits[at] |= mask;
            (bit, count) = (bit + here, count - here);
        }
        *set += new;
        if u64::from(*set) == CHUNK {
            self.chunks[index] = Chunk::Full;
            while matches!(self.chunks.front(), Some(Chunk::Full)) {
                self.chunks.pop_front();
                self.base += 1;
            }
        }
        u64::from(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn id_set_is_a_set(ids in prop::collection::vec(1u64..20_000, 0..4_000)) {
            let (mut ours, mut theirs) = (IdSet::default(), HashSet::new());
            for id in ids {
                prop_assert_eq!(ours.insert(id), theirs.insert(id));
            }
        }
    }

    proptest! {
        #[test]
        fn ranges_of_ids_are_sets_as_well(
            ranges in prop::collection::vec((1u64..20_000, 1u64..9_000), 0..20),
        ) {
            let (mut ours, mut theirs) = (IdSet::default(), HashSet::new());
            for (from, count) in ranges {
                let before = theirs.len() as u64;
                theirs.extend(from..from + count);
                let new = theirs.len() as u64 - before;
                prop_assert_eq!(ours.insert_range(from, from + count), new);
            }
        }
    }

    proptest! {
        /// Recording ids at once, at any spacing, equals recording them one by one.
        #[test]
        fn however_ids_are_told_each_ends_once(
            lots in prop::collection::vec((1u64..20_000, 1u64..9, 1u64..300), 0..20),
        ) {
            let (at_once, singly) = (Ledger::default(), Ledger::default());
            for (first, step, count) in lots {
                let ids = Ids { first: BookId(first), step };
                at_once.end_all(BookOutcome::Burned, ids, count);
                singly.end(BookOutcome::Burned, (0..count).map(|at| ids.at(at)));
            }
            prop_assert_eq!(at_once.report(0), singly.report(0));
        }
    }

    #[test]
    fn ids_are_at_equal_distances_or_they_are_none() {
        let books = |ids: &[u64]| -> Vec<Book> {
            let book = |id: &u64| Book { id: BookId(*id), ..Book::default() };
            ids.iter().map(book).collect()
        };
        let ids = |first, step| Some(Ids { first: BookId(first), step });
        assert_eq!(Ids::of(&books(&[3, 5, 7])), ids(3, 2));
        assert_eq!(Ids::of(&books(&[9])), ids(9, 1));
        for odd in [&[][..], &[3, 5, 6], &[5, 3], &[4, 4]] {
            assert_eq!(Ids::of(&books(odd)), None, "{odd:?}");
        }
    }

    #[test]
    fn id_set_stays_small_when_ids_come_in_order() {
        let mut set = IdSet::default();
        for id in 0..1_000_000 {
            assert!(set.insert(id));
        }
        assert!(set.chunks.len() <= 1);
        assert!(!set.insert(5));
        assert!(!set.insert(999_999));
    }

    #[test]
    fn a_second_end_is_a_duplicate_and_not_a_burn() {
        let ledger = Ledger::default();
        let first = ledger.number(3);
        ledger.offer(3);
        ledger.end(BookOutcome::Burned, [first, BookId(2)]);
        ledger.end(BookOutcome::Burned, [first]);
        let report = ledger.report(1);
        assert_eq!((report.burned, report.duplicates, report.lost), (2, 1, 0));
        assert!(!report.balances());
    }
}
