//! Pure: reads the answer to a commit.

use std::sync::Arc;

use super::batch::{Batch, PassedBook, Sequel};
use super::change::{Arrived, BookIds, Change, Known, Offered, Then};
use crate::book::{Book, BookId};
use crate::custody::ledger::BookOutcome;
use crate::custody::{Numbered, PileKey};
use crate::store::{self, Append, Arrival, Checkpoint, Committed, Passed, StoreError};

/// What depends on a commit that is stored.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// New books, and whether they stay in memory.
    pub(crate) books: Vec<(PileKey, Numbered, Then, bool)>,
    /// Offers that are refused.
    pub(crate) declined: Vec<(PileKey, Numbered, bool, (Offered, StoreError))>,
    /// New books with the position of their source. They were not stored, since another process
    /// owns the source.
    pub(crate) disowned: Vec<(PileKey, Numbered, bool, Checkpoint)>,
    /// Outcomes of books.
    pub(crate) ended: Vec<(BookOutcome, BookIds)>,
    /// By pile: number of books that are in the store only from now on.
    pub(crate) behind: Vec<(PileKey, usize)>,
    /// Books that the store can't keep, and why.
    pub(crate) unfit: Vec<Unfit>,
}

/// A book that is too large for the store.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) pile: PileKey,
    pub(crate) book: Book,
    /// True if the book was passed, and stays stored on its former pile; false if it is new.
    pub(crate) passed: bool,
    /// True if the book would have stayed in memory.
    pub(crate) held: bool,
    pub(crate) why: StoreError,
}

/// The answer to a commit.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) stored: Stored,
    /// Changes that were refused, to be tried again before any other.
    pub(crate) refused: Vec<Change>,
    /// True if changes were refused for lack of room.
    pub(crate) full: bool,
    /// Why the store is unusable from now on.
    pub(crate) broken: Option<StoreError>,
    /// Books whose leases were lost: nothing was changed.
    pub(crate) lost: Vec<BookId>,
    /// Lost books whose outcome this process could not ack.
    pub(crate) unacked: Vec<(BookId, BookOutcome)>,
    /// Settled books, whose receipts are no longer needed.
    pub(crate) over: Vec<BookId>,
    /// Passed books that stay in the store where they were, since their new content is too large.
    pub(crate) unstored: Option<StoreError>,
    /// Size of all changes, as in [`Batch::size`].
    pub(crate) size: (usize, u64),
}

impl Batch {
    /// Reads the answer to the commit.
    ///
    /// # Errors
    /// The commit has to be repeated: some answers say nothing about single books.
    pub(crate) fn answered(self, answers: Committed) -> Result<Answer, Box<(Self, StoreError)>> {
        if let Some(error) = of_all(&answers) {
            return Err(Box::new((self, error)));
        }
        let Self { commit, appends, passes, acts, ended, waiting, repeated, size, .. } = self;
        let (lost, unacked) = (self.lost, self.unacked);
        let commit = Arc::unwrap_or_clone(commit);
        let stored = Stored { ended, ..Stored::default() };
        let mut answer = Answer { stored, lost, unacked, size, ..Answer::default() };
        let (mut appends, mut passes) = (appends.into_iter(), passes.into_iter());
        for (arrival, arrived) in commit.arrivals.into_iter().zip(answers.arrivals) {
            match (arrival, arrived) {
                (Arrival::Append(append), store::Arrived::Appended(result)) => {
                    if let Some((pile, sequel)) = appends.next() {
                        answer.appended(append, pile, sequel, result.err());
                    }
                }
                (Arrival::Pass(pass), store::Arrived::Passed(results)) => {
                    if let Some((to, books)) = passes.next() {
                        let entries = pass.books.into_iter().map(|(_, book)| book);
                        for ((moved, book), result) in books.into_iter().zip(entries).zip(results) {
                            answer.passed((moved, book), to, result, repeated);
                        }
                    }
                }
                _ => answer.broken = Some(StoreError::Other("mismatched answers".into())),
            }
        }
        for ((book, (_, act)), result) in acts.into_iter().zip(commit.acts).zip(answers.acts) {
            match result {
                Ok(()) => {
                    answer.behind(book.behind, 1);
                    let is_held = matches!(act, store::Act::Return { hold: true, .. });
                    answer.over.extend((!is_held).then_some(book.id));
                }
                Err(StoreError::Gone) if repeated => answer.over.push(book.id),
                Err(error) => {
                    answer.lost.push(book.id);
                    let outcome = outcome_of(&act).filter(|_| matches!(error, StoreError::Stale));
                    answer.unacked.extend(outcome.map(|outcome| (book.id, outcome)));
                }
            }
        }
        answer.refused.extend(waiting);
        Ok(answer)
    }
}

impl Answer {
    fn behind(&mut self, pile: Option<PileKey>, books: usize) {
        let Some(pile) = pile.filter(|_| books > 0) else {
            return;
        };
        match self.stored.behind.iter_mut().find(|(key, _)| *key == pile) {
            Some((_, count)) => *count += books,
            None => self.stored.behind.push((pile, books)),
        }
    }

    fn appended(&mut self, append: Append, pile: PileKey, sequel: Sequel, why: Option<StoreError>) {
        let Append { hold: held, books, checkpoint, .. } = append;
        let books: Vec<Book> = books.into_iter().map(|new| new.book).collect();
        match (why, sequel) {
            (None, sequel) => {
                self.behind((!held).then_some(pile), books.len());
                if let Sequel::Arrived(then) = sequel {
                    self.stored.books.push((pile, Numbered::of(books), then, held));
                }
            }
            (Some(StoreError::Full), Sequel::Arrived(then)) => {
                self.full = true;
                let books = Numbered::of(books);
                let arrived = Arrived { pile, books, checkpoint, held, then };
                self.refused.push(Change::Arrived(arrived));
            }
            (Some(StoreError::Full), Sequel::Passed) => {
                self.full = true;
                self.again(pile, books, held);
            }
            (Some(why @ StoreError::TooLarge { .. }), Sequel::Arrived(then)) => {
                self.too_large((pile, held), books, checkpoint, then, why);
            }
            (Some(why @ StoreError::TooLarge { .. }), Sequel::Passed) => match books.len() {
                1 if held => self.unstored = Some(why),
                1 => self.unfit(pile, books, true, held, &why),
                _ => books.into_iter().for_each(|book| self.again(pile, vec![book], held)),
            },
            (Some(error), _) => match checkpoint.filter(|_| matches!(error, StoreError::Stale)) {
                Some(at) => self.stored.disowned.push((pile, Numbered::of(books), held, at)),
                None => self.broken = Some(error),
            },
        }
    }

    /// Appends books from a pile in memory again.
    fn again(&mut self, to: PileKey, books: Vec<Book>, held: bool) {
        let ids = BookIds::of(&books, None);
        self.refused.push(Change::Passed { to, ids, books, held, known: Known::No });
    }

    /// An offer is refused as a whole. Books of a source are appended one by one, to find those
    /// that are too large.
    fn too_large(
        &mut self,
        (pile, held): (PileKey, bool),
        books: Vec<Book>,
        checkpoint: Option<Checkpoint>,
        then: Then,
        why: StoreError,
    ) {
        let arrived = |books: Vec<Book>, checkpoint| {
            let books = Numbered::of(books);
            Change::Arrived(Arrived { pile, books, checkpoint, held, then: Then::Sourced })
        };
        match (then, books.len()) {
            (Then::Offered(told), _) => {
                self.stored.declined.push((pile, Numbered::of(books), held, (told, why)));
            }
            (Then::Sourced, 1) => {
                self.unfit(pile, books, false, held, &why);
                // The source goes on behind it.
                self.refused.extend(checkpoint.map(|at| arrived(Vec::new(), Some(at))));
            }
            (Then::Sourced, count) => {
                let mut checkpoint = checkpoint;
                for (at, book) in (1..).zip(books) {
                    let checkpoint = checkpoint.take_if(|_| at == count);
                    self.refused.push(arrived(vec![book], checkpoint));
                }
            }
        }
    }

    fn unfit(
        &mut self,
        pile: PileKey,
        books: Vec<Book>,
        passed: bool,
        held: bool,
        why: &StoreError,
    ) {
        let unfit = |book| Unfit { pile, book, passed, held, why: why.clone() };
        self.stored.unfit.extend(books.into_iter().map(unfit));
    }

    fn passed(
        &mut self,
        (moved, book): (PassedBook, Option<Book>),
        to: PileKey,
        result: Result<Passed, StoreError>,
        repeated: bool,
    ) {
        let PassedBook { id, known, held } = moved;
        match (result, book) {
            (Ok(_), _) => {
                self.behind((!held).then_some(to), 1);
                self.over.extend((!held).then_some(id));
            }
            // It is new to the store.
            (Err(StoreError::Gone), Some(book)) if known == Known::Perhaps => {
                self.again(to, vec![book], held);
            }
            // It was passed on before, and is in the store only.
            (Err(StoreError::Gone), _) if repeated => {
                self.behind((!held).then_some(to), 1);
                self.over.extend((!held).then_some(id));
            }
            (Err(StoreError::Full), book) => {
                let (ids, books) = (BookIds::Each(vec![id]), Vec::from_iter(book));
                self.refused.push(Change::Passed { to, ids, books, held, known });
                self.full = true;
            }
            (Err(why @ StoreError::TooLarge { .. }), Some(book)) if !held => {
                self.unfit(to, vec![book], true, held, &why);
            }
            (Err(why @ StoreError::TooLarge { .. }), _) => self.unstored = Some(why),
            (Err(_), _) => self.lost.push(id),
        }
    }
}

/// The outcome of a book that an act ends.
pub(super) fn outcome_of(act: &store::Act) -> Option<BookOutcome> {
    match act {
        store::Act::Ack => Some(BookOutcome::Burned),
        store::Act::Drop => Some(BookOutcome::Dropped),
        _ => None,
    }
}

/// An error among the answers that says nothing about single books.
fn of_all(answers: &Committed) -> Option<StoreError> {
    let arrivals = answers.arrivals.iter().flat_map(|arrived| match arrived {
        store::Arrived::Appended(result) => vec![result.as_ref().err()],
        store::Arrived::Passed(results) => {
            results.iter().map(|result| result.as_ref().err()).collect()
        }
    });
    let acts = answers.acts.iter().map(|result| result.as_ref().err());
    arrivals.chain(acts).flatten().find(|error| !error.is_single()).cloned()
}
