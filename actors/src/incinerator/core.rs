//! What there is of an incinerator whether or not its actor lives: the carts that wait, how they burn, what is told of it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::{Fire, Incinerator, MakeBurn};
use crate::book::{Book, BookId};
use crate::burn::Burn;
use crate::cart::Cart;
use crate::clock::Time;
use crate::failure::Failure;
use crate::fault::{Deed, Point};
use crate::gopher::asking::Asking;
use crate::gopher::yard::{Leg, holder};
use crate::lease::Verdict;
use crate::pile::{Deliver, Look, PileCore};
use crate::pool::guarded;
use crate::store::{Answer, Settled};
use crate::supervision::{Guarded, Port};
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
    pub(super) fire: Mutex<Option<Fire>>,
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
            fire: Mutex::new(Some(Arc::new(Guarded::new(first)))),
            ask: OnceLock::new(),
        })
    }

    /// Has a balancer's workers burn instead of its burn. Said once, before the start.
    pub fn ask(&self, asking: Asking) {
        let _ = self.ask.set(asking);
    }

    /// Sends a loaded cart; keeps it here if the actor is away.
    pub(crate) fn deliver(self: &Arc<Self>, cart: Cart) {
        let way = (self.name.as_str(), Point::Deliver);
        self.works.pass(way, cart, self, Self::deliver_now);
    }

    fn deliver_now(&self, cart: Cart) {
        let sent = self.port.send_with(|epoch| {
            cart.hand_to(holder(self.node, epoch));
            Deliver(cart)
        });
        if let Err(unsent) = sent {
            let cart = unsent.into_inner().0;
            cart.hand_to(0);
            lock(&self.waiting).push_back(cart);
            self.stats.waited();
            let _ = self.port.send(Look);
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
    }

    /// The fire is out: tells the burn. Blocks as the burn does; never on an arbiter.
    ///
    /// # Errors
    /// The burn's own, a panic among them.
    pub fn finish(&self) -> Result<(), Failure> {
        let Some(fire) = lock(&self.fire).take() else {
            return Ok(());
        };
        guarded(|| fire.finish())
            .unwrap_or_else(|text| Err(Failure::permanent(format!("panicked: {text}"))))
    }

    /// True where the books may be burned; else the cart is on its way home, as an empty one.
    pub(super) fn begin(&self, mut cart: Cart) -> Option<Cart> {
        let body = cart.body_mut();
        let begun = match &mut body.lease {
            Some(lease) => lease.begin_burn(),
            None => false,
        };
        if !begun {
            // Revoked: the books are somebody else's now.
            body.lease = None;
            body.worked = None;
            self.emptied(cart);
            return None;
        }
        let again = (cart.entries().iter()).filter(|entry| entry.begun).count();
        if again > 0 {
            self.works.store.reburning(again as u64);
        }
        Some(cart)
    }

    /// All books of a cart are burned or marked.
    fn burned(&self, cart: Cart, began: Time, not_before: bool) {
        self.tell_receipts(&cart);
        self.trace(&cart);
        self.done(cart, began, not_before);
    }

    /// What was burned has been told.
    pub(super) fn done(&self, mut cart: Cart, began: Time, not_before: bool) {
        let now = self.works.clock.now();
        self.works.note_burn(now);
        self.stats.busy_for(now - began);
        if not_before {
            cart.not_before(now);
        }
        self.settle(cart);
    }

    /// Burns a cart's books and settles them. `Err` is the text of a panic; the cart has gone home then, by its marks.
    pub(super) fn burn(&self, cart: Cart, fire: &Fire) -> Result<(), String> {
        let began = self.works.clock.now();
        let count = cart.len();
        let Some(mut cart) = self.begin(cart) else {
            return Ok(());
        };
        let mut struck = Vec::new();
        let together = {
            let entries = cart.entries();
            let books: Vec<&Book> = (0..count).filter_map(|index| cart.book(index)).collect();
            if books.is_empty() || entries.iter().any(|entry| entry.apart) {
                Ok(None)
            } else {
                guarded(|| {
                    for (index, book) in books.iter().enumerate() {
                        if let Some(failure) = self.fault(book) {
                            struck.push((index, failure));
                        }
                    }
                    fire.burn_cart(&books)
                })
            }
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
                    None => Verdict::Refuse(Failure::transient("the burn gave no result for it")),
                });
            }
            Ok(None) => {
                if let Err(panic) = self.burn_each(&mut cart, fire) {
                    self.tell_receipts(&cart);
                    self.trace(&cart);
                    return panic.map_or(Ok(()), Err);
                }
            }
        }
        self.burned(cart, began, fire.blocks());
        Ok(())
    }

    /// Burns one book after the other. `Err` ends the cart early: with the text of a panic, or without one as the run is halting.
    fn burn_each(&self, cart: &mut Cart, fire: &Fire) -> Result<(), Option<String>> {
        for index in 0..cart.len() {
            let Some(book) = cart.book(index) else {
                continue;
            };
            if self.works.is_halting() {
                return Err(None);
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
            let books: Vec<BookId> = burned.map(|index| cart.entries()[index].book.id).collect();
            let (cart, books) = (cart.name(), &books);
            self.works.record(&self.name, &Act::Burn { cart, books });
        }
    }

    fn settle(&self, mut cart: Cart) {
        let Some((lease, _)) = cart.unload() else {
            return;
        };
        let from = lease.pile();
        let home = lease.home().clone();
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
            self.stats.cart(acked);
        }
        self.emptied(cart);
        if let Some(above) = self.upstream.iter().find(|pile| pile.key == from) {
            above.look_if_waiting(settled);
        }
    }

    fn emptied(&self, mut cart: Cart) {
        cart.leave_slot();
        let yard = cart.yard().clone();
        yard.put(cart, Leg::Return);
    }
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
