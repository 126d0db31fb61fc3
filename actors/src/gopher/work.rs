//! A gopher's work on the books that it pushes: here, in the pool, or by a balancer's workers.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};

use super::yard::Leg;
use super::{Gopher, GopherCore, Tool};
use crate::book::Book;
use crate::cart::Cart;
use crate::failure::Failure;
use crate::fault::{Deed, Point};
use crate::lease::Verdict;
use crate::pool::{die, guarded};
use crate::works::Works;

impl Gopher {
    /// Works on the cart's books: in the pool where that may take long, else here.
    pub(super) fn do_work(&mut self, cart: Cart, ctx: &mut Context<Self>) -> Option<(Cart, Leg)> {
        let mut tool = self.work.take()?;
        let works = self.crew.works.clone();
        if !tool.blocks() {
            let mut job = Job::new(cart, works, self.core.clone());
            let crash = job.run(&mut tool);
            self.work = Some(tool);
            if let Some(text) = crash {
                drop(job);
                die(text);
            }
            return self.worked(job.cart?, ctx);
        }
        self.busy = true;
        let began = works.clock.now();
        let done = works.pool.run({
            let (works, gopher) = (works.clone(), self.core.clone());
            move || {
                let mut job = Job::new(cart, works, gopher);
                let crash = job.run(&mut tool);
                (job.cart, tool, crash)
            }
        });
        ctx.spawn(done.into_actor(self).map(move |done, gopher, ctx| {
            gopher.busy = false;
            let Ok((cart, tool, crash)) = done else {
                return;
            };
            let now = gopher.crew.works.clock.now();
            gopher.core.stats.busy_for(now - began);
            gopher.work = Some(tool);
            if let Some(text) = crash {
                drop(cart);
                die(text);
            }
            let put = cart.and_then(|mut cart| {
                cart.not_before(now);
                gopher.worked(cart, ctx)
            });
            if !gopher.busy {
                let next = match put {
                    // As everywhere: what takes no time is done at once, so that worked books don't wait for the work on others.
                    Some((cart, leg)) if gopher.me.at_once[leg as usize] => Some((cart, leg)),
                    put => (gopher.crew.yard).advance(gopher.core.index, gopher.epoch, put),
                };
                gopher.go_on(next, ctx);
            }
        }));
        None
    }

    /// Has a balancer's workers do it.
    pub(super) fn ask(&mut self, cart: Cart, ctx: &mut Context<Self>) {
        let Some(asking) = self.crew.ask.clone() else {
            return;
        };
        self.busy = true;
        let began = self.crew.works.clock.now();
        let mut worked: Vec<Option<Book>> = vec![None; cart.len()];
        let works = self.crew.works.clone();
        let asked = async move {
            let settle = |cart: &mut Cart, index: usize, book: Option<Book>| {
                if book.is_none()
                    && let Some(lease) = &mut cart.body_mut().lease
                {
                    lease.mark(index, Verdict::Drop);
                }
                worked[index] = book;
            };
            let cart = asking.all(cart, works, settle).await;
            cart.map(|mut cart| {
                cart.body_mut().worked = Some(worked);
                cart
            })
        };
        ctx.spawn(asked.into_actor(self).map(move |cart, gopher, ctx| {
            gopher.busy = false;
            let now = gopher.crew.works.clock.now();
            gopher.core.stats.busy_for(now - began);
            let put = cart.and_then(|mut cart| {
                cart.not_before(now);
                gopher.worked(cart, ctx)
            });
            if !gopher.busy {
                let yard = &gopher.crew.yard;
                let next = yard.advance(gopher.core.index, gopher.epoch, put);
                gopher.go_on(next, ctx);
            }
        }));
    }

    /// The work is done; now the push itself, if it takes time.
    fn worked(&mut self, mut cart: Cart, ctx: &mut Context<Self>) -> Option<(Cart, Leg)> {
        if let Some(lease) = &mut cart.body_mut().lease {
            lease.refused_at(self.crew.yard.name());
        }
        self.spend(cart, Leg::Push, ctx)
    }
}

/// A cart in the hands of user work.
struct Job {
    cart: Option<Cart>,
    works: Arc<Works>,
    gopher: Arc<GopherCore>,
}

impl Job {
    fn new(cart: Cart, works: Arc<Works>, gopher: Arc<GopherCore>) -> Self {
        Self {
            cart: Some(cart),
            works,
            gopher,
        }
    }

    /// Works on every book. A book's own failure is marked on it; the text of a panic is given back, and the cart goes home.
    /// Without a cart afterwards the run is halting.
    fn run(&mut self, tool: &mut Tool) -> Option<String> {
        let cart = self.cart.as_mut()?;
        let count = cart.len();
        let mut worked = Vec::with_capacity(count);
        for index in 0..count {
            if self.works.is_halting() {
                self.cart = None;
                return None;
            }
            let body = cart.body_mut();
            let lease = body.lease.as_mut()?;
            if self.works.takes_back(lease.pile()) {
                for left in index..count {
                    lease.mark(left, Verdict::Return);
                    worked.push(None);
                }
                break;
            }
            let book = lease.books()[index].clone();
            let id = book.id;
            let made =
                guarded(
                    || match self.works.fault(&self.gopher.name, Point::Work, Some(id.0)) {
                        Some(Deed::Error(failure)) => Err(failure),
                        _ => tool.apply(book),
                    },
                );
            match made {
                Ok(Ok(Some(mut book))) => {
                    book.id = id;
                    worked.push(Some(book));
                    continue;
                }
                Ok(Ok(None)) => lease.mark(index, Verdict::Drop),
                // What fails because the run is being stopped is no book's fault.
                Ok(Err(_)) if self.works.is_halting() => {
                    self.cart = None;
                    return None;
                }
                Ok(Err(failure)) => lease.mark(index, Verdict::Refuse(failure)),
                Err(text) => {
                    let failure = Failure::transient(format!("panicked: {text}"));
                    lease.mark(index, Verdict::Refuse(failure));
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
