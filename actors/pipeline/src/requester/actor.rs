//! The requester's actor: polls what is in flight.

use std::future::poll_fn;
use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, WrapFuture};

use super::RequesterCore;

/// A requester's actor.
#[derive(Debug)]
pub struct Requester {
    core: Arc<RequesterCore>,
}

impl Requester {
    /// Creates the actor over `core`.
    pub fn new(core: Arc<RequesterCore>) -> Self {
        Self { core }
    }
}

impl Actor for Requester {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let core = self.core.clone();
        ctx.spawn(poll_fn(move |cx| core.poll(cx)).into_actor(self));
    }
}
