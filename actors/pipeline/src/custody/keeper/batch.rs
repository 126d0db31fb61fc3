//! Pure: makes one commit of many changes, and reads its answer. Only what is different at the end
//! is written: a book that passed three dumps and was burned since the last commit is one act.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::change::{Arrived, BookIds, Change, Then};
use crate::book::{Book, BookId};
use crate::custody::ledger::BookOutcome;
use crate::custody::{Numbered, PileKey};
use crate::store::{
    self, Act, Append, Arrival, Commit, Committed, Pass, PileName, Receipt, StoreError,
};
use gopherworks_supervision::clock::Time;

/// A commit, with what depends on it.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) commit: Arc<Commit>,
    /// Pile and sequel of each append of the commit, in order.
    appends: Vec<(PileKey, Then)>,
    /// Target of each pass of the commit, in order.
    passes: Vec<PileKey>,
    /// Outcomes, to be reported once they are stored.
    pub(crate) ended: Vec<(BookOutcome, BookIds)>,
    /// True if books were burned: their sinks have to be synced before.
    pub(crate) burned: bool,
    /// Number of books in the changes, and bytes kept for them.
    pub(crate) size: (usize, u64),
}

/// What depends on a commit that is stored.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// New books.
    pub(crate) books: Vec<(PileKey, Numbered, Then)>,
    /// Outcomes of books.
    pub(crate) ended: Vec<(BookOutcome, BookIds)>,
}

/// The answer to a commit.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) stored: Stored,
    /// Changes that were refused, to be tried again before any other.
    pub(crate) refused: Vec<Change>,
    /// Why some were refused, if that is not for a lack of their books.
    pub(crate) why: Option<StoreError>,
    /// Size of all changes, as in [`Batch::size`].
    pub(crate) size: (usize, u64),
}

/// All changes of one book.
#[derive(Default)]
struct Net {
    /// Where it came to last, and when among all arrivals.
    moved: Option<(u64, PileKey)>,
    /// Its content, if it changed.
    book: Option<Book>,
    act: Option<Act>,
}

enum Came {
    New(Arrived),
    Moved(PileKey, BookId, Option<Book>),
}

impl Batch {
    /// The difference that these changes make. `piles` has the names of the piles, by key; delays
    /// count from `now`.
    pub(crate) fn of(changes: Vec<Change>, piles: &[PileName], now: Time) -> Self {
        let mut nets: HashMap<BookId, Net> = HashMap::new();
        let mut came = Vec::new();
        let (mut at, mut ended, mut burned, mut size) = (0u64, Vec::new(), false, (0, 0));
        for change in changes {
            let (books, bytes) = change.size();
            size = (size.0 + books, size.1 + bytes);
            match change {
                Change::Arrived(arrived) => {
                    came.push((at, Came::New(arrived)));
                    at += 1;
                }
                Change::Passed { to, ids, books } => {
                    let mut books = books.into_iter();
                    for id in ids.iter() {
                        let net = nets.entry(id).or_default();
                        net.book = books.next().or(net.book.take());
                        (net.moved, net.act) = (Some((at, to)), None);
                        at += 1;
                    }
                }
                Change::Ended { outcome, ids } => {
                    burned |= outcome == BookOutcome::Burned;
                    for id in ids.iter() {
                        let act =
                            Some(if outcome == BookOutcome::Burned { Act::Ack } else { Act::Drop });
                        nets.insert(id, Net { act, ..Net::default() });
                    }
                    ended.push((outcome, ids));
                }
                Change::Buried { id, reason, node, attempts } => {
                    // It dies where it is, as it is.
                    nets.entry(id).or_default().act = Some(Act::Bury { reason, node, attempts });
                    ended.push((BookOutcome::Dead, BookIds::Each(vec![id])));
                }
                Change::Returned { id, tries, due } => {
                    let delay = due.map_or(Duration::ZERO, |due| due - now);
                    let act = Act::Return { delay, tries, hold: true };
                    nets.entry(id).or_default().act = Some(act);
                }
            }
        }
        let mut acts = Vec::new();
        for (id, net) in nets {
            if let Some((at, to)) = net.moved {
                came.push((at, Came::Moved(to, id, net.book)));
            }
            acts.extend(net.act.map(|act| (id, act)));
        }
        came.sort_unstable_by_key(|(at, _)| *at);
        // The map's order is random; neighbours in a store are written together.
        acts.sort_unstable_by_key(|(id, _)| *id);
        let acts = acts.into_iter().map(|(id, act)| (Receipt::of(id), act)).collect();
        let commit = Commit { arrivals: Vec::new(), acts };
        let (appends, passes) = (Vec::new(), Vec::new());
        let mut batch = Self { commit: Arc::new(commit), appends, passes, ended, burned, size };
        batch.arrange(came, piles);
        batch
    }

    /// Adds what came to piles, in order; adjacent passes to one pile are one.
    fn arrange(&mut self, came: Vec<(u64, Came)>, piles: &[PileName]) {
        let mut arrivals: Vec<Arrival> = Vec::new();
        for (_, came) in came {
            match came {
                Came::New(Arrived { pile, books, checkpoint, then }) => {
                    let (books, ..) = books.into_parts();
                    arrivals.push(Arrival::Append(Append {
                        to: piles[pile.index()].clone(),
                        hold: true,
                        books: books.into_iter().map(store::NewBook::from).collect(),
                        checkpoint,
                    }));
                    self.appends.push((pile, then));
                }
                Came::Moved(to, id, book) => {
                    let entry = (Receipt::of(id), book);
                    match arrivals.last_mut() {
                        Some(Arrival::Pass(pass)) if self.passes.last() == Some(&to) => {
                            pass.books.push(entry);
                        }
                        _ => {
                            let (to_name, books) = (piles[to.index()].clone(), vec![entry]);
                            let pass = Pass { to: to_name, hold: true, books };
                            arrivals.push(Arrival::Pass(pass));
                            self.passes.push(to);
                        }
                    }
                }
            }
        }
        if let Some(commit) = Arc::get_mut(&mut self.commit) {
            commit.arrivals = arrivals;
        }
    }

    /// Reads the answer to the commit.
    ///
    /// # Errors
    /// The commit has to be repeated: some answers say nothing about single books.
    pub(crate) fn answered(self, answers: Committed) -> Result<Answer, Box<(Self, StoreError)>> {
        if let Some(error) = of_all(&answers) {
            return Err(Box::new((self, error)));
        }
        let Self { commit, appends, passes, ended, size, .. } = self;
        let arrivals = match Arc::try_unwrap(commit) {
            Ok(commit) => commit.arrivals,
            Err(shared) => shared.arrivals.clone(),
        };
        let stored = Stored { books: Vec::new(), ended };
        let mut answer = Answer { stored, size, ..Answer::default() };
        let (mut appends, mut passes) = (appends.into_iter(), passes.into_iter());
        for (arrival, arrived) in arrivals.into_iter().zip(answers.arrivals) {
            match (arrival, arrived) {
                (Arrival::Append(append), store::Arrived::Appended(result)) => {
                    if let Some(to) = appends.next() {
                        answer.appended(append, to, result.err());
                    }
                }
                (Arrival::Pass(pass), store::Arrived::Passed(results)) => {
                    if let Some(to) = passes.next() {
                        for (entry, result) in pass.books.into_iter().zip(results) {
                            answer.passed(entry, to, result.err());
                        }
                    }
                }
                _ => answer.why = Some(StoreError::Other("mismatched answers".into())),
            }
        }
        Ok(answer)
    }
}

impl Answer {
    fn appended(&mut self, append: Append, (pile, then): (PileKey, Then), why: Option<StoreError>) {
        let books = append.books.into_iter().map(|new| new.book).collect();
        let books = Numbered::of(books);
        match why {
            None => self.stored.books.push((pile, books, then)),
            Some(error) => {
                let checkpoint = append.checkpoint;
                self.refused.push(Change::Arrived(Arrived { pile, books, checkpoint, then }));
                self.why = Some(error);
            }
        }
    }

    fn passed(
        &mut self,
        (receipt, book): (Receipt, Option<Book>),
        to: PileKey,
        why: Option<StoreError>,
    ) {
        match (why, book, receipt.id()) {
            // It came from a pile in memory, and is new to the store.
            (Some(StoreError::Gone), Some(book), _) => {
                let books = Numbered::of(vec![book]);
                let (checkpoint, then) = (None, Then::Nothing);
                let arrived = Arrived { pile: to, books, checkpoint, then };
                self.refused.push(Change::Arrived(arrived));
            }
            (Some(error @ (StoreError::Full | StoreError::TooLarge { .. })), book, Some(id)) => {
                let (ids, books) = (BookIds::Each(vec![id]), Vec::from_iter(book));
                self.refused.push(Change::Passed { to, ids, books });
                self.why = Some(error);
            }
            _ => {}
        }
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
