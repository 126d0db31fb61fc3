//! Incinerator state that outlives its actor: waiting carts, the burn, settlement and receipts.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use super::burn_queue::BurnQueue;
use super::{Fire, Incinerator, MakeBurn, Panicked};
use crate::asking::Asking;
use crate::book::{Book, BookId};
use crate::burn::Burn;
use crate::context::PipelineContext;
use crate::crew::cart::Cart;
use crate::crew::queue::CrewQueue;
use crate::custody::lease::{Lease, LeaseVerdict};
use crate::custody::{HolderId, Settled};
use crate::pause::Pause;
use crate::pile::{Deliver, Look, PileCore};
use crate::stats::NodeStats;
use crate::tap::Passing;
use crate::trace::Act;
use gopherworks_supervision::__private::{Latch, guarded, threads};
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::fault::{FaultAction, Point};
use gopherworks_supervision::{Guarded, Port};

/// State of an incinerator that outlives its actor.
pub struct IncineratorCore {
    /// The incinerator's name.
    pub name: String,
    /// Number of its node in the pipeline.
    pub node: u32,
    /// Sends to the incinerator's current actor.
    pub port: Port<Incinerator>,
    /// Counters of books burned and carts settled.
    pub stats: NodeStats,
    pub(super) context: Arc<PipelineContext>,
    pub(super) make: MakeBurn,
    /// Piles that crews empty into it.
    upstream: RwLock<Vec<Arc<PileCore>>>,
    pub(super) waiting: Mutex<VecDeque<Cart>>,
    /// Carts burning in the thread pool, and those queued for it.
    pub(super) burn_queue: Arc<BurnQueue>,
    /// Set while a wake-up is pending; cleared when the actor looks.
    pub(super) wake_pending: Latch,
    /// The burn, and the epoch of its incarnation.
    pub(super) fire: Mutex<Option<(Fire, u64)>>,
    /// The thread on which carts are burned inline; 0 if there is none.
    pub(super) thread: AtomicU64,
    /// True if the burn does not support whole carts.
    pub(super) one_by_one: AtomicBool,
    pub(super) ask: OnceLock<Asking>,
    /// Pauses burning while the sink is unavailable.
    pub(super) pause: Pause,
}

impl std::fmt::Debug for IncineratorCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IncineratorCore").field("name", &self.name).finish()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl IncineratorCore {
    /// Creates an incinerator fed from `upstream`. `first` is its first burn, made by the caller
    /// so that errors appear before the start.
    pub fn new(
        context: &Arc<PipelineContext>,
        name: impl Into<String>,
        node: u32,
        upstream: Vec<Arc<PileCore>>,
        first: Box<dyn Burn>,
        make: MakeBurn,
    ) -> Arc<Self> {
        let name = name.into();
        Arc::new(Self {
            pause: Pause::new("incinerator", &name),
            name,
            node,
            port: Port::new(),
            stats: NodeStats::default(),
            context: context.clone(),
            make,
            upstream: RwLock::new(upstream),
            waiting: Mutex::default(),
            burn_queue: Arc::default(),
            wake_pending: Latch::new(),
            fire: Mutex::new(Some((Arc::new(Guarded::new(first)), 0))),
            thread: AtomicU64::new(0),
            one_by_one: AtomicBool::new(false),
            ask: OnceLock::new(),
        })
    }

    fn upstream(&self) -> RwLockReadGuard<'_, Vec<Arc<PileCore>>> {
        self.upstream.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the piles that crews empty into it.
    pub fn comes_from(&self, upstream: Vec<Arc<PileCore>>) {
        *self.upstream.write().unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    /// Lets a balancer's workers burn in place of the incinerator's own burn. Only the first call,
    /// before the start, has an effect.
    pub fn ask(&self, asking: Asking) {
        let _ = self.ask.set(asking);
    }

    /// Brings a loaded cart. On the actor's own thread, if burning does not block, it is burned
    /// inline and returned empty, with the duration if `timed`. Otherwise it is sent to the actor;
    /// or parked, if a wake-up is pending or the actor is down: one message serves all carts that
    /// arrive meanwhile.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        cart: Cart,
        timed: bool,
    ) -> Option<(Cart, Option<Duration>)> {
        if self.is_at_hand() && !self.pause.is_on() {
            return self.burn_here(cart, timed);
        }
        let site = (self.name.as_str(), Point::Deliver);
        self.context.pass(site, cart, self, Self::deliver_now);
        None
    }

    /// True if carts brought on this thread are burned inline.
    pub(crate) fn is_at_hand(&self) -> bool {
        self.thread.load(Ordering::Acquire) == threads::number()
    }

    /// Reports untimed burns, estimated to have taken `span` in all; the last one has just ended.
    pub(crate) fn burned_untimed(&self, span: Duration) {
        self.context.note_burn(self.context.clock.now());
        self.stats.busy_for(span);
    }

    fn burn_here(&self, cart: Cart, timed: bool) -> Option<(Cart, Option<Duration>)> {
        let fire = lock(&self.fire).clone();
        let Some((fire, epoch)) = fire else {
            self.deliver_now(cart);
            return None;
        };
        let began = timed.then(|| self.context.clock.now());
        match self.burn(cart, &fire, began, self.pause.round()) {
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

    /// Reports a panic of incarnation `epoch`'s burn outside the actor, which then fails with it.
    pub(super) fn panicked(&self, text: String, epoch: u64) {
        let _ = self.port.send(Panicked { text, epoch });
    }

    fn deliver_now(&self, cart: Cart) {
        let cart = if self.wake_pending.close() {
            let sent = self.port.send_with(|epoch| {
                cart.hand_to(HolderId::new(self.node, epoch));
                Deliver(cart)
            });
            match sent {
                Ok(()) => return,
                Err(unsent) => {
                    self.wake_pending.open();
                    self.stats.waited();
                    unsent.into_inner().0
                }
            }
        } else {
            cart
        };
        self.park(cart);
    }

    /// Parks a cart and wakes the actor.
    pub(super) fn park(&self, cart: Cart) {
        cart.hand_to(HolderId::NONE);
        lock(&self.waiting).push_back(cart);
        self.ring();
    }

    /// Wakes the actor, unless a wake-up is pending.
    fn ring(&self) {
        if self.wake_pending.close() && self.port.send(Look).is_err() {
            // The next incarnation looks when it starts.
            self.wake_pending.open();
        }
    }

    /// Reports to the pause: a cart of this `round` was burned, or the sink failed with
    /// `condition`.
    pub(super) fn weigh(&self, round: u64, condition: Option<&Failure>) {
        if condition.is_none() && !self.pause.is_on() {
            return;
        }
        if (self.pause).weigh(&self.context, round, condition, || self.kept_waiting()) {
            self.ring();
        }
    }

    /// On a drain, returns waiting untried books to a source that can produce them again.
    pub(super) fn give_back(&self) {
        let goes = |cart: &Cart| {
            let lease = cart.body().lease.as_ref();
            lease.is_some_and(|lease| self.context.takes_all_back(lease))
        };
        let mut waiting = lock(&self.waiting);
        let all = std::mem::take(&mut *waiting);
        let (back, kept): (VecDeque<_>, _) = all.into_iter().partition(goes);
        *waiting = kept;
        drop(waiting);
        // Outside the lock: dropping a cart wakes its pile and its crew.
        drop(back);
    }

    /// The cart meant to probe the sink had no books: lets another one probe.
    pub(super) fn untried(&self, round: u64) {
        if self.pause.is_on() {
            self.pause.untried(round);
            self.ring();
        }
    }

    /// Books waiting for this incinerator, in carts and on upstream piles.
    fn kept_waiting(&self) -> usize {
        let upstream = self.upstream();
        let counts = upstream.iter().map(|pile| pile.counts());
        counts.map(|count| count.ready + count.leased + count.inbox).sum()
    }

    /// While the sink pauses: the reason, and the number of books waiting.
    pub fn pauses(&self) -> Option<(String, usize)> {
        Some((self.pause.reason()?, self.kept_waiting()))
    }

    /// Pauses burning until [`IncineratorCore::resume`]: what burns is finished, and carts wait
    /// with their books. False if it is held already.
    pub fn hold(&self) -> bool {
        self.pause.hold(true)
    }

    /// Ends the pause that [`IncineratorCore::hold`] began; false if there is none.
    pub fn resume(&self) -> bool {
        let ends = self.pause.hold(false);
        if ends {
            // The time of the pause is not caught up.
            let now = self.context.clock.now();
            lock(&self.waiting).iter_mut().for_each(|cart| cart.not_before(now));
            self.ring();
        }
        ends
    }

    /// True while an operator pauses it.
    pub fn is_held(&self) -> bool {
        self.pause.is_held()
    }

    /// Probes the sink immediately, if it pauses.
    pub fn hurry(&self) {
        if self.pause.is_on() {
            self.pause.hurry();
            self.ring();
        }
    }

    /// True once all upstream piles are closed.
    pub fn is_closed(&self) -> bool {
        self.upstream().iter().all(|pile| pile.is_closed())
    }

    /// Number of parked carts.
    pub fn parked(&self) -> usize {
        lock(&self.waiting).len()
    }

    /// Number of parked carts of one crew.
    pub fn parked_of(&self, crew: &CrewQueue) -> usize {
        let waiting = lock(&self.waiting);
        let own = waiting.iter().filter(|cart| std::ptr::eq(&**cart.queue(), crew));
        own.map(|cart| cart.body().carts()).sum()
    }

    /// Returns parked carts to their crews; for the end of a run.
    pub fn evict(&self) {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        drop(waiting);
        self.burn_queue.clear();
    }

    /// Finishes the burn at the end of a run. Blocks as long as the burn does, so it must not be
    /// called on an arbiter.
    ///
    /// # Errors
    /// The burn's error, or its panic.
    pub fn finish(&self) -> Result<(), Failure> {
        let Some((fire, _)) = lock(&self.fire).take() else {
            return Ok(());
        };
        guarded(|| fire.finish())
            .unwrap_or_else(|text| Err(Failure::permanent(format!("panicked: {text}"))))
    }

    /// Makes what was burned durable, see [`Burn::sync`]. Blocks as long as the burn does.
    ///
    /// # Errors
    /// The burn's error, or its panic.
    pub fn sync(&self) -> Result<(), Failure> {
        let Some((fire, _)) = lock(&self.fire).clone() else {
            return Ok(());
        };
        guarded(|| fire.sync())
            .unwrap_or_else(|text| Err(Failure::transient(format!("panicked: {text}"))))
    }

    /// Marks the books at these indices as begun, if that is to survive the process.
    pub(super) fn begin_burn(&self, cart: &Cart, books: std::ops::Range<usize>) {
        if let Some(lease) = &cart.body().lease {
            self.context.custody.begin_burn(lease, books);
        }
    }

    /// `Ok` if the books may be burned; otherwise the emptied cart.
    pub(super) fn begin(&self, mut cart: Cart) -> Result<Cart, Cart> {
        let body = cart.body_mut();
        let begun = match &mut body.lease {
            Some(lease) => lease.begin_burn(),
            None => false,
        };
        if !begun {
            // The lease was revoked: another holder has the books.
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
            self.context.custody.reburning(again as u64);
        }
        Ok(cart)
    }

    /// All books of the cart are burned or marked.
    pub(super) fn burned(
        &self,
        cart: Cart,
        began: Option<Time>,
        not_before: bool,
    ) -> (Option<Cart>, Option<Time>) {
        self.tell_receipts(&cart);
        self.trace(&cart);
        self.done(cart, began, not_before)
    }

    /// Settles a cart whose burned books have been reported. Returns the empty cart, and the time
    /// if `began` is given.
    pub(super) fn done(
        &self,
        mut cart: Cart,
        began: Option<Time>,
        not_before: bool,
    ) -> (Option<Cart>, Option<Time>) {
        let any = |lease: &Lease| (0..lease.len()).any(|at| *lease.marked(at) == LeaseVerdict::Ack);
        let idle = self.pause.is_on() && !cart.body().lease.as_ref().is_some_and(any);
        let now = began.map(|began| {
            let now = self.context.clock.now();
            if !idle {
                self.context.note_burn(now);
            }
            self.stats.busy_for(now - began);
            now
        });
        if let Some(now) = now.filter(|_| not_before) {
            cart.not_before(now);
        }
        (self.settle(cart), now)
    }

    pub(super) fn tell_receipts(&self, cart: &Cart) {
        if self.context.receipts.is_empty() {
            return;
        }
        let Some(lease) = &cart.body().lease else {
            return;
        };
        let burned: Vec<&Book> = (0..cart.len())
            .filter(|index| *lease.marked(*index) == LeaseVerdict::Ack)
            .filter_map(|index| cart.book(index))
            .collect();
        self.tell(&burned);
    }

    pub(super) fn tell(&self, burned: &[&Book]) {
        for receipts in &self.context.receipts {
            let noted = guarded(|| receipts.burned(burned));
            if let Err(text) = noted.map_err(Failure::transient).and_then(|noted| noted) {
                log::warn!("{}: what was burned could not be noted: {text}", self.name);
            }
        }
    }

    pub(super) fn trace(&self, cart: &Cart) {
        if let Some(lease) = (cart.body().lease.as_ref()).filter(|_| self.context.is_traced()) {
            let burned = (0..cart.len()).filter(|index| *lease.marked(*index) == LeaseVerdict::Ack);
            let books: Vec<BookId> = burned.map(|index| cart.books()[index].id).collect();
            let (cart, books) = (cart.name(), &books);
            self.context.record(&self.name, &Act::Burn { cart, books });
        }
    }

    /// Settles the cart's lease and returns the empty cart.
    fn settle(&self, mut cart: Cart) -> Option<Cart> {
        self.context.show(&self.name, &cart, Passing::Burned);
        let (mut lease, _) = cart.unload()?;
        lease.refused_at(&self.name);
        let from = lease.pile();
        let home = &self.context.custody;
        let again = self.context.message_fault(&self.name, Point::Settle, None);
        let twin =
            again.is_some_and(|action| action == FaultAction::Duplicate).then(|| lease.twin());
        let settled = home.settle(lease);
        if let Some(twin) = twin {
            // A duplicated settlement has to be found stale.
            home.settle(twin);
        }
        if let Settled::Done { acked, .. } = settled {
            self.stats.carts_with(cart.carts(), acked);
        }
        if let Some(above) = self.upstream().iter().find(|pile| pile.key == from) {
            above.look_if_waiting(settled);
        }
        cart.leave_slot();
        Some(cart)
    }
}
