//! Pure: the receipts of the books that custody holds, and how long it holds them.
//!
//! In a shared store a book is held by a lease. All leases are extended when half of their time has
//! passed. If that fails, no more books are handed out; those of a lease that is about to end are
//! *fenced*: custody revokes their carts and forgets them, before another process may get them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::book::BookId;
use crate::custody::ledger::BookOutcome;
use crate::store::{Delivery, Receipt, StoreError};
use gopherworks_supervision::clock::Time;

/// A book is not held for more than this many leases.
const MOST_LEASES: u32 = 120;

/// Most outcomes that are remembered after their leases were lost; with more, all are forgotten:
/// the books are then burned again.
const MOST_OVER: usize = 64 * 1024;

/// Receipts of held books.
#[derive(Debug, Default)]
pub(crate) enum Receipts {
    /// Of an exclusive store: made of the id, good until the end.
    #[default]
    OfIds,
    Leased(Leases),
}

#[derive(Debug)]
struct HeldBook {
    receipt: Receipt,
    lease: Duration,
    since: Time,
    /// When the lease ends; `None` if it has ended, and only a change that is not stored yet needs
    /// the receipt.
    until: Option<Time>,
}

impl HeldBook {
    fn extend_at(&self) -> Option<Time> {
        let until = self.until?;
        let over = self.since + self.lease.saturating_mul(MOST_LEASES);
        (until < over).then(|| before(until, self.lease / 2))
    }

    /// Before the lease ends, with time to spare for carts under way.
    fn fence_at(&self) -> Option<Time> {
        Some(before(self.until?, self.lease / 8))
    }
}

fn before(time: Time, by: Duration) -> Time {
    Time::ZERO + (time - Time::ZERO).saturating_sub(by)
}

/// Leases of the books of a shared store.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: HashMap<BookId, HeldBook>,
    /// Not later than the first extension and the first fence that is due.
    extend_at: Option<Time>,
    fence_at: Option<Time>,
    /// Extensions have failed since the last that did not; when they are tried again.
    failing: bool,
    retry_at: Option<Time>,
    /// Outcomes that are not stored, since the leases were lost.
    over: HashMap<BookId, BookOutcome>,
}

impl Receipts {
    /// The receipt of a book; `None` if it is not held any more.
    pub(super) fn of(&self, id: BookId) -> Option<Receipt> {
        match self {
            Self::OfIds => Some(Receipt::of(id)),
            Self::Leased(leases) => leases.held.get(&id).map(|held| held.receipt.clone()),
        }
    }

    pub(super) fn leases(&mut self) -> Option<&mut Leases> {
        match self {
            Self::OfIds => None,
            Self::Leased(leases) => Some(leases),
        }
    }
}

fn earlier(a: Option<Time>, b: Option<Time>) -> Option<Time> {
    a.into_iter().chain(b).min()
}

impl Leases {
    /// A book was delivered; the lease counts from the call at `called`.
    pub(super) fn admit(&mut self, delivery: &Delivery, called: Time) {
        let lease = delivery.lease.unwrap_or(Duration::MAX);
        let until = Some(called + lease);
        let held = HeldBook { receipt: delivery.receipt.clone(), lease, since: called, until };
        self.extend_at = earlier(self.extend_at, held.extend_at());
        self.fence_at = earlier(self.fence_at, held.fence_at());
        self.held.insert(delivery.book.id, held);
    }

    /// The outcome of a delivered book that is not stored, if it ended before.
    pub(super) fn ended_before(&mut self, id: BookId) -> Option<BookOutcome> {
        self.over.remove(&id)
    }

    /// Books whose receipts are used up.
    pub(super) fn forget(&mut self, ids: impl IntoIterator<Item = BookId>) {
        ids.into_iter().for_each(|id| drop(self.held.remove(&id)));
    }

    /// The outcome of a book is not stored, since its lease was lost.
    pub(super) fn remember(&mut self, id: BookId, outcome: BookOutcome) {
        if self.over.len() >= MOST_OVER {
            self.over.clear();
        }
        self.over.insert(id, outcome);
    }

    /// True if books may be handed out: their leases can be extended.
    pub(super) fn are_safe(&self, now: Time) -> bool {
        !self.failing && self.fence_at.is_none_or(|at| at > now)
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Option<Time> {
        earlier(self.extend_at, self.fence_at)
    }

    /// When leases have to be given up.
    pub(super) fn fence_at(&self) -> Option<Time> {
        self.fence_at
    }

    fn look(&mut self) {
        let first = self.held.values().filter_map(HeldBook::extend_at).min();
        self.extend_at = first.map(|at| self.retry_at.map_or(at, |retry| at.max(retry)));
        self.fence_at = self.held.values().filter_map(HeldBook::fence_at).min();
        // Without leases there is no later extension that could end the failure.
        self.failing &= self.fence_at.is_some();
    }

    /// Leases to be extended now, all by the same time. [`Leases::extended`] follows.
    pub(super) fn extension(&mut self, now: Time) -> Option<(Vec<(BookId, Receipt)>, Duration)> {
        self.extend_at.filter(|at| *at <= now)?;
        let due = self.held.iter().filter(|(_, held)| held.extend_at().is_some_and(|at| at <= now));
        let lease = due.clone().map(|(_, held)| held.lease).min();
        let due = due.map(|(id, held)| (*id, held.receipt.clone())).collect();
        if lease.is_none() {
            self.look();
        }
        lease.map(|lease| (due, lease))
    }

    /// Takes the answers to an extension that was called at `called`; returns books whose leases
    /// are lost. False if the store did not answer: it is asked again.
    pub(super) fn extended(
        &mut self,
        asked: (Vec<(BookId, Receipt)>, Duration),
        answers: Vec<Result<(), StoreError>>,
        (called, now): (Time, Time),
    ) -> (Vec<BookId>, bool) {
        let ((books, lease), mut lost, mut failed) = (asked, Vec::new(), false);
        for ((id, _), answer) in books.into_iter().zip(answers) {
            match (answer, self.held.get_mut(&id)) {
                (Ok(()), Some(held)) => held.until = held.until.map(|_| called + lease),
                (Ok(()), None) => {}
                (Err(error), _) if error.is_lost() => lost.push(id),
                (Err(_), _) => failed = true,
            }
        }
        self.failing = failed;
        self.retry_at = failed.then(|| now + lease / 16);
        self.look();
        (lost, !failed)
    }

    /// Books whose leases are about to end.
    pub(super) fn ending(&mut self, now: Time) -> Vec<BookId> {
        if self.fence_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let ending =
            self.held.iter().filter(|(_, held)| held.fence_at().is_some_and(|at| at <= now));
        let ending: Vec<_> = ending.map(|(id, _)| *id).collect();
        if ending.is_empty() {
            self.look();
        }
        ending
    }

    /// The leases of these books are given up. The receipts of those with changes that are not
    /// stored yet are kept if the engine refuses late ones.
    pub(super) fn fence(&mut self, ids: &[BookId], pending: &HashSet<BookId>) {
        for id in ids {
            match self.held.get_mut(id) {
                Some(held) if pending.contains(id) => held.until = None,
                _ => drop(self.held.remove(id)),
            }
        }
        self.look();
    }

    /// Number of held books.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.values().filter(|held| held.until.is_some()).count()
    }
}
