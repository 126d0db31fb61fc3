//! Leases: custody of one cartload, the right to settle it, and its automatic return.
//!
//! A lease belongs to the cart that carries it, not to the actor that holds the cart. To settle,
//! burn or pass on books, a holder must first win a compare-and-set on (state, generation), so
//! that a holder whose lease was revoked can do no harm. Dropping a lease settles it by its marks;
//! no other recovery code is needed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::book::Book;
use crate::custody::ledger::Ids;
use crate::custody::{Custody, HolderId, PileKey};
use gopherworks_supervision::__private::CachePadded;
use gopherworks_supervision::failure::Failure;

/// What a pile knows about a book on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Its position in the pile's order; a returned book regains it.
    pub(crate) position: u64,
    /// Attempts charged on this pile.
    pub attempts: u32,
    /// How often it was leased from this pile, from 1.
    pub deliveries: u32,
    /// True if a burn of it began before, so that burning it now is a repetition.
    pub begun: bool,
    /// True if it has to be burned alone, because a burn of its whole cart panicked.
    pub apart: bool,
}

impl Note {
    /// Note of a book that is leased for the first time.
    pub(crate) fn first(position: u64) -> Self {
        Self { position, attempts: 0, deliveries: 1, begun: false, apart: false }
    }

    /// True if no burn of it has begun and no attempt was charged.
    pub(crate) fn is_untouched(&self) -> bool {
        self.attempts == 0 && !self.begun && !self.apart
    }
}

/// Notes of all books of a lease. In the common case all are leased for the first time, with
/// consecutive positions: then only the first position is stored.
#[derive(Debug)]
pub(crate) enum Notes {
    /// All leased for the first time, from this position on.
    First(u64),
    /// Some were leased before: one note per book.
    Each(Vec<Note>),
}

/// Why a work dropped a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// The work made nothing of it.
    Work,
    /// It does not meet a condition.
    Filtered,
    /// Other books were stored in its place.
    Split,
}

/// Books made of one book by splitting it, without ids.
#[derive(Debug, Clone)]
pub struct Children(pub Arc<[Book]>);

impl PartialEq for Children {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Children {}

/// Outcome of one leased book.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LeaseVerdict {
    /// Returns to its position without a charged attempt: its carrier was lost, or it was never
    /// tried.
    #[default]
    Return,
    /// Done on this pile: burned, or passed on downstream.
    Ack,
    /// Dropped on purpose by the crew's work.
    Drop(DropReason),
    /// Dropped once these books are stored downstream together with it; until then like `Return`.
    Split(Children),
    /// Returns to its position without a charged attempt, to be burned alone: a burn of its whole
    /// cart panicked, and the failing book is not known.
    Apart,
    /// An attempt failed and is charged. The book returns to its position; at the attempt limit,
    /// or if the failure is permanent, it becomes a dead letter.
    Refuse(Failure),
}

/// What becomes of the acked books of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckKind {
    /// Burned: the books are done.
    Burned,
    /// Passed on to another pile.
    PassedOn,
}

const CARRIED: u64 = 0;
const BURNING: u64 = 1;
const SETTLED: u64 = 2;
const PHASE: u64 = 0b11;

/// The books of one lease, shared by the pile (which can revoke it) and the cart (which carries
/// them).
#[derive(Debug)]
pub struct Batch {
    pub(crate) books: Vec<Book>,
    pub(crate) notes: Notes,
    /// Their ids, if equally spaced.
    pub(crate) ids: Option<Ids>,
    pub(crate) bytes: u64,
    pub(crate) pile: PileKey,
    /// Index of the lease in the pile's list.
    pub(crate) index: u32,
    /// generation << 2 | phase
    state: AtomicU64,
    held_by: AtomicU64,
}

impl Batch {
    pub(crate) fn new(
        (books, notes, ids): (Vec<Book>, Notes, Option<Ids>),
        bytes: u64,
        pile: PileKey,
        index: u32,
        generation: u64,
        holder: HolderId,
    ) -> Self {
        Self {
            books,
            notes,
            ids,
            bytes,
            pile,
            index,
            state: AtomicU64::new(generation << 2 | CARRIED),
            held_by: AtomicU64::new(holder.0),
        }
    }

    /// Note of the book at `index`.
    pub fn note(&self, index: usize) -> Note {
        match &self.notes {
            Notes::First(first) => Note::first(first + index as u64),
            Notes::Each(notes) => notes[index],
        }
    }

    /// True if no book of it was leased from its pile before.
    pub fn is_first(&self) -> bool {
        matches!(self.notes, Notes::First(_))
    }

    /// The last holder, written by the sender before each send.
    pub fn held_by(&self) -> HolderId {
        HolderId(self.held_by.load(Ordering::Acquire))
    }

    /// Current generation; a revocation increments it.
    pub fn generation(&self) -> u64 {
        self.state.load(Ordering::Acquire) >> 2
    }

    #[inline]
    fn begin(&self, generation: u64, from: &[u64], to: u64) -> bool {
        from.iter().any(|from| {
            self.state
                .compare_exchange(
                    generation << 2 | from,
                    generation << 2 | to,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                )
                .is_ok()
        })
    }

    /// Revokes the lease; true if it was not settled before. Later operations of the holder are
    /// stale.
    pub(crate) fn revoke(&self) -> bool {
        let state = self.state.load(Ordering::Acquire);
        state & PHASE != SETTLED
            && self
                .state
                .compare_exchange(
                    state,
                    ((state >> 2) + 1) << 2 | SETTLED,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                )
                .is_ok()
    }

    /// True if its burn has begun and it is not settled.
    pub(crate) fn is_burning(&self) -> bool {
        self.state.load(Ordering::Acquire) & PHASE == BURNING
    }
}

/// Where leases of one pile return when dropped. One per pile and cache-aligned: copies make and
/// drop leases all the time, and a shared reference count would move between cores.
pub(crate) struct Home(CachePadded<Weak<Custody>>);

impl Home {
    pub(crate) fn of(store: Weak<Custody>) -> Arc<Self> {
        Arc::new(Self(CachePadded::new(store)))
    }
}

/// Custody of one cartload. Dropping it settles the books by the marks made so far; unmarked ones
/// return without a charged attempt.
pub struct Lease {
    batch: Option<Arc<Batch>>,
    generation: u64,
    home: Arc<Home>,
    /// This many books from the front are acked; the common case, without a list.
    done: usize,
    /// Boxed, as most leases have no marks.
    marks: Option<Box<Marks>>,
    end: AckKind,
}

/// Marks that `done` cannot express.
#[derive(Default)]
struct Marks {
    /// One per book, or empty.
    verdicts: Vec<LeaseVerdict>,
    /// Books whose burn began and that were not acked.
    begun: Vec<usize>,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("books", &self.len())
            .field("generation", &self.generation)
            .finish()
    }
}

/// A lease taken apart for settling, after winning the compare-and-set.
#[derive(Debug)]
pub struct Unbound {
    /// The leased books.
    pub batch: Arc<Batch>,
    /// One verdict per book, or empty, which means `rest` for all.
    pub verdicts: Vec<LeaseVerdict>,
    /// Verdict on books without an entry in `verdicts`.
    pub rest: LeaseVerdict,
    /// Books whose burn began and that were not acked.
    pub begun: Vec<usize>,
    /// Whether acked books were burned or passed on.
    pub end: AckKind,
}

impl Unbound {
    /// Verdict on the book at `index`.
    pub fn verdict(&self, index: usize) -> &LeaseVerdict {
        self.verdicts.get(index).unwrap_or(&self.rest)
    }
}

impl Lease {
    pub(crate) fn new(batch: Arc<Batch>, home: Arc<Home>) -> Self {
        Self {
            generation: batch.generation(),
            batch: Some(batch),
            home,
            done: 0,
            marks: None,
            end: AckKind::PassedOn,
        }
    }

    /// Duplicates the lease, as a defect would: the first to be settled wins, the other is stale.
    /// For fault injection only.
    pub(crate) fn twin(&self) -> Self {
        Self {
            batch: self.batch.clone(),
            generation: self.generation,
            home: self.home.clone(),
            done: 0,
            marks: None,
            end: self.end,
        }
    }

    /// The batch and this lease's generation, to check later whether it is still live.
    pub(crate) fn watched(&self) -> (Arc<Batch>, u64) {
        (self.batch().clone(), self.generation)
    }

    fn batch(&self) -> &Arc<Batch> {
        self.batch.as_ref().expect("a lease has its batch until it is settled")
    }

    /// The pile that the books belong to.
    pub fn pile(&self) -> PileKey {
        self.batch().pile
    }

    /// The books as they were on the pile.
    pub fn books(&self) -> &[Book] {
        &self.batch().books
    }

    /// Note of the book at `index`.
    ///
    /// # Panics
    /// If the index is out of range.
    pub fn note(&self, index: usize) -> Note {
        self.batch().note(index)
    }

    /// True if no book of it was leased from its pile before.
    pub fn is_first(&self) -> bool {
        self.batch().is_first()
    }

    /// True if no book is marked.
    pub(crate) fn is_unmarked(&self) -> bool {
        self.done == 0 && self.marks.is_none()
    }

    /// True if all books are acked or none is marked, so that it can be settled as a whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.marks.is_none() && (self.done == 0 || self.done == self.len())
    }

    /// Number of books.
    pub fn len(&self) -> usize {
        self.batch.as_ref().map_or(0, |batch| batch.books.len())
    }

    /// True if there are no books; piles never make empty leases.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Total size of the bodies in bytes.
    pub fn bytes(&self) -> u64 {
        self.batch().bytes
    }

    /// Sets the holder; done by the sender before each send.
    pub fn hand_to(&self, holder: HolderId) {
        self.batch().held_by.store(holder.0, Ordering::Release);
    }

    /// Marks the outcome of the book at `index`.
    pub fn mark(&mut self, index: usize, verdict: LeaseVerdict) {
        let listed = (self.marks.as_ref()).is_some_and(|marks| !marks.verdicts.is_empty());
        if !listed && index == self.done && verdict == LeaseVerdict::Ack {
            self.done += 1;
            return;
        }
        if let Some(mark) = self.listed().get_mut(index) {
            *mark = verdict;
        }
    }

    /// Marks the first `count` books as burned. No book may be marked yet.
    pub(crate) fn mark_first_burned(&mut self, count: usize) {
        debug_assert!(self.is_unmarked(), "marks are there already");
        self.done = count.min(self.len());
    }

    /// Marks the outcome of the book at `index`, whose burn has begun.
    pub fn mark_burned(&mut self, index: usize, verdict: LeaseVerdict) {
        if verdict != LeaseVerdict::Ack {
            self.marks.get_or_insert_default().begun.push(index);
        }
        self.mark(index, verdict);
    }

    /// Adds `node` to every refused book's failure that names no node.
    pub fn refused_at(&mut self, node: &str) {
        let marks = self.marks.as_mut().map(|marks| &mut marks.verdicts);
        for verdict in marks.into_iter().flatten() {
            if let LeaseVerdict::Refuse(failure) = verdict
                && failure.node().is_none()
            {
                *failure = failure.clone().at(node);
            }
        }
    }

    /// The marks as a list, one per book.
    fn listed(&mut self) -> &mut Vec<LeaseVerdict> {
        let (len, done) = (self.len(), self.done);
        let verdicts = &mut self.marks.get_or_insert_default().verdicts;
        if verdicts.is_empty() {
            verdicts.resize(done.min(len), LeaseVerdict::Ack);
            verdicts.resize(len, LeaseVerdict::Return);
        }
        verdicts
    }

    /// Takes the marks for settling: a list, or empty if all are alike.
    fn take_marks(&mut self) -> Marks {
        if self.done > 0 && self.done < self.len() {
            self.listed();
        }
        self.marks.take().map_or_else(Marks::default, |marks| *marks)
    }

    /// The mark of the book at `index`; [`LeaseVerdict::Return`] if unmarked.
    pub fn marked(&self, index: usize) -> &LeaseVerdict {
        const NONE: &LeaseVerdict = &LeaseVerdict::Return;
        const DONE: &LeaseVerdict = &LeaseVerdict::Ack;
        let verdicts = self.marks.as_ref().map(|marks| &marks.verdicts);
        match verdicts.and_then(|verdicts| verdicts.get(index)) {
            Some(verdict) => verdict,
            None if index < self.done => DONE,
            None => NONE,
        }
    }

    /// Begins the burn: from now on acked means burned. False if the lease was revoked: nothing
    /// may be burned.
    #[must_use]
    pub fn begin_burn(&mut self) -> bool {
        self.end = AckKind::Burned;
        self.batch().begin(self.generation, &[CARRIED], BURNING)
    }

    /// True until it is revoked. A snapshot: only [`Lease::begin_burn`] and settling are decisive.
    pub fn is_live(&self) -> bool {
        self.batch().generation() == self.generation
    }

    /// Wins the right to settle and takes the lease apart; `None` if it was revoked or settled
    /// before.
    pub(crate) fn unbind(mut self, rest: LeaseVerdict) -> Option<Unbound> {
        let Marks { verdicts, begun } = self.take_marks();
        let (batch, end) = self.unbind_whole()?;
        Some(Unbound { batch, verdicts, begun, rest, end })
    }

    /// Like `unbind`, for a lease settled as a whole; ignores its marks.
    pub(crate) fn unbind_whole(mut self) -> Option<(Arc<Batch>, AckKind)> {
        let batch = self.batch.take()?;
        let won = batch.begin(self.generation, &[CARRIED, BURNING], SETTLED);
        won.then_some((batch, self.end))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.batch.is_none() {
            return;
        }
        // With all books acked and no list, `rest` has to stand for the acked ones.
        let all = self.done > 0 && self.done == self.len() && self.marks.is_none();
        let Marks { verdicts, begun } = self.take_marks();
        let Some(batch) = self.batch.take() else {
            return;
        };
        if batch.begin(self.generation, &[CARRIED, BURNING], SETTLED) {
            // The store is gone, so nothing needs the books.
            let Some(home) = self.home.0.upgrade() else {
                return;
            };
            home.give_back(Unbound {
                batch,
                verdicts,
                begun,
                rest: if all { LeaseVerdict::Ack } else { LeaseVerdict::Return },
                end: self.end,
            });
        }
    }
}
