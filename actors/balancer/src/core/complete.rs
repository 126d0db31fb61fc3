//! How requests end: answered, lost with their worker, cancelled, expired or shed.

use super::call::CallError;
use super::ticket::Ticket;
use super::{BalancerCore, RequestPayload, record};
use crate::table::{Ref, Refusal, RequestVerdict};
use crate::trace::RequestAct;
use crate::worker::Work;
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::__private::planted::{self, Defect};
use gopherworks_supervision::Guarded;

impl<W: Work> BalancerCore<W> {
    pub(crate) fn answer(&self, ticket: &Ticket<W>, reply: Guarded<W::Reply>) {
        let now = self.clock.now();
        let took = now - ticket.began;
        // User code, so outside the lock; if it panics the reply counts as a success.
        let failed = (self.failed.as_ref())
            .is_some_and(|failed| guarded(|| failed(&reply)).unwrap_or(false));
        let (verdict, effects, idle) = {
            let mut state = self.lock();
            let (which, worker, epoch) = (ticket.which, ticket.worker, ticket.epoch);
            let verdict = (state.table).answered(which, worker, epoch, took, failed, now);
            if let RequestVerdict::Over(item) = &verdict
                && !failed
            {
                let response = now - item.asked;
                record(&mut state.response, response);
                state.responses += response.as_secs_f64();
            }
            state.busy += took;
            // This worker fills its free slot by its next `take`.
            (verdict, state.effects(), state.table.open() == 0)
        };
        self.apply(effects, Some(ticket.worker));
        let wanted = matches!(verdict, RequestVerdict::Over(_));
        let act =
            RequestAct::Answer { request: ticket.which.number, copy: ticket.which.copy, wanted };
        let worker = &self.workers[ticket.worker].name;
        self.record(worker, now, act);
        if planted::has(Defect::BalancerAnswersTwice) && ticket.which.copy > 0 {
            self.record(worker, now, act);
        }
        self.clock.made_progress();
        if let RequestVerdict::Over(item) = verdict {
            item.reply_slot.settle(Ok(reply));
            drop(item);
            self.ended(idle);
        }
    }

    pub(crate) fn lost(&self, ticket: &Ticket<W>, charged: bool, reason: &str) {
        self.lose(ticket.which, ticket.worker, ticket.epoch, charged, reason);
    }

    pub(crate) fn lose(&self, which: Ref, worker: usize, epoch: u64, charged: bool, reason: &str) {
        let now = self.clock.now();
        let again = self.again.is_some();
        let (verdict, idle) = {
            let mut state = self.lock();
            let table = &mut state.table;
            let verdict = table.lost(which, worker, epoch, charged, again, now);
            (verdict, table.open() == 0)
        };
        if !matches!(verdict, RequestVerdict::Stale) {
            self.record(
                &self.workers[worker].name,
                now,
                RequestAct::Lose { request: which.number, copy: which.copy },
            );
        }
        match verdict {
            RequestVerdict::Over(item) => {
                let reason = format!("{} {reason}", self.workers[worker].name);
                item.reply_slot.settle(Err(CallError::WorkerLost { reason }));
                drop(item);
                self.ended(idle);
            }
            RequestVerdict::GoesOn | RequestVerdict::Stale => {}
        }
        // A request was put back, a slot is free, or a worker was ejected: dispatch again.
        self.ring();
    }

    pub(crate) fn cancel(&self, which: Ref) {
        let now = self.clock.now();
        let (item, idle) = {
            let mut state = self.lock();
            (state.table.cancel(which, now), state.table.open() == 0)
        };
        if let Some(item) = item {
            self.record(&self.name, now, RequestAct::Cancel { request: which.number });
            item.reply_slot.abandon();
            drop(item);
            self.ended(idle);
        }
    }

    /// Resolves the calls of expired and shed requests, and cancels running copies.
    pub(crate) fn refuse(&self, refused: Vec<(u64, RequestPayload<W>, Refusal)>) {
        let now = self.clock.now();
        for (request, item, why) in refused {
            let (act, error) = match why {
                Refusal::Expired { begun } => {
                    (RequestAct::Expire { request }, CallError::DeadlineExceeded { begun })
                }
                Refusal::Shed { waited } => {
                    (RequestAct::Shed { request }, CallError::Shed { waited })
                }
            };
            self.record(&self.name, now, act);
            item.reply_slot.settle(Err(error));
            drop(item);
        }
    }
}
