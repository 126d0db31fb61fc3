//! Pure: the request table of one balancer: where each request is, and which worker gets it.
//!
//! The table knows no actors. The holder of its lock reports events: a request arrives, a worker
//! comes up or goes down, takes its next request, has answered it or lost it. Invariants: a
//! worker's pending requests are those in its queue plus those running, and every request that is
//! not over is in the backlog, at a worker, or both (as copies).

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use slab::Slab;

use self::backlog::Backlog;
use self::heap::Heap;
use crate::policy::{Hedge, LoadPolicy, Spread};
use crate::resilience::Priority;
use gopherworks_supervision::clock::Time;
use gopherworks_supervision::span::times;

pub use self::backlog::Ref;
pub use load::{Loads, WorkerLoad};
pub use types::{Begun, Refusal, RequestCounts, RequestVerdict, Rules, Terms};

mod backlog;
mod choose;
mod deadlines;
mod ends;
mod health;
mod heap;
mod hedging;
mod load;
mod shedding;
#[cfg(test)]
mod tests;
pub mod times;
mod types;
mod worker;

use self::deadlines::Deadlines;
use self::shedding::SAVED_SECONDS;
pub(super) use self::shedding::due;
use self::times::Times;
use self::worker::WorkerRecord;
use load::LoadMeter;

/// Workers to wake.
pub type Wakes = smallvec::SmallVec<[usize; 4]>;

/// The request table of one balancer. `T` is the payload of a request.
#[derive(Debug)]
pub struct RequestTable<T> {
    rules: Rules,
    entries: Slab<RequestEntry<T>>,
    next: u64,
    backlog: Backlog,
    /// Hedge copies that no worker could take yet.
    spare: VecDeque<Ref>,
    workers: Vec<WorkerRecord>,
    /// Available workers, least loaded first; the reserved ones have the second heap.
    heaps: [Heap; 2],
    chance: ChaCha8Rng,
    turn: u64,
    round: usize,
    /// When hedges are due: time, number, key.
    hedges: BTreeSet<(Time, u64, usize)>,
    tokens: f64,
    meter: LoadMeter,
    times: Times,
    /// Workers with a free slot that were assigned a request since the last
    /// [`RequestTable::wakes`].
    wakes: Wakes,
    counts: RequestCounts,
    /// Number of workers wanted; those with higher numbers are parked.
    size: usize,
    at_workers: usize,
    /// True if a request had another priority than normal: worker queues must be kept in order.
    mixed: bool,
    deadlines: Deadlines,
    /// Requests by arrival, for shedding.
    ages: VecDeque<(Time, Ref)>,
    /// When the queue was last empty.
    last_empty: Time,
    refused: Vec<(u64, T, Refusal)>,
    retries: f64,
    retries_at: Time,
    /// Ejected workers.
    out: Vec<usize>,
    /// When slow start ends for all workers.
    warm_at: Time,
    /// Time of the last [`RequestTable::turn`].
    turned: Time,
}

#[derive(Debug)]
struct RequestEntry<T> {
    number: u64,
    item: T,
    /// Sort key in the backlog.
    order: u64,
    short: bool,
    submitted: Time,
    priority: Priority,
    key: Option<u64>,
    due: bool,
    /// True if a worker has started it at least once.
    begun: bool,
    attempts: u32,
    /// Copies made so far, retries and the original included.
    made: u32,
    /// True if a hedge copy was made.
    hedged: bool,
    /// When the hedge is due.
    hedge_at: Option<Time>,
    /// Copies in the backlog or in `spare`.
    waiting: u32,
    at: Vec<Posting>,
}

/// A copy at a worker.
#[derive(Debug, Clone, Copy)]
struct Posting {
    copy: u32,
    worker: usize,
    running: bool,
    /// Incarnation that runs it; 0 while it is queued.
    epoch: u64,
}

impl<T> RequestTable<T> {
    /// An empty table with all workers down.
    pub fn new(rules: Rules, chance: ChaCha8Rng, now: Time) -> Self {
        let workers = rules.workers;
        Self {
            rules,
            entries: Slab::new(),
            next: 0,
            backlog: Backlog::default(),
            spare: VecDeque::new(),
            workers: (0..workers).map(|_| WorkerRecord::default()).collect(),
            heaps: [Heap::new(workers), Heap::new(workers)],
            chance,
            turn: 0,
            round: 0,
            hedges: BTreeSet::new(),
            tokens: 0.0,
            meter: LoadMeter::new(workers, now),
            times: Times::default(),
            wakes: Wakes::new(),
            counts: RequestCounts::default(),
            size: workers,
            at_workers: 0,
            mixed: false,
            deadlines: Deadlines::default(),
            ages: VecDeque::new(),
            last_empty: now,
            refused: Vec::new(),
            retries: (rules.resilience.retries)
                .map_or(0.0, |budget| budget.per_second * SAVED_SECONDS),
            retries_at: now,
            out: Vec::new(),
            warm_at: now,
            turned: now,
        }
    }

    /// Adds a request to the backlog; [`RequestTable::turn`] dispatches it.
    pub fn submit(&mut self, item: T, terms: Terms, now: Time) -> Ref {
        let Terms { cost, due, priority, key: about } = terms;
        self.note_empty(now);
        self.save_up();
        self.mixed |= priority != Priority::Normal;
        let number = self.next;
        self.next += 1;
        self.counts.asked += 1;
        if let Spread::Hedged(Hedge { budget, .. }) = self.rules.spread {
            self.tokens = (self.tokens + budget).min(MOST_TOKENS);
        }
        let (order, short) = self.standing(number, cost.unwrap_or_default(), now);
        let key = self.entries.insert(RequestEntry {
            number,
            item,
            order,
            short,
            submitted: now,
            priority,
            key: about,
            due: due.is_some(),
            begun: false,
            attempts: 0,
            made: 1,
            hedged: false,
            hedge_at: None,
            waiting: 1,
            at: Vec::new(),
        });
        let which = Ref { key, number, copy: 0 };
        self.backlog.push(which, order, short, priority);
        if let Some(due) = due {
            self.deadlines.push(due, which);
        }
        if self.rules.resilience.shed.is_some() {
            self.ages.push_back((now, which));
        }
        which
    }

    /// Counts a request that was not accepted.
    pub fn rejected(&mut self) {
        self.counts.rejected += 1;
    }

    /// An incarnation of a worker is up and idle. Returns false, and ignores it, if a later one
    /// was up before.
    pub fn worker_up(&mut self, worker: usize, epoch: u64, now: Time) -> bool {
        let one = &mut self.workers[worker];
        if epoch < one.last {
            return false;
        }
        one.last = epoch;
        one.up = Some(epoch);
        one.running = 0;
        if std::mem::replace(&mut one.known, true) {
            self.warm_up(worker, now);
        }
        self.changed(worker, now);
        true
    }

    /// Incarnation `epoch` of a worker is over: its queue returns to the backlog. Requests it was
    /// running are reported by [`RequestTable::lost`].
    pub fn worker_down(&mut self, worker: usize, epoch: u64, now: Time) {
        if self.workers[worker].up != Some(epoch) {
            return;
        }
        let one = &mut self.workers[worker];
        one.up = None;
        one.running = 0;
        self.give_back(worker);
        self.changed(worker, now);
    }

    /// True if `epoch` is the worker's current incarnation.
    pub fn is_up(&self, worker: usize, epoch: u64) -> bool {
        self.workers[worker].up == Some(epoch)
    }

    /// Starts the next request of a worker with a free slot. `split` takes what the worker needs
    /// from the payload.
    pub fn take<U>(
        &mut self,
        worker: usize,
        epoch: u64,
        now: Time,
        split: impl FnOnce(&mut T) -> U,
    ) -> Option<Begun<U>> {
        let one = &self.workers[worker];
        if one.up != Some(epoch) || one.parked || one.running >= self.rules.places {
            return None;
        }
        loop {
            let which = self.workers[worker].queue.pop_front()?;
            let Some(entry) = live(&mut self.entries, which) else {
                let one = &mut self.workers[worker];
                one.tombstones = one.tombstones.saturating_sub(1);
                continue;
            };
            let Some(posting) = (entry.at.iter_mut()).find(|at| at.copy == which.copy) else {
                continue;
            };
            posting.running = true;
            posting.epoch = epoch;
            entry.begun = true;
            self.workers[worker].running += 1;
            let (submitted, item) = (entry.submitted, split(&mut entry.item));
            if !entry.hedged
                && let Spread::Hedged(hedge) = self.rules.spread
                && let Some(delay) = self.hedge_delay(hedge.after)
            {
                self.hedge_at(which, now + delay);
            }
            self.recount(worker);
            self.note_empty(now);
            return Some(Begun { which, item, submitted });
        }
    }

    /// A worker's slot is occupied by an inline run, or free again; its queue returns to the
    /// backlog.
    pub fn occupy(&mut self, worker: usize, epoch: u64, busy: bool, now: Time) {
        if !self.is_up(worker, epoch) {
            return;
        }
        if busy {
            self.workers[worker].running += 1;
            self.give_back(worker);
            self.changed(worker, now);
        } else {
            self.release(worker, epoch, now);
        }
    }

    /// A worker has answered, which frees its slot; `failed` counts as a failure of the worker.
    /// The first answer to a request wins.
    pub fn answered(
        &mut self,
        which: Ref,
        worker: usize,
        epoch: u64,
        took: Duration,
        failed: bool,
        now: Time,
    ) -> RequestVerdict<T> {
        self.times.took(took);
        self.workers[worker].took(took, now);
        self.release(worker, epoch, now);
        if failed {
            self.failed(worker, now);
        } else {
            self.succeeded(worker, now);
        }
        match self.end(which, Some(worker), now) {
            Some(item) => {
                match failed {
                    true => self.counts.errors += 1,
                    false => self.counts.answered += 1,
                }
                RequestVerdict::Over(item)
            }
            None => {
                self.counts.wasted += 1;
                RequestVerdict::Stale
            }
        }
    }

    /// A worker lost a running request. `again`: it may be retried; `charged`: it costs an attempt
    /// and counts as a failure of the worker.
    pub fn lost(
        &mut self,
        which: Ref,
        worker: usize,
        epoch: u64,
        charged: bool,
        again: bool,
        now: Time,
    ) -> RequestVerdict<T> {
        self.release(worker, epoch, now);
        if charged {
            self.failed(worker, now);
        }
        let most = self.rules.max_attempts;
        let Some(entry) = live(&mut self.entries, which) else {
            self.counts.wasted += 1;
            return RequestVerdict::Stale;
        };
        let held = entry.at.len();
        entry.at.retain(|posting| posting.copy != which.copy);
        if entry.at.len() == held {
            // Was given up and counted before.
            return RequestVerdict::GoesOn;
        }
        entry.attempts += u32::from(charged);
        if !entry.at.is_empty() || entry.waiting > 0 {
            return RequestVerdict::GoesOn;
        }
        if again && entry.attempts < most && self.may_retry(now) {
            self.counts.retried += 1;
            self.put_back(which);
            return RequestVerdict::GoesOn;
        }
        match self.end(which, None, now) {
            Some(item) => {
                self.counts.failed += 1;
                RequestVerdict::Over(item)
            }
            None => RequestVerdict::Stale,
        }
    }

    /// Cancels a request. Returns its payload if it was not yet over.
    pub fn cancel(&mut self, which: Ref, now: Time) -> Option<T> {
        let item = self.end(which, None, now)?;
        self.counts.cancelled += 1;
        Some(item)
    }

    /// Ends all requests, and counts them as failed.
    pub fn clear(&mut self, now: Time) -> Vec<T> {
        let all: Vec<Ref> = (self.entries.iter())
            .map(|(key, entry)| Ref { key, number: entry.number, copy: 0 })
            .collect();
        self.counts.failed += all.len() as u64;
        all.into_iter().filter_map(|which| self.end(which, None, now)).collect()
    }

    /// Sort key in the backlog, and whether the request counts as short.
    fn standing(&self, number: u64, cost: Duration, now: Time) -> (u64, bool) {
        let aged = |ageing: f64| {
            let waits = times(Duration::from_nanos(now.0), ageing);
            u64::try_from(waits.as_nanos()).unwrap_or(u64::MAX)
        };
        let nanos = |cost: Duration| u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
        match self.rules.policy {
            LoadPolicy::ShortFirst { ageing } => (nanos(cost).saturating_add(aged(ageing)), true),
            LoadPolicy::Reserve { short, ageing, .. } if cost > short => {
                (nanos(cost).saturating_add(aged(ageing)), false)
            }
            LoadPolicy::Reserve { ageing, .. } => (aged(ageing), true),
            _ => (number, true),
        }
    }
}

/// Cap on saved hedge tokens.
const MOST_TOKENS: f64 = 10.0;
/// Up to this many tombstones are never swept.
const FEW: usize = 32;

fn is_live<T>(entries: &Slab<RequestEntry<T>>, which: Ref) -> bool {
    (entries.get(which.key)).is_some_and(|entry| entry.number == which.number)
}

fn live<T>(entries: &mut Slab<RequestEntry<T>>, which: Ref) -> Option<&mut RequestEntry<T>> {
    entries.get_mut(which.key).filter(|entry| entry.number == which.number)
}

/// True if the worker takes only short requests, `size` being the number of workers wanted.
fn is_reserved(rules: &Rules, size: usize, worker: usize) -> bool {
    match rules.policy {
        // At least one worker is left for long requests.
        LoadPolicy::Reserve { workers, .. } => worker < (workers as usize).min(size - 1),
        _ => false,
    }
}
