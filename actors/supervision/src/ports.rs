//! The addresses of many children that are alike: a seat each, side by side.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::dev::channel::AddressSender;
use actix::prelude::SendError;
use actix::{Actor, Handler, Message};
use tokio::sync::Notify;

use super::port::{answered, ask_at, in_time};
use super::{AskError, Unsent};
use crate::clock::Clock;

/// Where to reach the children of a [`Template`](super::Template) across their restarts, each by its index from 0. Clones are the same ports.
///
/// What a [`Port`](super::Port) promises holds for each of them; a seat takes 56 bytes. They serve one supervisor at a time: another may have
/// them when it has ended, or all of their children there are gone.
pub struct Ports<A: Actor> {
    seats: Arc<[Seat<A>]>,
    /// They serve a supervisor.
    taken: Arc<AtomicBool>,
    asks: Arc<Asks>,
}

/// The questions that wait for answers at any of the ports; a seat for each child has no room for that.
#[derive(Default)]
struct Asks {
    count: AtomicUsize,
    left: Notify,
}

/// One question that waits.
struct Asking<'a>(&'a Asks);

impl<'a> Asking<'a> {
    fn new(asks: &'a Asks) -> Self {
        asks.count.fetch_add(1, Ordering::SeqCst);
        Self(asks)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::SeqCst);
    }
}

/// They serve whoever keeps this, and nobody else.
pub(super) struct Claim(Arc<AtomicBool>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

pub(super) struct Seat<A: Actor> {
    /// The epoch that was begun last, and below it what is known of it. Changed under the lock, but for what is thrown.
    word: AtomicU64,
    kept: Mutex<Kept<A>>,
}

struct Kept<A: Actor> {
    /// The only address that is kept of the life that is bound.
    mailbox: Option<AddressSender<A>>,
    waker: Option<Waker>,
}

// The lowest bits are those of a switch: what was thrown.
const THROWN: u64 = 7;
/// It may bind.
const EXPECTED: u64 = 8;
const CLOSED: u64 = 16;
/// It was started together with others, who wait until it is up.
const IN_LOT: u64 = 32;
const BITS: u32 = 6;

impl<A: Actor> Ports<A> {
    /// So many vacant ports, of epoch 0.
    pub fn new(count: usize) -> Self {
        let seats = (0..count).map(|_| Seat {
            word: AtomicU64::new(0),
            kept: Mutex::new(Kept {
                mailbox: None,
                waker: None,
            }),
        });
        Self {
            seats: seats.collect(),
            taken: Arc::default(),
            asks: Arc::default(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Sends to the child `index` without waiting, from any thread; see [`Port::send`](super::Port::send).
    ///
    /// # Errors
    /// [`Unsent`], with the message; it is gone where there is no such port.
    pub fn send<M>(&self, index: usize, message: M) -> Result<(), Unsent<M>>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        self.at_mailbox(index, message, |_, mailbox, message| {
            mailbox.do_send(message)
        })
    }

    /// Sends a message to the child `index` and waits for the handler's answer, from any thread; see
    /// [`Port::ask`](super::Port::ask).
    ///
    /// # Errors
    /// [`AskError`]: with the message where it was not delivered (`Gone` where there is no such port);
    /// `Lost` where the life that got it ended, or was given up by the watchdog, before it answered.
    pub fn ask<M>(
        &self,
        index: usize,
        message: M,
    ) -> impl Future<Output = Result<M::Result, AskError<M>>> + use<A, M>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        let sent = self.at_mailbox(index, message, |epoch, mailbox, message| {
            Ok((epoch, ask_at(mailbox, message)?))
        });
        let ports = self.clone();
        async move {
            let (epoch, answer) = sent?;
            answered(answer, ports.left(index, epoch)).await
        }
    }

    /// [`Ports::ask`] that waits no longer than `within`, by `clock`.
    ///
    /// # Errors
    /// As [`Ports::ask`], and [`AskError::Timeout`].
    pub fn ask_within<M>(
        &self,
        index: usize,
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
        in_time(self.ask(index, message), clock.sleep(within))
    }

    /// Has `send` send the message to the life that is bound at `index` now, with its epoch.
    fn at_mailbox<M, S>(
        &self,
        index: usize,
        message: M,
        send: impl FnOnce(u64, &AddressSender<A>, M) -> Result<S, SendError<M>>,
    ) -> Result<S, Unsent<M>> {
        let Some(seat) = self.seats.get(index) else {
            return Err(Unsent::Gone(message));
        };
        let kept = seat.lock();
        match &kept.mailbox {
            Some(mailbox) => {
                let sent = send(seat.epoch(), mailbox, message);
                sent.map_err(|unsent| Unsent::Vacant(unsent.into_inner()))
            }
            None if seat.is_closed() => Err(Unsent::Gone(message)),
            None => Err(Unsent::Vacant(message)),
        }
    }

    /// Waits until the life `epoch` is not bound at `index` any more.
    async fn left(&self, index: usize, epoch: u64) {
        let _counted = Asking::new(&self.asks);
        loop {
            let left = self.asks.left.notified();
            let mut left = std::pin::pin!(left);
            // Listens before it looks, so that no end passes unseen.
            left.as_mut().enable();
            if self.epoch(index) != Some(epoch) {
                return;
            }
            left.await;
        }
    }

    /// Wakes what asks a life that may have been ended from outside: a life that hangs keeps its mailbox, and with it the questions.
    pub(super) fn some_left(&self) {
        if self.asks.count.load(Ordering::SeqCst) > 0 {
            self.asks.left.notify_waiters();
        }
    }

    /// The epoch of the life that is bound at `index` now; see [`Port::epoch`](super::Port::epoch).
    pub fn epoch(&self, index: usize) -> Option<u64> {
        let seat = self.seats.get(index)?;
        let kept = seat.lock();
        kept.mailbox.as_ref().map(|_| seat.epoch())
    }

    /// True if the port `index` is closed for good, or there is none.
    pub fn is_closed(&self, index: usize) -> bool {
        self.seats.get(index).is_none_or(Seat::is_closed)
    }

    pub(super) fn seat(&self, index: u32) -> &Seat<A> {
        &self.seats[index as usize]
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Seat<A>> {
        self.seats.iter()
    }

    /// `None` where they serve somebody else.
    pub(super) fn claim(&self) -> Option<Claim> {
        let taken = self.taken.swap(true, Ordering::AcqRel);
        (!taken).then(|| Claim(self.taken.clone()))
    }

    /// The last epoch that was begun at any of them.
    pub(super) fn last_epoch(&self) -> u64 {
        self.all().map(Seat::epoch).max().unwrap_or(0)
    }
}

impl<A: Actor> Clone for Ports<A> {
    fn clone(&self) -> Self {
        Self {
            seats: self.seats.clone(),
            taken: self.taken.clone(),
            asks: self.asks.clone(),
        }
    }
}

impl<A: Actor> fmt::Debug for Ports<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ports({})", self.len())
    }
}

impl<A: Actor> Seat<A> {
    fn lock(&self) -> MutexGuard<'_, Kept<A>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.word.load(Ordering::Acquire) >> BITS
    }

    fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// The epoch of the life that is here, or is about to be.
    pub(super) fn living(&self) -> Option<u64> {
        let kept = self.lock();
        let word = self.word.load(Ordering::Acquire);
        (kept.mailbox.is_some() || word & EXPECTED != 0).then_some(word >> BITS)
    }

    /// What was thrown at the life `epoch`; a later one has killed it.
    #[inline]
    pub(super) fn thrown(&self, epoch: u64, kill: u8) -> u8 {
        let word = self.word.load(Ordering::Acquire);
        if word >> BITS == epoch {
            (word & THROWN) as u8
        } else {
            kill
        }
    }

    /// Throws `which` at the present life, or at `epoch` only.
    pub(super) fn throw(&self, which: u8, epoch: Option<u64>) {
        let kept = self.lock();
        if epoch.is_some_and(|epoch| epoch != self.epoch()) {
            return;
        }
        self.word.fetch_or(u64::from(which), Ordering::AcqRel);
        let waker = kept.waker.clone();
        drop(kept);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes `which` back from the life `epoch`.
    pub(super) fn unthrow(&self, which: u8, epoch: u64) {
        let _kept = self.lock();
        if self.epoch() == epoch {
            self.word.fetch_and(!u64::from(which), Ordering::AcqRel);
        }
    }

    /// To be called before what was thrown is read for the first time.
    pub(super) fn listen(&self, epoch: u64, waker: &Waker) {
        let mut kept = self.lock();
        if self.epoch() != epoch {
            return;
        }
        let before = kept.waker.replace(waker.clone());
        drop(kept);
        drop(before);
    }

    /// Fences all earlier epochs: from now on only `epoch` can bind. Says whether it did: never where it is not later than the present one.
    pub(super) fn begin(&self, epoch: u64, in_lot: bool) -> bool {
        let mut kept = self.lock();
        if self.epoch() >= epoch {
            return false;
        }
        let lot = if in_lot { IN_LOT } else { 0 };
        let word = epoch << BITS | EXPECTED | lot;
        self.word.store(word, Ordering::Release);
        let before = (kept.mailbox.take(), kept.waker.take());
        drop(kept);
        // Dropped outside: what it wakes may want the lock.
        drop(before);
        true
    }

    /// Binds a mailbox if `epoch` is the one that was begun last and nothing ended it; says whether it did.
    pub(super) fn bind(&self, epoch: u64, mailbox: AddressSender<A>) -> bool {
        let mut kept = self.lock();
        let word = self.word.load(Ordering::Acquire);
        if word >> BITS != epoch || word & EXPECTED == 0 {
            drop(kept);
            return false;
        }
        self.word.fetch_and(!EXPECTED, Ordering::AcqRel);
        kept.mailbox = Some(mailbox);
        true
    }

    /// Ends `epoch` if it is the present one: it is not bound afterwards, and never again.
    pub(super) fn vacate(&self, epoch: u64) {
        self.end(Some(epoch), 0);
    }

    /// Nobody is here now, whichever life was.
    pub(super) fn rest(&self) {
        self.end(None, 0);
    }

    /// Every send is answered with [`Unsent::Gone`], until a new supervisor begins an epoch.
    pub(super) fn close(&self) {
        self.end(None, CLOSED);
    }

    fn end(&self, epoch: Option<u64>, also: u64) {
        let mut kept = self.lock();
        if epoch.is_some_and(|epoch| epoch != self.epoch()) {
            return;
        }
        self.word.fetch_and(!EXPECTED, Ordering::AcqRel);
        self.word.fetch_or(also, Ordering::AcqRel);
        let mailbox = kept.mailbox.take();
        drop(kept);
        // Dropped outside: the last address of an actor wakes it.
        drop(mailbox);
    }

    /// Forgets the waker of `epoch`, and with it the task.
    pub(super) fn release(&self, epoch: u64) {
        let mut kept = self.lock();
        if self.epoch() == epoch {
            let waker = kept.waker.take();
            drop(kept);
            drop(waker);
        }
    }

    /// True once for a life that others wait for, when it is up or has ended.
    pub(super) fn leaves_lot(&self, epoch: u64) -> bool {
        let _kept = self.lock();
        self.epoch() == epoch && self.word.fetch_and(!IN_LOT, Ordering::AcqRel) & IN_LOT != 0
    }
}
