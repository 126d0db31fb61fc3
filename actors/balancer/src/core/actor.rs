//! The balancer's actor: dispatches requests when woken, and when its timer fires.

use std::fmt;
use std::sync::Arc;

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture,
};

use super::BalancerCore;
use crate::worker::Work;
use gopherworks_supervision::clock::Time;

/// Wake-up: there may be requests to dispatch. It may be lost with the mailbox, since every
/// incarnation looks when it starts.
#[derive(Debug, Clone, Copy)]
pub struct Look;

impl Message for Look {
    type Result = ();
}

/// A balancer's actor.
pub struct Balancer<W: Work> {
    core: Arc<BalancerCore<W>>,
    timer: Option<(Time, SpawnHandle)>,
}

impl<W: Work> fmt::Debug for Balancer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balancer").field("name", &self.core.name).finish()
    }
}

impl<W: Work> Balancer<W> {
    /// Creates the actor; all state is in `core`.
    pub fn new(core: Arc<BalancerCore<W>>) -> Self {
        Self { core, timer: None }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let next = self.core.look();
        let Some(at) = next else {
            return;
        };
        if self.timer.is_some_and(|(due, _)| due <= at) {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let sleep = self.core.clock().sleep_until(at).into_actor(self);
        let timer = ctx.spawn(sleep.map(|(), balancer, ctx| {
            balancer.timer = None;
            balancer.look(ctx);
        }));
        self.timer = Some((at, timer));
    }
}

impl<W: Work> Unpin for Balancer<W> {}

impl<W: Work> Actor for Balancer<W> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Once the port is bound: earlier wake-ups may have been lost.
        ctx.spawn(
            tokio::task::yield_now().into_actor(self).map(|(), balancer, ctx| balancer.look(ctx)),
        );
    }
}

impl<W: Work> Handler<Look> for Balancer<W> {
    type Result = ();

    fn handle(&mut self, _: Look, ctx: &mut Self::Context) {
        self.look(ctx);
    }
}
