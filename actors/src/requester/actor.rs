//! The requester's actor: keeps going what is under way.

use std::future::poll_fn;
use std::sync::Arc;

use actix::{Actor, AsyncContext, Context, WrapFuture};

use super::RequesterCore;

/// The actor of a requester.
#[derive(Debug)]
pub struct Requester {
    core: Arc<RequesterCore>,
}

impl Requester {
    /// The actor over `core`.
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
