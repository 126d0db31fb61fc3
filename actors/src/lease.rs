//! The custody of one cartload: who may settle it, and how it goes home by itself.
//!
//! A lease belongs to the cart that carries it, not to the actor that holds the cart. It has a generation: whoever
//! settles, burns or passes on must first win a compare-and-set on (state, generation), so a holder whose lease was
//! revoked can do no harm. Dropping a lease settles it by its marks: that is the whole recovery code.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::book::Book;
use crate::failure::Failure;
use crate::ledger::Ids;
use crate::store::{PileKey, Store};
use crate::threads::Apart;

/// What custody knows of a book on a pile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Its place in this pile's order; a returned book regains it.
    pub(crate) place: u64,
    /// Attempts charged so far on this pile.
    pub attempts: u32,
    /// How often it was leased from this pile (1 = first).
    pub deliveries: u32,
    /// True if a burn of it has begun before: burning it now is burning it again.
    pub begun: bool,
    /// True if it is to be burned by itself: a burn of its whole cart panicked.
    pub apart: bool,
}

impl Note {
    /// Of a book that is leased for the first time.
    pub(crate) fn first(place: u64) -> Self {
        Self {
            place,
            attempts: 0,
            deliveries: 1,
            begun: false,
            apart: false,
        }
    }

    /// True if no burn and no work of it has begun or failed.
    pub(crate) fn is_untouched(&self) -> bool {
        self.attempts == 0 && !self.begun && !self.apart
    }
}

/// Notes of all books of a lease. Nearly always they are new here, and stand one behind the other: nothing is written down then.
#[derive(Debug)]
pub(crate) enum Notes {
    /// Leased for the first time, from this place on.
    First(u64),
    /// Some were here before: one note a book.
    Each(Vec<Note>),
}

/// What is to become of one leased book.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verdict {
    /// Back to its place, uncounted: its carrier was lost, or it was never tried.
    #[default]
    Return,
    /// Done here: burned, or passed on downstream.
    Ack,
    /// Dropped on purpose by the work.
    Drop,
    /// Back to its place, uncounted, to be burned by itself: a burn of its whole cart panicked and nobody knows at which book.
    Apart,
    /// An attempt failed: charged, then back to its place or, at the limit or if permanent, to the dead letters.
    Refuse(Failure),
}

/// What happens to the acked books of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// They are burned: their way is over.
    Burned,
    /// They went on to another pile.
    PassedOn,
}

const CARRIED: u64 = 0;
const BURNING: u64 = 1;
const SETTLED: u64 = 2;
const PHASE: u64 = 0b11;

/// The books of one lease, shared by the pile (which could take them back) and the cart (which carries them).
#[derive(Debug)]
pub struct Batch {
    pub(crate) books: Vec<Book>,
    pub(crate) notes: Notes,
    /// Their ids, where they are at equal distances.
    pub(crate) ids: Option<Ids>,
    pub(crate) bytes: u64,
    pub(crate) pile: PileKey,
    /// Where the pile keeps its side of the lease.
    pub(crate) slot: u32,
    /// generation << 2 | phase
    state: AtomicU64,
    held_by: AtomicU64,
}

impl Batch {
    pub(crate) fn new(
        (books, notes, ids): (Vec<Book>, Notes, Option<Ids>),
        bytes: u64,
        pile: PileKey,
        slot: u32,
        generation: u64,
        holder: u64,
    ) -> Self {
        Self {
            books,
            notes,
            ids,
            bytes,
            pile,
            slot,
            state: AtomicU64::new(generation << 2 | CARRIED),
            held_by: AtomicU64::new(holder),
        }
    }

    /// What is known of the book at `index`.
    pub fn note(&self, index: usize) -> Note {
        match &self.notes {
            Notes::First(first) => Note::first(first + index as u64),
            Notes::Each(notes) => notes[index],
        }
    }

    /// True if no book of it was ever leased from its pile before.
    pub fn is_first(&self) -> bool {
        matches!(self.notes, Notes::First(_))
    }

    /// Who held it last: a number that the sender writes before each send.
    pub fn held_by(&self) -> u64 {
        self.held_by.load(Ordering::Acquire)
    }

    /// The current generation.
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

    /// Takes the lease from its holder: true if it was not settled yet. Every later act of the holder is stale.
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

    /// True if a burn of it was begun and not settled.
    pub(crate) fn is_burning(&self) -> bool {
        self.state.load(Ordering::Acquire) & PHASE == BURNING
    }
}

/// Where the leases of one pile go home to. A pile has its own, and far from those of others: leases are made and dropped by each copy all the time,
/// and one count of all would wander between the cores.
pub(crate) struct Home(Apart<Weak<dyn Store>>);

impl Home {
    pub(crate) fn of(store: Weak<dyn Store>) -> Arc<Self> {
        Arc::new(Self(Apart(store)))
    }
}

/// Custody of one cartload. A guard: dropped, it settles the books by the marks made so far; those without a mark return uncounted.
pub struct Lease {
    batch: Option<Arc<Batch>>,
    generation: u64,
    home: Arc<Home>,
    /// So many books from the front are acked; the common case needs no list.
    done: usize,
    /// Hardly ever there.
    marks: Option<Box<Marks>>,
    end: End,
}

/// Marks that are more than "so many from the front are acked".
#[derive(Default)]
struct Marks {
    /// One a book, or none at all.
    verdicts: Vec<Verdict>,
    /// Books whose burn began and was not acked.
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

/// A lease taken apart for settling, after the compare-and-set was won.
#[derive(Debug)]
pub struct Unbound {
    /// The books.
    pub batch: Arc<Batch>,
    /// One verdict a book, or none at all, which means `rest` for each.
    pub verdicts: Vec<Verdict>,
    /// The verdict of those that `verdicts` does not name.
    pub rest: Verdict,
    /// Books whose burn began and was not acked.
    pub begun: Vec<usize>,
    /// What acked means.
    pub end: End,
}

impl Unbound {
    /// The verdict on the book at `index`.
    pub fn verdict(&self, index: usize) -> &Verdict {
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
            end: End::PassedOn,
        }
    }

    /// The same custody once more, as a defect would make it: whichever is settled first wins, the other is stale. For tests of just that.
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

    /// For whoever has to know whether it still holds.
    pub(crate) fn watched(&self) -> (Arc<Batch>, u64) {
        (self.batch().clone(), self.generation)
    }

    fn batch(&self) -> &Arc<Batch> {
        self.batch
            .as_ref()
            .expect("a lease has its batch until it is settled")
    }

    /// The pile that the books belong to.
    pub fn pile(&self) -> PileKey {
        self.batch().pile
    }

    /// The books as they were on the pile.
    pub fn books(&self) -> &[Book] {
        &self.batch().books
    }

    /// What custody knows of the book at `index`.
    ///
    /// # Panics
    /// If there is none.
    pub fn note(&self, index: usize) -> Note {
        self.batch().note(index)
    }

    /// True if no book of it was ever leased from its pile before.
    pub fn is_first(&self) -> bool {
        self.batch().is_first()
    }

    /// True if no book bears a mark.
    pub(crate) fn is_unmarked(&self) -> bool {
        self.done == 0 && self.marks.is_none()
    }

    /// True if all books are acked, or none bears a mark: whoever settles it settles it as a whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.marks.is_none() && (self.done == 0 || self.done == self.len())
    }

    /// How many books.
    pub fn len(&self) -> usize {
        self.batch.as_ref().map_or(0, |batch| batch.books.len())
    }

    /// True if there are none; a pile never leases nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all bodies.
    pub fn bytes(&self) -> u64 {
        self.batch().bytes
    }

    /// Writes who holds it now; done by the sender before each send.
    pub fn hand_to(&self, holder: u64) {
        self.batch().held_by.store(holder, Ordering::Release);
    }

    /// Marks what became of the book at `index`.
    pub fn mark(&mut self, index: usize, verdict: Verdict) {
        let listed = (self.marks.as_ref()).is_some_and(|marks| !marks.verdicts.is_empty());
        if !listed && index == self.done && verdict == Verdict::Ack {
            self.done += 1;
            return;
        }
        if let Some(mark) = self.listed().get_mut(index) {
            *mark = verdict;
        }
    }

    /// Marks the first `count` books, of which none bears a mark yet, as burned.
    pub(crate) fn mark_first_burned(&mut self, count: usize) {
        debug_assert!(self.is_unmarked(), "marks are there already");
        self.done = count.min(self.len());
    }

    /// Marks what became of the book at `index` whose burn began.
    pub fn mark_burned(&mut self, index: usize, verdict: Verdict) {
        if verdict != Verdict::Ack {
            self.marks.get_or_insert_default().begun.push(index);
        }
        self.mark(index, verdict);
    }

    /// Says of every refused book that it failed at `node`, where its failure doesn't say so already.
    pub fn refused_at(&mut self, node: &str) {
        let marks = self.marks.as_mut().map(|marks| &mut marks.verdicts);
        for verdict in marks.into_iter().flatten() {
            if let Verdict::Refuse(failure) = verdict
                && failure.node().is_none()
            {
                *failure = failure.clone().at(node);
            }
        }
    }

    /// The marks as a list, one a book.
    fn listed(&mut self) -> &mut Vec<Verdict> {
        let (len, done) = (self.len(), self.done);
        let verdicts = &mut self.marks.get_or_insert_default().verdicts;
        if verdicts.is_empty() {
            verdicts.resize(done.min(len), Verdict::Ack);
            verdicts.resize(len, Verdict::Return);
        }
        verdicts
    }

    /// The marks for settling: a list, or none where all are alike.
    fn take_marks(&mut self) -> Marks {
        if self.done > 0 && self.done < self.len() {
            self.listed();
        }
        self.marks
            .take()
            .map_or_else(Marks::default, |marks| *marks)
    }

    /// The mark of the book at `index`.
    pub fn marked(&self, index: usize) -> &Verdict {
        const NONE: &Verdict = &Verdict::Return;
        const DONE: &Verdict = &Verdict::Ack;
        let verdicts = self.marks.as_ref().map(|marks| &marks.verdicts);
        match verdicts.and_then(|verdicts| verdicts.get(index)) {
            Some(verdict) => verdict,
            None if index < self.done => DONE,
            None => NONE,
        }
    }

    /// Marks the beginning of a burn: from now on acked means burned. False if the lease was revoked: burn nothing.
    #[must_use]
    pub fn begin_burn(&mut self) -> bool {
        self.end = End::Burned;
        self.batch().begin(self.generation, &[CARRIED], BURNING)
    }

    /// True while nobody has revoked it. A snapshot: only [`Lease::begin_burn`] and settling decide.
    pub fn is_live(&self) -> bool {
        self.batch().generation() == self.generation
    }

    /// Wins the right to settle and takes the lease apart; `None` if it was revoked (touch nothing).
    pub(crate) fn unbind(mut self, rest: Verdict) -> Option<Unbound> {
        let Marks { verdicts, begun } = self.take_marks();
        let (batch, end) = self.unbind_whole()?;
        Some(Unbound {
            batch,
            verdicts,
            begun,
            rest,
            end,
        })
    }

    /// The same of a lease that is settled as a whole, whatever its marks.
    pub(crate) fn unbind_whole(mut self) -> Option<(Arc<Batch>, End)> {
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
        // With all acked and no list, the unmarked rest is empty: it says nothing of the acked ones.
        let all = self.done > 0 && self.done == self.len() && self.marks.is_none();
        let Marks { verdicts, begun } = self.take_marks();
        let Some(batch) = self.batch.take() else {
            return;
        };
        if batch.begin(self.generation, &[CARRIED, BURNING], SETTLED) {
            // Nobody is there any more who would want them.
            let Some(home) = self.home.0.0.upgrade() else {
                return;
            };
            home.give_back(Unbound {
                batch,
                verdicts,
                begun,
                rest: if all { Verdict::Ack } else { Verdict::Return },
                end: self.end,
            });
        }
    }
}
