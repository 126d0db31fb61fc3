//! Inline slots: an idle worker lends its concurrency slots to callers on its own arbiter, which
//! run their request without queueing.
//!
//! Handing a request over costs two wake-ups (worker and caller), more than a short request
//! itself, and both would run on the same thread anyway. So if nothing is queued, the caller
//! borrows the slot, runs the work, and returns the slot. The request never leaves its caller: it
//! cannot be lost, and its reply is what the call returns.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hdrhistogram::Histogram;
use slab::Slab;

use crate::table::times::{histogram, record_n};
use crate::worker::Work;
use gopherworks_supervision::__private::threads::number;
use gopherworks_supervision::__private::{CachePadded, WatchedLife};
use gopherworks_supervision::Guarded;

/// Inline work on an arbiter before callers yield to others.
const TURN: Duration = Duration::from_micros(1);
/// Estimated cost of a request besides its work, for the sum of inline work.
const OVERHEAD: Duration = Duration::from_nanos(64);
/// Work shorter than this is only timed one time in `ONE_IN`: reading the clock takes as long.
const SHORT: Duration = Duration::from_micros(1);
/// See `SHORT`.
const ONE_IN: u64 = 8;

thread_local! {
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Yields to the end of the arbiter's queue. (After `tokio::task::yield_now` several tasks may
/// resume in reverse order.)
pub(crate) async fn give_way() {
    let mut gave_way = false;
    poll_fn(|cx| match std::mem::replace(&mut gave_way, true) {
        true => Poll::Ready(()),
        false => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// True, and starts a new turn, if callers on this arbiter have used up their turn.
pub(crate) fn turn_is_over() -> bool {
    SPENT.get() >= TURN && {
        SPENT.set(Duration::ZERO);
        true
    }
}

/// Starts a new turn.
#[cfg(test)]
pub(crate) fn begin_turn() {
    SPENT.set(Duration::ZERO);
}

fn spend(took: Duration) {
    SPENT.set(SPENT.get() + took + OVERHEAD);
}

/// The slots that one worker lends. Aligned, so that workers of different arbiters share no cache
/// line.
pub(crate) struct InlineSlots<W: Work>(CachePadded<Mutex<InlineState<W>>>);

/// An idle slot, with the child that the watchdog holds responsible for it. Boxed: moving it by
/// value would cost an empty request a tenth of its time.
pub(crate) struct IdleSlot<W> {
    pub(crate) work: Guarded<W>,
    pub(crate) life: Option<WatchedLife>,
}

struct InlineState<W: Work> {
    epoch: u64,
    #[allow(clippy::vec_box, reason = "each is passed on in its box")]
    idle: Vec<Box<IdleSlot<W>>>,
    /// Callers whose inline run is pending.
    waiting: Slab<Waker>,
    /// True if the worker wanted a slot that was lent.
    missed: bool,
    /// Text of a panic of an inline run.
    broken: Option<String>,
    account: Account,
}

/// Statistics of inline runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    /// Runs in progress.
    pub(crate) open: usize,
    /// Response times; the waiting time is 0 for all.
    pub(crate) response: Option<Histogram<u64>>,
    /// Sum of the response times, in seconds.
    pub(crate) responses: f64,
    pub(crate) busy: Duration,
    /// Duration of the last timed run, and the number of untimed ones since.
    usual: Option<Duration>,
    untimed: u64,
}

impl Account {
    /// Adds `count` runs with these response and service times each.
    fn took(&mut self, count: u64, response: Duration, took: Duration) {
        self.answered += count;
        self.busy += took.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        self.responses += response.as_secs_f64() * count as f64;
        let all = self.response.get_or_insert_with(histogram);
        record_n(all, response, count);
    }

    /// Adds the untimed runs, with the duration of the last timed one.
    fn settle(&mut self) {
        let count = std::mem::take(&mut self.untimed);
        if count > 0 {
            let usual = self.usual.unwrap_or_default();
            self.took(count, usual, usual);
        }
    }

    /// True if the next run should be timed.
    fn is_due(&self) -> bool {
        self.usual.is_none_or(|usual| usual >= SHORT) || self.untimed + 1 >= ONE_IN
    }

    fn answered(&mut self, timed: Option<Timed>) {
        let Some(Timed { waited, took }) = timed else {
            self.untimed += 1;
            spend(self.usual.unwrap_or_default());
            return;
        };
        // The untimed runs before it are taken to have been as long.
        self.usual = Some(took);
        self.settle();
        self.took(1, waited + took, took);
        spend(took);
    }

    pub(crate) fn add(&mut self, other: Account) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.open += other.open;
        self.responses += other.responses;
        self.busy += other.busy;
        match (&mut self.response, other.response) {
            (Some(all), Some(other)) => {
                // Same precision, and it resizes itself: this cannot fail.
                let added = all.add(&other);
                debug_assert!(added.is_ok());
            }
            (all @ None, other) => *all = other,
            (Some(_), None) => {}
        }
    }

    /// Merges response and waiting times with those of queued requests.
    pub(crate) fn merged(
        &self,
        (response, waited): (&Histogram<u64>, &Histogram<u64>),
    ) -> (Histogram<u64>, Histogram<u64>) {
        let (mut response, mut waited) = (response.clone(), waited.clone());
        if let Some(mine) = &self.response {
            let added = response.add(mine).is_ok() && waited.record_n(0, mine.len()).is_ok();
            debug_assert!(added);
        }
        (response, waited)
    }
}

/// Outcome of a worker's wish to have a slot back.
pub(crate) enum Recalled<W> {
    Here(Box<IdleSlot<W>>),
    /// The slot is lent; the worker is woken when it is returned.
    Lent,
    /// An inline run panicked with this text: the worker has to fail with it.
    Broken(String),
}

/// How long the caller waited for its turn, and how long the work took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed {
    pub(crate) waited: Duration,
    pub(crate) took: Duration,
}

/// How an inline run ended.
pub(crate) enum Ended {
    /// The work returned a reply; with its times, if it was timed.
    Answered(Option<Timed>),
    /// The work panicked, with this text.
    Panicked(String),
    /// The worker's incarnation ended first.
    Lost,
    /// The caller dropped the request.
    Dropped,
}

impl<W: Work> Default for InlineSlots<W> {
    fn default() -> Self {
        Self(CachePadded::new(Mutex::new(InlineState {
            epoch: 0,
            idle: Vec::new(),
            waiting: Slab::new(),
            missed: false,
            broken: None,
            account: Account::default(),
        })))
    }
}

impl<W: Work> InlineSlots<W> {
    /// No user code runs under this lock.
    fn lock(&self) -> MutexGuard<'_, InlineState<W>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Incarnation `epoch` of the worker starts on this thread.
    pub(crate) fn open(&self, epoch: u64, thread: &AtomicU64) {
        let before = {
            let mut state = self.lock();
            state.epoch = epoch;
            state.missed = false;
            state.broken = None;
            thread.store(number(), Ordering::Relaxed);
            std::mem::take(&mut state.idle)
        };
        drop(before);
    }

    /// Incarnation `epoch` (or the current one, with `None`) is over: lent slots are dropped
    /// when they come back, and callers whose run is pending drop it.
    pub(crate) fn shut(&self, epoch: Option<u64>, thread: &AtomicU64) {
        let (idle, waiting) = {
            let mut state = self.lock();
            if epoch.is_some_and(|epoch| state.epoch != epoch) {
                return;
            }
            thread.store(0, Ordering::Relaxed);
            // No incarnation has epoch 0, so nothing matches until the next one opens.
            state.epoch = 0;
            let waiting: Vec<Waker> = state.waiting.drain().collect();
            (std::mem::take(&mut state.idle), waiting)
        };
        drop(idle);
        waiting.into_iter().for_each(super::reply_slot::wake);
    }

    /// Makes an idle slot available; returned if this incarnation is over.
    pub(crate) fn offer(&self, epoch: u64, slot: Box<IdleSlot<W>>) -> Result<(), Box<IdleSlot<W>>> {
        let mut state = self.lock();
        if state.epoch != epoch || state.broken.is_some() {
            return Err(slot);
        }
        state.idle.push(slot);
        Ok(())
    }

    /// The worker wants a slot back.
    pub(crate) fn recall(&self) -> Recalled<W> {
        let mut state = self.lock();
        if let Some(text) = state.broken.take() {
            return Recalled::Broken(text);
        }
        match state.idle.pop() {
            Some(slot) => Recalled::Here(slot),
            None => {
                state.missed = true;
                Recalled::Lent
            }
        }
    }

    /// Borrows a slot: the lending incarnation, the slot, and whether the run should be timed.
    #[inline]
    pub(crate) fn lend(&self) -> Option<(u64, Box<IdleSlot<W>>, bool)> {
        let mut state = self.lock();
        if state.broken.is_some() {
            return None;
        }
        let slot = state.idle.pop()?;
        state.account.open += 1;
        Some((state.epoch, slot, state.account.is_due()))
    }

    /// Registers a pending inline run, to be woken when the incarnation is over. True if it is.
    pub(crate) fn poll_over(&self, epoch: u64, key: &mut Option<u32>, cx: &Context<'_>) -> bool {
        // Cloned before the lock, since cloning a waker is the caller's code.
        let waker = cx.waker().clone();
        let mut state = self.lock();
        if state.epoch != epoch {
            *key = None;
            return true;
        }
        let before = match *key {
            Some(key) => Some(std::mem::replace(&mut state.waiting[key as usize], waker)),
            None => {
                *key = Some(state.waiting.insert(waker) as u32);
                None
            }
        };
        drop(state);
        drop(before);
        false
    }

    /// Returns a slot; `None` if its work has panicked. True if the worker should be woken.
    #[inline]
    pub(crate) fn give_back(
        &self,
        epoch: u64,
        slot: Option<Box<IdleSlot<W>>>,
        key: Option<u32>,
        ended: Ended,
    ) -> bool {
        let (tell, _late, _waker) = {
            let mut state = self.lock();
            let state = &mut *state;
            let account = &mut state.account;
            account.open -= 1;
            let mut broken = None;
            match ended {
                Ended::Answered(timed) => account.answered(timed),
                Ended::Panicked(text) => {
                    account.failed += 1;
                    broken = Some(text);
                }
                Ended::Lost => account.failed += 1,
                Ended::Dropped => account.cancelled += 1,
            }
            let mut waker = None;
            let mut late = slot;
            let mut tell = false;
            if state.epoch == epoch {
                waker = key.map(|key| state.waiting.remove(key as usize));
                tell = broken.is_some() || std::mem::take(&mut state.missed);
                state.broken = broken.or(state.broken.take());
                state.idle.extend(late.take());
            }
            (tell, late, waker)
        };
        tell
    }

    /// Statistics so far.
    pub(crate) fn account(&self) -> Account {
        let mut account = self.lock().account.clone();
        account.settle();
        account
    }

    /// True if an inline run is in progress.
    pub(crate) fn is_busy(&self) -> bool {
        self.lock().account.open > 0
    }
}
