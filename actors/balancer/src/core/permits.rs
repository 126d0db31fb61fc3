//! Queue permits: bounds the requests in a balancer, first come, first served.
//!
//! Unlike a semaphore, it copes with callers that hang. A semaphore assigns a permit to the first
//! waiter; if that one's thread is blocked, it neither takes nor returns the permit. Here an
//! assigned but uncollected permit can be offered to others ([`QueuePermits::offer_anew`]).

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::reply_slot::wake;

/// The queue permits of one balancer.
#[derive(Debug, Default)]
pub(crate) struct QueuePermits(Mutex<PermitState>);

#[derive(Debug, Default)]
struct PermitState {
    free: usize,
    /// Permits to be retired when they are returned.
    owed: usize,
    closed: bool,
    next: u64,
    /// Waiting callers by ticket number.
    waiting: BTreeMap<u64, PermitWaiter>,
    /// Ticket numbers that were assigned a permit and have not collected it.
    granted: BTreeSet<u64>,
}

#[derive(Debug, Default)]
struct PermitWaiter {
    waker: Option<Waker>,
    /// True if it was not polled since [`QueuePermits::offer_anew`]. Then it is skipped, since its
    /// caller may hang.
    suspect: bool,
}

/// A queue permit. Dropping it passes it to the first waiting caller.
#[derive(Debug)]
pub(crate) struct Permit(Arc<QueuePermits>);

/// No permit is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPermit {
    /// All are taken.
    Full,
    /// The balancer is closed.
    Closed,
}

impl PermitState {
    /// Assigns a returned permit to the first waiting caller; returns its waker.
    fn give(&mut self) -> Option<Waker> {
        if self.owed > 0 {
            self.owed -= 1;
            return None;
        }
        let mut waiting = self.waiting.iter();
        let Some(turn) = waiting.find(|(_, waiter)| !waiter.suspect).map(|(turn, _)| *turn) else {
            self.free += 1;
            return None;
        };
        self.granted.insert(turn);
        self.waiting.remove(&turn).and_then(|waiter| waiter.waker)
    }
}

impl QueuePermits {
    pub(crate) fn new(permits: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(PermitState { free: permits, ..PermitState::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, PermitState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A permit, if one is free.
    pub(crate) fn try_take(self: &Arc<Self>) -> Result<Permit, NoPermit> {
        let mut state = self.lock();
        if state.closed {
            return Err(NoPermit::Closed);
        }
        match state.free.checked_sub(1) {
            Some(left) => {
                state.free = left;
                drop(state);
                Ok(Permit(self.clone()))
            }
            None => Err(NoPermit::Full),
        }
    }

    /// Waits for a permit; fails when the balancer closes. Dropping the future leaves the queue.
    pub(crate) fn take(self: &Arc<Self>) -> Taking {
        Taking { permits: self.clone(), turn: None }
    }

    /// To be called when a caller is known to hang. Offers uncollected permits to all waiting
    /// callers; those that do not poll are passed over until they do.
    pub(crate) fn offer_anew(&self) {
        let wakers: Vec<Waker> = {
            let mut state = self.lock();
            let granted = std::mem::take(&mut state.granted);
            state.free += granted.len();
            for turn in granted {
                // Already woken when it was assigned the permit; if it can poll, it will.
                state.waiting.insert(turn, PermitWaiter::default());
            }
            let waiters = state.waiting.values_mut();
            waiters
                .filter_map(|waiter| {
                    waiter.suspect = true;
                    waiter.waker.take()
                })
                .collect()
        };
        wakers.into_iter().for_each(wake);
    }

    /// Adds permits.
    pub(crate) fn grow(&self, permits: usize) {
        let wakers: Vec<Waker> = {
            let mut state = self.lock();
            (0..permits).filter_map(|_| state.give()).collect()
        };
        wakers.into_iter().for_each(wake);
    }

    /// Removes permits; those in use are retired when they are returned.
    pub(crate) fn shrink(&self, permits: usize) {
        let mut state = self.lock();
        let now = permits.min(state.free);
        state.free -= now;
        state.owed += permits - now;
    }

    /// Closes it: waiting callers get [`NoPermit::Closed`].
    pub(crate) fn close(&self) {
        let wakers: Vec<Waker> = {
            let mut state = self.lock();
            state.closed = true;
            let waiters = state.waiting.values_mut();
            waiters.filter_map(|waiter| waiter.waker.take()).collect()
        };
        wakers.into_iter().for_each(wake);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let waker = self.0.lock().give();
        waker.into_iter().for_each(wake);
    }
}

/// Future of a permit.
#[derive(Debug)]
pub(crate) struct Taking {
    permits: Arc<QueuePermits>,
    turn: Option<u64>,
}

impl Future for Taking {
    type Output = Result<Permit, NoPermit>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // Cloned before the lock, since cloning a waker is the caller's code.
        let waker = cx.waker().clone();
        let mut state = this.permits.lock();
        if state.closed {
            return Poll::Ready(Err(NoPermit::Closed));
        }
        let granted = this.turn.is_some_and(|turn| state.granted.remove(&turn));
        if granted || state.free > 0 {
            if !granted {
                state.free -= 1;
            }
            let waiter = this.turn.take().and_then(|turn| state.waiting.remove(&turn));
            drop(state);
            drop(waiter);
            return Poll::Ready(Ok(Permit(this.permits.clone())));
        }
        let turn = *this.turn.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        let waiter = state.waiting.entry(turn).or_default();
        waiter.suspect = false;
        let before = waiter.waker.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let Some(turn) = self.turn else {
            return;
        };
        let (waiter, waker) = {
            let mut state = self.permits.lock();
            let waiter = state.waiting.remove(&turn);
            let waker = match state.granted.remove(&turn) {
                true => state.give(),
                false => None,
            };
            (waiter, waker)
        };
        drop(waiter);
        waker.into_iter().for_each(wake);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::task::noop_waker_ref;

    use super::*;

    fn poll(taking: &mut Taking) -> Option<Result<Permit, NoPermit>> {
        match Pin::new(taking).poll(&mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }

    #[test]
    fn requests_are_served_in_order_of_arrival() {
        let permits = QueuePermits::new(1);
        let first = permits.try_take().expect("there is one");
        assert_eq!(permits.try_take().err(), Some(NoPermit::Full));
        let (mut a, mut b) = (permits.take(), permits.take());
        assert!(poll(&mut a).is_none() && poll(&mut b).is_none());
        drop(first);
        assert!(permits.try_take().is_err(), "it is the first one's");
        assert!(poll(&mut b).is_none());
        let permit = poll(&mut a).expect("its turn").expect("a permit");
        drop(permit);
        assert!(poll(&mut b).expect("its turn").is_ok());
        assert!(permits.try_take().is_ok());
    }

    #[test]
    fn a_cancelled_waiter_passes_its_permit_on() {
        let permits = QueuePermits::new(1);
        let first = permits.try_take().expect("there is one");
        let (mut a, mut b) = (permits.take(), permits.take());
        assert!(poll(&mut a).is_none() && poll(&mut b).is_none());
        drop(first);
        drop(a);
        let permit = poll(&mut b).expect("its turn").expect("a permit");
        drop(permit);
        assert!(permits.take().now_or_never().expect("a free one").is_ok());
    }

    #[test]
    fn a_hung_caller_keeps_no_permit_and_blocks_no_other() {
        let permits = QueuePermits::new(1);
        let first = permits.try_take().expect("there is one");
        let (mut hung, mut b) = (permits.take(), permits.take());
        assert!(poll(&mut hung).is_none() && poll(&mut b).is_none());
        drop(first);
        // The permit is assigned to the hung caller, which does not collect it.
        assert!(poll(&mut b).is_none());
        permits.offer_anew();
        let permit = poll(&mut b).expect("offered anew").expect("a permit");
        let mut c = permits.take();
        assert!(poll(&mut c).is_none());
        drop(permit);
        let permit = poll(&mut c).expect("the hung one is passed over").expect("a permit");
        // If the hung caller polls again, it queues like all others.
        assert!(poll(&mut hung).is_none());
        drop(permit);
        assert!(poll(&mut hung).expect("its turn").is_ok());
    }

    #[test]
    fn it_grows_and_shrinks_as_permits_come_back() {
        let permits = QueuePermits::new(3);
        let mut taken: Vec<Permit> =
            (0..3).map(|_| permits.try_take().expect("there are three")).collect();
        permits.shrink(2);
        taken.pop();
        taken.pop();
        assert_eq!(permits.try_take().err(), Some(NoPermit::Full));
        taken.pop();
        let one = permits.try_take().expect("one is left");
        assert!(permits.try_take().is_err());
        let mut waits = permits.take();
        assert!(poll(&mut waits).is_none());
        permits.grow(2);
        assert!(poll(&mut waits).expect("there is more").is_ok());
        assert!(permits.try_take().is_ok());
        drop(one);
    }

    #[test]
    fn a_closed_queue_has_no_permit() {
        let permits = QueuePermits::new(0);
        let mut waits = permits.take();
        assert!(poll(&mut waits).is_none());
        permits.close();
        assert_eq!(poll(&mut waits).expect("an answer").err(), Some(NoPermit::Closed));
        assert_eq!(permits.try_take().err(), Some(NoPermit::Closed));
    }
}
