//! What there is of a pile whether or not its actor lives: its gate, and the application's way in. The crews' ways are in `service`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::Notify;

use super::{Look, Pile};
use crate::book::Book;
use crate::cart::Cart;
use crate::fates::Awaited;
use crate::fault::{Deed, Point};
use crate::feeder::FeederCore;
use crate::latch::Latch;
use crate::store::{Answer, Counts, Full, PileKey};
use crate::supervision::Port;
use crate::trace::Act;
use crate::works::{NodeStats, Works};

/// The application's books were not taken.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// The pile is closed or draining; the books come back.
    #[error("the pile takes no more books: it is draining or closed")]
    Closed(Vec<Book>),
    /// More books at once than the pile ever has room for; the books come back.
    #[error("more books at once than the pile has room for")]
    TooMany(Vec<Book>),
    /// The pile is full now; the books come back. Only [`PileCore::try_offer`] says so, [`PileCore::offer`] waits.
    #[error("the pile is full")]
    Full(Vec<Book>),
}

impl OfferError {
    /// The books.
    pub fn into_books(self) -> Vec<Book> {
        match self {
            OfferError::Closed(books) | OfferError::TooMany(books) | OfferError::Full(books) => {
                books
            }
        }
    }
}

#[derive(Default)]
pub(super) struct Gate {
    pub(super) takers: VecDeque<Cart>,
    pub(super) givers: VecDeque<Cart>,
    pub(super) sealed: bool,
}

/// What there is of a pile whether or not its actor lives.
pub struct PileCore {
    /// Its name.
    pub name: String,
    /// Its key in the store.
    pub key: PileKey,
    /// Number of its node, for `held_by`.
    pub node: u32,
    /// True for a staging dump.
    pub dump: bool,
    /// Most books it admits; for refusing what can never fit.
    pub capacity_books: Option<u64>,
    /// Most bytes it admits.
    pub capacity_bytes: Option<u64>,
    /// How to reach its actor.
    pub port: Port<Pile>,
    /// Its counters: books and carts that left it.
    pub stats: NodeStats,
    pub(crate) works: Arc<Works>,
    /// Its source, and which share of the books is its own.
    pub(super) feeder: Option<(Arc<FeederCore>, usize)>,
    /// The piles that crews empty into this one.
    pub(super) upstream: Vec<Arc<PileCore>>,
    /// Who has to look when this one closes.
    pub(super) downstream: OnceLock<Vec<Weak<PileCore>>>,
    gate: Mutex<Gate>,
    pub(super) closed: AtomicBool,
    /// Whoever comes can be served where it stands: the engine answers at once, and no fault is in the way. Known when the first comes.
    pub(super) direct: OnceLock<bool>,
    /// Closed by whoever tells the actor to look, opened by its look.
    pub(super) told: Latch,
    /// Rung when room may have come.
    pub(super) room: Notify,
    /// One offer at a time, in the order in which they came.
    turn: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for PileCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PileCore")
            .field("name", &self.name)
            .field("counts", &self.counts())
            .finish()
    }
}

/// What a pile is made of; see [`PileCore::new`].
#[derive(Debug)]
pub struct PileParts {
    /// Its name.
    pub name: String,
    /// Its key in the store.
    pub key: PileKey,
    /// Number of its node.
    pub node: u32,
    /// True for a staging dump.
    pub dump: bool,
    /// True if the application may offer nothing: only crews and a source fill it.
    pub sealed: bool,
    /// Most books it admits.
    pub capacity_books: Option<u64>,
    /// Most bytes it admits.
    pub capacity_bytes: Option<u64>,
    /// How to reach its actor.
    pub port: Port<Pile>,
    /// Its source, and which share of the books is its own.
    pub feeder: Option<(Arc<FeederCore>, usize)>,
    /// The piles that crews empty into this one; they exist already.
    pub upstream: Vec<Arc<PileCore>>,
}

impl PileCore {
    /// A pile over the works' store.
    pub fn new(works: &Arc<Works>, parts: PileParts) -> Arc<Self> {
        let core = Arc::new(Self {
            name: parts.name,
            key: parts.key,
            node: parts.node,
            dump: parts.dump,
            capacity_books: parts.capacity_books,
            capacity_bytes: parts.capacity_bytes,
            port: parts.port,
            stats: NodeStats::default(),
            works: works.clone(),
            feeder: parts.feeder,
            upstream: parts.upstream,
            downstream: OnceLock::new(),
            gate: Mutex::new(Gate {
                sealed: parts.sealed,
                ..Gate::default()
            }),
            closed: AtomicBool::new(false),
            direct: OnceLock::new(),
            told: Latch::new(),
            room: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
        });
        if let Some((feeder, share)) = &core.feeder {
            feeder.feeds(*share, &core);
        }
        core
    }

    /// Names the piles that have to look when this one closes. Once.
    pub fn leads_to(&self, downstream: Vec<Weak<PileCore>>) {
        let _ = self.downstream.set(downstream);
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while a fault makes it say that it is full.
    pub(super) fn is_full(&self) -> bool {
        (self.works.faults()).is_some_and(|faults| faults.is_full(&self.name))
    }

    /// How full it is.
    pub fn counts(&self) -> Counts {
        self.works.store.counts(self.key)
    }

    /// True once nothing will come to it and nothing is left of it.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Carts parked here: (waiting for books, waiting for room).
    pub fn parked(&self) -> (usize, usize) {
        let gate = self.gate();
        (gate.takers.len(), gate.givers.len())
    }

    /// Its source, if it has one; piles that are copies have the same.
    pub fn feeder(&self) -> Option<&Arc<FeederCore>> {
        self.feeder.as_ref().map(|(feeder, _)| feeder)
    }

    /// Makes the actor look, if nobody has told it to since its last look; lost if it is dead, and it looks when it starts.
    pub fn ring(&self) {
        if !self.told.close() {
            return;
        }
        if let Some(Deed::Duplicate) = self.works.message_fault(&self.name, Point::Look, None) {
            let _ = self.port.send(Look);
        }
        if self.port.send(Look).is_err() {
            self.told.open();
        }
    }

    /// Room has come back that no book has left: whoever waits for some looks again.
    pub fn has_room(&self) {
        self.room.notify_waiters();
        self.ring();
    }

    /// The application will offer nothing more. Books already taken are carried on.
    pub fn seal(&self) {
        self.gate().sealed = true;
        self.room.notify_waiters();
        self.ring();
    }

    /// Gives books back to the source that no cart has taken: it can give them again.
    pub(crate) fn recall(&self) {
        drop(self.works.store.recall(self.key));
        self.room.notify_waiters();
        self.ring();
    }

    /// Takes books from the application if there is room for all of them now.
    ///
    /// # Errors
    /// [`OfferError`], with the books; nothing was taken then.
    pub fn try_offer(&self, books: Vec<Book>) -> Result<(), OfferError> {
        self.offered(books, |books| self.works.store.put(self.key, books))
    }

    /// The same; what becomes of each book is told, in the order of the books.
    ///
    /// # Errors
    /// As [`PileCore::try_offer`].
    pub fn try_offer_watched(&self, books: Vec<Book>) -> Result<Vec<Awaited>, OfferError> {
        self.offered(books, |books| self.works.store.put_watched(self.key, books))
    }

    fn offered<T: Default>(
        &self,
        books: Vec<Book>,
        put: impl FnOnce(Vec<Book>) -> Answer<Result<T, Full<Vec<Book>>>>,
    ) -> Result<T, OfferError> {
        if books.is_empty() {
            return Ok(T::default());
        }
        if self
            .capacity_books
            .is_some_and(|most| books.len() as u64 > most)
        {
            return Err(OfferError::TooMany(books));
        }
        if self.is_full() {
            return Err(OfferError::Full(books));
        }
        let count = books.len();
        let put = {
            let gate = self.gate();
            if gate.sealed {
                return Err(OfferError::Closed(books));
            }
            match put(books) {
                Answer::Ready(put) => put,
                Answer::Later(_) => {
                    unreachable!("engines that answer later have a keeper of their own")
                }
            }
        };
        match put {
            Ok(done) => {
                self.works.record(&self.name, &Act::Offer { books: count });
                self.ring();
                Ok(done)
            }
            Err(Full(books)) => Err(OfferError::Full(books)),
        }
    }

    /// Takes books from the application, all or none, waiting for room in the order in which offers came.
    /// Dropping the future takes the offer back: nothing was taken.
    ///
    /// # Errors
    /// [`OfferError::Closed`] and [`OfferError::TooMany`], with the books.
    pub async fn offer(&self, books: Vec<Book>) -> Result<(), OfferError> {
        self.when_there_is_room(books, |books| self.try_offer(books))
            .await
    }

    /// The same; what becomes of each book is told, in the order of the books.
    ///
    /// # Errors
    /// As [`PileCore::offer`].
    pub async fn offer_watched(&self, books: Vec<Book>) -> Result<Vec<Awaited>, OfferError> {
        self.when_there_is_room(books, |books| self.try_offer_watched(books))
            .await
    }

    async fn when_there_is_room<T>(
        &self,
        mut books: Vec<Book>,
        offer: impl Fn(Vec<Book>) -> Result<T, OfferError>,
    ) -> Result<T, OfferError> {
        let _turn = self.turn.lock().await;
        loop {
            let room = self.room.notified();
            let mut room = std::pin::pin!(room);
            // Listens before it looks, so that no room passes unheard.
            room.as_mut().enable();
            match offer(books) {
                Err(OfferError::Full(back)) => books = back,
                done => return done,
            }
            room.await;
        }
    }

    /// Lets every parked cart go home, and takes in what came home; for the end of a run.
    pub fn evict(&self) {
        let (takers, givers) = {
            let mut gate = self.gate();
            (
                std::mem::take(&mut gate.takers),
                std::mem::take(&mut gate.givers),
            )
        };
        drop((takers, givers));
        self.works.store.collect(self.key);
    }
}
