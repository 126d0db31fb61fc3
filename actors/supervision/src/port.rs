//! An address of an actor that survives restarts.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use actix::dev::ToEnvelope;
use actix::dev::channel::AddressSender;
use actix::prelude::SendError;
use actix::{Actor, Handler, Message};
use arc_swap::ArcSwap;
use tokio::sync::Notify;

mod asking;

pub use asking::{AskError, Closed};
pub(super) use asking::{answered, ask_at, in_time};

/// An address of an actor that stays valid across its restarts. Clones are the same port.
///
/// A port never blocks, queues or retries: a message that cannot be delivered now is returned to
/// the caller.
pub struct Port<A: Actor> {
    shared: Arc<PortShared<A>>,
    /// The life this handle first sent to: while it is bound, sending skips the lookup in
    /// `current`. At most one address of an ended life stays here.
    known: OnceLock<(u64, AddressSender<A>)>,
}

struct PortShared<A: Actor> {
    /// The bound epoch, or 0. Lags behind `current` only during a change; never ahead of it.
    bound: AtomicU64,
    current: ArcSwap<PortEpoch<A>>,
    /// Notified after every change of `current`.
    changed: Notify,
}

struct PortEpoch<A: Actor> {
    epoch: u64,
    state: EpochState<A>,
}

enum EpochState<A: Actor> {
    // The epoch has begun and may bind.
    Expected,
    Bound(AddressSender<A>),
    // The epoch has ended and may not bind.
    Vacant,
    Closed,
}

/// A message that was not sent, with the reason.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unsent<M> {
    /// No life is bound now; a later one may be.
    Vacant(M),
    /// No life will be bound again: the supervisor stopped or escalated.
    Gone(M),
}

impl<M> Unsent<M> {
    /// Returns the message.
    pub fn into_inner(self) -> M {
        match self {
            Unsent::Vacant(message) | Unsent::Gone(message) => message,
        }
    }

    /// True if no later life can receive the message.
    pub fn is_gone(&self) -> bool {
        matches!(self, Unsent::Gone(_))
    }
}

impl<M> fmt::Debug for Unsent<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unsent::Vacant(_) => "Vacant(..)",
            Unsent::Gone(_) => "Gone(..)",
        })
    }
}

impl<M> fmt::Display for Unsent<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unsent::Vacant(_) => "no actor is at the port now",
            Unsent::Gone(_) => "the port is closed for good",
        })
    }
}

impl<M> std::error::Error for Unsent<M> {}

impl<A: Actor> Port<A> {
    /// A vacant port, at epoch 0.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(PortShared {
                bound: AtomicU64::new(0),
                current: ArcSwap::from_pointee(PortEpoch { epoch: 0, state: EpochState::Vacant }),
                changed: Notify::new(),
            }),
            known: OnceLock::new(),
        }
    }

    /// Sends without waiting, from any thread.
    ///
    /// `Ok` means that the message is in a mailbox: it is handled, or dropped with the mailbox if
    /// that life ends first. The handler's result is discarded; use [`Port::ask`] to receive it.
    ///
    /// # Errors
    /// [`Unsent`], with the message. A capacity that the actor sets for its own mailbox is not
    /// enforced here.
    #[inline]
    pub fn send<M>(&self, message: M) -> Result<(), Unsent<M>>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        self.send_with(|_| message)
    }

    /// Like [`Port::send`], with a message created for the receiving epoch (0 if no life is bound),
    /// so that a later life cannot receive it.
    ///
    /// # Errors
    /// [`Unsent`], with the message.
    #[inline]
    pub fn send_with<M>(&self, make: impl FnOnce(u64) -> M) -> Result<(), Unsent<M>>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        // Uses the mailbox rather than an `Addr`: a closed mailbox returns the message.
        if let Some((epoch, mailbox)) = self.known.get()
            && self.shared.bound.load(Ordering::Acquire) == *epoch
        {
            let sent = mailbox.do_send(make(*epoch));
            return sent.map_err(|unsent| Unsent::Vacant(unsent.into_inner()));
        }
        self.look_and_send(make)
    }

    #[cold]
    fn look_and_send<M>(&self, make: impl FnOnce(u64) -> M) -> Result<(), Unsent<M>>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        self.at_mailbox(make, |epoch, mailbox, message| {
            self.known.get_or_init(|| (epoch, mailbox.clone()));
            mailbox.do_send(message)
        })
    }

    /// Calls `send` with the epoch and mailbox of the bound life.
    fn at_mailbox<M, S>(
        &self,
        make: impl FnOnce(u64) -> M,
        send: impl FnOnce(u64, &AddressSender<A>, M) -> Result<S, SendError<M>>,
    ) -> Result<S, Unsent<M>> {
        let current = self.shared.current.load();
        match &current.state {
            EpochState::Bound(mailbox) => {
                let sent = send(current.epoch, mailbox, make(current.epoch));
                sent.map_err(|unsent| Unsent::Vacant(unsent.into_inner()))
            }
            EpochState::Expected | EpochState::Vacant => Err(Unsent::Vacant(make(0))),
            EpochState::Closed => Err(Unsent::Gone(make(0))),
        }
    }

    /// The epoch of the bound life. Epochs of a port increase from 1 and are never reused.
    pub fn epoch(&self) -> Option<u64> {
        let current = self.shared.current.load();
        matches!(current.state, EpochState::Bound(_)).then_some(current.epoch)
    }

    /// True if life `epoch` is bound now.
    #[inline]
    #[doc(hidden)]
    pub fn is_at(&self, epoch: u64) -> bool {
        self.shared.bound.load(Ordering::Acquire) == epoch
    }

    /// True if the port is closed permanently.
    pub fn is_closed(&self) -> bool {
        matches!(self.shared.current.load().state, EpochState::Closed)
    }

    #[cfg(test)]
    pub(super) fn holders(&self) -> usize {
        Arc::strong_count(&self.shared)
    }

    /// Binds a life without an actor: the other end of `mailbox` receives the messages. For tests.
    #[doc(hidden)]
    pub fn begin_and_bind(&self, epoch: u64, mailbox: &AddressSender<A>) -> bool {
        self.begin(epoch);
        self.bind(epoch, mailbox)
    }

    /// Ends a life bound by `begin_and_bind`. For tests.
    #[doc(hidden)]
    pub fn end(&self, epoch: u64) {
        self.vacate(epoch);
    }

    /// The last epoch begun here; 0 before the first.
    pub(super) fn last_epoch(&self) -> u64 {
        self.shared.current.load().epoch
    }

    /// Fences all earlier epochs: from now on only `epoch` can bind.
    pub(super) fn begin(&self, epoch: u64) {
        self.replace(|current| {
            (current.epoch < epoch).then_some(PortEpoch { epoch, state: EpochState::Expected })
        });
        self.unbind(|bound| bound < epoch);
    }

    /// Binds a mailbox if `epoch` was begun last and has not ended; returns whether it did.
    pub(super) fn bind(&self, epoch: u64, mailbox: &AddressSender<A>) -> bool {
        let bound = self.replace(|current| {
            let expected = current.epoch == epoch && matches!(current.state, EpochState::Expected);
            expected.then(|| PortEpoch { epoch, state: EpochState::Bound(mailbox.clone()) })
        });
        if bound {
            self.shared.bound.store(epoch, Ordering::SeqCst);
            // If the epoch ended meanwhile, its `unbind` ran before the store above; undo the
            // store.
            if self.epoch() != Some(epoch) {
                self.unbind(|bound| bound == epoch);
            }
        }
        bound
    }

    fn unbind(&self, which: impl Fn(u64) -> bool) {
        let bound = &self.shared.bound;
        let _ = bound
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |bound| which(bound).then_some(0));
    }

    /// Ends `epoch` if it is the current one: it is unbound and can never bind again.
    pub(super) fn vacate(&self, epoch: u64) {
        self.replace(|current| {
            let present = current.epoch == epoch && !matches!(current.state, EpochState::Closed);
            present.then_some(PortEpoch { epoch, state: EpochState::Vacant })
        });
        self.unbind(|bound| bound == epoch);
    }

    /// Closes the port: every send fails with [`Unsent::Gone`] until a new supervisor begins an
    /// epoch.
    pub(super) fn close(&self) {
        self.replace(|current| Some(PortEpoch { epoch: current.epoch, state: EpochState::Closed }));
        self.unbind(|_| true);
    }

    /// Atomically replaces `current` by the result of `next`, if any; returns whether it did.
    fn replace(&self, next: impl Fn(&PortEpoch<A>) -> Option<PortEpoch<A>>) -> bool {
        let current = &self.shared.current;
        let before = current.rcu(|current| next(current).map_or_else(|| current.clone(), Arc::new));
        self.shared.changed.notify_waiters();
        next(&before).is_some()
    }
}

impl<A: Actor> Clone for Port<A> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), known: OnceLock::new() }
    }
}

impl<A: Actor> Default for Port<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Actor> fmt::Debug for Port<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.shared.current.load();
        let state = match current.state {
            EpochState::Expected | EpochState::Vacant => "vacant",
            EpochState::Bound(_) => "bound",
            EpochState::Closed => "closed",
        };
        write!(f, "Port({state}, epoch {})", current.epoch)
    }
}

#[cfg(test)]
mod tests;
