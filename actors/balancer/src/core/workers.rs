//! Workers coming and going, resizing, draining, closing, and statistics.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::call::CallError;
use super::inline_slots::{Account, InlineSlots};
use super::{BalancerCore, BalancerState};
use crate::figures::{Buckets, Figures, Tail};
use crate::worker::Work;

impl<W: Work> BalancerCore<W> {
    /// An incarnation of a worker is ready. Returns false if a later one was up before.
    pub(crate) fn up(&self, worker: usize, epoch: u64) -> bool {
        let now = self.clock.now();
        let (effects, first) = {
            let mut state = self.lock();
            if !state.table.worker_up(worker, epoch, now) {
                return false;
            }
            // New for each incarnation: wake-ups after `worker_up` belong to this one.
            self.workers[worker].bell.store(Arc::default());
            self.workers[worker].wake_pending.store(false, Ordering::Release);
            if self.lends {
                self.inline_slots[worker].open(epoch, (&self.threads, worker));
            }
            state.table.turn(now);
            let first = !std::mem::replace(&mut state.seen[worker], true);
            if !first {
                state.restarts += 1;
            }
            (state.effects(), first)
        };
        if first {
            // Outside the lock: a waker may run any code.
            self.changed.notify_waiters();
        }
        self.apply(effects, Some(worker));
        // Slow start and readmission may have changed when the timer is due.
        self.ring();
        true
    }

    pub(crate) fn down(&self, worker: usize, epoch: u64) {
        let now = self.clock.now();
        if self.lends {
            self.inline_slots[worker].shut(Some(epoch), (&self.threads, worker));
        }
        let effects = {
            let mut state = self.lock();
            state.table.worker_down(worker, epoch, now);
            state.table.turn(now);
            state.effects()
        };
        self.apply(effects, None);
    }

    /// Sets the number of wanted workers, clamped to 1..=the number it was built with. Returns it.
    pub fn resize(&self, workers: usize) -> usize {
        let now = self.clock.now();
        // Serialised, so that the table and the workers see sizes in the same order.
        let resizing = self.resizing.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, size) = {
            let mut state = self.lock();
            let before = state.table.size();
            state.table.resize(workers, now);
            (before, state.table.size())
        };
        self.size.send_replace(size);
        if let Some(permits) = &self.permits {
            let places = self.settings.places;
            permits.grow(size.saturating_sub(before) * places);
            permits.shrink(before.saturating_sub(size) * places);
        }
        drop(resizing);
        // Workers beyond the new size are woken, so that they see that they are parked.
        for worker in &self.workers[size..] {
            worker.bell.load().notify_one();
        }
        self.ring();
        size
    }

    /// Subscribes to the number of wanted workers, see [`BalancerCore::resize`].
    pub(crate) fn sizes(&self) -> watch::Receiver<usize> {
        self.size.subscribe()
    }

    /// True if the worker with this number (from 0) is wanted.
    pub(crate) fn wants(&self, worker: usize) -> bool {
        worker < *self.size.borrow()
    }

    /// Takes back the requests of a worker's incarnation `epoch`, which is given up although its
    /// thread may still run. A late reply to a request that is not yet over still counts. With
    /// `guilty` the worker itself hung, so its running requests are charged an attempt.
    pub fn give_up(&self, name: &str, epoch: u64, guilty: bool) {
        let Some(worker) = self.workers.iter().position(|one| &*one.name == name) else {
            return;
        };
        let begun = {
            let state = self.lock();
            let present = state.table.is_up(worker, epoch);
            present.then(|| state.table.begun_by(worker, epoch))
        };
        for which in begun.into_iter().flatten() {
            self.lose(which, worker, epoch, guilty, "was given up as hung");
        }
        self.down(worker, epoch);
    }

    /// To be called when a caller is known to hang: queue permits granted but not collected are
    /// offered to other waiting callers.
    pub fn offer_permits_anew(&self) {
        if let Some(permits) = &self.permits {
            permits.offer_anew();
        }
    }

    /// Accepts no further requests; accepted ones run to completion.
    pub fn seal(&self) {
        self.lock().closed = true;
        // Before inline runs are counted: one that ends from now on notifies waiters of `changed`.
        self.sealed.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        if let Some(permits) = &self.permits {
            permits.close();
        }
    }

    /// Accepts no further requests and gives up all in flight: their callers get
    /// [`CallError::Closed`].
    pub fn close(&self) {
        self.seal();
        let now = self.clock.now();
        let items = self.lock().table.clear(now);
        for item in &items {
            item.reply_slot.settle(Err(CallError::Closed));
        }
        for (worker, slots) in self.inline_slots.iter().enumerate() {
            slots.shut(None, (&self.threads, worker));
        }
        let any = !items.is_empty();
        drop(items);
        self.ended(any);
    }

    /// True while requests are accepted and at least one worker is up.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        !state.closed && state.table.is_any_up()
    }

    /// Estimated time until the requests queued now have been served; zero if there is no data.
    pub fn retry_after(&self) -> Duration {
        let state = self.lock();
        let counts = state.table.counts();
        let done = (counts.answered + counts.errors).max(1);
        let places = state.table.size() * self.settings.places;
        let each = state.busy.as_secs_f64() / done as f64 / places as f64;
        Duration::try_from_secs_f64(each * state.table.queued() as f64).unwrap_or(Duration::MAX)
    }

    /// Number of worker restarts, including those of parked workers.
    pub fn restarts(&self) -> u64 {
        self.lock().restarts
    }

    /// Requests in flight, queued or running.
    pub fn open(&self) -> usize {
        self.lock().table.open() + Account::of(&self.inline_slots).open
    }

    /// Waits until no request is in flight.
    pub async fn quiet(&self) {
        self.until(|state| {
            state.table.open() == 0 && !self.inline_slots.iter().any(InlineSlots::is_busy)
        })
        .await;
    }

    /// Waits until every wanted worker has been up once, or the balancer is closed.
    pub async fn ready(&self) {
        self.until(|state| {
            let wanted = &state.seen[..state.table.size()];
            state.closed || wanted.iter().all(|seen| *seen)
        })
        .await;
    }

    async fn until(&self, holds: impl Fn(&BalancerState<W>) -> bool) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registers before checking, so that no change in between is missed.
            changed.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Histograms of the response time (from the call to the reply) and the waiting time (from
    /// acceptance to the first start).
    pub fn buckets(&self) -> [Buckets; 2] {
        let lent = Account::of(&self.inline_slots);
        let state = self.lock();
        let (response, waited) = lent.merged((&state.response, &state.waited));
        let (responses, waits) = (state.responses + lent.responses, state.waits);
        drop(state);
        [Buckets::new(&response, responses), Buckets::new(&waited, waits)]
    }

    /// Statistics since the start.
    pub fn figures(&self) -> Figures {
        let now = self.clock.now();
        let lent = Account::of(&self.inline_slots);
        let state = self.lock();
        let (response, waited) = lent.merged((&state.response, &state.waited));
        let mut counts = state.table.counts();
        counts.answered += lent.answered;
        counts.failed += lent.failed;
        counts.cancelled += lent.cancelled;
        counts.asked += lent.answered + lent.failed + lent.cancelled + lent.open as u64;
        Figures {
            counts,
            open: state.table.open() + lent.open,
            waiting: state.table.waiting(),
            response: Tail::new(&response, state.responses + lent.responses),
            waited: Tail::new(&waited, state.waits),
            loads: state.table.loads(now),
            busy: state.busy + lent.busy,
            workers: state.table.size(),
            ejected: state.table.ejected(),
        }
    }
}
