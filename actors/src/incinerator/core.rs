//! What there is of an incinerator whether or not its actor lives: the carts that wait, how they burn, what is told of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;

use super::turns::Turns;
use super::{Fire, Incinerator, MakeBurn, Panicked};
use crate::book::{Book, BookId};
use crate::burn::Burn;
use crate::cart::Cart;
use crate::clock::Time;
use crate::failure::Failure;
use crate::fault::{Deed, Point};
use crate::gopher::asking::Asking;
use crate::gopher::yard::holder;
use crate::latch::Latch;
use crate::lease::Verdict;
use crate::pile::{Deliver, Look, PileCore};
use crate::pool::guarded;
use crate::store::{Answer, Settled};
use crate::supervision::{Guarded, Port};
use crate::threads;
use crate::trace::Act;
use crate::works::{NodeStats, Works};

/// What there is of an incinerator whether or not its actor lives.
pub struct IncineratorCore {
    /// Its name.
    pub name: String,
    /// Number of its node.
    pub node: u32,
    /// How to reach its actor.
    pub port: Port<Incinerator>,
    /// Its counters: books burned, carts settled.
    pub stats: NodeStats,
    pub(super) works: Arc<Works>,
    pub(super) make: MakeBurn,
    /// The piles that crews empty into it.
    upstream: Vec<Arc<PileCore>>,
    pub(super) waiting: Mutex<VecDeque<Cart>>,
    /// Carts that burn in the pool, and those that wait for their turn there.
    pub(super) turns: Arc<Turns>,
    /// Closed by whoever tells the actor that carts wait, opened by its look.
    pub(super) told: Latch,
    /// The burn, and the life that it belongs to.
    pub(super) fire: Mutex<Option<(Fire, u64)>>,
    /// The thread of a life that burns there and then what is brought to it on that thread; 0 where there is none such.
    pub(super) thread: AtomicU64,
    /// The burn has no way for whole carts.
    pub(super) one_by_one: AtomicBool,
    pub(super) ask: OnceLock<Asking>,
}

impl std::fmt::Debug for IncineratorCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncineratorCore")
            .field("name", &self.name)
            .finish()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IncineratorCore {
    /// An incinerator fed from `upstream`. `first` is its first burn, made by the caller so that what is wrong is known before the start.
    pub fn new(
        works: &Arc<Works>,
        name: impl Into<String>,
        node: u32,
        upstream: Vec<Arc<PileCore>>,
        first: Box<dyn Burn>,
        make: MakeBurn,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            node,
            port: Port::new(),
            stats: NodeStats::default(),
            works: works.clone(),
            make,
            upstream,
            waiting: Mutex::default(),
            turns: Arc::default(),
            told: Latch::new(),
            fire: Mutex::new(Some((Arc::new(Guarded::new(first)), 0))),
            thread: AtomicU64::new(0),
            one_by_one: AtomicBool::new(false),
            ask: OnceLock::new(),
        })
    }

    /// Has a balancer's workers burn instead of its burn. Said once, before the start.
    pub fn ask(&self, asking: Asking) {
        let _ = self.ask.set(asking);
    }

    /// Brings a loaded cart. On the actor's own thread, where burning does not wait, it is burned there and then and comes back empty, with the time
    /// that took if it is to be `timed`. Else it is sent; where the actor has been told of one and has not looked yet, or is away, the cart waits here for its look: one message
    /// is enough for all that come meanwhile.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        cart: Cart,
        timed: bool,
    ) -> Option<(Cart, Option<Duration>)> {
        if self.is_at_hand() {
            return self.burn_here(cart, timed);
        }
        let way = (self.name.as_str(), Point::Deliver);
        self.works.pass(way, cart, self, Self::deliver_now);
        None
    }

    /// True if a cart that is brought on this thread is burned there and then.
    pub(crate) fn is_at_hand(&self) -> bool {
        self.thread.load(Ordering::Acquire) == threads::number()
    }

    /// Burns that nobody timed have ended, the last of them just now; they took `span`, more or less.
    pub(crate) fn burned_untimed(&self, span: Duration) {
        self.works.note_burn(self.works.clock.now());
        self.stats.busy_for(span);
    }

    fn burn_here(&self, cart: Cart, timed: bool) -> Option<(Cart, Option<Duration>)> {
        let fire = lock(&self.fire).clone();
        let Some((fire, epoch)) = fire else {
            self.deliver_now(cart);
            return None;
        };
        let began = timed.then(|| self.works.clock.now());
        match self.burn(cart, &fire, began) {
            Ok((cart, now)) => {
                let took = began.zip(now).map(|(began, now)| now - began);
                cart.map(|cart| (cart, took))
            }
            Err(text) => {
                self.panicked(text, epoch);
                None
            }
        }
    }

    /// A burn of the life `epoch` panicked where the actor was not: it has to die of it.
    pub(super) fn panicked(&self, text: String, epoch: u64) {
        let _ = self.port.send(Panicked { text, epoch });
    }

    fn deliver_now(&self, cart: Cart) {
        let cart = if self.told.close() {
            let sent = self.port.send_with(|epoch| {
                cart.hand_to(holder(self.node, epoch));
                Deliver(cart)
            });
            match sent {
                Ok(()) => return,
                Err(unsent) => {
                    self.told.open();
                    self.stats.waited();
                    unsent.into_inner().0
                }
            }
        } else {
            cart
        };
        cart.hand_to(0);
        lock(&self.waiting).push_back(cart);
        // It may have looked between.
        if self.told.close() && self.port.send(Look).is_err() {
            // Its next life looks by itself.
            self.told.open();
        }
    }

    /// True once every pile above is closed.
    pub fn is_closed(&self) -> bool {
        self.upstream.iter().all(|pile| pile.is_closed())
    }

    /// Carts that wait for the actor's next life.
    pub fn parked(&self) -> usize {
        lock(&self.waiting).len()
    }

    /// Lets the carts that wait go home; for the end of a run.
    pub fn evict(&self) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        drop(waiting);
        self.turns.clear();
    }

    /// The fire is out: tells the burn. Blocks as the burn does; never on an arbiter.
    ///
    /// # Errors
    /// The burn's own, a panic among them.
    pub fn finish(&self) -> Result<(), Failure> {
        let Some((fire, _)) = lock(&self.fire).take() else {
            return Ok(());
        };
        guarded(|| fire.finish())
            .unwrap_or_else(|text| Err(Failure::permanent(format!("panicked: {text}"))))
    }

    /// `Ok` where the books may be burned; else the cart as an empty one.
    pub(super) fn begin(&self, mut cart: Cart) -> Result<Cart, Cart> {
        let body = cart.body_mut();
        let begun = match &mut body.lease {
            Some(lease) => lease.begin_burn(),
            None => false,
        };
        if !begun {
            // Revoked: the books are somebody else's now.
            body.lease = None;
            body.worked = None;
            cart.leave_slot();
            return Err(cart);
        }
        let again = match &cart.body().lease {
            Some(lease) if !lease.is_first() => {
                (0..lease.len()).filter(|at| lease.note(*at).begun).count()
            }
            _ => 0,
        };
        if again > 0 {
            self.works.store.reburning(again as u64);
        }
        Ok(cart)
    }

    /// All books of a cart are burned or marked.
    fn burned(
        &self,
        cart: Cart,
        began: Option<Time>,
        not_before: bool,
    ) -> (Option<Cart>, Option<Time>) {
        self.tell_receipts(&cart);
        self.trace(&cart);
        self.done(cart, began, not_before)
    }

    /// What was burned has been told. Gives the empty cart, and the time where it matters when that `began`.
    pub(super) fn done(
        &self,
        mut cart: Cart,
        began: Option<Time>,
        not_before: bool,
    ) -> (Option<Cart>, Option<Time>) {
        let now = began.map(|began| {
            let now = self.works.clock.now();
            self.works.note_burn(now);
            self.stats.busy_for(now - began);
            now
        });
        if let Some(now) = now.filter(|_| not_before) {
            cart.not_before(now);
        }
        (self.settle(cart), now)
    }

    /// Burns a cart's books and settles them, from `began`, which is now, or untimed; gives the empty cart, if it has not gone home, and the time afterwards. `Err`
    /// is the text of a panic; the cart has gone home then, by its marks.
    pub(super) fn burn(
        &self,
        cart: Cart,
        fire: &Fire,
        began: Option<Time>,
    ) -> Result<(Option<Cart>, Option<Time>), String> {
        let mut cart = match self.begin(cart) {
            Ok(cart) => cart,
            Err(empty) => return Ok((Some(empty), began)),
        };
        let plain = is_plain(&cart) && self.works.faults().is_none();
        let mut struck = Vec::new();
        let together = if self.one_by_one.load(Ordering::Relaxed) || is_apart(&cart) {
            Ok(None)
        } else {
            let books: SmallVec<[&Book; 64]> = if plain {
                cart.books().iter().collect()
            } else {
                (0..cart.len()).filter_map(|at| cart.book(at)).collect()
            };
            guarded(|| {
                if books.is_empty() {
                    return None;
                }
                if self.works.faults().is_some() {
                    for (index, book) in books.iter().enumerate() {
                        struck.extend(self.fault(book).map(|failure| (index, failure)));
                    }
                }
                let burned = fire.burn_cart(&books);
                self.one_by_one.store(burned.is_none(), Ordering::Relaxed);
                burned
            })
        };
        match together {
            Err(text) => {
                // Nobody knows at which book: none is charged, and each is burned by itself the next time.
                mark_all(&mut cart, || Verdict::Apart);
                return Err(text);
            }
            Ok(Some(mut results)) => {
                for (index, result) in &struck {
                    if let Some(burned) = results.get_mut(*index) {
                        *burned = Err(result.clone());
                    }
                }
                let mut results = results.into_iter();
                mark_all(&mut cart, || match results.next() {
                    Some(result) => self.judged(result),
                    // Not known, so not charged; by itself it has one.
                    None => Verdict::Apart,
                });
            }
            Ok(None) => {
                let burned = match plain && !fire.blocks() {
                    true => self.burn_plain(&mut cart, fire),
                    false => self.burn_each(&mut cart, 0, fire),
                };
                if let Err(panic) = burned {
                    self.tell_receipts(&cart);
                    self.trace(&cart);
                    return panic.map_or(Ok((None, began)), Err);
                }
            }
        }
        Ok(self.burned(cart, began, fire.blocks()))
    }

    /// [`IncineratorCore::burn_each`] where all books are as they were leased and burning does not wait: one catch, and no mark, for all up to the first
    /// that fails.
    fn burn_plain(&self, cart: &mut Cart, fire: &Fire) -> Result<(), Option<String>> {
        let Some(lease) = &mut cart.body_mut().lease else {
            return Ok(());
        };
        if self.works.is_halting() {
            return Err(None);
        }
        let mut done = 0;
        let burned = guarded(|| fire.burn_until(lease.books(), &mut done));
        // A kind of somebody else's may count as it likes.
        let done = done.min(lease.len());
        lease.mark_first_burned(done);
        match burned {
            Ok(Ok(())) if done == lease.len() => Ok(()),
            Ok(Ok(())) => self.burn_each(cart, done, fire),
            Ok(Err(failure)) => {
                lease.mark_burned(done, self.judged(Err(failure)));
                self.burn_each(cart, done + 1, fire)
            }
            Err(text) => {
                let failure = Failure::transient(format!("panicked: {text}"));
                lease.mark_burned(done, Verdict::Refuse(failure));
                Err(Some(text))
            }
        }
    }

    /// Burns one book after the other, from the one at `first` on. `Err` ends the cart early: with the text of a panic, or without one as the run is
    /// halting.
    fn burn_each(&self, cart: &mut Cart, first: usize, fire: &Fire) -> Result<(), Option<String>> {
        for index in first..cart.len() {
            let Some(book) = cart.book(index) else {
                continue;
            };
            if self.works.is_halting() {
                return Err(None);
            }
            if let Some(lease) = &cart.body().lease
                && self.works.takes_back(lease.pile())
            {
                if let Some(lease) = &mut cart.body_mut().lease {
                    // Beside a mark, books without one return as well.
                    lease.mark(index, Verdict::Return);
                }
                return Ok(());
            }
            let burned = guarded(|| self.fault(book).map_or_else(|| fire.burn(book), Err));
            let (verdict, panic) = match burned {
                Ok(result) => (self.judged(result), None),
                Err(text) => {
                    let failure = Failure::transient(format!("panicked: {text}"));
                    (Verdict::Refuse(failure), Some(text))
                }
            };
            if let Some(lease) = &mut cart.body_mut().lease {
                lease.mark_burned(index, verdict);
            }
            if panic.is_some() {
                return Err(panic);
            }
        }
        Ok(())
    }

    fn fault(&self, book: &Book) -> Option<Failure> {
        match self.works.fault(&self.name, Point::Burn, Some(book.id.0)) {
            Some(Deed::Error(failure)) => Some(failure),
            _ => None,
        }
    }

    /// What fails because the run is being stopped is no book's fault.
    fn judged(&self, result: Result<(), Failure>) -> Verdict {
        match result {
            Ok(()) => Verdict::Ack,
            Err(_) if self.works.is_halting() => Verdict::Return,
            Err(failure) => Verdict::Refuse(failure),
        }
    }

    fn tell_receipts(&self, cart: &Cart) {
        if self.works.receipts.is_empty() {
            return;
        }
        let Some(lease) = &cart.body().lease else {
            return;
        };
        let burned: Vec<&Book> = (0..cart.len())
            .filter(|index| *lease.marked(*index) == Verdict::Ack)
            .filter_map(|index| cart.book(index))
            .collect();
        self.tell(&burned);
    }

    pub(super) fn tell(&self, burned: &[&Book]) {
        for receipts in &self.works.receipts {
            let told = guarded(|| receipts.burned(burned));
            if let Err(text) = told.map_err(Failure::transient).and_then(|told| told) {
                log::warn!("{}: what was burned could not be noted: {text}", self.name);
            }
        }
    }

    fn trace(&self, cart: &Cart) {
        if let Some(lease) = (cart.body().lease.as_ref()).filter(|_| self.works.is_traced()) {
            let burned = (0..cart.len()).filter(|index| *lease.marked(*index) == Verdict::Ack);
            let books: Vec<BookId> = burned.map(|index| cart.books()[index].id).collect();
            let (cart, books) = (cart.name(), &books);
            self.works.record(&self.name, &Act::Burn { cart, books });
        }
    }

    /// Gives the empty cart.
    fn settle(&self, mut cart: Cart) -> Option<Cart> {
        let (mut lease, _) = cart.unload()?;
        lease.refused_at(&self.name);
        let from = lease.pile();
        let home = &self.works.store;
        let again = self.works.message_fault(&self.name, Point::Settle, None);
        let twin = again
            .is_some_and(|deed| deed == Deed::Duplicate)
            .then(|| lease.twin());
        let settled = match home.settle(lease) {
            Answer::Ready(settled) => settled,
            // Such an engine has a keeper that settles by itself; nobody has to wait for it here.
            Answer::Later(later) => {
                drop(tokio::spawn(later));
                Settled::Stale
            }
        };
        if let Some(twin) = twin {
            // Made twice, it must be found stale.
            drop(home.settle(twin));
        }
        if let Settled::Done { acked, .. } = settled {
            self.stats.carts_with(cart.carts(), acked);
        }
        if let Some(above) = self.upstream.iter().find(|pile| pile.key == from) {
            above.look_if_waiting(settled);
        }
        cart.leave_slot();
        Some(cart)
    }
}

/// True if all books are as they were leased, and none bears a mark.
fn is_plain(cart: &Cart) -> bool {
    let body = cart.body();
    body.worked.is_none() && (body.lease.as_ref()).is_some_and(|lease| lease.is_unmarked())
}

/// True if a book of it is to be burned by itself.
fn is_apart(cart: &Cart) -> bool {
    (cart.body().lease.as_ref())
        .is_some_and(|lease| !lease.is_first() && (0..lease.len()).any(|at| lease.note(at).apart))
}

/// Marks every book that failed or was dropped nowhere yet.
fn mark_all(cart: &mut Cart, mut verdict: impl FnMut() -> Verdict) {
    for index in 0..cart.len() {
        if cart.book(index).is_some() {
            let verdict = verdict();
            if let Some(lease) = &mut cart.body_mut().lease {
                lease.mark_burned(index, verdict);
            }
        }
    }
}
