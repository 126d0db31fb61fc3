//! The ends of leases: settled, passed on to another pile, returned, or revoked.

use std::sync::atomic::Ordering;

use super::{Custody, lock};
use crate::book::Book;
use crate::custody::lease::{AckKind, DropReason, Lease, LeaseVerdict, Unbound};
use crate::custody::ledger::{BookOutcome, Ids};
use crate::custody::shelf::Shelf;
use crate::custody::{HolderId, PileKey, RefusedLoad, Settled, Worked};
use gopherworks_supervision::__private::planted::{self, Defect};

impl Custody {
    /// Settles a lease by its marks. Without any marks all its books are acked; with some,
    /// unmarked books return to the pile.
    pub fn settle(&self, lease: Lease) -> Settled {
        if lease.is_whole() {
            return self.settle_whole(lease);
        }
        let pile = lease.pile();
        let Some(unbound) = lease.unbind(LeaseVerdict::Ack) else {
            return Settled::Stale;
        };
        let now = self.now_if(!unbound.verdicts.is_empty());
        let mut shelf = self.shelf(pile);
        let (settled, mut done) = self.carry_out(&mut shelf, unbound, now);
        drop(shelf);
        self.charge(std::mem::take(&mut done.charged));
        self.bury(std::mem::take(&mut done.buried));
        self.buffers.give(done.acked);
        settled
    }

    /// Stores the books on `to` and settles their lease, atomically if one engine has both piles.
    /// With `reserved` (books, bytes), uses up a reservation made by [`Custody::reserve`], or
    /// releases it if the lease is stale.
    pub fn pass_on(
        &self,
        lease: Lease,
        worked: Worked,
        to: PileKey,
        reserved: Option<(usize, u64)>,
    ) -> Result<Settled, RefusedLoad> {
        if worked.is_none() && lease.is_unmarked() {
            return self.pass_whole(lease, to, reserved);
        }
        let from = lease.pile();
        debug_assert_ne!(from, to, "a pile never passes on to itself");
        let (mut source, mut target) = self.both(from, to);
        if let Some((books, bytes)) = reserved {
            target.release(books, bytes);
        } else {
            let (books, bytes) = passing(&lease, &worked);
            if books > 0 && !target.has_room(books, bytes) && !self.keeps(to) {
                drop((source, target));
                return Err(RefusedLoad { lease, worked });
            }
        }
        let Some(mut unbound) = lease.unbind(LeaseVerdict::Ack) else {
            return Ok(Settled::Stale);
        };
        let children = self.children(&mut unbound, (from, to));
        // Marks are made for failures only: an unmarked book passes, if the work produced one.
        let count = unbound.batch.books.len();
        let there = |index: usize| match &worked {
            Some(worked) => worked.get(index).is_some_and(Option::is_some),
            None => true,
        };
        if !(unbound.verdicts.is_empty() && (0..count).all(there)) {
            unbound.verdicts.resize(count, LeaseVerdict::Return);
            for (index, verdict) in unbound.verdicts.iter_mut().enumerate() {
                match verdict {
                    LeaseVerdict::Return if there(index) => *verdict = LeaseVerdict::Ack,
                    LeaseVerdict::Ack if !there(index) => *verdict = LeaseVerdict::Return,
                    _ => {}
                }
            }
        }
        let carried = self.carried(&unbound.batch, to);
        let passed: Option<Vec<bool>> = worked.is_some().then(|| {
            (0..count).map(|index| *unbound.verdict(index) == LeaseVerdict::Ack).collect()
        });
        let now = self.now_if(!unbound.verdicts.is_empty());
        let (mut settled, mut done) = self.carry_out(&mut source, unbound, now);
        if let Settled::Done { children: stored, .. } = &mut settled {
            *stored = self.store_children(&mut target, children);
        }
        let mut refused = Vec::new();
        let rest = match (worked, passed) {
            (Some(worked), Some(passed)) => {
                let mut books = Vec::with_capacity(count);
                for (book, passed) in worked.into_iter().zip(passed) {
                    match book {
                        Some(book) if passed => books.push(book),
                        other => refused.push(other),
                    }
                }
                let bytes = books.iter().map(Book::size).sum();
                self.arrive((from, to), &mut target, (books, bytes, None), (true, carried))
            }
            _ => {
                let books = std::mem::take(&mut done.acked);
                let load = (books, done.acked_bytes, done.acked_ids);
                self.arrive((from, to), &mut target, load, (false, carried))
            }
        };
        drop((source, target));
        self.charge(std::mem::take(&mut done.charged));
        self.bury(std::mem::take(&mut done.buried));
        let rest = rest.unwrap_or_default();
        self.bury(rest.dead);
        // Bodies may delete files when dropped, so this is outside the locks.
        self.buffers.give(std::mem::take(&mut done.acked));
        drop((done, refused, rest.books));
        Ok(settled)
    }

    /// Returns a dropped lease: settles it by its marks, where unmarked books return to the pile.
    /// Only queues it and wakes the pile, which completes it by [`Custody::collect`].
    pub fn give_back(&self, mut unbound: Unbound) {
        if planted::has(Defect::StoreAcksEarly) && unbound.rest == LeaseVerdict::Return {
            unbound.rest = LeaseVerdict::Ack;
        }
        let pile = unbound.batch.pile;
        let own = self.pile(pile);
        {
            let mut inbox = lock(&own.inbox);
            inbox.push(unbound);
            own.waiting.store(inbox.len(), Ordering::Release);
        }
        (self.bell)(pile);
    }

    /// Settles queued returns; returns how many leases there were.
    pub fn collect(&self, pile: PileKey) -> usize {
        let own = self.pile(pile);
        if own.waiting.load(Ordering::Acquire) == 0 {
            return 0;
        }
        let now = self.clock.now();
        let (mut buried, mut charged) = (Vec::new(), Vec::new());
        // Both locks together, so that no count misses a book in between.
        let mut shelf = lock(&own.shelf);
        let mut inbox = lock(&own.inbox);
        let home = inbox.len();
        // Dropping may delete files or run user code, so it is done outside the locks.
        let mut gone = Vec::new();
        for unbound in inbox.drain(..) {
            let (_, mut done) = self.carry_out(&mut shelf, unbound, now);
            buried.append(&mut done.buried);
            charged.append(&mut done.charged);
            gone.push(done);
        }
        own.waiting.store(0, Ordering::Release);
        drop((inbox, shelf));
        drop(gone);
        self.charge(charged);
        self.bury(buried);
        home
    }

    /// Revokes every lease of `pile` whose holder matches `lost`, for holders on hung threads.
    /// Returns how many books came back.
    pub fn revoke(&self, pile: PileKey, lost: &dyn Fn(HolderId) -> bool) -> usize {
        let (books, resting) = {
            let mut shelf = self.shelf(pile);
            let books = shelf.revoke(lost);
            (books, self.note_returns(pile, &mut shelf))
        };
        drop(resting);
        (self.bell)(pile);
        books
    }

    /// Acks all books of a lease.
    fn settle_whole(&self, lease: Lease) -> Settled {
        let pile = lease.pile();
        let Some((batch, end)) = lease.unbind_whole() else {
            return Settled::Stale;
        };
        let ids = batch.ids;
        let (books, last) = {
            let mut shelf = self.shelf(pile);
            let books = shelf.settle_whole(batch);
            if end == AckKind::Burned {
                self.ended(pile, BookOutcome::Burned, &books, ids);
            }
            (books, shelf.is_idle())
        };
        let acked = books.len();
        self.buffers.give(books);
        Settled::whole(acked, last)
    }

    /// Passes all books of a lease unchanged.
    fn pass_whole(
        &self,
        lease: Lease,
        to: PileKey,
        reserved: Option<(usize, u64)>,
    ) -> Result<Settled, RefusedLoad> {
        let from = lease.pile();
        let (mut source, mut target) = self.both(from, to);
        match reserved {
            Some((books, bytes)) => target.release(books, bytes),
            None if !target.has_room(lease.len(), lease.bytes()) && !self.keeps(to) => {
                drop((source, target));
                let worked = None;
                return Err(RefusedLoad { lease, worked });
            }
            None => {}
        }
        let Some((batch, _)) = lease.unbind_whole() else {
            return Ok(Settled::Stale);
        };
        let (bytes, ids) = (batch.bytes, batch.ids);
        let carried = self.carried(&batch, to);
        let books = source.settle_whole(batch);
        let acked = books.len();
        let load = (books, bytes, ids);
        let rest = self.arrive((from, to), &mut target, load, (false, carried));
        let settled = Settled::whole(acked, source.is_idle());
        drop(source);
        drop(target);
        if let Some(rest) = rest {
            self.bury(rest.dead);
            // Bodies may delete files when dropped, so this is outside the locks.
            self.buffers.give(rest.books);
        }
        Ok(settled)
    }
}

impl Custody {
    /// Takes the books made by splitting out of the verdicts; their parents are dropped with them.
    /// Nothing is taken if a store would have to keep them.
    fn children(&self, unbound: &mut Unbound, (from, to): (PileKey, PileKey)) -> Vec<Book> {
        let mut children = Vec::new();
        if self.pile(from).journal.is_some() || self.pile(to).journal.is_some() {
            return children;
        }
        for verdict in &mut unbound.verdicts {
            if let LeaseVerdict::Split(made) = verdict {
                children.extend(made.0.iter().cloned());
                *verdict = LeaseVerdict::Drop(DropReason::Split);
            }
        }
        children
    }

    /// Numbers and stores books made by splitting; returns their ids and number.
    fn store_children(&self, target: &mut Shelf, mut books: Vec<Book>) -> Option<(Ids, u64)> {
        let count = books.len() as u64;
        let first = (count > 0).then(|| self.ledger.number(count))?;
        let ids = Ids { first, step: 1 };
        for (book, at) in books.iter_mut().zip(0..) {
            book.id = ids.at(at);
        }
        self.ledger.offer(count);
        let bytes = books.iter().map(Book::size).sum();
        target.put_all(books, bytes, Some(ids));
        Some((ids, count))
    }
}

/// Number and bytes of the books of a cartload that would pass.
fn passing(lease: &Lease, worked: &Worked) -> (usize, u64) {
    if worked.is_none() && lease.is_unmarked() {
        return (lease.len(), lease.bytes());
    }
    let (mut books, mut bytes) = (0, 0);
    for (index, book) in lease.books().iter().enumerate() {
        match (worked, lease.marked(index)) {
            (_, LeaseVerdict::Split(children)) => {
                books += children.0.len();
                bytes += children.0.iter().map(Book::size).sum::<u64>();
            }
            (_, LeaseVerdict::Drop(_) | LeaseVerdict::Refuse(_)) => {}
            (Some(worked), _) => {
                let size = worked.get(index).and_then(Option::as_ref).map(Book::size);
                books += usize::from(size.is_some());
                bytes += size.unwrap_or(0);
            }
            (None, _) => {
                books += 1;
                bytes += book.size();
            }
        }
    }
    (books, bytes)
}
