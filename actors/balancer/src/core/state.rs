//! What a balancer's lock guards, and the effects to carry out after it is released.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hdrhistogram::Histogram;
use rand::rngs::ChaCha8Rng;

use super::BalancerCore;
use super::call::CallError;
use super::inline_slots::Account;
use super::permits::Permit;
use super::reply_slot::ReplySlot;
use crate::figures::{Buckets, Figures, Tail};
use crate::table::times::{histogram, record};
use crate::table::{Refusal, RequestTable, Rules, Wakes};
use crate::trace::RequestAct;
use crate::worker::Work;
use gopherworks_supervision::Guarded;
use gopherworks_supervision::clock::Time;

pub(crate) enum RequestBody<Q> {
    Once(Option<Guarded<Q>>),
    // Has its own lock because a request need not be `Sync` and its `Clone` is user code.
    Shared(Arc<Mutex<Guarded<Q>>>),
}

/// What the request table stores of a request.
pub(crate) struct RequestPayload<W: Work> {
    pub(crate) body: RequestBody<W::Request>,
    pub(crate) reply_slot: Arc<ReplySlot<W::Reply>>,
    pub(crate) asked: Time,
    /// Mask of the balancers whose workers are waiting for this request (see `nested`).
    pub(crate) behalf: u64,
    // Queue permit, held until the request is over.
    pub(crate) _permit: Option<Permit>,
}

pub(crate) struct BalancerState<W: Work> {
    pub(crate) table: RequestTable<RequestPayload<W>>,
    pub(crate) closed: bool,
    /// By worker: it has been up at least once.
    pub(crate) seen: Vec<bool>,
    pub(crate) restarts: u64,
    response: Histogram<u64>,
    waited: Histogram<u64>,
    /// Sums in seconds: means from the histograms would be rounded to a bucket.
    responses: f64,
    waits: f64,
    pub(crate) busy: Duration,
}

/// Effects to carry out after the lock is released.
pub(crate) struct Effects<W: Work> {
    wakes: Wakes,
    refused: Vec<(u64, RequestPayload<W>, Refusal)>,
    idle: bool,
}

impl<W: Work> BalancerState<W> {
    pub(crate) fn new(rules: Rules, chance: ChaCha8Rng, now: Time) -> Self {
        Self {
            table: RequestTable::new(rules, chance, now),
            closed: false,
            seen: vec![false; rules.workers],
            restarts: 0,
            response: histogram(),
            waited: histogram(),
            responses: 0.0,
            waits: 0.0,
            busy: Duration::ZERO,
        }
    }

    pub(crate) fn effects(&mut self) -> Effects<W> {
        Effects {
            wakes: self.table.wakes(),
            refused: self.table.refused(),
            idle: self.table.open() == 0,
        }
    }

    /// A request has been started for the first time, `waited` after it was accepted.
    pub(crate) fn count_started(&mut self, waited: Duration) {
        record(&mut self.waited, waited);
        self.waits += waited.as_secs_f64();
    }

    /// A request has been answered successfully, `response` after the call.
    pub(crate) fn count_answered(&mut self, response: Duration) {
        record(&mut self.response, response);
        self.responses += response.as_secs_f64();
    }

    /// Estimated time until the requests queued now have been served; zero if there is no data.
    pub(crate) fn retry_after(&self, places: usize) -> Duration {
        let counts = self.table.counts();
        let done = (counts.answered + counts.errors).max(1);
        let places = self.table.size() * places;
        let each = self.busy.as_secs_f64() / done as f64 / places as f64;
        Duration::try_from_secs_f64(each * self.table.queued() as f64).unwrap_or(Duration::MAX)
    }

    /// Histograms of the response and waiting times, `lent` being those of inline runs.
    pub(crate) fn buckets(&self, lent: &Account) -> [Buckets; 2] {
        let (response, waited) = lent.merged((&self.response, &self.waited));
        let responses = self.responses + lent.responses;
        [Buckets::new(&response, responses), Buckets::new(&waited, self.waits)]
    }

    /// Statistics since the start, `lent` being those of inline runs.
    pub(crate) fn figures(&self, lent: &Account, now: Time) -> Figures {
        let (response, waited) = lent.merged((&self.response, &self.waited));
        let mut counts = self.table.counts();
        counts.answered += lent.answered;
        counts.failed += lent.failed;
        counts.cancelled += lent.cancelled;
        counts.asked += lent.answered + lent.failed + lent.cancelled + lent.open as u64;
        Figures {
            counts,
            open: self.table.open() + lent.open,
            waiting: self.table.waiting(),
            response: Tail::new(&response, self.responses + lent.responses),
            waited: Tail::new(&waited, self.waits),
            loads: self.table.loads(now),
            busy: self.busy + lent.busy,
            workers: self.table.size(),
            ejected: self.table.ejected(),
        }
    }
}

impl<W: Work> Effects<W> {
    /// Wakes workers, except `but`, which is running, and resolves calls that were refused.
    pub(crate) fn apply(self, core: &BalancerCore<W>, but: Option<usize>) {
        for worker in &self.wakes {
            if Some(*worker) != but {
                core.roster.workers[*worker].wake();
            }
        }
        if !self.refused.is_empty() {
            refuse(core, self.refused);
            core.ended(self.idle);
        }
    }
}

/// Resolves the calls of expired and shed requests, and cancels running copies.
fn refuse<W: Work>(core: &BalancerCore<W>, refused: Vec<(u64, RequestPayload<W>, Refusal)>) {
    let now = core.clock.now();
    for (request, item, why) in refused {
        let (act, error) = match why {
            Refusal::Expired { begun } => {
                (RequestAct::Expire { request }, CallError::DeadlineExceeded { begun })
            }
            Refusal::Shed { waited } => (RequestAct::Shed { request }, CallError::Shed { waited }),
        };
        core.record(&core.name, now, act);
        item.reply_slot.settle(Err(error));
        drop(item);
    }
}
