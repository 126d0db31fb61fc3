//! Samples states that no counter records: where carts wait, and which positions piles have
//! reached. Sampling adds no work to the path of books and carts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::PoisonError;
use std::time::Duration;

use gopherworks_pipeline::__private::{Destination, PileKey};
use gopherworks_supervision::clock::Time;

use super::ages::Ages;
use super::crews::RunningCrew;
use super::inner::Inner;
use super::running::RunningTopology;

/// The samples so far.
#[derive(Default)]
pub(super) struct Looks {
    last: Option<Time>,
    /// By key of a pile: marks that date its books.
    ages: Vec<Ages>,
    /// By crew: waiting times of its carts.
    waits: BTreeMap<String, Waits>,
    /// Books that had passed each node, by name and in the order of [`RunningTopology::nodes`], at
    /// two times at least a second apart.
    passed: VecDeque<(Time, Vec<(String, u64)>)>,
}

/// Shortest time over which a rate is taken.
const RATE_OVER: Duration = Duration::from_secs(1);

/// Waiting times of a crew's carts: each second counts by the share of carts that waited in it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waits {
    /// Time that empty carts have waited for books.
    pub(super) idle: Duration,
    /// Time that loaded carts have waited for space or for the incinerator.
    pub(super) blocked: Duration,
}

impl Looks {
    fn look(&mut self, inner: &Inner) {
        let now = inner.context.clock.now();
        let passed = self.last.replace(now).map_or(Duration::ZERO, |last| now - last);
        let nodes = inner.nodes();
        for pile in &nodes.piles {
            let at = pile.key.index();
            let most = self.ages.len().max(at + 1);
            self.ages.resize_with(most, Ages::default);
            self.ages[at].mark(now, inner.context.custody.positions(pile.key));
        }
        for crew in &nodes.crews {
            if !self.waits.contains_key(&crew.name) {
                self.waits.insert(crew.name.clone(), Waits::default());
            }
            let Some(waits) = self.waits.get_mut(&crew.name) else {
                continue;
            };
            let (idle, blocked) = waiting(crew);
            let share = |carts: usize| carts as f64 / crew.core.queue.carts().max(1) as f64;
            waits.idle += passed.mul_f64(share(idle).min(1.0));
            waits.blocked += passed.mul_f64(share(blocked).min(1.0));
        }
    }

    /// Age of the first book of a pile.
    pub(super) fn oldest(&self, pile: PileKey) -> Option<Duration> {
        self.ages.get(pile.index())?.oldest(self.last?)
    }

    /// Books per second that pass each node, over the last one or two seconds, or since the last
    /// sample if that is older. `passed` is the totals until now.
    pub(super) fn rates(&mut self, started: Time, passed: Vec<(String, u64)>) -> Vec<f64> {
        let now = self.last.unwrap_or(started);
        let none = (started, Vec::new());
        let (since, before) = self.passed.front().unwrap_or(&none);
        let seconds = (now - *since).as_secs_f64();
        let mut before = before.iter();
        let rates = passed.iter().map(|(name, now)| {
            // Gophers may have been added or removed in between; the order is the same.
            let mut left = before.clone();
            let known = left.find(|(known, _)| known == name);
            if known.is_some() {
                before = left;
            }
            let books = now.saturating_sub(known.map_or(0, |(_, books)| *books));
            if seconds > 0.0 { books as f64 / seconds } else { 0.0 }
        });
        let rates = rates.collect();
        if self.passed.back().is_none_or(|(last, _)| now - *last >= RATE_OVER) {
            self.passed.push_back((now, passed));
            if self.passed.len() > 2 {
                self.passed.pop_front();
            }
        }
        rates
    }

    pub(super) fn waits(&self, crew: &str) -> Waits {
        self.waits.get(crew).copied().unwrap_or_default()
    }
}

/// Carts of a crew that wait for books, and those that wait for space or for the incinerator.
fn waiting(crew: &RunningCrew) -> (usize, usize) {
    let queue = &crew.core.queue;
    let blocked = match &crew.core.to {
        Destination::Dump(dump) => dump.parked_of(queue).1,
        Destination::Incinerator(fire) => fire.parked_of(queue),
    };
    (crew.core.from.parked_of(queue).0, blocked)
}

impl RunningTopology {
    /// Takes a sample now. [`RunningTopology::nodes`] also takes one, and reads them all.
    #[cfg(feature = "http")]
    pub(crate) fn look(&self) {
        self.looked(|_| ());
    }

    pub(super) fn looked<T>(&self, read: impl FnOnce(&mut Looks) -> T) -> T {
        let mut looks = self.inner().looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.look(self.inner());
        read(&mut looks)
    }
}
