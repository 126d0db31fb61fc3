//! Custody in memory: books survive the death of any actor, but not of the process.

mod buffers;
pub(super) mod durable;
mod settle;
mod window;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::Notify;

use super::{
    Bell, Bound, Charges, HolderId, Numbered, PileCounts, PileFull, PileKey, Settled, Want,
};
use crate::book::{Book, BookId};
use crate::custody::keeper::{BookIds, Change, Journal};
use crate::custody::lease::{AckKind, Home, Lease, Unbound};
use crate::custody::ledger::{BookOutcome, Ids, Ledger, LedgerReport};
use crate::custody::outcomes::{Awaited, BookOutcomes};
use crate::custody::shelf::{Charge, DeadLetter, Retry, SeenBook, Settlement, Shelf};
use gopherworks_supervision::clock::{Clock, Time};

use buffers::Buffers;

/// Maximum number of dead letters kept; beyond that the oldest is discarded, but still counted in
/// the ledger.
pub const DEAD_KEPT: usize = 10_000;

/// Aligned, so that piles of different arbiters share no cache line.
#[repr(align(128))]
struct PileCustody {
    shelf: Mutex<Shelf>,
    inbox: Mutex<Vec<Unbound>>,
    waiting: AtomicUsize,
    home: Arc<Home>,
    /// Where changes of its books are handed to, if they matter to the store.
    journal: Option<Arc<Journal>>,
}

impl PileCustody {
    /// A pile of which nothing matters to a store.
    fn new(shelf: Shelf, custody: Weak<Custody>) -> Self {
        Self {
            shelf: Mutex::new(shelf),
            // Returns are at most one per cart: with up to 64 carts a drop never allocates.
            inbox: Mutex::new(Vec::with_capacity(64)),
            waiting: AtomicUsize::new(0),
            home: Home::of(custody),
            journal: None,
        }
    }
}

/// The books of all piles, outside the actors.
///
/// # Guarantees
/// A `put` that returned `Ok` has stored the books in memory; `PileFull` has
/// stored nothing. Settling is idempotent: the first settlement or revocation of a
/// lease wins, all others return `Settled::Stale`. A dropped lease is returned through
/// [`Custody::give_back`]. Locks are taken in the order of keys and held only for pure code.
pub struct Custody {
    /// Append-only: a removed pile stays, empty.
    piles: boxcar::Vec<PileCustody>,
    ledger: Ledger,
    outcomes: BookOutcomes,
    dead: Mutex<(VecDeque<DeadLetter>, u64)>,
    deaths: Notify,
    charges: OnceLock<Charges>,
    clock: Clock,
    bell: Bell,
    buffers: Buffers,
    me: Weak<Self>,
}

impl std::fmt::Debug for Custody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Custody")
            .field("piles", &self.piles.count())
            .field("ledger", &self.ledger())
            .finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Pure code cannot leave a shelf half changed, so poisoning is ignored.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Custody {
    /// Custody with one pile for each `(bound, max_attempts)`, keyed by index. `bell` is called
    /// when a lease was returned to a pile.
    pub fn new(
        piles: impl IntoIterator<Item = (Bound, u32)>,
        clock: Clock,
        bell: Bell,
    ) -> Arc<Self> {
        Self::with_journal(piles, clock, bell, Ledger::default(), None)
    }

    fn with_journal(
        piles: impl IntoIterator<Item = (Bound, u32)>,
        clock: Clock,
        bell: Bell,
        ledger: Ledger,
        journal: Option<&Arc<Journal>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            piles: (0..)
                .map(PileKey)
                .zip(piles)
                .map(|(key, (bound, max_attempts))| PileCustody {
                    journal: journal.filter(|journal| journal.is_concerned(key)).cloned(),
                    ..PileCustody::new(Shelf::new(key, bound, max_attempts), me.clone())
                })
                .collect(),
            me: me.clone(),
            ledger,
            outcomes: BookOutcomes::default(),
            dead: Mutex::default(),
            deaths: Notify::new(),
            charges: OnceLock::new(),
            clock,
            bell,
            buffers: Buffers::default(),
        })
    }

    /// Delays further attempts at the books of `pile`; `None` ends that.
    pub fn retry_after(&self, pile: PileKey, retry: Option<Retry>) {
        self.shelf(pile).retry_after(retry);
    }

    /// Adds an empty pile in memory.
    pub fn add_pile(&self, bound: Bound, max_attempts: u32) -> PileKey {
        let pile = self.piles.push_with(|key| {
            let shelf = Shelf::new(PileKey(key as u32), bound, max_attempts);
            PileCustody::new(shelf, self.me.clone())
        });
        PileKey(pile as u32)
    }

    /// Changes the bound of `pile`, and the attempts (>= 1) after which a book becomes a dead
    /// letter. Books above the bound stay.
    pub fn rebound(&self, pile: PileKey, bound: Bound, max_attempts: u32) {
        self.shelf(pile).rebound(bound, max_attempts);
    }

    /// Moves the books of `from` that may be leased now to `to`, beyond its bound if need be;
    /// returns how many.
    pub fn move_all(&self, from: PileKey, to: PileKey) -> usize {
        self.collect(from);
        let all = Want { books: usize::MAX, bytes: None };
        let Some(lease) = self.lease(from, all, HolderId::NONE) else {
            return 0;
        };
        let books = lease.len();
        // Nothing is released: with a reservation there is no check for space.
        match self.pass_on(lease, None, to, Some((0, 0))) {
            Ok(Settled::Done { .. }) => books,
            Ok(Settled::Stale) | Err(_) => 0,
        }
    }

    fn pile(&self, pile: PileKey) -> &PileCustody {
        &self.piles[pile.index()]
    }

    fn shelf(&self, pile: PileKey) -> MutexGuard<'_, Shelf> {
        lock(&self.pile(pile).shelf)
    }

    /// Books a settlement in the ledger, under the shelf's lock, so that no snapshot counts a book
    /// twice or not at all.
    fn account(
        &self,
        pile: PileKey,
        end: AckKind,
        done: Settlement,
        last: bool,
    ) -> (Settled, Settlement) {
        if end == AckKind::Burned && !done.acked.is_empty() {
            self.ended(pile, BookOutcome::Burned, &done.acked, done.acked_ids);
        }
        if !done.dropped.is_empty() {
            self.ended(pile, BookOutcome::Dropped, &done.dropped, None);
            self.ledger.drops(done.filtered, done.split);
        }
        if !done.recalled.is_empty() {
            self.ledger.recall(done.recalled.len() as u64);
        }
        if !done.buried.is_empty() {
            self.buried(pile, &done.buried);
        }
        let settled = Settled::Done {
            acked: done.acked.len(),
            returned: done.returned,
            buried: done.buried.len(),
            dropped: done.dropped.len(),
            children: None,
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

    /// Numbers books and stores all or none; calls `each` with each id before its book can be
    /// leased.
    fn put_all(
        &self,
        pile: PileKey,
        mut books: Vec<Book>,
        mut each: impl FnMut(BookId),
    ) -> Result<(), PileFull<Vec<Book>>> {
        let bytes = books.iter().map(Book::size).sum();
        let mut shelf = self.shelf(pile);
        if !shelf.has_room(books.len(), bytes) {
            return Err(PileFull(books));
        }
        let first = self.ledger.number(books.len() as u64);
        self.ledger.offer(books.len() as u64);
        for (i, book) in books.iter_mut().enumerate() {
            book.id = BookId(first.0 + i as u64);
            each(book.id);
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

    /// Counts books of `pile` that ended, but not as dead letters. Their outcomes are reported now,
    /// or once they are stored.
    // Inlined: the outcome is a constant on the path of each cart.
    #[inline(always)]
    fn ended(&self, pile: PileKey, outcome: BookOutcome, books: &[Book], ids: Option<Ids>) {
        match ids {
            Some(ids) => self.ledger.end_all(outcome, ids, books.len() as u64),
            None => self.ledger.end(outcome, books.iter().map(|book| book.id)),
        }
        match &self.pile(pile).journal {
            Some(journal) => Self::journal_end(journal, outcome, books, ids),
            None => self.outcomes.end(outcome, books.iter().map(|book| book.id)),
        }
    }

    #[cold]
    fn journal_end(journal: &Journal, outcome: BookOutcome, books: &[Book], ids: Option<Ids>) {
        journal.push(Change::Ended { outcome, ids: BookIds::of(books, ids) });
        if !journal.is_shared() {
            journal.end(books);
        }
    }

    /// Counts dead letters of `pile`.
    fn buried(&self, pile: PileKey, buried: &[DeadLetter]) {
        let ids = || buried.iter().map(|dead| dead.book.id);
        self.ledger.end(BookOutcome::Dead, ids());
        match &self.pile(pile).journal {
            Some(journal) => buried.iter().for_each(|dead| journal.push(Change::buried(dead))),
            None => self.outcomes.end(BookOutcome::Dead, ids()),
        }
    }

    /// Reads the clock only if the time is needed.
    fn now_if(&self, matters: bool) -> Time {
        if matters { self.clock.now() } else { Time::ZERO }
    }

    fn carry_out(&self, shelf: &mut Shelf, unbound: Unbound, now: Time) -> (Settled, Settlement) {
        let (pile, end) = (unbound.batch.pile, unbound.end);
        let mut done = shelf.settle(unbound, now);
        done.resting = self.note_returns(pile, shelf);
        self.account(pile, end, done, shelf.is_idle())
    }

    /// Stores new books, in order, and assigns their ids; they count as offered from now on.
    pub fn put(&self, pile: PileKey, books: Vec<Book>) -> Result<(), PileFull<Vec<Book>>> {
        self.put_all(pile, books, |_| {})
    }

    /// Like [`Custody::put`], but returns one future per book, in order, resolving to its outcome.
    pub fn put_watched(
        &self,
        pile: PileKey,
        books: Vec<Book>,
    ) -> Result<Vec<Awaited>, PileFull<Vec<Book>>> {
        let mut awaited = Vec::with_capacity(books.len());
        let put = self.put_all(pile, books, |book| awaited.push(self.outcomes.watch(book)));
        put.map(|()| awaited)
    }

    /// The run is over: futures of [`Custody::put_watched`] that are still pending resolve to
    /// `None`.
    pub fn unwatch(&self) {
        self.outcomes.close();
    }

    /// Reserves `count` consecutive ids, for books that will be stored by
    /// [`Custody::put_numbered`]; returns the first. Ids of a source's books thus do not depend on
    /// how they are dealt out.
    pub fn number(&self, count: u64) -> BookId {
        self.ledger.number(count)
    }

    /// Stores new books that have ids from [`Custody::number`]; they count as offered from now on.
    pub fn put_numbered(&self, pile: PileKey, books: Numbered) -> Result<(), PileFull<Numbered>> {
        let mut shelf = self.shelf(pile);
        if !shelf.has_room(books.len(), books.bytes()) {
            return Err(PileFull(books));
        }
        self.ledger.offer(books.len() as u64);
        let (books, bytes, ids) = books.into_parts();
        shelf.put_from_source(books, bytes, ids);
        Ok(())
    }

    /// Removes and returns books that were stored by [`Custody::put_numbered`] and never leased:
    /// their source can produce them again, and they no longer count as offered. If all books of
    /// the pile came that way, those that return untried from now on are removed as well, see
    /// [`Custody::recalls`]. By default removes nothing.
    pub fn recall(&self, pile: PileKey) -> Vec<Book> {
        if self.is_durable(pile) {
            return Vec::new();
        }
        let mut shelf = self.shelf(pile);
        let books = shelf.recall();
        self.ledger.recall(books.len() as u64);
        books
    }

    /// True if books that return to `pile` untried go back to their source.
    pub fn recalls(&self, pile: PileKey) -> bool {
        self.shelf(pile).is_recalling()
    }

    /// Number of further books that `pile` admits now, by its bound in books alone; to size a
    /// `put`.
    pub fn room(&self, pile: PileKey) -> usize {
        if self.keeps(pile) {
            return usize::MAX;
        }
        self.shelf(pile).room()
    }

    /// Leases up to `want` ready books, oldest first; `None` if none is ready.
    pub fn lease(&self, pile: PileKey, want: Want, holder: HolderId) -> Option<Lease> {
        let own = self.pile(pile);
        if own.journal.as_ref().is_some_and(|journal| !journal.hands_out(pile)) {
            return None;
        }
        let mut shelf = lock(&own.shelf);
        let now = self.now_if(shelf.is_delaying());
        let buffer = || self.buffers.take(want.books);
        let batch = shelf.lease(want, now, holder, buffer);
        if own.journal.is_some() {
            self.ask_if_low(pile, &mut shelf);
        }
        drop(shelf);
        batch.map(|batch| Lease::new(batch, own.home.clone()))
    }

    /// True if the books could be stored now. A snapshot, to avoid futile attempts.
    pub fn has_room(&self, pile: PileKey, books: usize, bytes: u64) -> bool {
        self.shelf(pile).has_room(books, bytes) || self.keeps(pile)
    }

    /// Reserves space for books that are about to come; false if there is none.
    pub fn reserve(&self, pile: PileKey, books: usize, bytes: u64) -> bool {
        let keeps = self.keeps(pile);
        self.shelf(pile).reserve(books, bytes, keeps)
    }

    /// Releases a reservation of [`Custody::reserve`].
    pub fn release(&self, pile: PileKey, books: usize, bytes: u64) {
        self.shelf(pile).release(books, bytes);
        (self.bell)(pile);
    }

    /// Counts `count` books that are burned although an earlier burn of them had begun.
    pub fn reburning(&self, count: u64) {
        self.ledger.reburned(count);
    }

    /// How many books the pile holds, by state.
    pub fn counts(&self, pile: PileKey) -> PileCounts {
        let own = self.pile(pile);
        let shelf = lock(&own.shelf);
        PileCounts {
            ready: shelf.ready(),
            leased: shelf.leased(),
            delayed: shelf.delayed(),
            inbox: own.waiting.load(Ordering::Acquire),
            reserved: shelf.reserved(),
            next_due: shelf.next_due(),
            late: shelf.late(),
            keeps: self.keeps(pile),
        }
    }

    /// Positions of the first book of `pile` that may be leased, if there is one, and of the next
    /// book to be stored.
    pub fn positions(&self, pile: PileKey) -> (Option<u64>, u64) {
        self.shelf(pile).positions()
    }

    /// A page of the books of `pile`: `wanted` says whether it includes leased, ready and delayed
    /// ones; `page` is how many to skip and how many to return at most.
    pub fn look(
        &self,
        pile: PileKey,
        wanted: (bool, bool, bool),
        page: (usize, usize),
    ) -> Vec<SeenBook> {
        self.shelf(pile).look(wanted, page)
    }

    /// A consistent account of all books.
    pub fn ledger(&self) -> LedgerReport {
        let shelves: Vec<_> = self.piles.iter().map(|(_, pile)| lock(&pile.shelf)).collect();
        let here = |shelf: &MutexGuard<'_, Shelf>| shelf.ready() + shelf.leased() + shelf.behind();
        let in_flight = shelves.iter().map(here).sum::<usize>();
        self.ledger.report(in_flight as u64)
    }

    /// Removes and returns the dead letters, oldest first, and how many had to be discarded since
    /// the last call.
    pub fn take_dead(&self) -> (Vec<DeadLetter>, u64) {
        let mut dead = lock(&self.dead);
        (dead.0.drain(..).collect(), std::mem::take(&mut dead.1))
    }

    /// Sets the callback for charged attempts, called outside all locks. Only the first call,
    /// before the start, has an effect. By default ignored.
    pub fn tell_charges(&self, charges: Charges) {
        let _ = self.charges.set(charges);
    }

    /// Notified when a book became a dead letter.
    pub fn deaths(&self) -> &Notify {
        &self.deaths
    }
}
