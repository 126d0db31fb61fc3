//! Leases of the books of a shared store, in the journal.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[cfg(test)]
use super::Ask;
use super::{Journal, State, Work};
use crate::book::{Book, BookId};
use crate::custody::PileKey;
use crate::custody::keeper::answer::Answer;
use crate::custody::keeper::change::{BookIds, Change};
use crate::store::{Delivery, Receipt, StoreError};
use gopherworks_supervision::__private::planted::{self, Defect};
use gopherworks_supervision::clock::{Sleep, Time};

impl Journal {
    /// True if the leases of books can be extended. If not, all durable piles are woken later.
    pub(super) fn is_safe(&self) -> bool {
        let safe = !self.shared || {
            let now = self.clock.now();
            self.lock().receipts.leases().is_none_or(|leases| leases.are_safe(now))
        };
        if !safe {
            self.starved.store(true, Ordering::Release);
        }
        safe
    }

    /// Marks books as begun.
    pub(crate) fn begin(&self, books: &[Book]) {
        let receipts: Vec<Receipt> = {
            let state = self.lock();
            books.iter().filter_map(|book| state.receipts.of(book.id)).collect()
        };
        self.backend.begin(&receipts);
    }

    /// Removes the marks of books of an exclusive store whose work has ended.
    pub(crate) fn end(&self, books: &[Book]) {
        let receipts: Vec<Receipt> = books.iter().map(|book| Receipt::of(book.id)).collect();
        self.backend.end(&receipts);
    }

    /// Requests a check for books of this pile in any process, made once all changes are stored.
    pub(crate) fn verify(&self, pile: PileKey) {
        let mut state = self.lock();
        if state.verify.insert(pile) {
            self.wake(&mut state);
        }
    }

    pub(in crate::custody::keeper) fn now(&self) -> Time {
        self.clock.now()
    }

    /// When the first book has to be fenced, if books are leased.
    pub(in crate::custody::keeper) fn fence_at(&self) -> Option<Time> {
        self.lock().receipts.leases()?.fence_at()
    }

    /// Resolves at the time `at`.
    pub(in crate::custody::keeper) fn sleep_until(&self, at: Time) -> Sleep {
        self.clock.sleep_until(at)
    }

    /// Adds the deliveries of a call at `called`; returns those to be handed out. Of the others,
    /// some ended here before, and are acked with their new receipts. Some are here: an engine
    /// without atomic passes may have two copies of a book, and one that forgot a delivery repeats
    /// it. The last receipt counts; the other copy is delivered again when its lease has ended.
    pub(in crate::custody::keeper) fn admit(
        &self,
        books: Vec<Delivery>,
        called: Time,
    ) -> Vec<Delivery> {
        let mut state = self.lock();
        let State { core, receipts, .. } = &mut *state;
        let Some(leases) = receipts.leases() else {
            return books;
        };
        let pending = core.pending();
        let is_new = |delivery: &Delivery| {
            let id = delivery.book.id;
            let is_here = leases.admit(delivery, called) && !planted::has(Defect::KeeperTakesTwice);
            if let Some(outcome) = leases.ended_before(id) {
                core.push(Change::Ended { outcome, ids: BookIds::Each(vec![id]) });
                return false;
            }
            !is_here && !pending.contains(&id)
        };
        books.into_iter().filter(is_new).collect()
    }

    /// Applies the answers to an extension; returns books whose leases are lost, and whether
    /// extensions failed before and fail now.
    pub(in crate::custody::keeper) fn extended(
        &self,
        asked: (Vec<(BookId, Receipt)>, Duration),
        answers: Vec<Result<(), StoreError>>,
        called: Time,
    ) -> Vec<BookId> {
        let now = self.clock.now();
        let mut state = self.lock();
        let State { core, receipts, .. } = &mut *state;
        let Some(leases) = receipts.leases() else {
            return Vec::new();
        };
        let (lost, answered) = leases.extended(asked, answers, (called, now));
        leases.fence(&lost, &core.pending());
        core.release(&lost);
        if answered {
            self.starved.store(true, Ordering::Release);
        }
        lost
    }

    /// Fences books whose leases are about to expire, and returns them.
    pub(in crate::custody::keeper) fn fence(&self) -> Vec<BookId> {
        let now = self.clock.now();
        let mut state = self.lock();
        let State { core, receipts, .. } = &mut *state;
        let Some(leases) = receipts.leases() else {
            return Vec::new();
        };
        let ending = leases.ending(now);
        let pending = if self.fences { core.pending() } else { HashSet::new() };
        leases.fence(&ending, &pending);
        core.release(&ending);
        ending
    }

    /// Applies the answer to a commit to the leases. Returns books whose leases were lost.
    pub(in crate::custody::keeper) fn settled(&self, answer: &Answer) -> Vec<BookId> {
        let mut state = self.lock();
        let State { core, receipts, .. } = &mut *state;
        let Some(leases) = receipts.leases() else {
            return Vec::new();
        };
        leases.forget(answer.over.iter().chain(&answer.lost).copied());
        core.release(&answer.lost);
        if !planted::has(Defect::KeeperForgetsLost) {
            answer.unacked.iter().for_each(|(id, outcome)| leases.remember(*id, *outcome));
        }
        answer.lost.clone()
    }

    pub(super) fn lease_work(state: &mut State, now: Time) -> Option<Work> {
        let leases = state.receipts.leases()?;
        if !leases.ending(now).is_empty() {
            return Some(Work::Fence);
        }
        leases.extension(now).map(|(books, lease)| Work::Extend(books, lease))
    }

    /// The extension or fence that is due, if any.
    #[cfg(test)]
    pub(in crate::custody::keeper) fn take_lease_work(&self) -> Option<Work> {
        Self::lease_work(&mut self.lock(), self.clock.now())
    }

    /// The next pile of which books are to be fetched now.
    #[cfg(test)]
    pub(in crate::custody::keeper) fn take_ask(&self) -> Option<PileKey> {
        let mut state = self.lock();
        let now = self.clock.now();
        let is_due =
            |((_, ask), due): &(&(PileKey, Ask), &Time)| *ask == Ask::Fetch && **due <= now;
        let found = state.asks.iter().find(is_due).map(|(ask, _)| *ask);
        found.inspect(|ask| _ = state.asks.remove(ask)).map(|(pile, _)| pile)
    }

    /// The next pile to be verified.
    #[cfg(test)]
    pub(in crate::custody::keeper) fn take_verify(&self) -> Option<PileKey> {
        let mut state = self.lock();
        state.core.is_idle().then(|| state.verify.pop_first()).flatten()
    }

    /// True if nothing may be fetched before a commit is repeated.
    #[cfg(test)]
    pub(in crate::custody::keeper) fn is_repeating(&self) -> bool {
        self.lock().core.is_repeating()
    }

    /// Books with leases.
    #[cfg(test)]
    pub(in crate::custody::keeper) fn leased(&self) -> Vec<BookId> {
        self.lock().receipts.leases().map_or(Vec::new(), |leases| leases.leased())
    }
}
