//! The address that survives.

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

/// Where to reach an actor across its restarts. Clones are the same port.
///
/// A port never parks, queues or retries: what it can't deliver now comes back to the caller.
pub struct Port<A: Actor> {
    shared: Arc<Shared<A>>,
    /// The life that this handle has sent to first: while it lives, a send looks no further. At most one address of a dead one stays here.
    known: OnceLock<(u64, AddressSender<A>)>,
}

struct Shared<A: Actor> {
    /// The epoch that is bound, or 0. Never later than what `slot` says, but for the time that a change takes.
    bound: AtomicU64,
    slot: ArcSwap<Slot<A>>,
    /// Told after every change of `slot`.
    changed: Notify,
}

struct Slot<A: Actor> {
    epoch: u64,
    state: State<A>,
}

enum State<A: Actor> {
    // The epoch has begun and may bind.
    Expected,
    Bound(AddressSender<A>),
    // The epoch is over and may not bind.
    Vacant,
    Closed,
}

/// A message that was not sent, and why. The message is in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unsent<M> {
    /// Nobody is there now; a later life may be.
    Vacant(M),
    /// Nobody will be there again: the supervisor stopped or escalated.
    Gone(M),
}

impl<M> Unsent<M> {
    /// The message.
    pub fn into_inner(self) -> M {
        match self {
            Unsent::Vacant(message) | Unsent::Gone(message) => message,
        }
    }

    /// True if no later life will take it.
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
            Unsent::Vacant(_) => "nobody is at the port now",
            Unsent::Gone(_) => "the port is closed for good",
        })
    }
}

impl<M> std::error::Error for Unsent<M> {}

impl<A: Actor> Port<A> {
    /// A vacant port, of epoch 0.
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                bound: AtomicU64::new(0),
                slot: ArcSwap::from_pointee(Slot {
                    epoch: 0,
                    state: State::Vacant,
                }),
                changed: Notify::new(),
            }),
            known: OnceLock::new(),
        }
    }

    /// Sends without waiting, from any thread.
    ///
    /// `Ok` means that the message is in a mailbox: it is handled, or dropped with that mailbox if that life ends first.
    /// A handler's answer is discarded: see [`Port::ask`].
    ///
    /// # Errors
    /// [`Unsent`], with the message. A bound that an actor sets to its own mailbox does not hold here.
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

    /// Like [`Port::send`], with a message made for the epoch that gets it (0 if nobody is there): a later life can't get it.
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
        // The mailbox itself and no `Addr`: of one that is closed, it gives the message back.
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

    /// Has `send` send the message to the life that is bound now, with its epoch.
    fn at_mailbox<M, S>(
        &self,
        make: impl FnOnce(u64) -> M,
        send: impl FnOnce(u64, &AddressSender<A>, M) -> Result<S, SendError<M>>,
    ) -> Result<S, Unsent<M>> {
        let slot = self.shared.slot.load();
        match &slot.state {
            State::Bound(mailbox) => {
                let sent = send(slot.epoch, mailbox, make(slot.epoch));
                sent.map_err(|unsent| Unsent::Vacant(unsent.into_inner()))
            }
            State::Expected | State::Vacant => Err(Unsent::Vacant(make(0))),
            State::Closed => Err(Unsent::Gone(make(0))),
        }
    }

    /// The epoch of the life that is bound now. Epochs of one port count up from 1 and are never used twice.
    pub fn epoch(&self) -> Option<u64> {
        let slot = self.shared.slot.load();
        matches!(slot.state, State::Bound(_)).then_some(slot.epoch)
    }

    /// True if that life is bound now.
    #[inline]
    #[doc(hidden)]
    pub fn is_at(&self, epoch: u64) -> bool {
        self.shared.bound.load(Ordering::Acquire) == epoch
    }

    /// True if the port is closed for good.
    pub fn is_closed(&self) -> bool {
        matches!(self.shared.slot.load().state, State::Closed)
    }

    #[cfg(test)]
    pub(super) fn holders(&self) -> usize {
        Arc::strong_count(&self.shared)
    }

    /// Binds an incarnation without an actor: the other end of `mailbox` receives the messages. For
    /// tests.
    #[doc(hidden)]
    pub fn begin_and_bind(&self, epoch: u64, mailbox: &AddressSender<A>) -> bool {
        self.begin(epoch);
        self.bind(epoch, mailbox)
    }

    /// Ends such an incarnation. For tests.
    #[doc(hidden)]
    pub fn end(&self, epoch: u64) {
        self.vacate(epoch);
    }

    /// The last epoch that was begun here; 0 before the first.
    pub(super) fn last_epoch(&self) -> u64 {
        self.shared.slot.load().epoch
    }

    /// Fences all earlier epochs: from now on only `epoch` can bind.
    pub(super) fn begin(&self, epoch: u64) {
        self.replace(|slot| {
            (slot.epoch < epoch).then_some(Slot {
                epoch,
                state: State::Expected,
            })
        });
        self.unbind(|bound| bound < epoch);
    }

    /// Binds a mailbox if `epoch` is the one that was begun last and nothing ended it; says whether it did.
    pub(super) fn bind(&self, epoch: u64, mailbox: &AddressSender<A>) -> bool {
        let bound = self.replace(|slot| {
            let expected = slot.epoch == epoch && matches!(slot.state, State::Expected);
            expected.then(|| Slot {
                epoch,
                state: State::Bound(mailbox.clone()),
            })
        });
        if bound {
            self.shared.bound.store(epoch, Ordering::SeqCst);
            // Whoever ended it meanwhile has found nothing to unbind.
            if self.epoch() != Some(epoch) {
                self.unbind(|bound| bound == epoch);
            }
        }
        bound
    }

    fn unbind(&self, which: impl Fn(u64) -> bool) {
        let bound = &self.shared.bound;
        let _ = bound.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |bound| {
            which(bound).then_some(0)
        });
    }

    /// Ends `epoch` if it is the present one: it is not bound afterwards, and never again.
    pub(super) fn vacate(&self, epoch: u64) {
        self.replace(|slot| {
            let present = slot.epoch == epoch && !matches!(slot.state, State::Closed);
            present.then_some(Slot {
                epoch,
                state: State::Vacant,
            })
        });
        self.unbind(|bound| bound == epoch);
    }

    /// Closes the port: every send is answered with [`Unsent::Gone`], until a new supervisor begins an epoch.
    pub(super) fn close(&self) {
        self.replace(|slot| {
            Some(Slot {
                epoch: slot.epoch,
                state: State::Closed,
            })
        });
        self.unbind(|_| true);
    }

    /// Compare and set: puts in what `next` makes of the slot, if anything; says whether it did.
    fn replace(&self, next: impl Fn(&Slot<A>) -> Option<Slot<A>>) -> bool {
        let slot = &self.shared.slot;
        let before = slot.rcu(|slot| next(slot).map_or_else(|| slot.clone(), Arc::new));
        self.shared.changed.notify_waiters();
        next(&before).is_some()
    }
}

impl<A: Actor> Clone for Port<A> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            known: OnceLock::new(),
        }
    }
}

impl<A: Actor> Default for Port<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Actor> fmt::Debug for Port<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slot = self.shared.slot.load();
        let state = match slot.state {
            State::Expected | State::Vacant => "vacant",
            State::Bound(_) => "bound",
            State::Closed => "closed",
        };
        write!(f, "Port({state}, epoch {})", slot.epoch)
    }
}

#[cfg(test)]
mod tests;
