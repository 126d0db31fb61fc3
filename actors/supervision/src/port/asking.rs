//! Questions and their answers across restarts, and waiting for a life.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::dev::channel::AddressSender;
use actix::prelude::SendError;
use actix::{Actor, Handler, Message};
use tokio::sync::oneshot::Receiver;

use super::{Port, State, Unsent};
use crate::clock::Clock;

/// Why a question has no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError<M> {
    /// No life is bound now; a later one may be. The message was not delivered.
    Vacant(M),
    /// No life will be bound again: the supervisor stopped or escalated. The message was not
    /// delivered.
    Gone(M),
    /// The message was delivered, and that life ended before it answered. Whether it began to act on
    /// the message is not known.
    Lost,
    /// The message was delivered, and there was no answer in time. It may still be acted on.
    Timeout,
}

impl<M> AskError<M> {
    /// The message, where it was not delivered.
    pub fn into_message(self) -> Option<M> {
        match self {
            AskError::Vacant(message) | AskError::Gone(message) => Some(message),
            AskError::Lost | AskError::Timeout => None,
        }
    }
}

impl<M> From<Unsent<M>> for AskError<M> {
    fn from(unsent: Unsent<M>) -> Self {
        match unsent {
            Unsent::Vacant(message) => AskError::Vacant(message),
            Unsent::Gone(message) => AskError::Gone(message),
        }
    }
}

impl<M> fmt::Debug for AskError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AskError::Vacant(_) => "Vacant(..)",
            AskError::Gone(_) => "Gone(..)",
            AskError::Lost => "Lost",
            AskError::Timeout => "Timeout",
        })
    }
}

impl<M> fmt::Display for AskError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AskError::Vacant(_) => "no actor is at the port now",
            AskError::Gone(_) => "the port is closed for good",
            AskError::Lost => "the actor ended before it answered",
            AskError::Timeout => "the actor did not answer in time",
        })
    }
}

impl<M> std::error::Error for AskError<M> {}

/// The port is closed for good: no life will be bound to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the port is closed for good")
    }
}

impl std::error::Error for Closed {}

/// Sends a message to the mailbox for its answer.
pub(crate) fn ask_at<A, M>(
    mailbox: &AddressSender<A>,
    message: M,
) -> Result<Receiver<M::Result>, SendError<M>>
where
    M: Message + Send + 'static,
    M::Result: Send,
    A: Handler<M>,
    A::Context: ToEnvelope<A, M>,
{
    // A sender of its own: another one may be parked at a bound of the mailbox.
    mailbox.clone().send(message)
}

/// The answer of a life; `left` is ready once that life is not bound any more.
pub(crate) async fn answered<M, R>(
    mut answer: Receiver<R>,
    left: impl Future<Output = ()>,
) -> Result<R, AskError<M>> {
    tokio::select! {
        biased;
        answer = &mut answer => answer.map_err(|_| AskError::Lost),
        // A life that hangs drops nothing, so its end is seen here only.
        () = left => answer.try_recv().map_err(|_| AskError::Lost),
    }
}

/// The answer, unless `late` is ready before.
pub(crate) async fn in_time<M, R>(
    asked: impl Future<Output = Result<R, AskError<M>>>,
    late: impl Future<Output = ()>,
) -> Result<R, AskError<M>> {
    tokio::select! {
        biased;
        answer = asked => answer,
        () = late => Err(AskError::Timeout),
    }
}

impl<A: Actor> Port<A> {
    /// Sends a message and waits for the handler's answer, from any thread. The message is sent at
    /// once; dropping the future gives up the answer, not the message.
    ///
    /// An actor that never answers is waited for as long as it lives: see [`Port::ask_within`].
    ///
    /// # Errors
    /// [`AskError`]: with the message where it was not delivered; `Lost` where the life that got it
    /// ended, or was given up by the watchdog, before it answered.
    pub fn ask<M>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<M::Result, AskError<M>>> + use<A, M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let sent = self.deliver(message);
        let port = self.clone();
        async move {
            let (epoch, answer) = sent?;
            answered(answer, port.left(epoch)).await
        }
    }

    /// [`Port::ask`] that waits no longer than `within`, by `clock`.
    ///
    /// # Errors
    /// As [`Port::ask`], and [`AskError::Timeout`].
    pub fn ask_within<M>(
        &self,
        message: M,
        clock: &Clock,
        within: Duration,
    ) -> impl Future<Output = Result<M::Result, AskError<M>>> + use<A, M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        in_time(self.ask(message), clock.sleep(within))
    }

    /// Waits until a life is bound, and gives its epoch; at once where one is.
    ///
    /// # Errors
    /// [`Closed`]: the supervisor has stopped or escalated.
    pub async fn bound(&self) -> Result<u64, Closed> {
        self.bound_after(0).await
    }

    /// Waits until a life later than `epoch` is bound, and gives its epoch: after a restart, say.
    ///
    /// # Errors
    /// [`Closed`]: the supervisor has stopped or escalated.
    pub async fn bound_after(&self, epoch: u64) -> Result<u64, Closed> {
        self.when(|slot, state| match state {
            State::Bound(_) if slot > epoch => Some(Ok(slot)),
            State::Closed => Some(Err(Closed)),
            _ => None,
        })
        .await
    }

    /// Waits until the life `epoch` is bound no more.
    async fn left(&self, epoch: u64) {
        self.when(|slot, state| {
            let bound = slot == epoch && matches!(state, State::Bound(_));
            (!bound).then_some(())
        })
        .await;
    }

    async fn when<T>(&self, mut look: impl FnMut(u64, &State<A>) -> Option<T>) -> T {
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Listens before it looks, so that no change passes unseen.
            changed.as_mut().enable();
            {
                let slot = self.shared.slot.load();
                if let Some(found) = look(slot.epoch, &slot.state) {
                    return found;
                }
            }
            changed.await;
        }
    }

    fn deliver<M>(&self, message: M) -> Result<(u64, Receiver<M::Result>), AskError<M>>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let sent = self.at_mailbox(
            |_| message,
            |epoch, mailbox, message| Ok((epoch, ask_at(mailbox, message)?)),
        );
        Ok(sent?)
    }
}
