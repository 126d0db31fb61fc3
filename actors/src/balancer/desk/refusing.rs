//! Pure: requests that get no answer in time. Deadlines, and shedding under overload.

use std::time::Duration;

use super::{Desk, Ref, Refusal, is_live};
use crate::balancer::resilience::{RetryBudget, Shed};
use crate::clock::Time;

impl<T> Desk<T> {
    /// All that time brings: ends what is too late, makes second copies, lets workers back in, and hands out what can be handed out.
    /// [`Desk::refused`] has what was ended, [`Desk::wakes`] who should be told.
    pub fn turn(&mut self, now: Time) {
        self.turned = now;
        self.expire(now);
        self.shed(now);
        self.readmit(now);
        self.hedge(now);
        self.dispatch(now);
    }

    /// When [`Desk::turn`] is to be called next, if nothing else happens before.
    pub fn next_turn(&mut self) -> Option<Time> {
        let entries = &self.entries;
        let due = self
            .dues
            .first(|which| is_live(entries, which))
            .map(|(due, _)| due);
        [
            due,
            self.next_shed(),
            self.next_readmission(),
            self.next_hedge(),
            self.next_warmer(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Where something waits while workers begin slowly: their share grows by time alone.
    fn next_warmer(&self) -> Option<Time> {
        let span = self.rules.resilience.slow_start?;
        let waits = self.backlog.len() > 0 || !self.spare.is_empty();
        (waits && self.is_warming(self.turned)).then(|| {
            let step = (span / WARMER).max(Duration::from_nanos(1));
            self.warm_at.min(self.turned + step)
        })
    }

    /// Requests that were ended by [`Desk::turn`] or [`Desk::take`], each with the reason.
    pub fn refused(&mut self) -> Vec<(u64, T, Refusal)> {
        std::mem::take(&mut self.refused)
    }

    /// Ends what is due.
    fn expire(&mut self, now: Time) {
        loop {
            let entries = &self.entries;
            let first = self.dues.first(|which| is_live(entries, which));
            let Some((due, which)) = first else {
                return;
            };
            if due > now {
                return;
            }
            let begun = self.entries[which.key].begun;
            if let Some(item) = self.end(which, None, now) {
                self.counts.expired += 1;
                self.refused
                    .push((which.number, item, Refusal::Expired { begun }));
            }
        }
    }

    /// The oldest request that has not begun, and when it came.
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

    /// Ends what has waited for too long. What had begun before is in custody, and stays.
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
                self.refused
                    .push((which.number, item, Refusal::Shed { waited }));
            }
        }
    }

    fn next_shed(&mut self) -> Option<Time> {
        let Shed { target, interval } = self.rules.resilience.shed?;
        let (came, _) = self.oldest()?;
        Some((came + target).max(self.last_empty + interval))
    }

    /// Nothing waits: there is no overload.
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

    /// True if one more retry is within the budget, which then has one less.
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

/// Steps in which the share of a worker that begins slowly is looked at, where something waits.
const WARMER: u32 = 16;

/// What a budget saves up at most: so many retries, and those of so many seconds.
const MOST_SAVED: f64 = 100.0;
pub(super) const SAVED_SECONDS: f64 = 10.0;

/// Time that a request has: from when it was asked.
pub(in crate::balancer) fn due(
    asked: Time,
    within: Option<Duration>,
    usual: Option<Duration>,
) -> Option<Time> {
    within.or(usual).map(|span| asked + span)
}
