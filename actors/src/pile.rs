//! The pile: an actor over books that are kept outside of it. A staging dump is a pile that crews fill.
//!
//! A cart that asks for books is parked at the pile until there are some; a cart that brings books is parked until there
//! is room. Both kinds of parked carts, like the books, stand outside the actor: a restarted pile serves them.

mod core;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use crate::book::BookId;
use crate::cart::{Cart, Room};
use crate::clock::Time;
use crate::event::Event;
use crate::fault::{Deed, Point};
use crate::gopher::yard::Leg;
use crate::planted::{self, Defect};
use crate::store::{Answer, PileKey, Refused, Settled};
use crate::trace::Act;

pub use core::{OfferError, PileCore, PileParts};

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

/// The actor of a pile or dump.
#[derive(Debug)]
pub struct Pile {
    core: Arc<PileCore>,
    timer: Option<Time>,
    /// Nobody was served before it was there.
    born: Time,
}

type Ctx = Context<Pile>;

impl Pile {
    /// The actor over `core`; as many lives as the supervisor likes, one at a time.
    pub fn new(core: Arc<PileCore>) -> Self {
        let born = core.works.clock.now();
        Self {
            core,
            timer: None,
            born,
        }
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
        let since = since.max(self.born);
        let core = self.core.clone();
        let store = core.works.store.clone();
        loop {
            let mut moved = store.collect(core.key) > 0;
            moved |= !core.is_full()
                && (core.feeder.as_ref()).is_some_and(|(feeder, share)| feeder.fill(*share, &core));
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
        }
        // Room may have come without anything having moved: given up, or left by a stale lease.
        core.room.notify_waiters();
        self.arm(ctx);
        self.close_if_done();
    }

    fn next_taker(&self) -> Option<Cart> {
        self.core.gate().takers.pop_front()
    }

    /// Who holds room goes first: whoever wants some may be waiting for just that.
    fn next_giver(&self) -> Option<Cart> {
        let givers = &mut self.core.gate().givers;
        match givers.iter().position(|cart| cart.body().room.is_some()) {
            Some(at) => givers.remove(at),
            None => givers.pop_front(),
        }
    }

    /// Lets a loaded cart in: keeps room for it where it unloads in its own time, else takes its books.
    fn admit(&mut self, mut cart: Cart, since: Time, ctx: &mut Ctx) -> Result<(), Cart> {
        let core = self.core.clone();
        if core.is_full() && cart.body().room.is_none() {
            return Err(cart);
        }
        let store = &core.works.store;
        if cart.body().room.is_none() && cart.yard().unloads_in_time() {
            let (books, bytes) = cart.load_size();
            let Some(room) = Room::keep(store, core.key, books, bytes) else {
                return Err(cart);
            };
            cart.not_before(since);
            cart.body_mut().room = Some(room);
            let name = cart.name();
            core.works
                .record(&core.name, &Act::Admit { cart: name, books });
            let yard = cart.yard().clone();
            yard.put(cart, Leg::Unload);
            return Ok(());
        }
        let room = cart.body_mut().room.take();
        let ids = core.works.is_traced().then(|| cart.ids());
        let Some((lease, worked)) = cart.unload() else {
            core.emptied(cart, since);
            return Ok(());
        };
        let from = lease.pile();
        let again = core.works.message_fault(&core.name, Point::Settle, None);
        let twin = again
            .is_some_and(|deed| deed == Deed::Duplicate)
            .then(|| lease.twin());
        let mut refused = None;
        let answer = store.pass_on(lease, worked, core.key, room.and_then(Room::spend));
        match answer {
            Answer::Ready(answer) => refused = self.admitted(cart, answer, (from, ids), since),
            later => self.resolve(later, ctx, move |pile, answer, ctx| {
                let now = pile.core.works.clock.now();
                if let Some(cart) = pile.admitted(cart, answer, (from, ids), now) {
                    pile.core.gate().givers.push_back(cart);
                }
                pile.pump(ctx);
            }),
        }
        if let Some(twin) = twin.filter(|_| refused.is_none()) {
            // Made twice, it must be found stale.
            drop(store.settle(twin));
        }
        refused.map_or(Ok(()), Err)
    }

    fn admitted(
        &mut self,
        mut cart: Cart,
        answer: Result<Settled, Refused>,
        (from, ids): (PileKey, Option<Vec<BookId>>),
        since: Time,
    ) -> Option<Cart> {
        match answer {
            Ok(settled) => {
                let core = &self.core;
                if let Some(books) = ids.filter(|_| settled != Settled::Stale) {
                    let (cart, books) = (cart.name(), &books);
                    core.works.record(&core.name, &Act::Pass { cart, books });
                }
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

    /// One timer, for the first book that rests before its next attempt, and only where a cart waits for it: without
    /// one, the next cart that asks wakes the book.
    fn arm(&mut self, ctx: &mut Ctx) {
        if self.core.gate().takers.is_empty() {
            return;
        }
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
                    && (core.feeder.as_ref()).is_none_or(|(feeder, share)| feeder.is_done(*share))
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

/// `map` wants `FnOnce(T, &mut A, &mut Ctx)`; handlers here read better the other way round.
fn then_once<T>(
    then: impl FnOnce(&mut Pile, T, &mut Ctx) + 'static,
) -> impl FnOnce(T, &mut Pile, &mut Ctx) + 'static {
    move |answer, pile, ctx| then(pile, answer, ctx)
}

impl Actor for Pile {
    type Context = Ctx;

    fn started(&mut self, ctx: &mut Ctx) {
        if planted::has(Defect::DumpLosesWakeUp) {
            return;
        }
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
        let core = self.core.clone();
        core.works.fault(&core.name, Point::Take, None);
        cart.hand_to(0);
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
        let core = self.core.clone();
        core.works.fault(&core.name, Point::Deliver, None);
        cart.hand_to(0);
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
        self.core.works.fault(&self.core.name, Point::Look, None);
        self.pump(ctx);
    }
}
