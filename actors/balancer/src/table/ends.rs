//! Pure: how requests end or are requeued, and queries on the table.

use super::{
    FEW, Loads, Posting, Ref, RequestCounts, RequestTable, Wakes, is_live, is_reserved, live,
};
use gopherworks_supervision::clock::Time;

impl<T> RequestTable<T> {
    /// Requests in flight, queued or running.
    pub fn open(&self) -> usize {
        self.entries.len()
    }

    /// Requests in the backlog, not yet at a worker.
    pub fn waiting(&self) -> usize {
        self.backlog.len()
    }

    /// Requests in the backlog or in a worker's queue.
    pub fn queued(&self) -> usize {
        self.backlog.len() + self.at_workers
    }

    /// True if a wanted worker is up.
    pub fn is_any_up(&self) -> bool {
        (self.workers.iter()).any(|one| one.up.is_some() && !one.parked)
    }

    /// How many requests ended in which way.
    pub fn counts(&self) -> RequestCounts {
        self.counts
    }

    /// Load of the workers so far.
    pub fn loads(&self, now: Time) -> Loads {
        self.meter.loads(now)
    }

    /// Removes and returns the workers to wake, each once per request assigned while it had a free
    /// slot.
    pub fn wakes(&mut self) -> Wakes {
        self.wakes.drain(..).collect()
    }

    /// True if a worker has a free slot and a queued request.
    pub fn has_more(&self, worker: usize) -> bool {
        let one = &self.workers[worker];
        one.up.is_some() && !one.parked && one.running < self.rules.places && one.queued() > 0
    }

    /// Requests that incarnation `epoch` of a worker is running, sorted; for giving up a hung
    /// worker.
    pub fn begun_by(&self, worker: usize, epoch: u64) -> Vec<Ref> {
        let mut begun: Vec<Ref> = (self.entries.iter())
            .flat_map(|(key, entry)| {
                let running =
                    |at: &&Posting| at.worker == worker && at.running && at.epoch == epoch;
                entry.at.iter().filter(running).map(move |at| Ref {
                    key,
                    number: entry.number,
                    copy: at.copy,
                })
            })
            .collect();
        begun.sort_unstable();
        begun
    }

    /// Ends a request and all its copies. `by`: the worker whose copy has already left its queue
    /// or slot.
    pub(super) fn end(&mut self, which: Ref, by: Option<usize>, now: Time) -> Option<T> {
        live(&mut self.entries, which)?;
        let entry = self.entries.remove(which.key);
        if let Some(at) = entry.hedge_at {
            self.hedges.remove(&(at, which.number, which.key));
        }
        if entry.due {
            let entries = &self.entries;
            self.deadlines.forget(|which| is_live(entries, which));
        }
        for posting in &entry.at {
            if Some(posting.worker) == by && posting.copy == which.copy {
                continue;
            }
            // A running copy is cancelled through the reply slot, and then releases its slot.
            if !posting.running {
                let one = &mut self.workers[posting.worker];
                one.tombstones += 1;
                if one.tombstones > FEW && one.tombstones > one.queue.len() / 2 {
                    let entries = &mut self.entries;
                    one.queue.retain(|which| live(entries, *which).is_some());
                    one.tombstones = 0;
                }
                self.changed(posting.worker, now);
            }
        }
        if entry.waiting > 0 {
            let entries = &self.entries;
            let wanted = |which: Ref| is_live(entries, which);
            let spares = self.spare.len();
            self.spare.retain(|which| wanted(*which));
            let spared = (spares - self.spare.len()) as u32;
            for _ in spared..entry.waiting {
                self.backlog.forget(wanted);
            }
        }
        Some(entry.item)
    }

    /// Requeues a request in the backlog, ahead of all younger ones.
    pub(super) fn put_back(&mut self, which: Ref) {
        let Some(entry) = live(&mut self.entries, which) else {
            return;
        };
        entry.waiting += 1;
        let (order, short, priority) = (entry.order, entry.short, entry.priority);
        // A new copy number, so that random choices for the retry are drawn anew.
        let copy = entry.made;
        entry.made += 1;
        self.backlog.push(Ref { copy, ..which }, order, short, priority);
    }

    pub(super) fn release(&mut self, worker: usize, epoch: u64, now: Time) {
        if self.is_up(worker, epoch) {
            let one = &mut self.workers[worker];
            one.running = one.running.saturating_sub(1);
            self.changed(worker, now);
        }
    }

    /// Updates the sum `at_workers` after a change of a worker's queue.
    pub(super) fn recount(&mut self, worker: usize) {
        let one = &mut self.workers[worker];
        let queued = one.queued();
        self.at_workers = self.at_workers - std::mem::replace(&mut one.counted, queued) + queued;
    }

    /// Updates sums and heaps after a change of a worker's load or availability.
    pub(super) fn changed(&mut self, worker: usize, now: Time) {
        self.recount(worker);
        let one = &self.workers[worker];
        let pending = one.pending();
        self.meter.set(worker, pending, now);
        let heap = &mut self.heaps[usize::from(is_reserved(&self.rules, self.size, worker))];
        match one.up {
            Some(_) if one.out.is_none() && !one.parked => heap.set(worker, (pending, self.turn)),
            _ => heap.remove(worker),
        }
    }
}
