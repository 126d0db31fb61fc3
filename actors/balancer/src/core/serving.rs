//! The worker actor: serves a balancer's requests, one at a time in each of its concurrency slots.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::{Actor, AsyncContext, Handler, Message, WrapFuture};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pin_project_lite::pin_project;
use tokio::sync::Notify;

use super::BalancerCore;
use super::inline_slots::{IdleSlot, Recalled};
use super::nested::on_behalf_of;
use super::ticket::{Presence, Ticket};
use crate::worker::Work;
use gopherworks_supervision::__private::{WatchedLife, die, guarded};
use gopherworks_supervision::Guarded;
use gopherworks_supervision::failure::Failure;

/// Wake-up: there may be requests to start. It may be lost with the mailbox, since the queue of a
/// worker that ends returns to the balancer.
#[derive(Debug, Clone, Copy)]
pub struct Begin;

impl Message for Begin {
    type Result = ();
}

/// A worker's actor.
pub struct Worker<W: Work> {
    core: Arc<BalancerCore<W>>,
    number: usize,
    epoch: u64,
    places: Vec<Guarded<W>>,
}

impl<W: Work> fmt::Debug for Worker<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("balancer", &self.core.name)
            .field("number", &self.number)
            .finish()
    }
}

/// Requests served in a row before a slot yields to other tasks on the arbiter.
const TURN: usize = 32;

impl<W: Work> Worker<W> {
    /// Creates worker `number` (from 0) in incarnation `epoch`.
    ///
    /// # Errors
    /// The factory's error.
    pub fn new(core: Arc<BalancerCore<W>>, number: usize, epoch: u64) -> Result<Self, Failure> {
        let places = match core.roster.wants(number) {
            true => make(&core, number)?,
            false => Vec::new(),
        };
        Ok(Self { core, number, epoch, places })
    }
}

/// Main task of an incarnation: serves requests while the worker is wanted. When it is dropped,
/// the running tickets drop before the presence.
async fn live<W: Work>(
    core: Arc<BalancerCore<W>>,
    number: usize,
    epoch: u64,
    mut idle: Vec<Guarded<W>>,
) {
    // Once the port is bound, so that wake-ups arrive.
    tokio::task::yield_now().await;
    let mut sizes = core.roster.size.subscribe();
    loop {
        if sizes.wait_for(|size| number < *size).await.is_err() {
            return std::future::pending().await;
        }
        if idle.is_empty() {
            match make(&core, number) {
                Ok(made) => idle = made,
                // The supervisor retries with its backoff.
                Err(failure) => die(failure.to_string()),
            }
        }
        let Some(presence) = Presence::new(core.clone(), number, epoch) else {
            // A later incarnation is up: this one was given up and is about to be stopped.
            return std::future::pending().await;
        };
        // Private to this incarnation, so that it cannot consume a later one's wake-ups.
        let bell = core.roster.workers[number].bell();
        let mut busy = FuturesUnordered::new();
        loop {
            if core.roster.wants(number) {
                let places = idle.drain(..);
                busy.extend(
                    places.map(|work| serve_slot(core.clone(), number, epoch, bell.clone(), work)),
                );
            }
            if busy.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                Some(work) = busy.next() => idle.push(work),
                _ = sizes.changed() => {}
            }
        }
        drop(presence);
        // Parked: releases what the work holds.
        idle.clear();
    }
}

fn make<W: Work>(core: &BalancerCore<W>, number: usize) -> Result<Vec<Guarded<W>>, Failure> {
    (0..core.settings().places).map(|_| (core.make)(number).map(Guarded::new)).collect()
}

/// One concurrency slot: serves requests one by one while the worker is wanted.
async fn serve_slot<W: Work>(
    core: Arc<BalancerCore<W>>,
    number: usize,
    epoch: u64,
    bell: Arc<Notify>,
    mut work: Guarded<W>,
) -> Guarded<W> {
    let inline = core.clock().is_simulated() || !work.blocks();
    let lends = core.lending.allowed && inline;
    let mut done = 0;
    loop {
        if !core.roster.wants(number) {
            // Wakes the next slot, so that it stops as well.
            bell.notify_one();
            return work;
        }
        let Some((ticket, request)) = Ticket::take(&core, number, epoch) else {
            match lends {
                true => work = lend(&core, number, epoch, &bell, work).await,
                false => bell.notified().await,
            }
            continue;
        };
        let panicked = if inline {
            attempt(&mut work, request, ticket).await
        } else {
            let here = tokio::runtime::Handle::current();
            let away = core.pool.wait_for(move || {
                // The ticket moves along, so the request is not lost if the worker is killed
                // meanwhile. A panic outside the work (in a drop or a tracer) fails the worker as
                // well.
                let panicked = guarded(|| here.block_on(attempt(&mut work, request, ticket)));
                (work, panicked.unwrap_or_else(Some))
            });
            let Ok((back, panicked)) = away.await else {
                // The pool is shut down: the run is ending.
                return std::future::pending().await;
            };
            work = back;
            panicked
        };
        if let Some(text) = panicked {
            die(text);
        }
        done += 1;
        if done % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Lends an idle slot for inline runs until there is a queued request.
async fn lend<W: Work>(
    core: &BalancerCore<W>,
    number: usize,
    epoch: u64,
    bell: &Notify,
    work: Guarded<W>,
) -> Guarded<W> {
    let life = WatchedLife::of_this_poll();
    if let Err(slot) = core.lending.slots[number].offer(epoch, Box::new(IdleSlot { work, life })) {
        bell.notified().await;
        return slot.work;
    }
    loop {
        bell.notified().await;
        match core.lending.slots[number].recall() {
            Recalled::Here(slot) => return slot.work,
            Recalled::Lent => {}
            Recalled::Broken(text) => die(text),
        }
    }
}

pin_project! {
    /// A future whose drop catches panics of the user's code, so that they do not affect the
    /// worker's other slots.
    pub(crate) struct Held<F> {
        #[pin]
        future: Option<F>,
    }

    impl<F> PinnedDrop for Held<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut future = this.project().future;
            if let Err(text) = guarded(|| future.set(None)) {
                log::error!("dropping a request's future panicked: {text}");
            }
        }
    }
}

impl<F: Future> Held<F> {
    pub(crate) fn new(future: F) -> Self {
        Self { future: Some(future) }
    }

    /// Polls; a panic is returned as its text.
    pub(crate) fn poll_guarded(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Result<Poll<F::Output>, String> {
        let future = self.project().future.as_pin_mut();
        guarded(|| match future {
            Some(future) => future.poll(cx),
            None => Poll::Pending,
        })
    }
}

/// Serves one request and settles its ticket. Returns the text of a panic, with which the worker
/// has to fail.
async fn attempt<W: Work>(
    work: &mut Guarded<W>,
    request: Guarded<W::Request>,
    ticket: Ticket<W>,
) -> Option<String> {
    if ticket.reply_slot.is_over() {
        ticket.give_back();
        return None;
    }
    let work: &mut W = work;
    let future = match guarded(move || work.work(request.into_inner())) {
        Ok(future) => future,
        Err(text) => {
            ticket.charge(&text);
            return Some(text);
        }
    };
    let mut future = pin!(Held::new(future));
    let reply_slot = ticket.reply_slot.clone();
    let (mut at_once, behalf) = (true, ticket.behalf);
    let outcome = poll_fn(|cx| {
        if reply_slot.is_over() {
            return Poll::Ready(Ok(None));
        }
        match on_behalf_of(behalf, || future.as_mut().poll_guarded(cx)) {
            Ok(Poll::Ready(reply)) => Poll::Ready(Ok(Some(Guarded::new(reply)))),
            Ok(Poll::Pending) => {
                at_once = false;
                // Registered after the poll, so that work that never pends needs no waker.
                match reply_slot.poll_over(cx) {
                    true => Poll::Ready(Ok(None)),
                    false => Poll::Pending,
                }
            }
            Err(text) => Poll::Ready(Err(text)),
        }
    })
    .await;
    ticket.core.lending.saw(at_once);
    match outcome {
        Ok(Some(reply)) => {
            ticket.answer(reply);
            None
        }
        Ok(None) => {
            ticket.give_back();
            None
        }
        Err(text) => {
            ticket.charge(&text);
            Some(text)
        }
    }
}

impl<W: Work> Unpin for Worker<W> {}

impl<W: Work> Actor for Worker<W> {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let places = std::mem::take(&mut self.places);
        let life = live(self.core.clone(), self.number, self.epoch, places);
        ctx.spawn(life.into_actor(self));
    }
}

impl<W: Work> Handler<Begin> for Worker<W> {
    type Result = ();

    fn handle(&mut self, _: Begin, _: &mut Self::Context) {
        self.core.roster.workers[self.number].heard();
    }
}
