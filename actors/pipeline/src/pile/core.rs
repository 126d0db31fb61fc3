//! Pile state that outlives its actor: the gate with parked carts, and offers by the application.
//! Service to crews is in `service`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};

use tokio::sync::Notify;

use super::{Look, Pile};
use crate::book::Book;
use crate::context::PipelineContext;
use crate::crew::cart::Cart;
use crate::crew::queue::{CrewQueue, NextStep};
use crate::custody::outcomes::Awaited;
use crate::custody::{PileCounts, PileFull, PileKey};
use crate::feeder::{Fed, FeederCore};
use crate::stats::NodeStats;
use crate::store::StoreError;
use crate::trace::Act;
use gopherworks_supervision::__private::Latch;
use gopherworks_supervision::Port;
use gopherworks_supervision::fault::{FaultAction, Point};

/// Why an application's books were not accepted. Contains the books.
#[derive(Debug)]
pub enum OfferError {
    /// The pile is closed or draining.
    Closed(Vec<Book>),
    /// More books at once than the pile's capacity.
    TooMany(Vec<Book>),
    /// The pile is full. Only from [`PileCore::try_offer`]; [`PileCore::offer`] waits.
    Full(Vec<Book>),
    /// The pile is durable: accepting waits until the books are stored. Only from
    /// [`PileCore::try_offer`].
    WouldWait(Vec<Book>),
    /// The store of the pile can't keep one of the books: it is larger than the store's limit in
    /// bytes, which may include the book's headers.
    TooLarge {
        /// All books of the offer.
        books: Vec<Book>,
        /// Largest book that this store accepts, in bytes.
        limit: u64,
    },
    /// The run ended before the books were known to be stored: they may or may not be there in the
    /// next run.
    Unknown,
}

impl fmt::Display for OfferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OfferError::Closed(_) => {
                f.write_str("the pile takes no more books: it is draining or closed")
            }
            OfferError::TooMany(_) => f.write_str("more books at once than the pile has room for"),
            OfferError::Full(_) => f.write_str("the pile is full"),
            OfferError::WouldWait(_) => f.write_str("the pile is durable, which takes time"),
            OfferError::TooLarge { limit, .. } => {
                write!(f, "a book is larger than the store can keep: {limit} bytes")
            }
            OfferError::Unknown => f.write_str("it is not known whether the books are stored"),
        }
    }
}

impl std::error::Error for OfferError {}

impl OfferError {
    /// Returns the books; none if it is unknown whether they are stored.
    pub fn into_books(self) -> Vec<Book> {
        match self {
            OfferError::Closed(books)
            | OfferError::TooMany(books)
            | OfferError::Full(books)
            | OfferError::WouldWait(books)
            | OfferError::TooLarge { books, .. } => books,
            OfferError::Unknown => Vec::new(),
        }
    }
}

#[derive(Default)]
pub(super) struct PileGate {
    pub(super) takers: VecDeque<Cart>,
    pub(super) givers: VecDeque<Cart>,
    pub(super) sealed: bool,
}

/// State of a pile that outlives its actor.
pub struct PileCore {
    /// The pile's name.
    pub name: String,
    /// The pile's key in custody.
    pub key: PileKey,
    /// Number of its node in the pipeline, used in holder ids.
    pub node: u32,
    /// True for a staging dump.
    pub dump: bool,
    /// Capacity in books and bytes; `u64::MAX` is unbounded.
    pub(super) capacity: [AtomicU64; 2],
    /// Sends to the pile's current actor.
    pub port: Port<Pile>,
    /// Counters of books and carts that left the pile.
    pub stats: NodeStats,
    pub(crate) context: Arc<PipelineContext>,
    /// Its source, and the pile's share of the source's books.
    pub(super) feeder: Option<(Arc<FeederCore>, usize)>,
    /// Piles that crews empty into this one, those of other processes included.
    pub(super) upstream: RwLock<Vec<Arc<PileCore>>>,
    /// No crew here empties it, and nothing here waits for its end.
    pub(super) left_alone: bool,
    /// Another process reads its source, which has not ended.
    pub(super) fed_elsewhere: AtomicBool,
    /// Piles to wake when this one closes.
    pub(super) downstream: RwLock<Vec<Weak<PileCore>>>,
    gate: Mutex<PileGate>,
    pub(super) closed: AtomicBool,
    /// Carts are served on the caller's thread: custody answers synchronously and no faults are
    /// configured. Set on first use.
    pub(super) direct: OnceLock<bool>,
    /// Set while a wake-up is pending; cleared when the actor looks.
    pub(super) wake_pending: Latch,
    /// Notified when space may have become available.
    pub(super) room: Notify,
    /// Serialises waiting offers, first come, first served.
    offer_order: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for PileCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PileCore")
            .field("name", &self.name)
            .field("counts", &self.counts())
            .finish()
    }
}

/// What a pile is built from; see [`PileCore::new`].
#[derive(Debug)]
pub struct PileParts {
    /// The pile's name.
    pub name: String,
    /// The pile's key in custody.
    pub key: PileKey,
    /// Number of its node in the pipeline.
    pub node: u32,
    /// True for a staging dump.
    pub dump: bool,
    /// True if the application may not offer books: only crews and a source fill it.
    pub sealed: bool,
    /// Capacity in books; `None` is unbounded.
    pub capacity_books: Option<u64>,
    /// Capacity in bytes; `None` is unbounded.
    pub capacity_bytes: Option<u64>,
    /// Sends to the pile's current actor.
    pub port: Port<Pile>,
    /// Its source, and the pile's share of the source's books.
    pub feeder: Option<(Arc<FeederCore>, usize)>,
    /// Piles that crews empty into this one, those of other processes included.
    pub upstream: Vec<Arc<PileCore>>,
    /// No crew of this process empties it, and nothing here waits for its end: it closes with the
    /// books that it has.
    pub left_alone: bool,
    /// Other processes read its source: it does not close before [`PileCore::source_has_ended`].
    pub fed_elsewhere: bool,
}

impl PileCore {
    /// Creates a pile in the pipeline's custody.
    pub fn new(context: &Arc<PipelineContext>, parts: PileParts) -> Arc<Self> {
        let core = Arc::new(Self {
            name: parts.name,
            key: parts.key,
            node: parts.node,
            dump: parts.dump,
            capacity: [parts.capacity_books, parts.capacity_bytes]
                .map(|most| AtomicU64::new(most.unwrap_or(u64::MAX))),
            port: parts.port,
            stats: NodeStats::default(),
            context: context.clone(),
            feeder: parts.feeder,
            upstream: RwLock::new(parts.upstream),
            left_alone: parts.left_alone,
            fed_elsewhere: AtomicBool::new(parts.fed_elsewhere),
            downstream: RwLock::default(),
            gate: Mutex::new(PileGate { sealed: parts.sealed, ..PileGate::default() }),
            closed: AtomicBool::new(false),
            direct: OnceLock::new(),
            wake_pending: Latch::new(),
            room: Notify::new(),
            offer_order: tokio::sync::Mutex::new(()),
        });
        if let Some((feeder, share)) = &core.feeder {
            let pile: Weak<Self> = Arc::downgrade(&core);
            feeder.feeds(*share, pile);
        }
        core
    }

    /// The source that other processes read into this pile has ended.
    pub fn source_has_ended(&self) {
        self.fed_elsewhere.store(false, Ordering::Release);
        self.ring();
    }

    pub(super) fn gate(&self) -> MutexGuard<'_, PileGate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while an injected fault makes the pile appear full.
    pub(super) fn is_full(&self) -> bool {
        (self.context.faults()).is_some_and(|faults| faults.is_full(&self.name))
    }

    /// How many books it holds, by state.
    pub fn counts(&self) -> PileCounts {
        self.context.custody.counts(self.key)
    }

    /// True once no further books can arrive and none are left.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Parked carts: (waiting for books, waiting for space).
    pub fn parked(&self) -> (usize, usize) {
        let gate = self.gate();
        (gate.takers.len(), gate.givers.len())
    }

    /// Parked carts of one crew: (waiting for books, waiting for space).
    pub fn parked_of(&self, crew: &CrewQueue) -> (usize, usize) {
        let carts = |parked: &VecDeque<Cart>| -> usize {
            let own = parked.iter().filter(|cart| std::ptr::eq(&**cart.queue(), crew));
            own.map(|cart| cart.body().carts()).sum()
        };
        let gate = self.gate();
        (carts(&gate.takers), carts(&gate.givers))
    }

    /// Sends carts of a crew that wait for books back to that crew, which an operator pauses.
    pub(crate) fn send_back(&self, crew: &CrewQueue) {
        let back: Vec<Cart> = {
            let mut gate = self.gate();
            let all = std::mem::take(&mut gate.takers);
            let (back, kept) =
                all.into_iter().partition::<Vec<_>, _>(|cart| std::ptr::eq(&**cart.queue(), crew));
            gate.takers = kept.into();
            back
        };
        back.into_iter().for_each(|cart| cart.put(NextStep::Take));
    }

    /// Its source, if it has one. The copies of a pile share one.
    pub fn feeder(&self) -> Option<&Arc<FeederCore>> {
        self.feeder.as_ref().map(|(feeder, _)| feeder)
    }

    /// Wakes the actor, unless a wake-up is pending. Lost if the actor is dead; the next
    /// incarnation looks when it starts.
    pub fn ring(&self) {
        if !self.wake_pending.close() {
            return;
        }
        if let Some(FaultAction::Duplicate) =
            self.context.message_fault(&self.name, Point::Look, None)
        {
            let _ = self.port.send(Look);
        }
        if self.port.send(Look).is_err() {
            self.wake_pending.open();
        }
    }

    /// Space has become available without a book leaving: wakes offers and parked carts.
    pub fn has_room(&self) {
        self.room.notify_waiters();
        self.ring();
    }

    /// Accepts no further offers by the application. Accepted books are processed.
    pub fn seal(&self) {
        self.gate().sealed = true;
        self.room.notify_waiters();
        self.ring();
    }

    /// Accepts books from the application if there is space for all of them now.
    ///
    /// # Errors
    /// [`OfferError`], with the books: none was accepted.
    pub fn try_offer(&self, books: Vec<Book>) -> Result<(), OfferError> {
        if books.is_empty() {
            return Ok(());
        }
        if self.context.custody.is_durable(self.key) {
            return Err(OfferError::WouldWait(books));
        }
        self.offered(books, |books| self.context.custody.put(self.key, books))
    }

    /// Like `try_offer`, but returns one future per book, in order, resolving to its outcome.
    ///
    /// # Errors
    /// Like [`PileCore::try_offer`].
    pub fn try_offer_watched(&self, books: Vec<Book>) -> Result<Vec<Awaited>, OfferError> {
        if books.is_empty() {
            return Ok(Vec::new());
        }
        if self.context.custody.is_durable(self.key) {
            return Err(OfferError::WouldWait(books));
        }
        self.offered(books, |books| self.context.custody.put_watched(self.key, books))
    }

    fn offered<T>(
        &self,
        books: Vec<Book>,
        put: impl FnOnce(Vec<Book>) -> Result<T, PileFull<Vec<Book>>>,
    ) -> Result<T, OfferError> {
        if self.capacity_books().is_some_and(|most| books.len() as u64 > most) {
            return Err(OfferError::TooMany(books));
        }
        if self.is_full() {
            return Err(OfferError::Full(books));
        }
        let count = books.len();
        let put = {
            let gate = self.gate();
            if gate.sealed || self.is_closed() {
                return Err(OfferError::Closed(books));
            }
            put(books)
        };
        match put {
            Ok(done) => {
                self.context.record(&self.name, &Act::Offer { books: count });
                self.ring();
                Ok(done)
            }
            Err(PileFull(books)) => Err(OfferError::Full(books)),
        }
    }

    /// Accepts books from the application, all or none, waiting for space in the order of offers,
    /// and, if the pile is durable, until they are stored. Dropping the future withdraws the offer:
    /// no book was accepted; of a durable pile, it is then unknown whether they are.
    ///
    /// # Errors
    /// [`OfferError::Closed`], [`OfferError::TooMany`] and [`OfferError::TooLarge`], with the
    /// books; [`OfferError::Unknown`].
    pub async fn offer(&self, books: Vec<Book>) -> Result<(), OfferError> {
        if self.context.custody.is_durable(self.key) {
            return self.store_offer(books, false).await.map(drop);
        }
        self.when_there_is_room(books, |books| self.try_offer(books)).await
    }

    /// Like `offer`, but returns one future per book, in order, resolving to its outcome.
    ///
    /// # Errors
    /// Like [`PileCore::offer`].
    pub async fn offer_watched(&self, books: Vec<Book>) -> Result<Vec<Awaited>, OfferError> {
        if self.context.custody.is_durable(self.key) {
            return self.store_offer(books, true).await;
        }
        self.when_there_is_room(books, |books| self.try_offer_watched(books)).await
    }

    async fn store_offer(
        &self,
        books: Vec<Book>,
        watched: bool,
    ) -> Result<Vec<Awaited>, OfferError> {
        if books.is_empty() {
            return Ok(Vec::new());
        }
        let store = |books| self.context.custody.store_offer(self.key, books, watched);
        let offer = |books| self.offered(books, store);
        let (awaited, stored) = self.when_there_is_room(books, offer).await?;
        // Not in turn: offers that wait together are stored together.
        match stored.await {
            Ok(Ok(())) => Ok(awaited),
            Ok(Err((books, StoreError::TooLarge { limit }))) => {
                Err(OfferError::TooLarge { books, limit })
            }
            Ok(Err(_)) | Err(_) => Err(OfferError::Unknown),
        }
    }

    async fn when_there_is_room<T>(
        &self,
        mut books: Vec<Book>,
        offer: impl Fn(Vec<Book>) -> Result<T, OfferError>,
    ) -> Result<T, OfferError> {
        let _order = self.offer_order.lock().await;
        loop {
            let room = self.room.notified();
            let mut room = std::pin::pin!(room);
            // Registers before trying, so that no notification is missed.
            room.as_mut().enable();
            match offer(books) {
                Err(OfferError::Full(back)) => books = back,
                done => return done,
            }
            room.await;
        }
    }

    /// Returns every parked cart to its crew, and collects books that were returned to the pile;
    /// for the end of a run.
    pub fn evict(&self) {
        let (takers, givers) = {
            let mut gate = self.gate();
            (std::mem::take(&mut gate.takers), std::mem::take(&mut gate.givers))
        };
        drop((takers, givers));
        self.context.custody.collect(self.key);
    }
}

impl Fed for PileCore {
    fn name(&self) -> &str {
        &self.name
    }

    fn key(&self) -> PileKey {
        self.key
    }

    fn context(&self) -> &Arc<PipelineContext> {
        &self.context
    }

    fn is_closed(&self) -> bool {
        PileCore::is_closed(self)
    }

    fn has_takers(&self) -> bool {
        !self.gate().takers.is_empty()
    }

    fn ring(&self) {
        PileCore::ring(self);
    }

    fn recall(&self) {
        drop(self.context.custody.recall(self.key));
        self.room.notify_waiters();
        PileCore::ring(self);
    }
}
