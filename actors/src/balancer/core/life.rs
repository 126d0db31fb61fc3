//! Workers that come and go, how a balancer ends, and its account.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{BalancerCore, State};
use crate::balancer::call::CallError;
use crate::balancer::figures::{Buckets, Figures, Tail};
use crate::balancer::lane::{Account, Lane};
use crate::worker::Work;

impl<W: Work> BalancerCore<W> {
    /// A life of a worker can work. False where a later one was there before.
    pub(in crate::balancer) fn up(&self, worker: usize, epoch: u64) -> bool {
        let now = self.clock.now();
        let (told, first) = {
            let mut state = self.lock();
            if !state.desk.worker_up(worker, epoch, now) {
                return false;
            }
            // With its being up: what it is given from then on is rung here.
            self.workers[worker].bell.store(Arc::default());
            self.workers[worker].told.store(false, Ordering::Release);
            if self.lends {
                self.lanes[worker].open(epoch, (&self.threads, worker));
            }
            state.desk.turn(now);
            let first = !std::mem::replace(&mut state.seen[worker], true);
            if !first {
                state.restarts += 1;
            }
            (state.told(), first)
        };
        if first {
            // Outside the lock: a waker may run anything.
            self.changed.notify_waiters();
        }
        self.tell(told, Some(worker));
        // It may begin slowly, or others may be let back in: the timer has to know.
        self.ring();
        true
    }

    pub(in crate::balancer) fn down(&self, worker: usize, epoch: u64) {
        let now = self.clock.now();
        if self.lends {
            self.lanes[worker].shut(Some(epoch), (&self.threads, worker));
        }
        let told = {
            let mut state = self.lock();
            state.desk.worker_down(worker, epoch, now);
            state.desk.turn(now);
            state.told()
        };
        self.tell(told, None);
    }

    /// Sets how many workers are wanted: at least one, at most as many as it was made for. Gives that number.
    pub fn resize(&self, workers: usize) -> usize {
        let now = self.clock.now();
        // One at a time, or the desk and the workers might hear of two sizes in different orders.
        let resizing = self.resizing.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, size) = {
            let mut state = self.lock();
            let before = state.desk.size();
            state.desk.resize(workers, now);
            (before, state.desk.size())
        };
        self.size.send_replace(size);
        if let Some(room) = &self.room {
            let places = self.settings.places;
            room.grow(size.saturating_sub(before) * places);
            room.shrink(before.saturating_sub(size) * places);
        }
        drop(resizing);
        // Who waits for work is to see that nothing more comes.
        for worker in &self.workers[size..] {
            worker.bell.load().notify_one();
        }
        self.ring();
        size
    }

    /// Hears of every change of [`BalancerCore::resize`].
    pub(crate) fn sizes(&self) -> watch::Receiver<usize> {
        self.size.subscribe()
    }

    /// True if the worker of this number is wanted.
    pub(crate) fn wants(&self, worker: usize) -> bool {
        worker < *self.size.borrow()
    }

    /// Takes back what the life `epoch` of a worker holds, which is over although its thread may still be running it. A late answer to
    /// what is not over yet still counts. `guilty`: it hung by itself, so that what it had begun is charged an attempt.
    pub fn give_up(&self, name: &str, epoch: u64, guilty: bool) {
        let Some(worker) = self.workers.iter().position(|one| &*one.name == name) else {
            return;
        };
        let begun = {
            let state = self.lock();
            let present = state.desk.is_up(worker, epoch);
            present.then(|| state.desk.begun_by(worker, epoch))
        };
        for which in begun.into_iter().flatten() {
            self.lose(which, worker, epoch, guilty, "was given up as hung");
        }
        self.down(worker, epoch);
    }

    /// Somebody who may have been waiting for room hangs: what he was given goes to others.
    pub fn offer_room_anew(&self) {
        if let Some(room) = &self.room {
            room.offer_anew();
        }
    }

    /// Takes no further request; those under way run to their end.
    pub fn seal(&self) {
        self.lock().closed = true;
        // Before the lanes are looked at: who gives a place back from then on tells those who wait.
        self.sealed.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        if let Some(room) = &self.room {
            room.close();
        }
    }

    /// Takes no further request and gives up all that are under way: their callers hear [`CallError::Closed`].
    pub fn close(&self) {
        self.seal();
        let now = self.clock.now();
        let items = self.lock().desk.clear(now);
        for item in &items {
            item.cell.settle(Err(CallError::Closed));
        }
        for (worker, lane) in self.lanes.iter().enumerate() {
            lane.shut(None, (&self.threads, worker));
        }
        let any = !items.is_empty();
        drop(items);
        self.ended(any);
    }

    /// True while it takes requests and at least one worker is up.
    pub fn is_ready(&self) -> bool {
        let state = self.lock();
        !state.closed && state.desk.is_any_up()
    }

    /// What waits now should be done by then: an estimate.
    pub fn retry_after(&self) -> Duration {
        let state = self.lock();
        let counts = state.desk.counts();
        let done = (counts.answered + counts.errors).max(1);
        let places = state.desk.size() * self.settings.places;
        let each = state.busy.as_secs_f64() / done as f64 / places as f64;
        Duration::try_from_secs_f64(each * state.desk.queued() as f64).unwrap_or(Duration::MAX)
    }

    /// Lives of workers that were not their first, parked ones included.
    pub fn restarts(&self) -> u64 {
        self.lock().restarts
    }

    /// Requests that are not over.
    pub fn open(&self) -> usize {
        self.lock().desk.open() + Account::of(&self.lanes).open
    }

    /// Waits until no request is under way.
    pub async fn quiet(&self) {
        self.until(|state| state.desk.open() == 0 && !self.lanes.iter().any(Lane::is_busy))
            .await;
    }

    /// Waits until every worker that is wanted has been up once, or the balancer is closed.
    pub async fn ready(&self) {
        self.until(|state| {
            let wanted = &state.seen[..state.desk.size()];
            state.closed || wanted.iter().all(|seen| *seen)
        })
        .await;
    }

    async fn until(&self, holds: impl Fn(&State<W>) -> bool) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Listens before it looks.
            changed.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// From asking to the answer, and from the balancer's taking to the first begin.
    pub fn buckets(&self) -> [Buckets; 2] {
        let lent = Account::of(&self.lanes);
        let state = self.lock();
        let (response, waited) = lent.merged((&state.response, &state.waited));
        let (responses, waits) = (state.responses + lent.responses, state.waits);
        drop(state);
        [
            Buckets::new(&response, responses),
            Buckets::new(&waited, waits),
        ]
    }

    /// What it has done so far.
    pub fn figures(&self) -> Figures {
        let now = self.clock.now();
        let lent = Account::of(&self.lanes);
        let state = self.lock();
        let (response, waited) = lent.merged((&state.response, &state.waited));
        let mut counts = state.desk.counts();
        counts.answered += lent.answered;
        counts.failed += lent.failed;
        counts.cancelled += lent.cancelled;
        counts.asked += lent.answered + lent.failed + lent.cancelled + lent.open as u64;
        Figures {
            counts,
            open: state.desk.open() + lent.open,
            waiting: state.desk.waiting(),
            response: Tail::new(&response, state.responses + lent.responses),
            waited: Tail::new(&waited, state.waits),
            loads: state.desk.loads(now),
            busy: state.busy + lent.busy,
            workers: state.desk.size(),
            ejected: state.desk.ejected(),
        }
    }
}
