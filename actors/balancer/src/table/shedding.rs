//! Pure: requests that get no reply in time: deadlines, shedding, and the retry budget.

use std::time::Duration;

use super::{Ref, Refusal, RequestTable, is_live};
use crate::resilience::{RetryBudget, Shed};
use gopherworks_supervision::clock::Time;

impl<T> RequestTable<T> {
    /// Does all that is due: expires, sheds, readmits workers, hedges and dispatches. Afterwards
    /// [`RequestTable::refused`] has the requests that were ended, [`RequestTable::wakes`] the
    /// workers to wake.
    pub fn turn(&mut self, now: Time) {
        self.turned = now;
        self.expire(now);
        self.shed(now);
        self.readmit(now);
        self.hedge(now);
        self.dispatch(now);
    }

    /// When [`RequestTable::turn`] is due next, unless something happens earlier.
    pub fn next_turn(&mut self) -> Option<Time> {
        let entries = &self.entries;
        let due = self.deadlines.first(|which| is_live(entries, which)).map(|(due, _)| due);
        [due, self.next_shed(), self.next_readmission(), self.next_hedge(), self.next_warmer()]
            .into_iter()
            .flatten()
            .min()
    }

    /// When to look at queued requests again during a slow start, in which they become dispatchable
    /// without an event.
    fn next_warmer(&self) -> Option<Time> {
        let span = self.rules.resilience.slow_start?;
        let waits = self.backlog.len() > 0 || !self.spare.is_empty();
        (waits && self.is_warming(self.turned)).then(|| {
            let step = (span / WARMER).max(Duration::from_nanos(1));
            self.warm_at.min(self.turned + step)
        })
    }

    /// Removes and returns the requests that [`RequestTable::turn`] expired or shed: number,
    /// payload, reason.
    pub fn refused(&mut self) -> Vec<(u64, T, Refusal)> {
        std::mem::take(&mut self.refused)
    }

    /// Ends requests whose deadline has passed.
    fn expire(&mut self, now: Time) {
        loop {
            let entries = &self.entries;
            let first = self.deadlines.first(|which| is_live(entries, which));
            let Some((due, which)) = first else {
                return;
            };
            if due > now {
                return;
            }
            let begun = self.entries[which.key].begun;
            if let Some(item) = self.end(which, None, now) {
                self.counts.expired += 1;
                self.refused.push((which.number, item, Refusal::Expired { begun }));
            }
        }
    }

    /// The oldest request that has not started, with its time of arrival.
    fn oldest(&mut self) -> Option<(Time, Ref)> {
        while let Some((came, which)) = self.ages.front().copied() {
            let waits = (self.entries.get(which.key))
                .is_some_and(|entry| entry.number == which.number && !entry.begun);
            if waits {
                return Some((came, which));
            }
            self.ages.pop_front();
        }
        None
    }

    /// Sheds requests that have been queued too long. Started ones are never shed.
    fn shed(&mut self, now: Time) {
        let Some(Shed { target, interval }) = self.rules.resilience.shed else {
            return;
        };
        let overloaded = now - self.last_empty >= interval;
        let most = if overloaded { target } else { interval };
        while let Some((came, which)) = self.oldest() {
            let waited = now - came;
            if waited < most {
                return;
            }
            if let Some(item) = self.end(which, None, now) {
                self.counts.shed += 1;
                self.refused.push((which.number, item, Refusal::Shed { waited }));
            }
        }
    }

    fn next_shed(&mut self) -> Option<Time> {
        let Shed { target, interval } = self.rules.resilience.shed?;
        let (came, _) = self.oldest()?;
        Some((came + target).max(self.last_empty + interval))
    }

    /// Resets the overload detection if the queue is empty.
    pub(super) fn note_empty(&mut self, now: Time) {
        if self.rules.resilience.shed.is_some() && self.queued() == 0 {
            self.last_empty = now;
        }
    }

    pub(super) fn save_up(&mut self) {
        if let Some(RetryBudget { share, .. }) = self.rules.resilience.retries {
            self.retries += share;
        }
    }

    /// Takes one retry from the budget. True if there was one.
    pub(super) fn may_retry(&mut self, now: Time) -> bool {
        let Some(RetryBudget { per_second, .. }) = self.rules.resilience.retries else {
            return true;
        };
        let passed = now - std::mem::replace(&mut self.retries_at, now);
        let most = MOST_SAVED + per_second * SAVED_SECONDS;
        self.retries = (self.retries + per_second * passed.as_secs_f64()).min(most);
        if self.retries < 1.0 {
            return false;
        }
        self.retries -= 1.0;
        true
    }
}

/// Number of looks at queued requests during a slow start.
const WARMER: u32 = 16;

/// Cap on saved retries: this many, plus those of `SAVED_SECONDS`.
const MOST_SAVED: f64 = 100.0;
pub(super) const SAVED_SECONDS: f64 = 10.0;

/// The deadline of a request: its own timeout, or else the default, counted from the call.
pub(crate) fn due(asked: Time, within: Option<Duration>, usual: Option<Duration>) -> Option<Time> {
    within.or(usual).map(|span| asked + span)
}
