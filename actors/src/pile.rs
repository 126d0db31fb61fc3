//! The pile: an actor over books that are kept outside of it. A staging dump is a pile that crews fill.
//!
//! A cart that asks for books is parked at the pile until there are some; a cart that brings books is parked until there
//! is room. Both kinds of parked carts, like the books, stand outside the actor: a restarted pile serves them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use tokio::sync::Notify;

use crate::book::Book;
use crate::cart::{Cart, Room};
use crate::clock::Time;
use crate::event::Event;
use crate::feeder::FeederCore;
use crate::gopher::yard::{Leg, Yard, holder};
use crate::lease::Lease;
use crate::store::{Answer, Counts, Full, PileKey, Refused, Settled};
use crate::supervision::Port;
use crate::works::{NodeStats, Works};

/// A cart asks for books. Dropped with a dying pile's mailbox, the cart goes home and asks again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Take(pub Cart);

/// A cart brings books (or asks for room first, where unloading takes time). Dropped with a dying dump's mailbox, the books
/// return to the pile they came from.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver(pub Cart);

/// Something changed; look. May be lost: every start looks.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Look;

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
struct Gate {
    takers: VecDeque<Cart>,
    givers: VecDeque<Cart>,
    sealed: bool,
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
    /// How to reach its actor.
    pub port: Port<Pile>,
    /// Its counters: books and carts that left it.
    pub stats: NodeStats,
    works: Arc<Works>,
    feeder: Option<Arc<FeederCore>>,
    /// The piles that crews empty into this one.
    upstream: Vec<Arc<PileCore>>,
    /// Who has to look when this one closes.
    downstream: OnceLock<Vec<Weak<PileCore>>>,
    gate: Mutex<Gate>,
    closed: AtomicBool,
    /// Rung when room may have come.
    room: Notify,
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
    /// How to reach its actor.
    pub port: Port<Pile>,
    /// Its source.
    pub feeder: Option<Arc<FeederCore>>,
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
            room: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
        });
        if let Some(feeder) = &core.feeder {
            feeder.feeds(&core);
        }
        core
    }

    /// Names the piles that have to look when this one closes. Once.
    pub fn leads_to(&self, downstream: Vec<Weak<PileCore>>) {
        let _ = self.downstream.set(downstream);
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Its source, if it has one.
    pub fn feeder(&self) -> Option<&Arc<FeederCore>> {
        self.feeder.as_ref()
    }

    /// Makes the actor look; lost if it is dead, and it looks when it starts.
    pub fn ring(&self) {
        let _ = self.port.send(Look);
    }

    /// The application will offer nothing more. Books already taken are carried on.
    pub fn seal(&self) {
        self.gate().sealed = true;
        self.room.notify_waiters();
        self.ring();
    }

    /// Takes books from the application if there is room for all of them now.
    ///
    /// # Errors
    /// [`OfferError`], with the books; nothing was taken then.
    pub fn try_offer(&self, books: Vec<Book>) -> Result<(), OfferError> {
        if books.is_empty() {
            return Ok(());
        }
        if self
            .capacity_books
            .is_some_and(|most| books.len() as u64 > most)
        {
            return Err(OfferError::TooMany(books));
        }
        let put = {
            let gate = self.gate();
            if gate.sealed {
                return Err(OfferError::Closed(books));
            }
            match self.works.store.put(self.key, books) {
                Answer::Ready(put) => put,
                Answer::Later(_) => {
                    unreachable!("engines that answer later have a keeper of their own")
                }
            }
        };
        match put {
            Ok(()) => {
                self.ring();
                Ok(())
            }
            Err(Full(books)) => Err(OfferError::Full(books)),
        }
    }

    /// Takes books from the application, all or none, waiting for room in the order in which offers came.
    /// Dropping the future takes the offer back: nothing was taken.
    ///
    /// # Errors
    /// [`OfferError::Closed`] and [`OfferError::TooMany`], with the books.
    pub async fn offer(&self, mut books: Vec<Book>) -> Result<(), OfferError> {
        let _turn = self.turn.lock().await;
        loop {
            let room = self.room.notified();
            let mut room = std::pin::pin!(room);
            // Listens before it looks, so that no room passes unheard.
            room.as_mut().enable();
            match self.try_offer(books) {
                Err(OfferError::Full(back)) => books = back,
                done => return done,
            }
            room.await;
        }
    }

    /// Sends an empty cart for books; parks it here if the actor is away.
    pub(crate) fn take(&self, cart: Cart) {
        if let Err(unsent) = self.port.send(Take(cart)) {
            self.gate().takers.push_back(unsent.into_inner().0);
            self.ring();
        }
    }

    /// Sends a loaded cart; parks it here if the actor is away.
    pub(crate) fn deliver(&self, cart: Cart) {
        if let Err(unsent) = self.port.send(Deliver(cart)) {
            let cart = unsent.into_inner().0;
            let mut gate = self.gate();
            // Behind a cart that waits for room, a cart that holds some would wait for ever.
            if cart.body().room.is_some() {
                gate.givers.push_front(cart);
            } else {
                gate.givers.push_back(cart);
            }
            drop(gate);
            self.ring();
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

    fn holder(&self) -> u64 {
        holder(self.node, 0)
    }

    fn grant(&self, mut cart: Cart, lease: Lease, since: Time) {
        self.stats.cart(lease.len());
        cart.not_before(since);
        cart.load(lease);
        let yard: Arc<Yard> = cart.yard().clone();
        yard.put(cart, Leg::Load);
    }

    fn emptied(&self, mut cart: Cart, since: Time) {
        cart.not_before(since);
        cart.leave_slot();
        cart.body_mut().room = None;
        let yard = cart.yard().clone();
        yard.put(cart, Leg::Return);
    }
}

/// The actor of a pile or dump.
#[derive(Debug)]
pub struct Pile {
    core: Arc<PileCore>,
    timer: Option<Time>,
}

type Ctx = Context<Pile>;

impl Pile {
    /// The actor over `core`; as many lives as the supervisor likes, one at a time.
    pub fn new(core: Arc<PileCore>) -> Self {
        Self { core, timer: None }
    }

    fn resolve<T: 'static>(
        &mut self,
        answer: Answer<T>,
        ctx: &mut Ctx,
        then: impl FnOnce(&mut Self, T, &mut Ctx) + 'static,
    ) {
        match answer {
            Answer::Ready(answer) => then(self, answer, ctx),
            Answer::Later(answer) => {
                ctx.spawn(answer.into_actor(self).map(then_once(then)));
            }
        }
    }

    /// Serves everybody who can be served now.
    fn pump(&mut self, ctx: &mut Ctx) {
        let now = self.core.works.clock.now();
        self.serve(now, ctx);
    }

    /// Serves everybody who can be served. Whoever can't waits at the gate. `since` is when that became possible, by the schedule
    /// of the cart that made it so: nobody's schedule is put off by a timer's lateness.
    fn serve(&mut self, since: Time, ctx: &mut Ctx) {
        let core = self.core.clone();
        let store = core.works.store.clone();
        loop {
            let mut moved = store.collect(core.key) > 0;
            moved |= core
                .feeder
                .as_ref()
                .is_some_and(|feeder| feeder.fill(&core));
            while let Some(cart) = self.next_taker() {
                let want = cart.yard().want();
                match store.lease(core.key, want, core.holder()) {
                    Answer::Ready(Some(lease)) => {
                        moved = true;
                        core.grant(cart, lease, since);
                    }
                    Answer::Ready(None) => {
                        core.gate().takers.push_front(cart);
                        break;
                    }
                    later => {
                        self.resolve(later, ctx, move |pile, lease, ctx| match lease {
                            Some(lease) => {
                                let core = &pile.core;
                                core.grant(cart, lease, core.works.clock.now());
                                pile.pump(ctx);
                            }
                            None => pile.core.gate().takers.push_back(cart),
                        });
                    }
                }
            }
            while let Some(cart) = self.next_giver() {
                match self.admit(cart, since, ctx) {
                    Ok(()) => moved = true,
                    Err(cart) => {
                        core.gate().givers.push_front(cart);
                        break;
                    }
                }
            }
            if !moved {
                break;
            }
            core.room.notify_waiters();
        }
        self.arm(ctx);
        self.close_if_done();
    }

    fn next_taker(&self) -> Option<Cart> {
        self.core.gate().takers.pop_front()
    }

    fn next_giver(&self) -> Option<Cart> {
        self.core.gate().givers.pop_front()
    }

    /// Lets a loaded cart in: keeps room for it where it unloads in its own time, else takes its books.
    fn admit(&mut self, mut cart: Cart, since: Time, ctx: &mut Ctx) -> Result<(), Cart> {
        let core = self.core.clone();
        let store = &core.works.store;
        if cart.body().room.is_none() && cart.yard().unloads_in_time() {
            let (books, bytes) = cart.load_size();
            let Some(room) = Room::keep(store, core.key, books, bytes) else {
                return Err(cart);
            };
            cart.not_before(since);
            cart.body_mut().room = Some(room);
            let yard = cart.yard().clone();
            yard.put(cart, Leg::Unload);
            return Ok(());
        }
        let room = cart.body_mut().room.take();
        let Some((lease, worked)) = cart.unload() else {
            core.emptied(cart, since);
            return Ok(());
        };
        let from = lease.pile();
        let mut refused = None;
        let answer = store.pass_on(lease, worked, core.key, room.map(Room::spend));
        match answer {
            Answer::Ready(answer) => refused = self.admitted(cart, answer, from, since),
            later => self.resolve(later, ctx, move |pile, answer, ctx| {
                let now = pile.core.works.clock.now();
                if let Some(cart) = pile.admitted(cart, answer, from, now) {
                    pile.core.gate().givers.push_back(cart);
                }
                pile.pump(ctx);
            }),
        }
        refused.map_or(Ok(()), Err)
    }

    fn admitted(
        &mut self,
        mut cart: Cart,
        answer: Result<Settled, Refused>,
        from: PileKey,
        since: Time,
    ) -> Option<Cart> {
        match answer {
            Ok(settled) => {
                let core = &self.core;
                core.emptied(cart, since);
                if settled != Settled::Stale {
                    // The pile above has fewer books on lease: it may be done, or have books back.
                    if let Some(above) = core.upstream.iter().find(|pile| pile.key == from) {
                        above.look_if_waiting(settled);
                    }
                }
                None
            }
            Err(Refused { lease, worked }) => {
                let body = cart.body_mut();
                body.lease = Some(lease);
                body.worked = worked;
                Some(cart)
            }
        }
    }

    /// One timer, for the first book that rests before its next attempt.
    fn arm(&mut self, ctx: &mut Ctx) {
        let Some(due) = self.core.counts().next_due else {
            return;
        };
        if self.timer.is_some_and(|at| at <= due) {
            return;
        }
        self.timer = Some(due);
        let sleep = self.core.works.clock.sleep_until(due);
        ctx.spawn(sleep.into_actor(self).map(move |(), pile, ctx| {
            if pile.timer == Some(due) {
                pile.timer = None;
            }
            pile.pump(ctx);
        }));
    }

    fn close_if_done(&mut self) {
        let core = &self.core;
        let retire: VecDeque<Cart> = {
            let mut gate = core.gate();
            if !core.is_closed() {
                let fed = gate.sealed
                    && core.feeder.as_ref().is_none_or(|feeder| feeder.is_done())
                    && core.upstream.iter().all(|pile| pile.is_closed());
                if !fed || !gate.givers.is_empty() || !core.counts().is_drained() {
                    return;
                }
                core.closed.store(true, Ordering::Release);
                core.works.tell(Event::Closed {
                    node: core.name.clone(),
                    at: core.works.clock.now(),
                });
            }
            std::mem::take(&mut gate.takers)
        };
        for cart in retire {
            let yard = cart.yard().clone();
            yard.retire(cart);
        }
        for below in core.downstream.get().into_iter().flatten() {
            if let Some(below) = below.upgrade() {
                below.ring();
            }
        }
        core.works.change();
    }
}

impl PileCore {
    /// After a settlement: rings only where the pile has something to do about it.
    pub(crate) fn look_if_waiting(&self, settled: Settled) {
        let returned = !matches!(settled, Settled::Done { returned: 0, .. });
        if returned || self.counts().is_drained() {
            self.ring();
        }
    }
}

/// `map` wants `FnOnce(T, &mut A, &mut Ctx)`; handlers here read better the other way round.
fn then_once<T>(
    then: impl FnOnce(&mut Pile, T, &mut Ctx) + 'static,
) -> impl FnOnce(T, &mut Pile, &mut Ctx) + 'static {
    move |answer, pile, ctx| then(pile, answer, ctx)
}

impl Actor for Pile {
    type Context = Ctx;

    fn started(&mut self, ctx: &mut Ctx) {
        // A ring between this look and the binding of the port is lost, so look again when it is bound.
        ctx.spawn(
            tokio::task::yield_now()
                .into_actor(self)
                .map(|(), pile, ctx| pile.pump(ctx)),
        );
    }
}

impl Handler<Take> for Pile {
    type Result = ();

    fn handle(&mut self, Take(cart): Take, ctx: &mut Ctx) {
        let since = cart.due();
        self.core.gate().takers.push_back(cart);
        self.serve(since, ctx);
        // First come, first served: if anybody waits now, this one does.
        if !self.core.gate().takers.is_empty() {
            self.core.stats.waited();
        }
    }
}

impl Handler<Deliver> for Pile {
    type Result = ();

    fn handle(&mut self, Deliver(cart): Deliver, ctx: &mut Ctx) {
        let since = cart.due();
        // Room that was kept is this cart's own: it overtakes those who wait for room.
        if cart.body().room.is_some() {
            if let Err(cart) = self.admit(cart, since, ctx) {
                self.core.gate().givers.push_front(cart);
            }
        } else {
            self.core.gate().givers.push_back(cart);
        }
        self.serve(since, ctx);
        if !self.core.gate().givers.is_empty() {
            self.core.stats.waited();
        }
    }
}

impl Handler<Look> for Pile {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Ctx) {
        self.pump(ctx);
    }
}
