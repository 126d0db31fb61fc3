//! Pure: second copies of what takes long.

use std::time::Duration;

use super::{Desk, Ref, live};
use crate::balancer::policy::After;
use crate::clock::Time;

impl<T> Desk<T> {
    /// When a second worker is to be asked next.
    pub(super) fn next_hedge(&self) -> Option<Time> {
        self.hedges.first().map(|(due, ..)| *due)
    }

    /// A second worker is to be asked then, if there is no answer. A wait that was begun before, by a life that is over, begins anew.
    pub(super) fn hedge_at(&mut self, which: Ref, at: Time) {
        let Some(entry) = live(&mut self.entries, which) else {
            return;
        };
        if let Some(before) = entry.hedge_at.replace(at) {
            self.hedges.remove(&(before, which.number, which.key));
        }
        self.hedges.insert((at, which.number, which.key));
    }

    /// Makes second copies of what has been running for too long, as far as the budget goes. [`Desk::dispatch`] sends them on.
    pub(super) fn hedge(&mut self, now: Time) {
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

    pub(super) fn hedge_delay(&mut self, after: After) -> Option<Duration> {
        match after {
            After::Delay(delay) => Some(delay),
            After::Percentile(share) => self.times.quantile(share),
        }
    }
}
