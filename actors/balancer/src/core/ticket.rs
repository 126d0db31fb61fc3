//! Guards of a running copy and of a worker's incarnation: whatever dies, their drops report it,
//! so no other recovery code is needed.

use std::sync::{Arc, PoisonError};

use super::BalancerCore;
use super::reply_slot::ReplySlot;
use super::state::RequestBody;
use crate::table::{Ref, RequestVerdict};
use crate::trace::RequestAct;
use crate::worker::Work;
use gopherworks_supervision::__private::planted::{self, Defect};
use gopherworks_supervision::__private::{die, guarded};
use gopherworks_supervision::Guarded;
use gopherworks_supervision::clock::Time;

/// A running copy of a request. Dropped without a reply, it is reported lost without charging an
/// attempt.
pub(crate) struct Ticket<W: Work> {
    pub(crate) core: Arc<BalancerCore<W>>,
    which: Ref,
    worker: usize,
    epoch: u64,
    began: Time,
    pub(crate) reply_slot: Arc<ReplySlot<W::Reply>>,
    /// Mask of the balancers that wait for it, this one included.
    pub(crate) behalf: u64,
    open: bool,
}

impl<W: Work> Ticket<W> {
    /// Takes the next request for a worker that has a free concurrency slot.
    pub(crate) fn take(
        core: &Arc<BalancerCore<W>>,
        worker: usize,
        epoch: u64,
    ) -> Option<(Self, Guarded<W::Request>)> {
        let now = core.clock.now();
        let (begun, effects, early, more) = {
            let mut state = core.lock();
            // Workers pull: a request in the backlog need not wait for the balancer's actor.
            state.table.turn(now);
            let begun = state.table.take(worker, epoch, now, |item| {
                let body = match &mut item.body {
                    RequestBody::Once(body) => Ok(body.take()),
                    RequestBody::Shared(body) => Err(body.clone()),
                };
                (body, item.reply_slot.clone(), item.behalf)
            });
            if let Some(begun) = &begun
                && begun.which.copy == 0
            {
                state.count_started(now - begun.submitted);
            }
            let more = state.table.has_more(worker);
            let early = core.is_early(&mut state);
            (begun, state.effects(), early, more)
        };
        // The guard is made first: if anything below fails, the request is returned or reported
        // lost.
        let begun = begun.map(|begun| {
            let (body, reply_slot, behalf) = begun.item;
            let ticket = Self {
                core: core.clone(),
                which: begun.which,
                worker,
                epoch,
                began: now,
                reply_slot,
                behalf: behalf | core.mark.bit(),
                open: true,
            };
            (ticket, body)
        });
        effects.apply(core, Some(worker));
        if more {
            core.roster.workers[worker].notify();
        }
        if early {
            core.ring();
        }
        let (ticket, body) = begun?;
        let which = ticket.which;
        core.record(
            &core.roster.workers[worker].name,
            now,
            RequestAct::Begin { request: which.number, copy: which.copy },
        );
        let request = match (body, &core.again) {
            (Ok(Some(body)), _) => body,
            // The user's code may panic; the guard exists by now.
            (Err(body), Some(again)) => {
                let body = body.lock().unwrap_or_else(PoisonError::into_inner);
                match guarded(|| again(&body, which.copy)) {
                    Ok(request) => Guarded::new(request),
                    Err(text) => {
                        drop(body);
                        ticket.charge(&text);
                        die(text);
                    }
                }
            }
            (Ok(None), _) | (Err(_), None) => {
                unreachable!("only requests that can be recreated are retried")
            }
        };
        Some((ticket, request))
    }

    /// Reports the reply.
    pub(crate) fn answer(mut self, reply: Guarded<W::Reply>) {
        self.open = false;
        let core = &self.core;
        let now = core.clock.now();
        let took = now - self.began;
        // User code, so outside the lock; if it panics the reply counts as a success.
        let failed = (core.failed.as_ref())
            .is_some_and(|failed| guarded(|| failed(&reply)).unwrap_or(false));
        let (verdict, effects, idle) = {
            let mut state = core.lock();
            let (which, worker, epoch) = (self.which, self.worker, self.epoch);
            let verdict = (state.table).answered(which, worker, epoch, took, failed, now);
            if let RequestVerdict::Over(item) = &verdict
                && !failed
            {
                state.count_answered(now - item.asked);
            }
            state.busy += took;
            // This worker fills its free slot by its next `take`.
            (verdict, state.effects(), state.table.open() == 0)
        };
        effects.apply(core, Some(self.worker));
        let wanted = matches!(verdict, RequestVerdict::Over(_));
        let act = RequestAct::Answer { request: self.which.number, copy: self.which.copy, wanted };
        let worker = &core.roster.workers[self.worker].name;
        core.record(worker, now, act);
        if planted::has(Defect::BalancerAnswersTwice) && self.which.copy > 0 {
            core.record(worker, now, act);
        }
        core.clock.made_progress();
        if let RequestVerdict::Over(item) = verdict {
            item.reply_slot.settle(Ok(reply));
            drop(item);
            core.ended(idle);
        }
    }

    /// The reply is no longer wanted: frees the slot.
    pub(crate) fn give_back(self) {}

    /// Reports that the request made its worker panic, which costs an attempt.
    pub(crate) fn charge(mut self, text: &str) {
        self.open = false;
        self.lost(true, &format!("panicked: {text}"));
    }

    fn lost(&self, charged: bool, reason: &str) {
        self.core.lose(self.which, self.worker, self.epoch, charged, reason);
    }
}

impl<W: Work> Drop for Ticket<W> {
    fn drop(&mut self) {
        if self.open {
            self.lost(false, "it ended before it had answered");
        }
    }
}

/// The presence of a worker's incarnation, from when it is ready until it ends.
pub(crate) struct Presence<W: Work> {
    core: Arc<BalancerCore<W>>,
    worker: usize,
    epoch: u64,
}

impl<W: Work> Presence<W> {
    /// The incarnation is ready. `None` if a later one was up before.
    pub(crate) fn new(core: Arc<BalancerCore<W>>, worker: usize, epoch: u64) -> Option<Self> {
        let now = core.clock.now();
        let (effects, first) = {
            let mut state = core.lock();
            if !state.table.worker_up(worker, epoch, now) {
                return None;
            }
            core.roster.workers[worker].renew();
            core.lending.open(worker, epoch);
            state.table.turn(now);
            let first = !std::mem::replace(&mut state.seen[worker], true);
            if !first {
                state.restarts += 1;
            }
            (state.effects(), first)
        };
        if first {
            // Outside the lock: a waker may run any code.
            core.changed.notify_waiters();
        }
        effects.apply(&core, Some(worker));
        // Slow start and readmission may have changed when the timer is due.
        core.ring();
        Some(Self { core, worker, epoch })
    }

    /// Ends an incarnation that is given up although its thread may still run. No effect if it has
    /// ended before.
    pub(crate) fn end(core: &BalancerCore<W>, worker: usize, epoch: u64) {
        let now = core.clock.now();
        core.lending.shut(worker, Some(epoch));
        let effects = {
            let mut state = core.lock();
            state.table.worker_down(worker, epoch, now);
            state.table.turn(now);
            state.effects()
        };
        effects.apply(core, None);
    }
}

impl<W: Work> Drop for Presence<W> {
    fn drop(&mut self) {
        Self::end(&self.core, self.worker, self.epoch);
    }
}
