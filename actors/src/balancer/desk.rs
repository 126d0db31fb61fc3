//! Pure: the requests of one balancer, where each of them is, and who gets it.
//!
//! The desk knows no actors. Whoever holds its lock calls it: a request comes in, a worker comes and goes, takes its next
//! request, has answered it, or has lost it. Every method keeps the sums: a worker's pending requests are those in its queue and
//! those at its places, and each request that is not over is in the backlog, or at a worker, or both (as copies).

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use slab::Slab;

use super::backlog::Backlog;
use super::heap::Heap;
use super::policy::{After, Hedge, Policy, Spread};
use crate::clock::Time;
use crate::span::times;

pub use super::backlog::Ref;
pub use load::{Loads, WorkerLoad};

mod choose;
mod ends;
mod load;
#[cfg(test)]
mod tests;
pub(crate) mod times;

use self::times::Times;
use load::LoadMeter;

/// What the desk is told of its balancer.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Who gets a request.
    pub policy: Policy,
    /// How many workers are asked the same.
    pub spread: Spread,
    /// Workers (>= 1).
    pub workers: usize,
    /// Requests that one worker does at a time (>= 1).
    pub places: usize,
    /// Attempts that a request has (>= 1): how often it may begin and be the end of its worker.
    pub max_attempts: u32,
}

/// Workers to be told.
pub type Wakes = smallvec::SmallVec<[usize; 4]>;

/// The requests of one balancer. `T` is what a request carries.
#[derive(Debug)]
pub struct Desk<T> {
    rules: Rules,
    entries: Slab<Entry<T>>,
    next: u64,
    backlog: Backlog,
    /// Second copies that no worker could take yet.
    spare: VecDeque<Ref>,
    workers: Vec<Worker>,
    /// Those that are up, least loaded first; reserved ones in a heap of their own.
    heaps: [Heap; 2],
    chance: ChaCha8Rng,
    turn: u64,
    round: usize,
    /// When a second worker is to be asked, and for what.
    hedges: BTreeSet<(Time, u64, usize)>,
    tokens: f64,
    meter: LoadMeter,
    times: Times,
    /// Workers with a free place that have got a request since they were last told.
    wakes: Wakes,
    counts: Counts,
}

/// What has become of requests so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests taken.
    pub asked: u64,
    /// Requests answered.
    pub answered: u64,
    /// Requests given up as their worker was lost.
    pub failed: u64,
    /// Requests that nobody wanted an answer to any more.
    pub cancelled: u64,
    /// Second and further copies of a request that a worker got, besides retries.
    pub copies: u64,
    /// Copies that were begun for nothing: another one answered first, or the request was cancelled.
    pub wasted: u64,
    /// Times that a request was put back since its worker was lost.
    pub retried: u64,
}

#[derive(Debug)]
struct Entry<T> {
    number: u64,
    item: T,
    /// Where it stands in the backlog.
    order: u64,
    short: bool,
    submitted: Time,
    attempts: u32,
    /// Copies made so far, retries and the first included.
    made: u32,
    /// A second worker was asked.
    hedged: bool,
    /// Copies that wait in the backlog or the spare queue.
    waiting: u32,
    at: Vec<Posting>,
}

/// A copy at a worker.
#[derive(Debug, Clone, Copy)]
struct Posting {
    copy: u32,
    worker: usize,
    running: bool,
}

#[derive(Debug, Default)]
struct Worker {
    /// The epoch of the life that is there.
    up: Option<u64>,
    queue: VecDeque<Ref>,
    /// In the queue and not wanted any more.
    husks: usize,
    running: usize,
    /// Moving average of what a request takes here, in seconds.
    usual: Option<f64>,
}

impl Worker {
    fn pending(&self) -> usize {
        self.queue.len() - self.husks + self.running
    }
}

/// A request that a worker begins.
#[derive(Debug)]
pub struct Begun<U> {
    /// Which.
    pub which: Ref,
    /// What of it the worker gets.
    pub item: U,
    /// When it came to the balancer.
    pub submitted: Time,
}

/// What an answer, or the loss of a worker, means for its request.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// The request is over with this: the only one.
    Over(T),
    /// Another copy goes on, or it was put back for another try.
    GoesOn,
    /// It was over before: somebody else answered, or nobody wants the answer.
    Stale,
}

impl<T> Desk<T> {
    /// An empty desk with no worker up.
    pub fn new(rules: Rules, chance: ChaCha8Rng, now: Time) -> Self {
        let workers = rules.workers;
        Self {
            rules,
            entries: Slab::new(),
            next: 0,
            backlog: Backlog::default(),
            spare: VecDeque::new(),
            workers: (0..workers).map(|_| Worker::default()).collect(),
            heaps: [Heap::new(workers), Heap::new(workers)],
            chance,
            turn: 0,
            round: 0,
            hedges: BTreeSet::new(),
            tokens: 0.0,
            meter: LoadMeter::new(workers, now),
            times: Times::default(),
            wakes: Wakes::new(),
            counts: Counts::default(),
        }
    }

    /// Takes a request in; [`Desk::dispatch`] sends it on. `cost` is what it is known to take, if it is.
    pub fn submit(&mut self, item: T, cost: Option<Duration>, now: Time) -> Ref {
        let number = self.next;
        self.next += 1;
        self.counts.asked += 1;
        if let Spread::Hedged(Hedge { budget, .. }) = self.rules.spread {
            self.tokens = (self.tokens + budget).min(MOST_TOKENS);
        }
        let (order, short) = self.standing(number, cost.unwrap_or_default(), now);
        let key = self.entries.insert(Entry {
            number,
            item,
            order,
            short,
            submitted: now,
            attempts: 0,
            made: 1,
            hedged: false,
            waiting: 1,
            at: Vec::new(),
        });
        let which = Ref {
            key,
            number,
            copy: 0,
        };
        self.backlog.push(which, order, short);
        which
    }

    /// A worker is there, with nothing to do. One life ends before the next begins.
    pub fn worker_up(&mut self, worker: usize, epoch: u64, now: Time) {
        self.workers[worker].up = Some(epoch);
        self.workers[worker].running = 0;
        self.changed(worker, now);
    }

    /// The life `epoch` of a worker is over: what waited for it goes back. What it had begun is reported by [`Desk::lost`].
    pub fn worker_down(&mut self, worker: usize, epoch: u64, now: Time) {
        if self.workers[worker].up != Some(epoch) {
            return;
        }
        let one = &mut self.workers[worker];
        one.up = None;
        one.running = 0;
        one.husks = 0;
        let queue = std::mem::take(&mut one.queue);
        for which in queue {
            if let Some(entry) = live(&mut self.entries, which) {
                entry.at.retain(|posting| posting.copy != which.copy);
                // A further copy of what is still under way is not worth another worker.
                if entry.at.is_empty() && entry.waiting == 0 {
                    self.put_back(which);
                }
            }
        }
        self.changed(worker, now);
    }

    /// True if the life `epoch` is the one at `worker`.
    pub fn is_up(&self, worker: usize, epoch: u64) -> bool {
        self.workers[worker].up == Some(epoch)
    }

    /// The next request of a worker that has a free place. `split` makes of it what the worker gets.
    pub fn take<U>(
        &mut self,
        worker: usize,
        epoch: u64,
        now: Time,
        split: impl FnOnce(&mut T) -> U,
    ) -> Option<Begun<U>> {
        if !self.is_up(worker, epoch) || self.workers[worker].running >= self.rules.places {
            return None;
        }
        loop {
            let which = self.workers[worker].queue.pop_front()?;
            let Some(entry) = live(&mut self.entries, which) else {
                let one = &mut self.workers[worker];
                one.husks = one.husks.saturating_sub(1);
                continue;
            };
            let Some(posting) = (entry.at.iter_mut()).find(|at| at.copy == which.copy) else {
                continue;
            };
            posting.running = true;
            self.workers[worker].running += 1;
            let (submitted, item) = (entry.submitted, split(&mut entry.item));
            if !entry.hedged
                && let Spread::Hedged(hedge) = self.rules.spread
                && let Some(delay) = self.hedge_delay(hedge.after)
            {
                self.hedges.insert((now + delay, which.number, which.key));
            }
            return Some(Begun {
                which,
                item,
                submitted,
            });
        }
    }

    /// A worker has answered. Its place is free again; the first answer to a request is the one.
    pub fn answered(
        &mut self,
        which: Ref,
        worker: usize,
        epoch: u64,
        took: Duration,
        now: Time,
    ) -> Verdict<T> {
        self.times.took(took);
        let usual = &mut self.workers[worker].usual;
        let seconds = took.as_secs_f64();
        *usual = Some(usual.map_or(seconds, |usual| usual + SMOOTHING * (seconds - usual)));
        self.release(worker, epoch, now);
        match self.end(which, Some(worker), now) {
            Some(item) => {
                self.counts.answered += 1;
                Verdict::Over(item)
            }
            None => {
                self.counts.wasted += 1;
                Verdict::Stale
            }
        }
    }

    /// What a worker had begun is lost. `again` says that the request may be begun once more; `charged` that it was the end of its worker.
    pub fn lost(
        &mut self,
        which: Ref,
        worker: usize,
        epoch: u64,
        charged: bool,
        again: bool,
        now: Time,
    ) -> Verdict<T> {
        self.release(worker, epoch, now);
        let most = self.rules.max_attempts;
        let Some(entry) = live(&mut self.entries, which) else {
            self.counts.wasted += 1;
            return Verdict::Stale;
        };
        let held = entry.at.len();
        entry.at.retain(|posting| posting.copy != which.copy);
        if entry.at.len() == held {
            // Given up before: that counted already.
            return Verdict::GoesOn;
        }
        entry.attempts += u32::from(charged);
        if !entry.at.is_empty() || entry.waiting > 0 {
            return Verdict::GoesOn;
        }
        if again && entry.attempts < most {
            self.counts.retried += 1;
            self.put_back(which);
            return Verdict::GoesOn;
        }
        match self.end(which, None, now) {
            Some(item) => {
                self.counts.failed += 1;
                Verdict::Over(item)
            }
            None => Verdict::Stale,
        }
    }

    /// Nobody wants the answer any more. Gives back what the request carried, if it was not over.
    pub fn cancel(&mut self, which: Ref, now: Time) -> Option<T> {
        let item = self.end(which, None, now)?;
        self.counts.cancelled += 1;
        Some(item)
    }

    /// Gives up all requests.
    pub fn clear(&mut self, now: Time) -> Vec<T> {
        let all: Vec<Ref> = (self.entries.iter())
            .map(|(key, entry)| Ref {
                key,
                number: entry.number,
                copy: 0,
            })
            .collect();
        self.counts.failed += all.len() as u64;
        all.into_iter()
            .filter_map(|which| self.end(which, None, now))
            .collect()
    }

    /// When a second worker is to be asked next.
    pub fn next_hedge(&self) -> Option<Time> {
        self.hedges.first().map(|(due, ..)| *due)
    }

    /// Makes second copies of what has been running for too long, as far as the budget goes. [`Desk::dispatch`] sends them on.
    pub fn hedge(&mut self, now: Time) {
        while let Some((due, number, key)) = self.hedges.first().copied() {
            if due > now {
                return;
            }
            self.hedges.pop_first();
            let which = Ref {
                key,
                number,
                copy: 0,
            };
            let Some(entry) = live(&mut self.entries, which) else {
                continue;
            };
            // It may have been put back meanwhile: then it has a worker to itself before it.
            if entry.hedged || self.tokens < 1.0 || entry.at.is_empty() {
                continue;
            }
            self.tokens -= 1.0;
            entry.hedged = true;
            let copy = entry.made;
            entry.made += 1;
            entry.waiting += 1;
            self.spare.push_back(Ref { copy, ..which });
        }
    }

    /// The order in the backlog, and the lane.
    fn standing(&self, number: u64, cost: Duration, now: Time) -> (u64, bool) {
        let aged = |ageing: f64| {
            let waits = times(Duration::from_nanos(now.0), ageing);
            u64::try_from(waits.as_nanos()).unwrap_or(u64::MAX)
        };
        let nanos = |cost: Duration| u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
        match self.rules.policy {
            Policy::ShortFirst { ageing } => (nanos(cost).saturating_add(aged(ageing)), true),
            Policy::Reserve { short, ageing, .. } if cost > short => {
                (nanos(cost).saturating_add(aged(ageing)), false)
            }
            Policy::Reserve { ageing, .. } => (aged(ageing), true),
            _ => (number, true),
        }
    }

    fn hedge_delay(&mut self, after: After) -> Option<Duration> {
        match after {
            After::Delay(delay) => Some(delay),
            After::Percentile(share) => self.times.quantile(share),
        }
    }
}

/// Second copies that may be saved up.
const MOST_TOKENS: f64 = 10.0;
/// Weight of the latest request in a worker's moving average.
const SMOOTHING: f64 = 0.05;
/// Husks that are not worth a sweep.
const FEW: usize = 32;

fn live<T>(entries: &mut Slab<Entry<T>>, which: Ref) -> Option<&mut Entry<T>> {
    entries
        .get_mut(which.key)
        .filter(|entry| entry.number == which.number)
}

fn is_reserved(rules: &Rules, worker: usize) -> bool {
    match rules.policy {
        // Somebody has to take the long ones.
        Policy::Reserve { workers, .. } => worker < (workers as usize).min(rules.workers - 1),
        _ => false,
    }
}
