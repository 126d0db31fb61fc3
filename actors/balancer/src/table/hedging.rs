//! Pure: hedging, a second copy of requests that take long.

use std::time::Duration;

use super::{Ref, RequestTable, live};
use crate::policy::After;
use gopherworks_supervision::clock::Time;

impl<T> RequestTable<T> {
    /// When the next hedge is due.
    pub(super) fn next_hedge(&self) -> Option<Time> {
        self.hedges.first().map(|(due, ..)| *due)
    }

    /// Schedules a hedge. Replaces an earlier one, which was set when a lost incarnation started
    /// the request.
    pub(super) fn hedge_at(&mut self, which: Ref, at: Time) {
        let Some(entry) = live(&mut self.entries, which) else {
            return;
        };
        if let Some(before) = entry.hedge_at.replace(at) {
            self.hedges.remove(&(before, which.number, which.key));
        }
        self.hedges.insert((at, which.number, which.key));
    }

    /// Makes hedge copies of requests that have run too long, within the budget;
    /// [`RequestTable::dispatch`] assigns them.
    pub(super) fn hedge(&mut self, now: Time) {
        while let Some((due, number, key)) = self.hedges.first().copied() {
            if due > now {
                return;
            }
            self.hedges.pop_first();
            let which = Ref { key, number, copy: 0 };
            let Some(entry) = live(&mut self.entries, which) else {
                continue;
            };
            // Skipped if it was requeued meanwhile: the retry schedules its own hedge.
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
