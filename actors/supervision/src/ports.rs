//! The addresses of the children of a template, stored in one array.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// Addresses of the children of a [`Template`](super::Template) that stay valid across their
/// restarts, by index from 0. Clones are the same ports.
///
/// Each behaves like a [`Port`](super::Port) and takes 56 bytes. The ports serve one supervisor at
/// a time; another can use them once that one has ended or all of their children there are gone.
pub struct Ports<A: Actor> {
    ports: Arc<[GroupPort<A>]>,
    /// True while a supervisor uses them.
    taken: Arc<AtomicBool>,
    /// Notified after lives may have ended, for pending asks; shared to keep each port small.
    left: Arc<Notify>,
}

/// Exclusive use of the ports, until dropped.
pub(super) struct Claim(Arc<AtomicBool>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

pub(super) struct GroupPort<A: Actor> {
    /// The epoch begun last, shifted by [`BITS`], and its flags. Changed only under the lock.
    word: AtomicU64,
    binding: Mutex<PortBinding<A>>,
}

struct PortBinding<A: Actor> {
    /// The only address kept of the bound life.
    mailbox: Option<AddressSender<A>>,
    waker: Option<Waker>,
}

// The lowest three bits are the flags of `switch`.
const THROWN: u64 = 7;
/// The epoch may bind.
const EXPECTED: u64 = 8;
const CLOSED: u64 = 16;
/// Flag: the child belongs to a batch whose start waits for it.
const IN_BATCH: u64 = 32;
const BITS: u32 = 6;

impl<A: Actor> Ports<A> {
    /// `count` vacant ports, at epoch 0.
    pub fn new(count: usize) -> Self {
        let ports = (0..count).map(|_| GroupPort {
            word: AtomicU64::new(0),
            binding: Mutex::new(PortBinding { mailbox: None, waker: None }),
        });
        Self { ports: ports.collect(), taken: Arc::default(), left: Arc::default() }
    }

    /// Number of ports.
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// True if there are no ports.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// Sends to child `index` without waiting, from any thread; see
    /// [`Port::send`](super::Port::send).
    ///
    /// # Errors
    /// [`Unsent`], with the message: [`Unsent::Gone`] if there is no such port.
    pub fn send<M>(&self, index: usize, message: M) -> Result<(), Unsent<M>>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        self.at_mailbox(index, message, |_, mailbox, message| mailbox.do_send(message))
    }

    /// Sends a message to child `index` and waits for the handler's result, from any thread; see
    /// [`Port::ask`](super::Port::ask).
    ///
    /// # Errors
    /// [`AskError`]: `Vacant` or `Gone`, with the message, if it was not delivered (`Gone` if there
    /// is no such port); `Lost` if the receiving life ended, or was given up by the watchdog,
    /// before it replied.
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

    /// Like [`Ports::ask`], with a time limit of `within` by `clock`.
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

    /// Calls `send` with the epoch and mailbox of the life bound at `index`.
    fn at_mailbox<M, S>(
        &self,
        index: usize,
        message: M,
        send: impl FnOnce(u64, &AddressSender<A>, M) -> Result<S, SendError<M>>,
    ) -> Result<S, Unsent<M>> {
        let Some(port) = self.ports.get(index) else {
            return Err(Unsent::Gone(message));
        };
        let binding = port.lock();
        match &binding.mailbox {
            Some(mailbox) => {
                let sent = send(port.epoch(), mailbox, message);
                sent.map_err(|unsent| Unsent::Vacant(unsent.into_inner()))
            }
            None if port.is_closed() => Err(Unsent::Gone(message)),
            None => Err(Unsent::Vacant(message)),
        }
    }

    /// Waits until life `epoch` is no longer bound at `index`.
    async fn left(&self, index: usize, epoch: u64) {
        loop {
            let left = self.left.notified();
            let mut left = std::pin::pin!(left);
            // Registers before checking, so no end is missed.
            left.as_mut().enable();
            if self.epoch(index) != Some(epoch) {
                return;
            }
            left.await;
        }
    }

    /// Wakes pending asks after lives may have been ended from outside: a hung life keeps its
    /// mailbox, so their reply channels do not close.
    pub(super) fn some_left(&self) {
        self.left.notify_waiters();
    }

    /// The epoch of the life bound at `index`; see [`Port::epoch`](super::Port::epoch).
    pub fn epoch(&self, index: usize) -> Option<u64> {
        let port = self.ports.get(index)?;
        let binding = port.lock();
        binding.mailbox.as_ref().map(|_| port.epoch())
    }

    /// True if port `index` is closed permanently or does not exist.
    pub fn is_closed(&self, index: usize) -> bool {
        self.ports.get(index).is_none_or(GroupPort::is_closed)
    }

    pub(super) fn port(&self, index: u32) -> &GroupPort<A> {
        &self.ports[index as usize]
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &GroupPort<A>> {
        self.ports.iter()
    }

    /// `None` if they already serve a supervisor.
    pub(super) fn claim(&self) -> Option<Claim> {
        let taken = self.taken.swap(true, Ordering::AcqRel);
        (!taken).then(|| Claim(self.taken.clone()))
    }

    /// The highest epoch begun at any of them.
    pub(super) fn last_epoch(&self) -> u64 {
        self.all().map(GroupPort::epoch).max().unwrap_or(0)
    }
}

impl<A: Actor> Clone for Ports<A> {
    fn clone(&self) -> Self {
        Self { ports: self.ports.clone(), taken: self.taken.clone(), left: self.left.clone() }
    }
}

impl<A: Actor> fmt::Debug for Ports<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ports({})", self.len())
    }
}

impl<A: Actor> GroupPort<A> {
    fn lock(&self) -> MutexGuard<'_, PortBinding<A>> {
        self.binding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn epoch(&self) -> u64 {
        self.word.load(Ordering::Acquire) >> BITS
    }

    fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// The epoch of the life that is bound or may bind.
    pub(super) fn living(&self) -> Option<u64> {
        let binding = self.lock();
        let word = self.word.load(Ordering::Acquire);
        (binding.mailbox.is_some() || word & EXPECTED != 0).then_some(word >> BITS)
    }

    /// The flags thrown at life `epoch`, or `kill` if a later epoch has begun.
    #[inline]
    pub(super) fn thrown(&self, epoch: u64, kill: u8) -> u8 {
        let word = self.word.load(Ordering::Acquire);
        if word >> BITS == epoch { (word & THROWN) as u8 } else { kill }
    }

    /// Sets `which` for the current life, or only if its epoch is `epoch`, and wakes its task.
    pub(super) fn throw(&self, which: u8, epoch: Option<u64>) {
        let binding = self.lock();
        if epoch.is_some_and(|epoch| epoch != self.epoch()) {
            return;
        }
        self.word.fetch_or(u64::from(which), Ordering::AcqRel);
        let waker = binding.waker.clone();
        drop(binding);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Clears `which` for life `epoch`.
    pub(super) fn unthrow(&self, which: u8, epoch: u64) {
        let _kept = self.lock();
        if self.epoch() == epoch {
            self.word.fetch_and(!u64::from(which), Ordering::AcqRel);
        }
    }

    /// Must be called before the flags are read for the first time, or a wake-up may be lost.
    pub(super) fn listen(&self, epoch: u64, waker: &Waker) {
        let mut binding = self.lock();
        if self.epoch() != epoch {
            return;
        }
        let before = binding.waker.replace(waker.clone());
        drop(binding);
        drop(before);
    }

    /// Fences all earlier epochs: from now on only `epoch` can bind. Returns false if `epoch` is
    /// not later than the current one.
    pub(super) fn begin(&self, epoch: u64, in_batch: bool) -> bool {
        let mut binding = self.lock();
        if self.epoch() >= epoch {
            return false;
        }
        let batch = if in_batch { IN_BATCH } else { 0 };
        let word = epoch << BITS | EXPECTED | batch;
        self.word.store(word, Ordering::Release);
        let before = (binding.mailbox.take(), binding.waker.take());
        drop(binding);
        // Dropped outside the lock: tasks woken by the drop may take it.
        drop(before);
        true
    }

    /// Binds a mailbox if `epoch` was begun last and has not ended; returns whether it did.
    pub(super) fn bind(&self, epoch: u64, mailbox: AddressSender<A>) -> bool {
        let mut binding = self.lock();
        let word = self.word.load(Ordering::Acquire);
        if word >> BITS != epoch || word & EXPECTED == 0 {
            drop(binding);
            return false;
        }
        self.word.fetch_and(!EXPECTED, Ordering::AcqRel);
        binding.mailbox = Some(mailbox);
        true
    }

    /// Ends `epoch` if it is the current one: it is unbound and can never bind again.
    pub(super) fn vacate(&self, epoch: u64) {
        self.end(Some(epoch), 0);
    }

    /// Makes the port vacant, whichever epoch is current.
    pub(super) fn rest(&self) {
        self.end(None, 0);
    }

    /// Closes the port: every send fails with [`Unsent::Gone`] until a new supervisor begins an
    /// epoch.
    pub(super) fn close(&self) {
        self.end(None, CLOSED);
    }

    fn end(&self, epoch: Option<u64>, also: u64) {
        let mut binding = self.lock();
        if epoch.is_some_and(|epoch| epoch != self.epoch()) {
            return;
        }
        self.word.fetch_and(!EXPECTED, Ordering::AcqRel);
        self.word.fetch_or(also, Ordering::AcqRel);
        let mailbox = binding.mailbox.take();
        drop(binding);
        // Dropped outside the lock: dropping the last address of an actor wakes it.
        drop(mailbox);
    }

    /// Drops the waker of `epoch`, which keeps the task alive.
    pub(super) fn release(&self, epoch: u64) {
        let mut binding = self.lock();
        if self.epoch() == epoch {
            let waker = binding.waker.take();
            drop(binding);
            drop(waker);
        }
    }

    /// Clears and returns the batch flag of life `epoch`: true once, when the life is up or has
    /// ended.
    pub(super) fn leave_batch(&self, epoch: u64) -> bool {
        let _kept = self.lock();
        self.epoch() == epoch && self.word.fetch_and(!IN_BATCH, Ordering::AcqRel) & IN_BATCH != 0
    }
}
