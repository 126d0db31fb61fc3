//! Pure: availability of workers: resizing, slow start, ejection.

use super::{RequestTable, is_reserved};
use crate::resilience::Eject;
use gopherworks_supervision::clock::Time;

/// Replies of a worker before it may be ejected as slow, and between two such checks.
const LOOK_EVERY: u32 = 16;
/// Weight at the beginning of a slow start.
const LEAST: f64 = 0.1;
/// An ejection lasts at most this many times the first one.
const LONGEST: u32 = 10;

impl<T> RequestTable<T> {
    /// Sets the number of wanted workers, clamped to 1..=the number it was made for. Workers
    /// beyond it finish what they run and get nothing more; their queues return to the backlog.
    pub fn resize(&mut self, workers: usize, now: Time) {
        let size = workers.clamp(1, self.workers.len());
        self.size = size;
        self.meter.resize(size, now);
        for worker in 0..self.workers.len() {
            let parked = worker >= size;
            // Which workers are reserved depends on the size.
            self.heaps.iter_mut().for_each(|heap| heap.remove(worker));
            if std::mem::replace(&mut self.workers[worker].parked, parked) != parked && parked {
                self.give_back(worker);
            }
        }
        (0..self.workers.len()).for_each(|worker| self.changed(worker, now));
    }

    /// Number of workers wanted.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Workers that are up but ejected.
    pub fn ejected(&self) -> usize {
        let out = |worker: &&usize| self.workers[**worker].up.is_some();
        self.out.iter().filter(out).count()
    }

    /// Weight of a worker: below 1 during its slow start.
    pub(super) fn weight(&self, worker: usize, now: Time) -> f64 {
        let (Some(span), Some(since)) =
            (self.rules.resilience.slow_start, self.workers[worker].warming)
        else {
            return 1.0;
        };
        let share = (now - since).as_secs_f64() / span.as_secs_f64();
        share.clamp(LEAST, 1.0)
    }

    /// True if some worker may be in slow start.
    pub(super) fn is_warming(&self, now: Time) -> bool {
        now < self.warm_at
    }

    pub(super) fn warm_up(&mut self, worker: usize, now: Time) {
        if let Some(span) = self.rules.resilience.slow_start {
            self.workers[worker].warming = Some(now);
            self.warm_at = self.warm_at.max(now + span);
        }
    }

    /// Counts a failure of a worker, and ejects it after too many in a row.
    pub(super) fn failed(&mut self, worker: usize, now: Time) {
        let Some(Eject { failures, .. }) = self.rules.resilience.eject else {
            return;
        };
        let one = &mut self.workers[worker];
        one.in_a_row += 1;
        if failures.is_some_and(|most| one.in_a_row >= most) {
            self.eject(worker, now);
        }
    }

    /// Counts a success of a worker, and ejects it if it is too slow.
    pub(super) fn succeeded(&mut self, worker: usize, now: Time) {
        let Some(Eject { slower, .. }) = self.rules.resilience.eject else {
            return;
        };
        let one = &mut self.workers[worker];
        one.in_a_row = 0;
        one.answers += 1;
        let (Some(factor), Some(usual)) = (slower, one.usual) else {
            return;
        };
        if !one.answers.is_multiple_of(LOOK_EVERY) {
            return;
        }
        let mut all: Vec<f64> = (self.workers.iter())
            .filter(|one| one.up.is_some() && !one.parked)
            .filter_map(|one| one.usual)
            .collect();
        if all.len() < 2 {
            return;
        }
        // The lower median: of two workers, the slower is compared with the faster.
        let middle = (all.len() - 1) / 2;
        let (_, median, _) = all.select_nth_unstable_by(middle, f64::total_cmp);
        if usual > factor * *median {
            self.eject(worker, now);
        }
    }

    fn eject(&mut self, worker: usize, now: Time) {
        let Some(Eject { pause, at_most, .. }) = self.rules.resilience.eject else {
            return;
        };
        let one = &self.workers[worker];
        if one.out.is_some() || one.parked {
            return;
        }
        let up = (self.workers.iter()).filter(|one| one.up.is_some() && !one.parked).count();
        let most = (up as f64 * at_most) as usize;
        // Of each kind (reserved or not) one available worker has to be left; one that is going
        // down is not in the heap.
        let kind = &self.heaps[usize::from(is_reserved(&self.rules, self.size, worker))];
        let others = kind.workers().iter().filter(|other| **other != worker);
        if self.out.len() >= most.max(1) || others.count() == 0 {
            return;
        }
        let one = &mut self.workers[worker];
        if one.readmitted.is_some_and(|at| now - at > pause.saturating_mul(one.ejections)) {
            one.ejections = 0;
        }
        one.ejections = (one.ejections + 1).min(LONGEST);
        one.out = Some(now + pause.saturating_mul(one.ejections));
        self.out.push(worker);
        self.counts.ejected += 1;
        self.give_back(worker);
        self.changed(worker, now);
    }

    /// Readmits workers whose ejection is over, and one of each kind if none of it is available.
    pub(super) fn readmit(&mut self, now: Time) {
        if self.out.is_empty() {
            return;
        }
        let over =
            |table: &Self, worker: usize| table.workers[worker].out.is_none_or(|at| at <= now);
        let due: Vec<usize> =
            (self.out.iter().copied()).filter(|worker| over(self, *worker)).collect();
        due.into_iter().for_each(|worker| self.let_in(worker, now));
        for kind in [false, true] {
            if !self.heaps[usize::from(kind)].workers().is_empty() {
                continue;
            }
            let first = (self.out.iter().copied())
                .filter(|at| self.workers[*at].up.is_some() && !self.workers[*at].parked)
                .filter(|at| is_reserved(&self.rules, self.size, *at) == kind)
                .min_by_key(|at| (self.workers[*at].out, *at));
            if let Some(worker) = first {
                self.let_in(worker, now);
            }
        }
    }

    fn let_in(&mut self, worker: usize, now: Time) {
        self.out.retain(|out| *out != worker);
        let one = &mut self.workers[worker];
        one.out = None;
        one.readmitted = Some(now);
        one.in_a_row = 0;
        // Its average led to the ejection, so it is measured anew.
        one.usual = None;
        one.answers = 0;
        self.warm_up(worker, now);
        self.changed(worker, now);
    }

    pub(super) fn next_readmission(&self) -> Option<Time> {
        (self.out.iter()).filter_map(|worker| self.workers[*worker].out).min()
    }

    /// Requeues a worker's queue in the backlog.
    pub(super) fn give_back(&mut self, worker: usize) {
        let one = &mut self.workers[worker];
        one.tombstones = 0;
        let queue = std::mem::take(&mut one.queue);
        for which in queue {
            if let Some(entry) = super::live(&mut self.entries, which) {
                entry.at.retain(|posting| posting.copy != which.copy);
                // Replicas and hedges of a request that is still in flight are dropped.
                if entry.at.is_empty() && entry.waiting == 0 {
                    self.put_back(which);
                }
            }
        }
    }
}
