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

/// Number of lease times after which the lease of a book is no longer extended.
const MOST_LEASES: u32 = 120;

/// Maximum number of outcomes remembered after their leases were lost. Beyond it all are forgotten,
/// and the books are burned again.
const MOST_OVER: usize = 64 * 1024;

/// Receipts of held books.
#[derive(Debug, Default)]
pub(crate) enum Receipts {
    /// Receipts of an exclusive store: derived from the ids, valid until the store is closed.
    #[default]
    OfIds,
    Leased(Leases),
}

#[derive(Debug)]
struct HeldBook {
    receipt: Receipt,
    lease: Duration,
    since: Time,
    /// When the lease ends; `None` if it has ended and the receipt is kept only for a change that
    /// is not stored yet.
    until: Option<Time>,
}

impl HeldBook {
    fn extend_at(&self) -> Option<Time> {
        let until = self.until?;
        let over = self.since + self.lease.saturating_mul(MOST_LEASES);
        (until < over).then(|| before(until, self.lease / 2))
    }

    /// When the book is fenced: an eighth of the lease before its end, to leave time for carts
    /// under way.
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
    /// When the first extension and the first fence are due, or earlier.
    extend_at: Option<Time>,
    fence_at: Option<Time>,
    /// True if the last extension failed; `retry_at` is when the next one may be tried.
    failing: bool,
    retry_at: Option<Time>,
    /// Outcomes that could not be stored because the leases were lost.
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
    /// Adds a delivered book; its lease counts from the call at `called`. True if it was held
    /// before.
    pub(super) fn admit(&mut self, delivery: &Delivery, called: Time) -> bool {
        let lease = delivery.lease.unwrap_or(Duration::MAX);
        let until = Some(called + lease);
        let held = HeldBook { receipt: delivery.receipt.clone(), lease, since: called, until };
        self.extend_at = earlier(self.extend_at, held.extend_at());
        self.fence_at = earlier(self.fence_at, held.fence_at());
        let before = self.held.insert(delivery.book.id, held);
        before.is_some_and(|before| before.until.is_some())
    }

    /// Takes the outcome of a delivered book that ended here before without being acked.
    pub(super) fn ended_before(&mut self, id: BookId) -> Option<BookOutcome> {
        self.over.remove(&id)
    }

    /// Drops the receipts of settled or lost books.
    pub(super) fn forget(&mut self, ids: impl IntoIterator<Item = BookId>) {
        ids.into_iter().for_each(|id| drop(self.held.remove(&id)));
    }

    /// Remembers the outcome of a book that could not be stored because its lease was lost.
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

    /// When the next extension or fence is due.
    pub(super) fn due(&self) -> Option<Time> {
        earlier(self.extend_at, self.fence_at)
    }

    /// When the first book has to be fenced.
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

    /// Leases to be extended now, all by the same time. The caller passes the answer to
    /// [`Leases::extended`].
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

    /// Applies the answers to an extension called at `called`; returns books whose leases are lost.
    /// False if the store did not answer: the extension is retried.
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

    /// Ends the leases of these books. Receipts of books in `pending`, which is empty unless the
    /// engine refuses late acks, are kept for changes that are not stored yet.
    pub(super) fn fence(&mut self, ids: &[BookId], pending: &HashSet<BookId>) {
        for id in ids {
            match self.held.get_mut(id) {
                Some(held) if pending.contains(id) => held.until = None,
                _ => drop(self.held.remove(id)),
            }
        }
        self.look();
    }

    /// Held books.
    #[cfg(test)]
    pub(super) fn leased(&self) -> Vec<BookId> {
        let held = self.held.iter().filter(|(_, held)| held.until.is_some());
        held.map(|(id, _)| *id).collect()
    }
}
