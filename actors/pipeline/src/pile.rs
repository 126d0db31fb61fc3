//! The pile actor, over books that are stored outside of it. A staging dump is a pile that crews
//! fill.
//!
//! A cart that asks for books is parked at the pile until there are some; a cart that brings books
//! is parked until there is space. Like the books, parked carts are kept outside the actor, so a
//! restarted pile serves them. If no cart is parked, carts are served directly on their caller's
//! thread (see `service`); the actor handles what has to wait: for books, space, a timer, or the
//! end.

mod change;
mod core;
mod service;

use std::sync::Arc;

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};

use crate::crew::cart::Cart;
use gopherworks_supervision::__private::planted::{self, Defect};
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::fault::Point;

pub use self::core::{OfferError, PileCore, PileParts};

/// An empty cart asks for books. If it is dropped with the mailbox, the cart returns to its crew
/// and asks again.
#[derive(Debug)]
pub struct Take(pub Cart);

impl Message for Take {
    type Result = ();
}

/// A loaded cart brings its books, or reserves space first if unloading takes time. If it is
/// dropped with the mailbox, the books return to the pile they came from.
#[derive(Debug)]
pub struct Deliver(pub Cart);

impl Message for Deliver {
    type Result = ();
}

/// Wake-up: something changed. It may be lost, since every incarnation looks when it starts.
#[derive(Debug, Clone, Copy)]
pub struct Look;

impl Message for Look {
    type Result = ();
}

/// The actor of a pile or dump.
#[derive(Debug)]
pub struct Pile {
    core: Arc<PileCore>,
    timer: Option<Time>,
    /// This incarnation serves no cart earlier than this.
    born: Time,
}

type Ctx = Context<Pile>;

impl Pile {
    /// Creates the actor over `core`.
    pub fn new(core: Arc<PileCore>) -> Self {
        let born = core.context.clock.now();
        Self { core, timer: None, born }
    }

    /// Serves all parked carts that can be served now.
    fn pump(&mut self, ctx: &mut Ctx) {
        let now = self.core.context.clock.now();
        self.serve(now, ctx);
    }

    /// Like `pump`. `since` is when serving became possible, by the schedule of the cart that freed
    /// the room or brought the books.
    fn serve(&mut self, since: Time, ctx: &mut Ctx) {
        self.core.serve(since.max(self.born));
        self.arm(ctx);
        self.core.close_if_done();
    }

    /// Sets a timer for the first book that rests before its next attempt, if a cart is waiting
    /// for books; otherwise the next cart that asks wakes the book.
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
        let sleep = self.core.context.clock.sleep_until(due);
        ctx.spawn(sleep.into_actor(self).map(move |(), pile, ctx| {
            if pile.timer == Some(due) {
                pile.timer = None;
            }
            pile.pump(ctx);
        }));
    }
}

impl Actor for Pile {
    type Context = Ctx;

    fn started(&mut self, ctx: &mut Ctx) {
        if planted::has(Defect::DumpLosesWakeUp) {
            return;
        }
        // Once the port is bound: earlier wake-ups, and those in the last mailbox, are lost.
        ctx.spawn(tokio::task::yield_now().into_actor(self).map(|(), pile, ctx| {
            pile.core.wake_pending.open();
            pile.pump(ctx);
        }));
    }
}

impl Handler<Take> for Pile {
    type Result = ();

    fn handle(&mut self, Take(cart): Take, ctx: &mut Ctx) {
        let since = cart.due();
        let core = self.core.clone();
        core.context.fault(&core.name, Point::Take, None);
        core.has_come_empty(cart);
        self.serve(since, ctx);
        // First come, first served: if any cart still waits, this one does.
        if core.parked().0 > 0 {
            core.stats.waited();
        }
    }
}

impl Handler<Deliver> for Pile {
    type Result = ();

    fn handle(&mut self, Deliver(cart): Deliver, ctx: &mut Ctx) {
        let since = cart.due();
        let core = self.core.clone();
        core.context.fault(&core.name, Point::Deliver, None);
        core.has_come_loaded(cart);
        self.serve(since, ctx);
        if core.parked().1 > 0 {
            core.stats.waited();
        }
    }
}

impl Handler<Look> for Pile {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Ctx) {
        // Cleared before looking, so that later changes send a new wake-up.
        self.core.wake_pending.open();
        self.core.context.fault(&self.core.name, Point::Look, None);
        self.pump(ctx);
    }
}
