//! Places of workers that have nothing to do, lent to callers on their own arbiter: such a request is done there and then, in no queue.
//!
//! A hand-over costs more than a short request: a wake-up of the worker, and one of the caller. Both are on the same thread here,
//! which the request would occupy all the same. So where nothing waits, a caller borrows the place, works, and gives it back.
//! The request stays in its caller's hands: it can't be lost, and its answer is what the call returns.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hdrhistogram::Histogram;
use slab::Slab;

use super::desk::times::{histogram, record_n};
use crate::supervision::{Guarded, Home};
use crate::threads::{self, Apart};
use crate::worker::Work;

/// Work of one caller before others on the arbiter get their turn.
const TURN: Duration = Duration::from_micros(1);
/// What a request costs besides its work, as far as turns go.
const OVERHEAD: Duration = Duration::from_nanos(64);
/// Work that is so short is timed once in a while: looking at the clock takes as long.
const SHORT: Duration = Duration::from_micros(1);
/// One in so many.
const ONE_IN: u64 = 8;
/// Requests of the queue that must have been done without waiting before places are lent.
const TRIED: i32 = 8;
/// The same after one that was done on loan has waited.
const DISTRUST: i32 = 1024;

thread_local! {
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Goes to the end of the arbiter's queue. tokio's `yield_now` has the last one first when several yield in one go.
pub(super) async fn give_way() {
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

/// True if callers on this arbiter have had their turn: others are to have theirs.
pub(super) fn turn_is_over() -> bool {
    SPENT.get() >= TURN && {
        SPENT.set(Duration::ZERO);
        true
    }
}

/// As if nobody had done anything in this turn.
#[cfg(test)]
pub(super) fn begin_turn() {
    SPENT.set(Duration::ZERO);
}

fn spend(took: Duration) {
    SPENT.set(SPENT.get() + took + OVERHEAD);
}

/// Whether the work is known not to wait: only then a caller's hands are as good as a worker's.
#[derive(Debug)]
pub(super) struct Trust(AtomicI32);

impl Default for Trust {
    fn default() -> Self {
        Self(AtomicI32::new(-TRIED))
    }
}

impl Trust {
    /// True if places may be lent.
    pub(super) fn is_won(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= 0
    }

    /// A request of the queue was done; `at_once` says that it did not wait.
    pub(super) fn saw(&self, at_once: bool) {
        let before = self.0.load(Ordering::Relaxed);
        match at_once {
            // One that is lost by a race comes later.
            true if before < 0 => self.0.store(before + 1, Ordering::Relaxed),
            true => {}
            false => self.0.store(before.min(-TRIED), Ordering::Relaxed),
        }
    }

    /// One on loan had to wait.
    pub(super) fn is_lost(&self) {
        self.0.store(-DISTRUST, Ordering::Relaxed);
    }
}

/// The places of one worker that may be lent. Workers of two arbiters share no line of a cache.
pub(super) struct Lane<W: Work>(Apart<Mutex<State<W>>>);

/// On which thread each worker lends; 0 where it does not.
#[derive(Debug)]
pub(super) struct Threads(Vec<AtomicU64>);

impl Threads {
    pub(super) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| AtomicU64::new(0)).collect())
    }

    /// The workers that lend on the thread `here`, from the number `first` on.
    pub(super) fn at(&self, here: u64, first: usize) -> impl Iterator<Item = usize> {
        let rest = self.0.iter().enumerate().skip(first);
        let there = rest.filter(move |(_, thread)| thread.load(Ordering::Relaxed) == here);
        there.map(|(worker, _)| worker)
    }

    fn set(&self, worker: usize, thread: u64) {
        self.0[worker].store(thread, Ordering::Relaxed);
    }
}

/// A place, and whom a watchdog is to blame for it. It is passed on in a box: moved as it is, it would cost a request without work a tenth of its time.
pub(crate) struct Idle<W> {
    pub(crate) work: Guarded<W>,
    pub(crate) home: Option<Home>,
}

struct State<W: Work> {
    epoch: u64,
    #[allow(clippy::vec_box, reason = "each is passed on in its box")]
    idle: Vec<Box<Idle<W>>>,
    /// Callers whose request on loan waits.
    waiting: Slab<Waker>,
    /// The worker has looked for a place that was lent.
    missed: bool,
    /// A request on loan has panicked.
    broken: Option<String>,
    account: Account,
}

/// What was done on loan.
#[derive(Debug, Clone, Default)]
pub(super) struct Account {
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    /// Under way.
    pub(super) open: usize,
    /// From asking to the answer; none of them waited for a worker.
    pub(super) response: Option<Histogram<u64>>,
    /// Their sum in seconds.
    pub(super) responses: f64,
    pub(super) busy: Duration,
    /// What the last one took that was timed, and how many came since that were not.
    usual: Option<Duration>,
    untimed: u64,
}

impl Account {
    /// So many were done, in such a time each.
    fn took(&mut self, count: u64, response: Duration, took: Duration) {
        self.answered += count;
        self.busy += took.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        self.responses += response.as_secs_f64() * count as f64;
        let all = self.response.get_or_insert_with(histogram);
        record_n(all, response, count);
    }

    /// With those that were not timed, which took what others did.
    fn settle(&mut self) {
        let count = std::mem::take(&mut self.untimed);
        if count > 0 {
            let usual = self.usual.unwrap_or_default();
            self.took(count, usual, usual);
        }
    }

    /// True if the next one should be timed.
    fn is_due(&self) -> bool {
        self.usual.is_none_or(|usual| usual >= SHORT) || self.untimed + 1 >= ONE_IN
    }

    fn answered(&mut self, timed: Option<Timed>) {
        let Some(Timed { waited, took }) = timed else {
            self.untimed += 1;
            spend(self.usual.unwrap_or_default());
            return;
        };
        // Those before it were as long, as far as anybody knows.
        self.usual = Some(took);
        self.settle();
        self.took(1, waited + took, took);
        spend(took);
    }

    fn add(&mut self, other: Account) {
        self.answered += other.answered;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.open += other.open;
        self.responses += other.responses;
        self.busy += other.busy;
        match (&mut self.response, other.response) {
            (Some(all), Some(other)) => {
                // It is as exact as the other, and grows.
                let added = all.add(&other);
                debug_assert!(added.is_ok());
            }
            (all @ None, other) => *all = other,
            (Some(_), None) => {}
        }
    }

    /// All that was done on loan by a balancer's workers.
    pub(super) fn of<W: Work>(lanes: &[Lane<W>]) -> Self {
        let mut all = Self::default();
        for lane in lanes {
            all.add(lane.account());
        }
        all
    }

    /// With what went over the desk: response times, and times of waiting, which here there was none of.
    pub(super) fn merged(
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

/// What has become of a place that the worker wants back.
pub(crate) enum Recalled<W> {
    Here(Box<Idle<W>>),
    /// It is lent: the worker is told when it is back.
    Lent,
    /// It is not worth having any more: the worker is to die of this.
    Broken(String),
}

/// How long a request was on loan, and how long its caller had waited for his turn before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timed {
    pub(super) waited: Duration,
    pub(super) took: Duration,
}

/// How a request on loan ended.
pub(super) enum Ended {
    /// In so much time, if it was timed.
    Answered(Option<Timed>),
    /// Of this panic.
    Panicked(String),
    /// The worker's life was over before.
    Lost,
    /// Its caller is gone.
    Dropped,
}

impl<W: Work> Default for Lane<W> {
    fn default() -> Self {
        Self(Apart(Mutex::new(State {
            epoch: 0,
            idle: Vec::new(),
            waiting: Slab::new(),
            missed: false,
            broken: None,
            account: Account::default(),
        })))
    }
}

impl<W: Work> Lane<W> {
    /// No user code runs under it.
    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life `epoch` of a worker begins on this thread.
    pub(super) fn open(&self, epoch: u64, (lending, worker): (&Threads, usize)) {
        let before = {
            let mut state = self.lock();
            state.epoch = epoch;
            state.missed = false;
            state.broken = None;
            lending.set(worker, threads::number());
            std::mem::take(&mut state.idle)
        };
        drop(before);
    }

    /// The life `epoch` is over, whichever it is where that is `None`: what is on loan is not given back, and what waits on loan is
    /// dropped by its caller.
    pub(super) fn shut(&self, epoch: Option<u64>, (lending, worker): (&Threads, usize)) {
        let (idle, waiting) = {
            let mut state = self.lock();
            if epoch.is_some_and(|epoch| state.epoch != epoch) {
                return;
            }
            lending.set(worker, 0);
            // Nobody's, until the next life.
            state.epoch = 0;
            let waiting: Vec<Waker> = state.waiting.drain().collect();
            (std::mem::take(&mut state.idle), waiting)
        };
        drop(idle);
        waiting.into_iter().for_each(super::cell::wake);
    }

    /// A place that has nothing to do. Given back where this life is over.
    pub(super) fn offer(&self, epoch: u64, place: Box<Idle<W>>) -> Result<(), Box<Idle<W>>> {
        let mut state = self.lock();
        if state.epoch != epoch || state.broken.is_some() {
            return Err(place);
        }
        state.idle.push(place);
        Ok(())
    }

    /// The worker wants a place back.
    pub(super) fn recall(&self) -> Recalled<W> {
        let mut state = self.lock();
        if let Some(text) = state.broken.take() {
            return Recalled::Broken(text);
        }
        match state.idle.pop() {
            Some(place) => Recalled::Here(place),
            None => {
                state.missed = true;
                Recalled::Lent
            }
        }
    }

    /// A place, with the number of the life that lends it, and whether the request is to be timed.
    pub(super) fn lend(&self) -> Option<(u64, Box<Idle<W>>, bool)> {
        let mut state = self.lock();
        if state.broken.is_some() {
            return None;
        }
        let place = state.idle.pop()?;
        state.account.open += 1;
        Some((state.epoch, place, state.account.is_due()))
    }

    /// The request on loan waits: whoever asks is woken when the life is over. True if it is.
    pub(super) fn poll_over(&self, epoch: u64, key: &mut Option<u32>, cx: &Context<'_>) -> bool {
        // Cloned before the lock: that is the caller's code.
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

    /// A place comes back; `None` where it is not worth having. True if the worker should be told.
    pub(super) fn give_back(
        &self,
        epoch: u64,
        place: Option<Box<Idle<W>>>,
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
            let mut late = place;
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

    /// What was done on loan so far.
    pub(super) fn account(&self) -> Account {
        let mut account = self.lock().account.clone();
        account.settle();
        account
    }

    /// True if something is under way on loan.
    pub(super) fn is_busy(&self) -> bool {
        self.lock().account.open > 0
    }
}
