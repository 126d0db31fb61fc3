//! What moves between the memory of durable piles and their store.

use std::collections::HashSet;
use std::time::Duration;

use super::{Custody, lock};
use crate::book::{Book, BookId};
use crate::custody::keeper::{BookIds, Change, Journal, Known, LOOK, Stored, Then, Unfit};
use crate::custody::lease::{Batch, Notes};
use crate::custody::ledger::{BookOutcome, Ids};
use crate::custody::shelf::{DeadLetter, Shelf};
use crate::custody::{PileCounts, PileKey, Want};
use crate::store::{Delivery, Tries};

/// What is left of books after a pass, to be dropped or reported outside the locks.
#[derive(Default)]
pub(super) struct Passed {
    pub(super) books: Vec<Book>,
    pub(super) dead: Vec<DeadLetter>,
}

/// The journal of the pile that books are passed to, and the tries to be stored with some of them.
/// `None` if no change on that pile matters to the store.
pub(super) type Carried<'a> = Option<(&'a Journal, Vec<(BookId, Tries)>)>;

impl Custody {
    /// Makes room for new books of a durable pile; false if they will be behind its window.
    pub(super) fn holds(&self, shelf: &mut Shelf, pile: PileKey, books: usize, bytes: u64) -> bool {
        let behind = shelf.goes_behind(books, bytes) || self.keeps(pile);
        match behind {
            true => shelf.expect_behind(books, bytes),
            false => _ = shelf.reserve(books, bytes, true),
        }
        !behind
    }

    /// Attempts of burns that a crash may have charged on the pile where a book was stored last,
    /// though it had been passed on since: they count on the next pile, too.
    #[inline(always)]
    pub(super) fn carried(&self, batch: &Batch, to: PileKey) -> Carried<'_> {
        let journal = self.pile(to).journal.as_deref()?;
        Some((journal, Self::carried_of(batch, journal, to)))
    }

    #[cold]
    fn carried_of(batch: &Batch, journal: &Journal, to: PileKey) -> Vec<(BookId, Tries)> {
        let has_notes = matches!(batch.notes, Notes::Each(_));
        if !has_notes || !journal.is_durable(batch.pile) || !journal.is_durable(to) {
            return Vec::new();
        }
        let books = (0..).zip(&batch.books).map(|(at, book)| (book.id, batch.note(at)));
        let begun = books.filter(|(_, note)| note.begun && note.attempts > 0);
        let tries = |attempts| Tries { attempts, begun: true, ..Tries::default() };
        begun.map(|(id, note)| (id, tries(note.attempts))).collect()
    }

    /// Puts passed books on their pile; `changed` says that their content is not as stored. `None`
    /// if no book has to be dropped or reported.
    #[inline(always)]
    pub(super) fn arrive(
        &self,
        (from, to): (PileKey, PileKey),
        target: &mut Shelf,
        (books, bytes, ids): (Vec<Book>, u64, Option<Ids>),
        (changed, carried): (bool, Carried<'_>),
    ) -> Option<Passed> {
        let Some((journal, carried)) = carried else {
            target.put_all(books, bytes, ids);
            return None;
        };
        let load = (books, bytes, ids);
        Some(self.journal_pass(journal, (from, to), target, load, (changed, carried)))
    }

    #[cold]
    fn journal_pass(
        &self,
        journal: &Journal,
        (from, to): (PileKey, PileKey),
        target: &mut Shelf,
        (books, bytes, ids): (Vec<Book>, u64, Option<Ids>),
        (changed, carried): (bool, Vec<(BookId, Tries)>),
    ) -> Passed {
        if !journal.is_durable(to) || books.is_empty() {
            target.put_all(books, bytes, ids);
            return Passed::default();
        }
        let held = !target.goes_behind(books.len(), bytes) && !self.keeps(to);
        let from_memory = !journal.is_durable(from);
        // The store has not what was changed on the way here through piles in memory.
        let new = changed || from_memory || journal.has_unstored();
        journal.push(Change::Passed {
            to,
            ids: BookIds::of(&books, ids),
            books: if new { books.clone() } else { Vec::new() },
            held,
            known: if from_memory || journal.has_unstored() { Known::Perhaps } else { Known::Yes },
        });
        for (id, tries) in &carried {
            let (pile, id, tries, due) = (to, *id, *tries, None);
            journal.push(Change::Returned { pile, id, tries, due, held });
        }
        let mut passed = Passed::default();
        if !held {
            target.send_behind(books.len(), bytes);
            self.look_outside(to, target);
            self.left(journal, &books);
            passed.books = books;
        } else if carried.is_empty() {
            target.put_all(books, bytes, ids);
        } else {
            let of = |book: &Book| carried.iter().find(|(id, _)| *id == book.id);
            let tries = |book: Book| {
                let tries = of(&book).map(|(_, tries)| *tries).unwrap_or_default();
                (book, tries)
            };
            passed.dead = target.recover(books.into_iter().map(tries).collect());
            self.buried(to, &passed.dead);
        }
        passed
    }

    /// Hands what is noted of returned books to the keeper; returns those that rest in the store
    /// only from now on.
    pub(super) fn note_returns(&self, pile: PileKey, shelf: &mut Shelf) -> Vec<Book> {
        let (noted, out) = shelf.take_noted();
        if let Some(journal) = self.journal_of(pile) {
            self.left(journal, &out);
        }
        for noted in noted {
            if let Some(journal) = self.journal_of(pile) {
                let tries = Tries {
                    attempts: noted.note.attempts,
                    deliveries: noted.note.deliveries,
                    begun: noted.note.begun,
                    apart: noted.note.apart,
                };
                let (id, due, held) = (noted.id, noted.due, noted.held);
                journal.push(Change::Returned { pile, id, tries, due, held });
            }
        }
        out
    }

    /// Removes from the ledger books that are in the store only.
    fn left(&self, journal: &Journal, books: &[Book]) {
        self.ledger.leave(books.iter().map(|book| book.id));
        if journal.is_shared() {
            self.ledger.depart(books.len() as u64);
        }
    }

    /// Fences books whose leases in the store are about to expire: revokes the leases of the carts
    /// that carry them.
    pub(crate) fn fence(&self, lost: &[BookId]) {
        let lost: HashSet<BookId> = lost.iter().copied().collect();
        for (key, pile) in self.piles.iter() {
            let key = PileKey(key as u32);
            let Some(journal) = &pile.journal else {
                continue;
            };
            let gone = {
                let mut shelf = lock(&pile.shelf);
                let gone = shelf.fence(&lost);
                self.left(journal, &gone);
                (gone, self.note_returns(key, &mut shelf))
            };
            drop(gone);
            self.ring(key);
        }
    }

    /// Requests a check of the store for books of a shared pile in any process, if this process has
    /// none and can get none.
    pub(crate) fn ask_if_over(&self, pile: PileKey) {
        if let Some(journal) = self.journal_of(pile).filter(|journal| journal.is_shared()) {
            let counts = self.counts(pile);
            if (PileCounts { late: 0, ..counts }).is_drained() {
                journal.verify(pile);
            }
        }
    }

    /// Records that no process has books of this pile.
    pub(crate) fn is_over(&self, pile: PileKey) {
        self.shelf(pile).is_over();
        self.ring(pile);
    }

    /// Books and bytes that may be fetched from the store into memory; `None` if the store has no
    /// further ones.
    pub(crate) fn fetchable(&self, pile: PileKey) -> Option<Want> {
        self.shelf(pile).fetchable()
    }

    /// Adds books fetched from the store to their pile.
    pub(crate) fn fetched(&self, pile: PileKey, books: Vec<Delivery>) {
        self.take_over(pile, books, true);
        self.ring(pile);
    }

    /// Adds counted books from the store at the end of a pile.
    pub(super) fn take_over(&self, pile: PileKey, books: Vec<Delivery>, fetched: bool) {
        let bytes = books.iter().map(|delivery| delivery.book.size()).sum();
        let ids: Vec<BookId> = books.iter().map(|delivery| delivery.book.id).collect();
        let books = books.into_iter().map(|delivery| (delivery.book, delivery.tries));
        let books: Vec<_> = books.collect();
        let dead = {
            // In one step, so that no book that comes meanwhile overtakes these.
            let mut shelf = self.shelf(pile);
            if fetched {
                shelf.fetched(books.len(), bytes);
            }
            if self.journal_of(pile).is_some_and(Journal::is_shared) {
                self.ledger.offer(books.len() as u64);
            }
            self.ledger.take_over(ids);
            let dead = shelf.recover(books);
            self.buried(pile, &dead);
            dead
        };
        self.bury(dead);
    }

    /// Notes how many books the store has ready of a shared pile; returns whether to look again.
    pub(crate) fn found_outside(&self, pile: PileKey, books: usize, bytes: u64) -> bool {
        let again = self.shelf(pile).found_outside(books, bytes);
        self.ring(pile);
        again
    }

    /// Lets the keeper look how many books of a shared pile there are, once some were added.
    fn look_outside(&self, pile: PileKey, shelf: &mut Shelf) {
        if shelf.must_look()
            && let Some(journal) = self.journal_of(pile)
        {
            journal.look(pile, LOOK);
        }
    }

    /// Requests books from the store if the window runs low.
    pub(super) fn ask_if_low(&self, pile: PileKey, shelf: &mut Shelf) {
        if shelf.asks()
            && let Some(journal) = self.journal_of(pile)
        {
            journal.ask(pile, Duration::ZERO);
        }
    }

    /// Hands out new books that are stored, and reports stored outcomes.
    pub(crate) fn stored(&self, stored: Stored) {
        for (pile, books, then, held) in stored.books {
            let (count, size) = (books.len(), books.bytes());
            let (books, bytes, ids) = books.into_parts();
            {
                let mut shelf = lock(&self.pile(pile).shelf);
                if !self.journal_of(pile).is_some_and(Journal::is_shared) {
                    self.ledger.offer(count as u64);
                }
                match held {
                    true => {
                        shelf.release(count, size);
                        // Not as books of the source: it can't take them back.
                        shelf.put_all(books, bytes, ids);
                    }
                    false => shelf.came_behind(count, size),
                }
                self.look_outside(pile, &mut shelf);
            }
            if let Then::Offered(told) = then {
                // The offer may have been dropped.
                let _ = told.send(Ok(()));
            }
            self.ring(pile);
        }
        for (pile, books, held, (told, why)) in stored.declined {
            self.forget(pile, books.len(), books.bytes(), held);
            let (books, ..) = books.into_parts();
            let _ = told.send(Err((books, why)));
            self.ring(pile);
        }
        for (pile, books, held, _) in stored.disowned {
            // Their owner has them, or its source gives them again.
            self.forget(pile, books.len(), books.bytes(), held);
            self.ring(pile);
        }
        for unfit in stored.unfit {
            self.unfit(unfit);
        }
        for (outcome, ids) in stored.ended {
            self.outcomes.end(outcome, ids.iter());
        }
        for (pile, books) in stored.behind {
            let mut shelf = self.shelf(pile);
            shelf.stored_behind(books);
            self.ask_if_low(pile, &mut shelf);
        }
    }

    /// Releases the space reserved for new books that were not stored.
    fn forget(&self, pile: PileKey, books: usize, bytes: u64, held: bool) {
        let mut shelf = self.shelf(pile);
        match held {
            true => shelf.release(books, bytes),
            false => shelf.expect_less(books, bytes),
        }
    }

    /// Makes a book that the store can't keep a dead letter.
    fn unfit(&self, Unfit { pile, book, passed, held, why }: Unfit) {
        let (id, size) = (book.id, book.size());
        let dead = DeadLetter { book, pile, reason: why.to_string(), attempts: 0, node: None };
        if passed {
            let mut shelf = self.shelf(pile);
            shelf.leave_behind(1, size);
            if self.journal_of(pile).is_some_and(Journal::is_shared) {
                self.ledger.offer(1);
            }
            self.ledger.take_over([id]);
            // In the store it dies where it was, with its former content.
            self.buried(pile, std::slice::from_ref(&dead));
        } else {
            self.forget(pile, 1, size, held);
            self.ledger.offer(1);
            self.ledger.end(BookOutcome::Dead, [id]);
            self.outcomes.end(BookOutcome::Dead, [id]);
        }
        self.bury(vec![dead]);
        self.ring(pile);
    }
}
