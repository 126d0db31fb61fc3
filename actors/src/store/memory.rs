//! The in-memory engine: books survive the death of any actor, but not of the process.

mod buffers;
mod whole;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::Notify;

use super::{
    Answer, Bell, Bound, Charges, Counts, Full, Numbered, PileKey, Promises, Refused, Settled,
    Store, Want, Worked,
};
use crate::book::{Book, BookId};
use crate::clock::{Clock, Time};
use crate::fates::{Awaited, Fates};
use crate::lease::{End, Home, Lease, Unbound, Verdict};
use crate::ledger::{Fate, Ids, Ledger, LedgerReport};
use crate::planted::{self, Defect};
use crate::shelf::{Charge, DeadLetter, Settlement, Shelf};

use buffers::Buffers;
use whole::passing;

/// Most dead letters kept; beyond that the oldest is discarded, but still counted in the ledger.
pub const DEAD_KEPT: usize = 10_000;

/// Aligned, so that piles of different arbiters share no cache line.
#[repr(align(128))]
struct Place {
    shelf: Mutex<Shelf>,
    inbox: Mutex<Vec<Unbound>>,
    waiting: AtomicUsize,
    home: Arc<Home>,
}

/// Piles in memory. Locks are taken in the order of keys and held only for pure code.
pub struct MemoryStore {
    piles: Vec<Place>,
    ledger: Ledger,
    fates: Fates,
    dead: Mutex<(VecDeque<DeadLetter>, u64)>,
    deaths: Notify,
    charges: OnceLock<Charges>,
    clock: Clock,
    bell: Bell,
    buffers: Buffers,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore")
            .field("piles", &self.piles.len())
            .field("ledger", &self.ledger())
            .finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Pure code cannot leave a shelf half changed, so poisoning is ignored.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryStore {
    /// A store with one pile for each `(bound, max_attempts)`, keyed by index. `bell` is called
    /// when a lease was returned to a pile.
    pub fn new(
        piles: impl IntoIterator<Item = (Bound, u32)>,
        clock: Clock,
        bell: Bell,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            piles: piles
                .into_iter()
                .enumerate()
                .map(|(key, (bound, max_attempts))| Place {
                    shelf: Mutex::new(Shelf::new(PileKey(key as u32), bound, max_attempts)),
                    // Returns are at most one per cart: with up to 64 carts a drop never
                    // allocates.
                    inbox: Mutex::new(Vec::with_capacity(64)),
                    waiting: AtomicUsize::new(0),
                    home: Home::of(me.clone()),
                })
                .collect(),
            ledger: Ledger::default(),
            fates: Fates::default(),
            dead: Mutex::default(),
            deaths: Notify::new(),
            charges: OnceLock::new(),
            clock,
            bell,
            buffers: Buffers::default(),
        })
    }

    fn place(&self, pile: PileKey) -> &Place {
        &self.piles[pile.index()]
    }

    fn shelf(&self, pile: PileKey) -> MutexGuard<'_, Shelf> {
        lock(&self.place(pile).shelf)
    }

    /// Books a settlement in the ledger, under the shelf's lock, so that no snapshot counts a book
    /// twice or not at all.
    fn account(&self, end: End, done: Settlement, last: bool) -> (Settled, Settlement) {
        fn ids(books: &[Book]) -> impl Iterator<Item = BookId> {
            books.iter().map(|book| book.id)
        }
        if end == End::Burned && !done.acked.is_empty() {
            self.burned(&done.acked, done.acked_ids);
        }
        if !done.dropped.is_empty() {
            self.ledger.end(Fate::Dropped, ids(&done.dropped));
            self.fates.end(Fate::Dropped, ids(&done.dropped));
        }
        if !done.recalled.is_empty() {
            self.ledger.recall(done.recalled.len() as u64);
        }
        if !done.buried.is_empty() {
            let ids = || done.buried.iter().map(|dead| dead.book.id);
            self.ledger.end(Fate::Dead, ids());
            self.fates.end(Fate::Dead, ids());
        }
        let settled = Settled::Done {
            acked: done.acked.len(),
            returned: done.returned,
            buried: done.buried.len(),
            dropped: done.dropped.len(),
            last,
        };
        (settled, done)
    }

    /// Reports charged attempts; called outside all locks.
    fn charge(&self, charged: Vec<Charge>) {
        if let Some(tell) = self.charges.get() {
            charged.into_iter().for_each(tell);
        }
    }

    fn bury(&self, buried: Vec<DeadLetter>) {
        if buried.is_empty() {
            return;
        }
        let mut forgotten = Vec::new();
        {
            let mut dead = lock(&self.dead);
            dead.0.extend(buried);
            while dead.0.len() > DEAD_KEPT {
                forgotten.extend(dead.0.pop_front());
                dead.1 += 1;
            }
        }
        // Bodies may delete files when dropped, so this is outside the lock.
        drop(forgotten);
        self.deaths.notify_one();
    }

    /// Numbers books and stores all or none; calls `told` with each id before its book can be
    /// leased.
    fn place_all(
        &self,
        pile: PileKey,
        mut books: Vec<Book>,
        mut told: impl FnMut(BookId),
    ) -> Result<(), Full<Vec<Book>>> {
        let bytes = books.iter().map(Book::size).sum();
        let mut shelf = self.shelf(pile);
        if !shelf.has_room(books.len(), bytes) {
            return Err(Full(books));
        }
        let first = self.ledger.number(books.len() as u64);
        self.ledger.offer(books.len() as u64);
        for (i, book) in books.iter_mut().enumerate() {
            book.id = BookId(first.0 + i as u64);
            told(book.id);
        }
        let ids = Ids { first, step: 1 };
        shelf.put_all(books, bytes, Some(ids));
        Ok(())
    }

    /// Locks two shelves, in the order of their keys.
    fn both(&self, from: PileKey, to: PileKey) -> (MutexGuard<'_, Shelf>, MutexGuard<'_, Shelf>) {
        if from < to {
            let source = self.shelf(from);
            (source, self.shelf(to))
        } else {
            let target = self.shelf(to);
            (self.shelf(from), target)
        }
    }

    /// Counts burned books.
    fn burned(&self, books: &[Book], ids: Option<Ids>) {
        match ids {
            Some(ids) => {
                (self.ledger).end_all(Fate::Burned, ids, books.len() as u64);
            }
            None => self.ledger.end(Fate::Burned, books.iter().map(|book| book.id)),
        }
        self.fates.end(Fate::Burned, books.iter().map(|book| book.id));
    }

    /// Reads the clock only if the time is needed.
    fn now_if(&self, matters: bool) -> Time {
        if matters { self.clock.now() } else { Time::ZERO }
    }

    fn carry_out(&self, shelf: &mut Shelf, unbound: Unbound, now: Time) -> (Settled, Settlement) {
        let end = unbound.end;
        let done = shelf.settle(unbound, now);
        self.account(end, done, shelf.is_idle())
    }
}

impl Store for MemoryStore {
    fn answers_at_once(&self) -> bool {
        true
    }

    fn promises(&self) -> Promises {
        Promises::MEMORY
    }

    fn put(&self, pile: PileKey, books: Vec<Book>) -> Answer<Result<(), Full<Vec<Book>>>> {
        Answer::Ready(self.place_all(pile, books, |_| {}))
    }

    fn put_watched(
        &self,
        pile: PileKey,
        books: Vec<Book>,
    ) -> Answer<Result<Vec<Awaited>, Full<Vec<Book>>>> {
        let mut awaited = Vec::with_capacity(books.len());
        let put = self.place_all(pile, books, |book| awaited.push(self.fates.watch(book)));
        Answer::Ready(put.map(|()| awaited))
    }

    fn unwatch(&self) {
        self.fates.close();
    }

    fn number(&self, count: u64) -> BookId {
        self.ledger.number(count)
    }

    fn put_numbered(&self, pile: PileKey, books: Numbered) -> Answer<Result<(), Full<Numbered>>> {
        let mut shelf = self.shelf(pile);
        if !shelf.has_room(books.len(), books.bytes()) {
            return Answer::Ready(Err(Full(books)));
        }
        self.ledger.offer(books.len() as u64);
        let (books, bytes, ids) = books.into_parts();
        shelf.put_from_source(books, bytes, ids);
        Answer::Ready(Ok(()))
    }

    fn recall(&self, pile: PileKey) -> Vec<Book> {
        let mut shelf = self.shelf(pile);
        let books = shelf.recall();
        self.ledger.recall(books.len() as u64);
        books
    }

    fn recalls(&self, pile: PileKey) -> bool {
        self.shelf(pile).is_recalling()
    }

    fn room(&self, pile: PileKey) -> usize {
        self.shelf(pile).room()
    }

    fn lease(&self, pile: PileKey, want: Want, holder: u64) -> Answer<Option<Lease>> {
        let mut shelf = self.shelf(pile);
        let now = self.now_if(shelf.is_delaying());
        let buffer = || self.buffers.take(want.books);
        let batch = shelf.lease(want, now, holder, buffer);
        drop(shelf);
        let home = &self.place(pile).home;
        Answer::Ready(batch.map(|batch| Lease::new(batch, home.clone())))
    }

    fn settle(&self, lease: Lease) -> Answer<Settled> {
        if lease.is_whole() {
            return Answer::Ready(self.settle_whole(lease));
        }
        let pile = lease.pile();
        let Some(unbound) = lease.unbind(Verdict::Ack) else {
            return Answer::Ready(Settled::Stale);
        };
        let now = self.now_if(!unbound.verdicts.is_empty());
        let mut shelf = self.shelf(pile);
        let (settled, mut done) = self.carry_out(&mut shelf, unbound, now);
        drop(shelf);
        self.charge(std::mem::take(&mut done.charged));
        self.bury(std::mem::take(&mut done.buried));
        self.buffers.give(done.acked);
        Answer::Ready(settled)
    }

    fn pass_on(
        &self,
        lease: Lease,
        worked: Worked,
        to: PileKey,
        reserved: Option<(usize, u64)>,
    ) -> Answer<Result<Settled, Refused>> {
        if worked.is_none() && lease.is_unmarked() {
            return Answer::Ready(self.pass_whole(lease, to, reserved));
        }
        let from = lease.pile();
        debug_assert_ne!(from, to, "a pile never passes on to itself");
        let (mut source, mut target) = self.both(from, to);
        if let Some((books, bytes)) = reserved {
            target.release(books, bytes);
        } else {
            let (books, bytes) = passing(&lease, &worked);
            if books > 0 && !target.has_room(books, bytes) {
                drop((source, target));
                return Answer::Ready(Err(Refused { lease, worked }));
            }
        }
        let Some(mut unbound) = lease.unbind(Verdict::Ack) else {
            return Answer::Ready(Ok(Settled::Stale));
        };
        // Marks are made for failures only: an unmarked book passes, if the work produced one.
        let count = unbound.batch.books.len();
        let there = |index: usize| match &worked {
            Some(worked) => worked.get(index).is_some_and(Option::is_some),
            None => true,
        };
        if !(unbound.verdicts.is_empty() && (0..count).all(there)) {
            unbound.verdicts.resize(count, Verdict::Return);
            for (index, verdict) in unbound.verdicts.iter_mut().enumerate() {
                match verdict {
                    Verdict::Return if there(index) => *verdict = Verdict::Ack,
                    Verdict::Ack if !there(index) => *verdict = Verdict::Return,
                    _ => {}
                }
            }
        }
        let passed: Option<Vec<bool>> = worked
            .is_some()
            .then(|| (0..count).map(|index| *unbound.verdict(index) == Verdict::Ack).collect());
        let now = self.now_if(!unbound.verdicts.is_empty());
        let (settled, mut done) = self.carry_out(&mut source, unbound, now);
        let mut refused = Vec::new();
        match (worked, passed) {
            (Some(worked), Some(passed)) => {
                let mut books = Vec::with_capacity(count);
                for (book, passed) in worked.into_iter().zip(passed) {
                    match book {
                        Some(book) if passed => books.push(book),
                        other => refused.push(other),
                    }
                }
                let bytes = books.iter().map(Book::size).sum();
                target.put_all(books, bytes, None);
            }
            _ => {
                let books = std::mem::take(&mut done.acked);
                target.put_all(books, done.acked_bytes, done.acked_ids);
            }
        }
        drop((source, target));
        self.charge(std::mem::take(&mut done.charged));
        self.bury(std::mem::take(&mut done.buried));
        // Bodies may delete files when dropped, so this is outside the locks.
        self.buffers.give(std::mem::take(&mut done.acked));
        drop((done, refused));
        Answer::Ready(Ok(settled))
    }

    fn has_room(&self, pile: PileKey, books: usize, bytes: u64) -> bool {
        self.shelf(pile).has_room(books, bytes)
    }

    fn reserve(&self, pile: PileKey, books: usize, bytes: u64) -> bool {
        self.shelf(pile).reserve(books, bytes)
    }

    fn release(&self, pile: PileKey, books: usize, bytes: u64) {
        self.shelf(pile).release(books, bytes);
        (self.bell)(pile);
    }

    fn give_back(&self, mut unbound: Unbound) {
        if planted::has(Defect::StoreAcksEarly) && unbound.rest == Verdict::Return {
            unbound.rest = Verdict::Ack;
        }
        let pile = unbound.batch.pile;
        let place = self.place(pile);
        {
            let mut inbox = lock(&place.inbox);
            inbox.push(unbound);
            place.waiting.store(inbox.len(), Ordering::Release);
        }
        (self.bell)(pile);
    }

    fn collect(&self, pile: PileKey) -> usize {
        let place = self.place(pile);
        if place.waiting.load(Ordering::Acquire) == 0 {
            return 0;
        }
        let now = self.clock.now();
        let (mut buried, mut charged) = (Vec::new(), Vec::new());
        // Both locks together, so that no count misses a book in between.
        let mut shelf = lock(&place.shelf);
        let mut inbox = lock(&place.inbox);
        let home = inbox.len();
        // Dropping may delete files or run user code, so it is done outside the locks.
        let mut gone = Vec::new();
        for unbound in inbox.drain(..) {
            let (_, mut done) = self.carry_out(&mut shelf, unbound, now);
            buried.append(&mut done.buried);
            charged.append(&mut done.charged);
            gone.push(done);
        }
        place.waiting.store(0, Ordering::Release);
        drop((inbox, shelf));
        drop(gone);
        self.charge(charged);
        self.bury(buried);
        home
    }

    fn revoke(&self, pile: PileKey, lost: &dyn Fn(u64) -> bool) -> usize {
        let books = self.shelf(pile).revoke(lost);
        (self.bell)(pile);
        books
    }

    fn reburning(&self, count: u64) {
        self.ledger.reburned(count);
    }

    fn counts(&self, pile: PileKey) -> Counts {
        let place = self.place(pile);
        let shelf = lock(&place.shelf);
        Counts {
            ready: shelf.ready(),
            leased: shelf.leased(),
            inbox: place.waiting.load(Ordering::Acquire),
            reserved: shelf.reserved(),
            next_due: shelf.next_due(),
        }
    }

    fn ledger(&self) -> LedgerReport {
        let shelves: Vec<_> = self.piles.iter().map(|place| lock(&place.shelf)).collect();
        let in_flight = shelves.iter().map(|shelf| shelf.ready() + shelf.leased()).sum::<usize>();
        self.ledger.report(in_flight as u64)
    }

    fn take_dead(&self) -> (Vec<DeadLetter>, u64) {
        let mut dead = lock(&self.dead);
        (dead.0.drain(..).collect(), std::mem::take(&mut dead.1))
    }

    fn tell_charges(&self, told: Charges) {
        let _ = self.charges.set(told);
    }

    fn deaths(&self) -> &Notify {
        &self.deaths
    }
}
