//! Durable piles: what custody hands to the keeper, and gets back from it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Custody;
use crate::book::Book;
use crate::custody::keeper::{
    Arrived, Change, Journal, KeeperHooks, Limits, Opened, RefusedOffer, Then, start,
};
use crate::custody::lease::Lease;
use crate::custody::ledger::Ledger;
use crate::custody::outcomes::Awaited;
use crate::custody::shelf::Shelf;
use crate::custody::{Bell, Bound, Numbered, PileFull, PileKey};
use crate::store::{Account, Backend, Checkpoint};
use gopherworks_balancer::figures::Buckets;
use gopherworks_supervision::clock::Clock;

/// Resolves when the books are stored or refused, or to an error if the run ends before that.
pub(crate) type Storing = oneshot::Receiver<Result<(), RefusedOffer>>;

impl Custody {
    /// Like [`Custody::new`], with durable piles in an open store, and the books recovered from it.
    pub fn kept(
        piles: impl IntoIterator<Item = (Bound, u32)>,
        clock: Clock,
        bell: Bell,
        opened: Opened,
    ) -> Arc<Self> {
        let Opened { backend, piles: names, next_id, books, rest, windows, .. } = opened;
        let journal = Journal::new(names, backend, clock.clone(), Limits::default());
        let journal = Arc::new(journal);
        let shared = journal.is_shared();
        let ledger = if shared { Ledger::shared(next_id) } else { Ledger::from(next_id) };
        let custody = Self::with_journal(piles, clock, bell, ledger, Some(&journal));
        let first = books.into_iter().zip(rest).zip(windows);
        for (key, ((books, rest), window)) in (0..).map(PileKey).zip(first) {
            if !journal.is_durable(key) {
                continue;
            }
            let mut shelf = custody.shelf(key);
            shelf.keep_window(window, shared);
            if shared {
                if shelf.found_outside(rest.books, rest.bytes) {
                    journal.look(key, Duration::ZERO);
                }
                continue;
            }
            shelf.send_behind(rest.books, rest.bytes);
            shelf.stored_behind(rest.books);
            custody.ledger.recover((books.len() + rest.books) as u64);
            drop(shelf);
            custody.take_over(key, books, false);
            if let Some(after) = rest.after {
                journal.ask(key, after);
            }
        }
        custody
    }

    /// Starts the thread of the keeper, if a pile is durable.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start_keeper(self: &Arc<Self>, hooks: KeeperHooks) -> std::io::Result<()> {
        match self.journal() {
            Some(journal) => start(journal.clone(), Arc::downgrade(self), hooks),
            None => Ok(()),
        }
    }

    /// The journal, if a pile is durable.
    pub(crate) fn journal(&self) -> Option<&Arc<Journal>> {
        self.piles.iter().find_map(|(_, pile)| pile.journal.as_ref())
    }

    pub(super) fn journal_of(&self, pile: PileKey) -> Option<&Journal> {
        let journal = self.pile(pile).journal.as_deref();
        journal.filter(|journal| journal.is_durable(pile))
    }

    /// The store, if a pile is durable.
    pub fn backend(&self) -> Option<Arc<dyn Backend>> {
        self.journal().map(|journal| journal.backend().clone())
    }

    /// True if the books of `pile` are stored.
    pub fn is_durable(&self, pile: PileKey) -> bool {
        self.journal_of(pile).is_some()
    }

    /// True if `pile` hands out no more books, but keeps them for the next run.
    pub fn keeps(&self, pile: PileKey) -> bool {
        self.pile(pile).journal.as_ref().is_some_and(|journal| journal.keeps(pile))
    }

    /// From now on durable piles keep their books for the next run.
    pub fn keep(&self) {
        if let Some(journal) = self.journal() {
            journal.keep();
        }
    }

    /// Number of books on durable piles: those that the next run goes on with.
    pub fn kept_books(&self) -> usize {
        let keys = (0..self.piles.count() as u32).map(PileKey);
        let durable = keys.filter(|pile| self.is_durable(*pile));
        let here = |shelf: &Shelf| shelf.ready() + shelf.leased() + shelf.behind();
        durable.map(|pile| here(&self.shelf(pile))).sum()
    }

    /// True while the store fails, so that durable piles take no more books.
    pub fn is_store_down(&self) -> bool {
        self.journal().is_some_and(|journal| journal.is_down())
    }

    /// The account of the store at the end of the run, if it keeps one.
    pub fn store_account(&self) -> Option<Account> {
        self.journal()?.account()
    }

    /// Waits until all changes are stored; false if they can't be.
    pub async fn flush(&self) -> bool {
        match self.journal() {
            Some(journal) => journal.flush().await,
            None => true,
        }
    }

    /// Number of books whose latest changes are not stored.
    pub fn unconfirmed(&self) -> usize {
        self.journal().map_or(0, |journal| journal.unconfirmed())
    }

    /// How long the commits of the store took, if there is one.
    pub fn commit_times(&self) -> Option<Buckets> {
        self.journal().map(|journal| journal.commits().buckets())
    }

    /// Ends the keeper and closes the store.
    pub fn close_store(&self) {
        if let Some(journal) = self.journal() {
            journal.close();
        }
    }

    /// Kills the keeper with its process in a simulation, without closing the store.
    pub fn abandon_store(&self) {
        if let Some(journal) = self.journal() {
            journal.abandon();
        }
    }

    /// Waits until the store is closed.
    pub async fn store_closed(&self) {
        if let Some(journal) = self.journal() {
            journal.closed().await;
        }
    }

    /// Wakes a pile.
    pub(crate) fn ring(&self, pile: PileKey) {
        (self.bell)(pile);
    }

    /// Hands new books of a durable pile's source to the keeper, with the source's position behind
    /// them. They count as offered, and are handed out, once they are stored.
    pub(crate) fn store_from_source(
        &self,
        pile: PileKey,
        books: Numbered,
        checkpoint: Option<Checkpoint>,
    ) -> Result<(), PileFull<Numbered>> {
        let Some(journal) = self.journal_of(pile) else {
            return self.put_numbered(pile, books);
        };
        let mut shelf = self.shelf(pile);
        let (count, bytes) = (books.len(), books.bytes());
        // What a source has given before it was closed is kept.
        let fits = shelf.has_room(count, bytes) || journal.keeps(pile);
        if !fits || !journal.has_room(count, bytes) {
            return Err(PileFull(books));
        }
        let held = self.holds(&mut shelf, pile, count, bytes);
        let then = Then::Sourced;
        journal.push(Change::Arrived(Arrived { pile, books, checkpoint, held, then }));
        Ok(())
    }

    /// Hands an application's books for a durable pile to the keeper. With `watched`, also returns
    /// one future a book, in order, resolving to its outcome.
    pub(crate) fn store_offer(
        &self,
        pile: PileKey,
        books: Vec<Book>,
        watched: bool,
    ) -> Result<(Vec<Awaited>, Storing), PileFull<Vec<Book>>> {
        let Some(journal) = self.journal_of(pile) else {
            return Err(PileFull(books));
        };
        let bytes = books.iter().map(Book::size).sum();
        let mut shelf = self.shelf(pile);
        if !shelf.has_room(books.len(), bytes) || !journal.has_room(books.len(), bytes) {
            return Err(PileFull(books));
        }
        let held = self.holds(&mut shelf, pile, books.len(), bytes);
        let first = self.ledger.number(books.len() as u64);
        let books = Numbered::from(books, first);
        let ids = books.books().iter().filter(|_| watched).map(|book| book.id);
        let awaited = ids.map(|id| self.outcomes.watch(id)).collect();
        let (told, stored) = oneshot::channel();
        let then = Then::Offered(told);
        journal.push(Change::Arrived(Arrived { pile, books, checkpoint: None, held, then }));
        Ok((awaited, stored))
    }

    /// Marks books of a lease as begun before they are burned: a crash charges them an attempt.
    pub(crate) fn begin_burn(&self, lease: &Lease, books: Range<usize>) {
        if let Some(journal) = self.journal_of(lease.pile()) {
            // In a shared store, only what was delivered before is marked.
            if !(journal.is_shared() && lease.is_first()) {
                journal.begin(lease.books().get(books).unwrap_or_default());
            }
        }
    }
}
