//! An actix recipient for a balancer.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Context, Handler, Message};

use crate::core::{BalancerCore, CallError};
use crate::resilience::CallOptions;
use crate::worker::Work;

/// A request as an actix message. Dropping the recipient's future cancels the request.
pub struct Ask<W: Work>(pub W::Request);

impl<W: Work> fmt::Debug for Ask<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask(..)")
    }
}

impl<W: Work> Message for Ask<W> {
    type Result = Result<W::Reply, CallError>;
}

/// Actor that passes messages on to a balancer. It has no state, so it needs no supervision.
pub struct RecipientActor<W: Work>(Arc<BalancerCore<W>>);

impl<W: Work> fmt::Debug for RecipientActor<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecipientActor").field(&self.0.name).finish()
    }
}

impl<W: Work> RecipientActor<W> {
    pub(super) fn new(core: Arc<BalancerCore<W>>) -> Self {
        Self(core)
    }
}

impl<W: Work> Unpin for RecipientActor<W> {}

impl<W: Work> Actor for RecipientActor<W> {
    type Context = Context<Self>;
}

impl<W: Work> Handler<Ask<W>> for RecipientActor<W> {
    type Result = PendingReply<W>;

    fn handle(&mut self, Ask(request): Ask<W>, _: &mut Self::Context) -> Self::Result {
        PendingReply { core: self.0.clone(), request, _work: PhantomData }
    }
}

/// The pending reply to an [`Ask`].
pub struct PendingReply<W: Work> {
    core: Arc<BalancerCore<W>>,
    request: W::Request,
    _work: PhantomData<fn() -> W>,
}

impl<W: Work> fmt::Debug for PendingReply<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PendingReply(..)")
    }
}

impl<W: Work> MessageResponse<RecipientActor<W>, Ask<W>> for PendingReply<W> {
    fn handle(
        self,
        _: &mut Context<RecipientActor<W>>,
        sender: Option<OneshotSender<Result<W::Reply, CallError>>>,
    ) {
        let PendingReply { core, request, .. } = self;
        actix_rt::spawn(async move {
            let asked = core.clock().now();
            let call = async {
                let call = core.start_at(request, asked, CallOptions::default()).await?;
                call.await
            };
            let Some(mut sender) = sender else {
                // A message sent without waiting for the reply still wants its effect.
                let _ = call.await;
                return;
            };
            let answer = tokio::select! {
                biased;
                answer = call => answer,
                // Dropping `call` cancels the request.
                () = sender.closed() => return,
            };
            let _ = sender.send(answer);
        });
    }
}
