//! Requests with replies across restarts, and waiting for a life to be bound.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::dev::channel::AddressSender;
use actix::prelude::SendError;
use actix::{Actor, Handler, Message};
use tokio::sync::oneshot::Receiver;

use super::{EpochState, Port, Unsent};
use crate::clock::Clock;

/// Why a request has no reply.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError<M> {
    /// No life is bound now; a later one may be. The message was not delivered.
    Vacant(M),
    /// No life will be bound again: the supervisor stopped or escalated. The message was not
    /// delivered.
    Gone(M),
    /// The message was delivered, and the receiving life ended before it replied. It is unknown
    /// whether it began to act on the message.
    Lost,
    /// The message was delivered, and no reply arrived in time. It may still be acted on.
    Timeout,
}

impl<M> AskError<M> {
    /// The message, if it was not delivered.
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

/// The port is closed permanently: no life will be bound to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the port is closed for good")
    }
}

impl std::error::Error for Closed {}

/// Sends a message to a mailbox and returns the receiver of its reply.
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
    // A clone of the sender: the original may be waiting for capacity of the mailbox.
    mailbox.clone().send(message)
}

/// Waits for a reply until `left` reports that the life is no longer bound.
pub(crate) async fn answered<M, R>(
    mut answer: Receiver<R>,
    left: impl Future<Output = ()>,
) -> Result<R, AskError<M>> {
    tokio::select! {
        biased;
        answer = &mut answer => answer.map_err(|_| AskError::Lost),
        // A hung life never drops its mailbox, so only this branch observes its end.
        () = left => answer.try_recv().map_err(|_| AskError::Lost),
    }
}

/// Waits for a reply until `late` is ready.
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
    /// Sends a message and waits for the handler's result, from any thread. The message is sent
    /// immediately, before the future is polled; dropping the future discards the result, not the
    /// message.
    ///
    /// There is no time limit while the actor lives; see [`Port::ask_within`].
    ///
    /// # Errors
    /// [`AskError`]: `Vacant` or `Gone`, with the message, if it was not delivered; `Lost` if the
    /// receiving life ended, or was given up by the watchdog, before it replied.
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

    /// Like [`Port::ask`], with a time limit of `within` by `clock`.
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

    /// Waits until a life is bound and returns its epoch; returns immediately if one is bound.
    ///
    /// # Errors
    /// [`Closed`] if the supervisor has stopped or escalated.
    pub async fn bound(&self) -> Result<u64, Closed> {
        self.bound_after(0).await
    }

    /// Waits until a life with an epoch later than `epoch` is bound, such as after a restart, and
    /// returns its epoch.
    ///
    /// # Errors
    /// [`Closed`] if the supervisor has stopped or escalated.
    pub async fn bound_after(&self, epoch: u64) -> Result<u64, Closed> {
        self.when(|current, state| match state {
            EpochState::Bound(_) if current > epoch => Some(Ok(current)),
            EpochState::Closed => Some(Err(Closed)),
            _ => None,
        })
        .await
    }

    /// Waits until life `epoch` is no longer bound.
    async fn left(&self, epoch: u64) {
        self.when(|current, state| {
            let bound = current == epoch && matches!(state, EpochState::Bound(_));
            (!bound).then_some(())
        })
        .await;
    }

    async fn when<T>(&self, mut look: impl FnMut(u64, &EpochState<A>) -> Option<T>) -> T {
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registers before checking, so no change is missed.
            changed.as_mut().enable();
            {
                let current = self.shared.current.load();
                if let Some(found) = look(current.epoch, &current.state) {
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
