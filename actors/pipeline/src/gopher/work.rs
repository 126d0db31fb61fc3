//! A gopher's work on the books of a cart: on its own thread, in the thread pool, or by a
//! balancer's workers.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::{CrewCore, Gopher, GopherCore, Tool};
use crate::book::Book;
use crate::context::PipelineContext;
use crate::crew::cart::Cart;
use crate::crew::queue::NextStep;
use crate::custody::lease::LeaseVerdict;
use crate::pause::PauseGate;
use gopherworks_supervision::__private::{die, guarded};
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::fault::{Deed, Point};

impl Gopher {
    /// Works on the cart's books: in the thread pool if the work may block, otherwise here.
    pub(super) fn do_work(
        &mut self,
        cart: Cart,
        ctx: &mut Context<Self>,
    ) -> Option<(Cart, NextStep)> {
        if self.crew.gives_back(&cart) {
            return None;
        }
        let context = self.crew.context.clone();
        let round = match self.crew.pause.gate(context.clock.now(), None) {
            PauseGate::Try(round) => round,
            gate => return self.rest(cart, gate, ctx),
        };
        let mut tool = self.work.take()?;
        if !tool.blocks() {
            let mut job = CartJob::new(cart, context, self.core.clone());
            let crash = job.run(&mut tool);
            self.work = Some(tool);
            if let Some(text) = crash {
                drop(job);
                die(text);
            }
            self.weigh(round, job.condition.as_ref());
            return self.worked(job.cart?, ctx);
        }
        self.busy = true;
        let began = context.clock.now();
        let done = context.pool.run({
            let (context, gopher) = (context.clone(), self.core.clone());
            move || {
                let mut job = CartJob::new(cart, context, gopher);
                let crash = job.run(&mut tool);
                (job.cart, tool, crash, job.condition)
            }
        });
        ctx.spawn(done.into_actor(self).map(move |done, gopher, ctx| {
            gopher.busy = false;
            let Ok((cart, tool, crash, condition)) = done else {
                return;
            };
            let now = gopher.crew.context.clock.now();
            gopher.core.stats.busy_for(now - began);
            gopher.work = Some(tool);
            if let Some(text) = crash {
                drop(cart);
                die(text);
            }
            gopher.weigh(round, condition.as_ref());
            let put = cart.and_then(|mut cart| {
                cart.not_before(now);
                gopher.worked(cart, ctx)
            });
            if !gopher.busy {
                let next = match put {
                    // What takes no time is done immediately, so that finished books do not wait
                    // for the work on others.
                    Some((cart, step)) if gopher.me.at_once[step as usize] => Some((cart, step)),
                    put => (gopher.crew.queue).advance(gopher.core.index, gopher.epoch, put),
                };
                gopher.go_on(next, ctx);
            }
        }));
        None
    }

    /// Reports the outcome of work begun in this `round` to the crew's pause.
    fn weigh(&self, round: u64, condition: Option<&Failure>) {
        let CrewCore { pause, context, from, .. } = &*self.crew;
        if condition.is_some() || pause.is_on() {
            let waiting = || {
                let counts = from.counts();
                counts.ready + counts.leased + counts.inbox
            };
            pause.weigh(context, round, condition, waiting);
        }
    }

    /// Holds the cart until the pause ends, then retries.
    fn rest(
        &mut self,
        cart: Cart,
        gate: PauseGate,
        ctx: &mut Context<Self>,
    ) -> Option<(Cart, NextStep)> {
        self.hands = Some(cart);
        self.busy = true;
        let PauseGate::Wait(until) = gate else {
            // Paused until the end of the run, which takes the cart back.
            return None;
        };
        let (crew, due) = (self.crew.clone(), self.crew.context.clock.sleep_until(until));
        let rest = async move { crew.pause.over(due, &crew.context.clock).await };
        ctx.spawn(rest.into_actor(self).map(|(), gopher, ctx| {
            gopher.busy = false;
            if let Some(cart) = gopher.hands.take() {
                gopher.go_on(Some((cart, NextStep::Push)), ctx);
            }
        }));
        None
    }

    /// Has a balancer's workers do the work.
    pub(super) fn ask(&mut self, cart: Cart, ctx: &mut Context<Self>) -> Option<(Cart, NextStep)> {
        let asking = self.crew.ask.clone()?;
        if self.crew.gives_back(&cart) {
            return None;
        }
        let round = match self.crew.pause.gate(self.crew.context.clock.now(), None) {
            PauseGate::Try(round) => round,
            gate => return self.rest(cart, gate, ctx),
        };
        self.busy = true;
        let began = self.crew.context.clock.now();
        let mut worked: Vec<Option<Book>> = vec![None; cart.len()];
        let context = self.crew.context.clone();
        let asked = async move {
            let settle = |cart: &mut Cart, index: usize, book: Option<Book>| {
                if book.is_none()
                    && let Some(lease) = &mut cart.body_mut().lease
                {
                    lease.mark(index, LeaseVerdict::Drop);
                }
                worked[index] = book;
            };
            let answered = asking.all(cart, context, settle).await;
            answered.map(|(mut cart, condition)| {
                cart.body_mut().worked = Some(worked);
                (cart, condition)
            })
        };
        ctx.spawn(asked.into_actor(self).map(move |answered, gopher, ctx| {
            gopher.busy = false;
            let cart = answered.map(|(cart, condition)| {
                gopher.weigh(round, condition.as_ref());
                cart
            });
            let now = gopher.crew.context.clock.now();
            gopher.core.stats.busy_for(now - began);
            let put = cart.and_then(|mut cart| {
                cart.not_before(now);
                gopher.worked(cart, ctx)
            });
            if !gopher.busy {
                let queue = &gopher.crew.queue;
                let next = queue.advance(gopher.core.index, gopher.epoch, put);
                gopher.go_on(next, ctx);
            }
        }));
        None
    }

    /// After the work: the time of the push step itself.
    fn worked(&mut self, mut cart: Cart, ctx: &mut Context<Self>) -> Option<(Cart, NextStep)> {
        if let Some(lease) = &mut cart.body_mut().lease {
            lease.refused_at(self.crew.queue.name());
        }
        self.spend(cart, NextStep::Push, ctx)
    }
}

/// A cart that user work processes.
struct CartJob {
    cart: Option<Cart>,
    /// Why the work stopped: a failure of a resource, not of a book.
    condition: Option<Failure>,
    context: Arc<PipelineContext>,
    gopher: Arc<GopherCore>,
}

impl CartJob {
    fn new(cart: Cart, context: Arc<PipelineContext>, gopher: Arc<GopherCore>) -> Self {
        Self { cart: Some(cart), condition: None, context, gopher }
    }

    /// Works on each book until a resource fails. Failures are marked on the book. Returns the
    /// text of a panic, with the cart dropped. Also drops the cart if the run is halting.
    fn run(&mut self, tool: &mut Tool) -> Option<String> {
        let cart = self.cart.as_mut()?;
        let count = cart.len();
        let mut worked = Vec::with_capacity(count);
        for index in 0..count {
            if self.context.is_halting() {
                self.cart = None;
                return None;
            }
            let body = cart.body_mut();
            let lease = body.lease.as_mut()?;
            if self.context.takes_back(lease, index) {
                lease.mark(index, LeaseVerdict::Return);
                worked.push(None);
                continue;
            }
            let book = lease.books()[index].clone();
            let id = book.id;
            let made =
                guarded(|| match self.context.fault(&self.gopher.name, Point::Work, Some(id.0)) {
                    Some(Deed::Error(failure)) => Err(failure),
                    _ => tool.apply(book),
                });
            match made {
                Ok(Ok(Some(mut book))) => {
                    book.id = id;
                    worked.push(Some(book));
                    continue;
                }
                Ok(Ok(None)) => lease.mark(index, LeaseVerdict::Drop),
                // Failures caused by stopping the run are not the book's fault.
                Ok(Err(_)) if self.context.is_halting() => {
                    self.cart = None;
                    return None;
                }
                Ok(Err(failure)) if failure.is_of_sink() => {
                    // This book and the rest are returned without charging an attempt; the
                    // finished ones continue.
                    (index..count).for_each(|at| lease.mark(at, LeaseVerdict::Return));
                    worked.resize(count, None);
                    self.condition = Some(failure);
                    break;
                }
                Ok(Err(failure)) => lease.mark(index, LeaseVerdict::Refuse(failure)),
                Err(text) => {
                    let failure = Failure::transient(format!("panicked: {text}"));
                    lease.mark(index, LeaseVerdict::Refuse(failure));
                    self.cart = None;
                    return Some(text);
                }
            }
            worked.push(None);
        }
        cart.body_mut().worked = Some(worked);
        None
    }
}
