//! Pure: choosing a worker, one rule per policy.

use rand::RngExt;

use super::backlog::Takes;
use super::{Ref, RequestTable, is_live, is_reserved, live};
use crate::policy::{LoadPolicy, Spread};
use gopherworks_supervision::clock::Time;

impl<T> RequestTable<T> {
    /// Dispatches all requests that can be dispatched; [`RequestTable::wakes`] names the workers to
    /// wake.
    pub(super) fn dispatch(&mut self, now: Time) {
        self.second_copies(now);
        match (self.rules.spread, self.rules.policy) {
            (Spread::Replicated(copies), _) => self.replicate(copies, now),
            (_, LoadPolicy::Affinity { bound }) => self.by_key(bound, now),
            _ => self.one_each(now),
        }
        self.note_empty(now);
    }

    fn one_each(&mut self, now: Time) {
        // `choose` consumes turns and random draws, so it is not called without need.
        while self.backlog.len() > 0 {
            let Some((worker, takes)) = self.choose(now) else {
                return;
            };
            let entries = &self.entries;
            let wanted = |which: Ref| is_live(entries, which);
            match self.backlog.pop(takes, wanted) {
                Some(which) => self.assign(which, worker, now),
                None if takes == Takes::ShortOnly => {
                    // No short request is queued: a long one needs an unreserved worker.
                    let Some(worker) = self.least(0, 1, now) else {
                        return;
                    };
                    let entries = &self.entries;
                    let wanted = |which: Ref| is_live(entries, which);
                    match self.backlog.pop(Takes::All, wanted) {
                        Some(which) => self.assign(which, worker, now),
                        None => return,
                    }
                }
                None => return,
            }
        }
    }

    /// The least loaded worker of a heap, if it has room for another request.
    fn least(&self, heap: usize, each: u32, now: Time) -> Option<usize> {
        let heap = &self.heaps[heap];
        if !self.is_warming(now) {
            return heap.least().filter(|at| self.has_room(*at, each, now));
        }
        // Weights change over time, so the heap's order does not hold.
        (heap.workers().iter().copied()).filter(|at| self.has_room(*at, each, now)).min_by(
            |a, b| {
                let key = |at: usize| (self.load(at, now), heap.turn(at), at);
                let ((a, b, c), (d, e, f)) = (key(*a), key(*b));
                a.total_cmp(&d).then(b.cmp(&e)).then(c.cmp(&f))
            },
        )
    }

    /// The worker's pending requests with one more, divided by its slow-start weight.
    fn load(&self, worker: usize, now: Time) -> f64 {
        (self.workers[worker].pending() + 1) as f64 / self.weight(worker, now)
    }

    /// Chooses a worker, and which requests it may take.
    fn choose(&mut self, now: Time) -> Option<(usize, Takes)> {
        let all = |worker: usize| (worker, Takes::All);
        match self.rules.policy {
            LoadPolicy::Central { per_worker, skip_slow: false } => {
                self.least(0, per_worker, now).map(all)
            }
            LoadPolicy::Central { per_worker, .. } => self.quickest(per_worker, now).map(all),
            LoadPolicy::ShortFirst { .. } => self.least(0, 1, now).map(all),
            LoadPolicy::Reserve { .. } => match self.least(1, 1, now) {
                Some(reserved) => Some((reserved, Takes::ShortOnly)),
                None => self.least(0, 1, now).map(all),
            },
            LoadPolicy::LeastLoaded | LoadPolicy::Affinity { .. } => {
                self.least(0, u32::MAX, now).map(all)
            }
            LoadPolicy::TwoChoices => {
                let up = self.heaps[0].workers();
                let (one, other) = match up.len() {
                    0 => return None,
                    1 => (up[0], up[0]),
                    count => {
                        let one = self.chance.random_range(0..count);
                        let other = self.chance.random_range(0..count - 1);
                        (up[one], up[if other < one { other } else { other + 1 }])
                    }
                };
                Some(all(if self.load(other, now) < self.load(one, now) { other } else { one }))
            }
            LoadPolicy::RoundRobin => {
                for _ in 0..self.tries(now) {
                    let count = self.workers.len();
                    let next = (0..count)
                        .map(|step| (self.round + step) % count)
                        .find(|at| self.heaps[0].has(*at))?;
                    self.round = next + 1;
                    if self.accepts(next, now) {
                        return Some(all(next));
                    }
                }
                self.least(0, u32::MAX, now).map(all)
            }
            LoadPolicy::Random => {
                for _ in 0..self.tries(now) {
                    let up = self.heaps[0].workers();
                    if up.is_empty() {
                        return None;
                    }
                    let drawn = up[self.chance.random_range(0..up.len())];
                    if self.accepts(drawn, now) {
                        return Some(all(drawn));
                    }
                }
                self.least(0, u32::MAX, now).map(all)
            }
            LoadPolicy::LatencyAware { decay } => {
                let promised = |at: usize| {
                    let expected = self.workers[at].expected(decay, now);
                    // Expected time is 0 for a worker that has not answered yet: the load decides.
                    (expected * self.load(at, now), self.load(at, now), at)
                };
                (self.heaps[0].workers().iter().copied())
                    .min_by(|a, b| {
                        let ((a, b, c), (d, e, f)) = (promised(*a), promised(*b));
                        a.total_cmp(&d).then(b.total_cmp(&e)).then(c.cmp(&f))
                    })
                    .map(all)
            }
        }
    }

    /// Draws per request: more than one only during slow start, where workers may decline.
    fn tries(&self, now: Time) -> usize {
        if self.is_warming(now) { 2 * self.workers.len() } else { 1 }
    }

    /// A worker in slow start accepts with the probability of its weight.
    fn accepts(&mut self, worker: usize, now: Time) -> bool {
        let weight = self.weight(worker, now);
        weight >= 1.0 || self.chance.random::<f64>() < weight
    }

    /// Assigns each request to the worker of its key.
    fn by_key(&mut self, bound: f64, now: Time) {
        while self.backlog.len() > 0 && !self.heaps[0].workers().is_empty() {
            let entries = &self.entries;
            let wanted = |which: Ref| is_live(entries, which);
            let Some(which) = self.backlog.pop(Takes::All, wanted) else {
                return;
            };
            let key = self.entries[which.key].key;
            let worker = match key {
                Some(key) => self.home(key, bound, now),
                None => self.least(0, u32::MAX, now),
            };
            // The heap is not empty, so there is a worker.
            let Some(worker) = worker else {
                return;
            };
            self.assign(which, worker, now);
        }
    }

    /// The first worker with less than its bounded share, in the key's own order of workers.
    fn home(&self, key: u64, bound: f64, now: Time) -> Option<usize> {
        let up = self.heaps[0].workers();
        let pending = |at: usize| self.workers[at].pending() as f64 / self.weight(at, now);
        let all: f64 = up.iter().map(|at| pending(*at)).sum();
        let most = (bound.max(1.0) * (all + 1.0) / up.len() as f64).ceil();
        (up.iter().copied())
            .filter(|at| pending(*at) < most)
            .max_by_key(|at| (mixed(key, *at as u64), *at))
            .or_else(|| self.least(0, u32::MAX, now))
    }

    fn has_room(&self, worker: usize, each: u32, now: Time) -> bool {
        let most = self.rules.places.saturating_mul(each.max(1) as usize);
        let weight = self.weight(worker, now);
        let most = if weight < 1.0 { (most as f64 * weight).ceil() as usize } else { most };
        self.workers[worker].pending() < most
    }

    /// The fastest worker with room; none if waiting for a faster, busy one promises an earlier
    /// reply.
    fn quickest(&self, each: u32, now: Time) -> Option<usize> {
        let usual = |at: usize| self.workers[at].usual.unwrap_or(0.0);
        let free = (self.heaps[0].workers().iter().copied())
            .filter(|at| self.has_room(*at, each, now))
            .min_by(|a, b| {
                let key = |at: usize| (usual(at), self.workers[at].pending(), at);
                let ((a, b, c), (d, e, f)) = (key(*a), key(*b));
                a.total_cmp(&d).then(b.cmp(&e)).then(c.cmp(&f))
            })?;
        // All faster workers are busy. Together they finish `rate` requests per second, and the
        // request at hand is taken to wait for the whole backlog.
        let faster: Vec<f64> = (self.heaps[0].workers().iter())
            .map(|at| usual(*at))
            .filter(|seconds| *seconds > 0.0 && *seconds < usual(free))
            .collect();
        if faster.is_empty() {
            return Some(free);
        }
        let rate: f64 = faster.iter().map(|seconds| 1.0 / seconds).sum();
        let rate = rate * self.rules.places as f64;
        let mean = faster.iter().sum::<f64>() / faster.len() as f64;
        let waiting = self.backlog.len() as f64;
        (usual(free) <= waiting / rate + mean).then_some(free)
    }

    /// Assigns hedge copies to workers that do not have the original.
    fn second_copies(&mut self, now: Time) {
        if self.spare.is_empty() {
            return;
        }
        let spare = std::mem::take(&mut self.spare);
        for which in spare {
            let Some(entry) = live(&mut self.entries, which) else {
                continue;
            };
            let at = &entry.at;
            let each = match self.rules.policy {
                LoadPolicy::Central { per_worker, .. } => Some(per_worker),
                LoadPolicy::ShortFirst { .. } | LoadPolicy::Reserve { .. } => Some(1),
                _ => None,
            };
            let short = entry.short;
            let other = (0..self.workers.len())
                .filter(|worker| self.heaps.iter().any(|heap| heap.has(*worker)))
                .filter(|worker| at.iter().all(|posting| posting.worker != *worker))
                .filter(|worker| short || !is_reserved(&self.rules, self.size, *worker))
                .min_by_key(|worker| (self.workers[*worker].pending(), *worker))
                .filter(|worker| each.is_none_or(|each| self.has_room(*worker, each, now)));
            match other {
                Some(worker) => {
                    self.counts.copies += 1;
                    self.assign(which, worker, now);
                }
                None => self.spare.push_back(which),
            }
        }
    }

    /// Assigns each request to the `copies` least loaded workers, or to all of them with `None`.
    fn replicate(&mut self, copies: Option<u32>, now: Time) {
        loop {
            let mut up = self.heaps[0].workers().to_vec();
            if up.is_empty() {
                return;
            }
            let entries = &self.entries;
            let wanted = |which: Ref| is_live(entries, which);
            let Some(which) = self.backlog.pop(Takes::All, wanted) else {
                return;
            };
            up.sort_unstable_by_key(|at| (self.workers[*at].pending(), *at));
            up.truncate(copies.map_or(up.len(), |copies| copies.max(1) as usize));
            for (at, worker) in up.into_iter().enumerate() {
                if at == 0 {
                    self.assign(which, worker, now);
                    continue;
                }
                let entry = &mut self.entries[which.key];
                let copy = entry.made;
                entry.made += 1;
                entry.waiting += 1;
                self.counts.copies += 1;
                self.assign(Ref { copy, ..which }, worker, now);
            }
        }
    }

    fn assign(&mut self, which: Ref, worker: usize, now: Time) {
        let Some(entry) = self.entries.get_mut(which.key) else {
            return;
        };
        entry.waiting -= 1;
        entry.at.push(super::Posting { copy: which.copy, worker, running: false, epoch: 0 });
        self.turn += 1;
        let queue = &mut self.workers[worker].queue;
        let mut at = queue.len();
        if self.mixed {
            let priority = self.entries[which.key].priority;
            // Tombstones can be overtaken.
            let before = |other: Ref| {
                let entry = self.entries.get(other.key);
                let entry = entry.filter(|entry| entry.number == other.number);
                entry.is_some_and(|entry| entry.priority >= priority)
            };
            while at > 0 && !before(queue[at - 1]) {
                at -= 1;
            }
        }
        queue.insert(at, which);
        let one = &self.workers[worker];
        if one.running < self.rules.places {
            self.wakes.push(worker);
        }
        self.changed(worker, now);
    }
}

/// Pseudo-random hash of both numbers (finaliser of SplitMix64, Steele et al., 2014).
fn mixed(key: u64, worker: u64) -> u64 {
    let mut x = key ^ worker.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
