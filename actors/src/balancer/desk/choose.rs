//! Pure: who gets the next request. One rule for each policy.

use rand::RngExt;

use super::{Desk, Ref, is_reserved};
use crate::balancer::backlog::Takes;
use crate::balancer::policy::{Policy, Spread};
use crate::clock::Time;

impl<T> Desk<T> {
    /// Hands out what can be handed out; [`Desk::wakes`] says who should be told.
    pub fn dispatch(&mut self, now: Time) {
        self.second_copies(now);
        if let Spread::Replicated(copies) = self.rules.spread {
            return self.replicate(copies, now);
        }
        // A choice may use up a turn or a draw, so nobody is chosen for nothing.
        while self.backlog.len() > 0 {
            let Some((worker, takes)) = self.choose() else {
                return;
            };
            let entries = &self.entries;
            let wanted = |which: Ref| {
                entries
                    .get(which.key)
                    .is_some_and(|entry| entry.number == which.number)
            };
            match self.backlog.pop(takes, wanted) {
                Some(which) => self.assign(which, worker, now),
                None if takes == Takes::ShortOnly => {
                    // No short request is there: a long one needs one of the others.
                    let Some(worker) = self.heaps[0].least().filter(|at| self.has_room(*at, 1))
                    else {
                        return;
                    };
                    let entries = &self.entries;
                    let wanted = |which: Ref| {
                        entries
                            .get(which.key)
                            .is_some_and(|entry| entry.number == which.number)
                    };
                    match self.backlog.pop(Takes::All, wanted) {
                        Some(which) => self.assign(which, worker, now),
                        None => return,
                    }
                }
                None => return,
            }
        }
    }

    /// Who would get a request now, and which ones that worker takes.
    fn choose(&mut self) -> Option<(usize, Takes)> {
        let least = |desk: &Self, heap: usize, each: u32| {
            let worker = desk.heaps[heap].least()?;
            desk.has_room(worker, each).then_some(worker)
        };
        let all = |worker: usize| (worker, Takes::All);
        match self.rules.policy {
            Policy::Central {
                per_worker,
                skip_slow: false,
            } => least(self, 0, per_worker).map(all),
            Policy::Central { per_worker, .. } => self.quickest(per_worker).map(all),
            Policy::ShortFirst { .. } => least(self, 0, 1).map(all),
            Policy::Reserve { .. } => match least(self, 1, 1) {
                Some(reserved) => Some((reserved, Takes::ShortOnly)),
                None => least(self, 0, 1).map(all),
            },
            Policy::LeastLoaded => self.heaps[0].least().map(all),
            Policy::TwoChoices => {
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
                let pending = |at: usize| self.workers[at].pending();
                Some(all(if pending(other) < pending(one) {
                    other
                } else {
                    one
                }))
            }
            Policy::RoundRobin => {
                let count = self.workers.len();
                let next = (0..count)
                    .map(|step| (self.round + step) % count)
                    .find(|at| self.workers[*at].up.is_some())?;
                self.round = next + 1;
                Some(all(next))
            }
            Policy::Random => {
                let up = self.heaps[0].workers();
                if up.is_empty() {
                    return None;
                }
                Some(all(up[self.chance.random_range(0..up.len())]))
            }
        }
    }

    fn has_room(&self, worker: usize, each: u32) -> bool {
        let most = self.rules.places.saturating_mul(each.max(1) as usize);
        self.workers[worker].pending() < most
    }

    /// The quickest worker that has room; none where waiting for a busy one promises an earlier answer than the quickest free one.
    fn quickest(&self, each: u32) -> Option<usize> {
        let usual = |at: usize| self.workers[at].usual.unwrap_or(0.0);
        let free = (self.heaps[0].workers().iter().copied())
            .filter(|at| self.has_room(*at, each))
            .min_by(|a, b| {
                let key = |at: usize| (usual(at), self.workers[at].pending(), at);
                let ((a, b, c), (d, e, f)) = (key(*a), key(*b));
                a.total_cmp(&d).then(b.cmp(&e)).then(c.cmp(&f))
            })?;
        // All that are faster are busy. Together they finish one request in `gap` seconds; the one asked for now is the
        // last of the backlog to be waited for.
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

    /// Sends second copies to workers that do not have the first.
    fn second_copies(&mut self, now: Time) {
        if self.spare.is_empty() {
            return;
        }
        let spare = std::mem::take(&mut self.spare);
        for which in spare {
            let Some(entry) = self.entries.get_mut(which.key) else {
                continue;
            };
            let at = &entry.at;
            let each = match self.rules.policy {
                Policy::Central { per_worker, .. } => Some(per_worker),
                Policy::ShortFirst { .. } | Policy::Reserve { .. } => Some(1),
                _ => None,
            };
            let short = entry.short;
            let other = (0..self.workers.len())
                .filter(|worker| self.workers[*worker].up.is_some())
                .filter(|worker| at.iter().all(|posting| posting.worker != *worker))
                .filter(|worker| short || !is_reserved(&self.rules, *worker))
                .min_by_key(|worker| (self.workers[*worker].pending(), *worker))
                .filter(|worker| each.is_none_or(|each| self.has_room(*worker, each)));
            match other {
                Some(worker) => {
                    self.counts.copies += 1;
                    self.assign(which, worker, now);
                }
                None => self.spare.push_back(which),
            }
        }
    }

    /// Asks so many workers the same, the least loaded ones; all of them where it is `None`.
    fn replicate(&mut self, copies: Option<u32>, now: Time) {
        loop {
            let mut up = self.heaps[0].workers().to_vec();
            if up.is_empty() {
                return;
            }
            let entries = &self.entries;
            let wanted = |which: Ref| {
                entries
                    .get(which.key)
                    .is_some_and(|entry| entry.number == which.number)
            };
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
        entry.at.push(super::Posting {
            copy: which.copy,
            worker,
            running: false,
        });
        self.turn += 1;
        let one = &mut self.workers[worker];
        one.queue.push_back(which);
        if one.running < self.rules.places {
            self.wakes.push(worker);
        }
        self.changed(worker, now);
    }
}
