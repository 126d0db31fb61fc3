//! Pure: makes one commit of many changes. Only what is different at the end is written: a book
//! that passed three dumps and was burned since the last commit is one act.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::answer::outcome_of;
use super::change::{Arrived, BookIds, Change, Known, Then};
use super::receipts::Receipts;
use crate::book::{Book, BookId};
use crate::custody::PileKey;
use crate::custody::ledger::BookOutcome;
use crate::store::{Act, Append, Arrival, Commit, NewBook, Pass, PileName};
use gopherworks_supervision::clock::Time;

/// A commit, with what depends on it.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) commit: Arc<Commit>,
    /// Pile and sequel of each append of the commit, in order.
    pub(super) appends: Vec<(PileKey, Sequel)>,
    /// Target and books of each pass of the commit, in order.
    pub(super) passes: Vec<(PileKey, Vec<PassedBook>)>,
    /// Book of each act of the commit, in order.
    pub(super) acts: Vec<ActedBook>,
    /// Outcomes, to be reported once they are stored.
    pub(crate) ended: Vec<(BookOutcome, BookIds)>,
    /// True if books were burned: their sinks have to be synced before.
    pub(crate) burned: bool,
    /// Changes for the next commit: they need room in the store, which has none, or follow others.
    pub(super) waiting: Vec<Change>,
    /// Books whose leases were lost: nothing was changed.
    pub(super) lost: Vec<BookId>,
    /// Lost books whose outcome this process could not ack.
    pub(super) unacked: Vec<(BookId, BookOutcome)>,
    /// True if the commit was tried before, in which case it may have succeeded.
    pub(super) repeated: bool,
    /// Number of books in the changes, and bytes kept for them.
    pub(crate) size: (usize, u64),
}

/// What happens once an append is stored.
#[derive(Debug)]
pub(super) enum Sequel {
    Arrived(Then),
    /// Nothing: the books were passed from a pile in memory.
    Passed,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct PassedBook {
    pub(super) id: BookId,
    pub(super) known: Known,
    pub(super) held: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ActedBook {
    pub(super) id: BookId,
    /// The pile where it is in the store only from now on.
    pub(super) behind: Option<PileKey>,
}

/// All changes of one book.
#[derive(Default)]
struct Net {
    /// The pile that it came to last, with its number among all arrivals.
    moved: Option<(u64, PileKey, Known)>,
    /// New content of the book, if it changed.
    book: Option<Book>,
    act: Option<Act>,
    /// The pile where it is in the store only in the end.
    behind: Option<PileKey>,
}

enum Came {
    New(Arrived),
    Moved(PassedBook, PileKey, Option<Book>),
}

impl Batch {
    /// The difference that these changes make. `piles` has the names of the piles, by key; delays
    /// count from `now`. Without `room` in the store, what needs some is left out.
    pub(crate) fn of(
        changes: Vec<Change>,
        piles: &[PileName],
        receipts: &Receipts,
        now: Time,
        room: bool,
    ) -> Self {
        let mut nets: HashMap<BookId, Net> = HashMap::new();
        let (mut batch, mut came, mut at) = (Self::default(), Vec::new(), 0u64);
        for change in changes {
            let (books, bytes) = change.size();
            batch.size = (batch.size.0 + books, batch.size.1 + bytes);
            match change {
                Change::Arrived(arrived) => {
                    came.push((at, Came::New(arrived)));
                    at += 1;
                }
                Change::Passed { to, ids, books, held, known } => {
                    let mut books = books.into_iter();
                    for id in ids.iter() {
                        let net = nets.entry(id).or_default();
                        net.book = books.next().or(net.book.take());
                        let known = net.moved.map_or(known, |(.., before)| before.min(known));
                        net.moved = Some((at, to, known));
                        (net.act, net.behind) = (None, (!held).then_some(to));
                        at += 1;
                    }
                }
                Change::Ended { outcome, ids } => {
                    let burned = outcome == BookOutcome::Burned;
                    batch.burned |= burned;
                    for id in ids.iter() {
                        let net = nets.entry(id).or_default();
                        // What the store does not have can't end there.
                        let is_new = matches!(net.moved, Some((.., Known::No)));
                        let act = if burned { Act::Ack } else { Act::Drop };
                        *net = Net { act: (!is_new).then_some(act), ..Net::default() };
                    }
                    batch.ended.push((outcome, ids));
                }
                Change::Buried { id, reason, node, attempts } => {
                    // It dies where it is, as it is.
                    let net = nets.entry(id).or_default();
                    (net.act, net.behind) = (Some(Act::Bury { reason, node, attempts }), None);
                }
                Change::Returned { pile, id, tries, due, held } => {
                    let delay = due.map_or(Duration::ZERO, |due| due - now);
                    let net = nets.entry(id).or_default();
                    net.act = Some(Act::Return { delay, tries, hold: held });
                    net.behind = (!held).then_some(pile);
                }
            }
        }
        let (mut acts, mut later) = (Vec::new(), Vec::new());
        for (id, Net { moved, book, act, behind }) in nets {
            let Some((at, to, known)) = moved else {
                acts.extend(act.map(|act| (ActedBook { id, behind }, act)));
                continue;
            };
            // A later act is on a book that is held.
            let held = behind.is_none() || act.is_some();
            let is_changed = book.is_some();
            came.push((at, Came::Moved(PassedBook { id, known, held }, to, book)));
            match act {
                // A new content may be refused, and what follows it comes after it.
                Some(Act::Return { tries, delay, .. }) if is_changed => {
                    let due = (!delay.is_zero()).then(|| now + delay);
                    let held = behind.is_none();
                    later.push((id, Change::Returned { pile: to, id, tries, due, held }));
                }
                Some(Act::Bury { reason, node, attempts }) if is_changed => {
                    later.push((id, Change::Buried { id, reason, node, attempts }));
                }
                act => acts.extend(act.map(|act| (ActedBook { id, behind }, act))),
            }
        }
        // The map's order is random; neighbours in a store are written together.
        acts.sort_unstable_by_key(|(book, _)| book.id);
        later.sort_unstable_by_key(|(id, _)| *id);
        let dead = acts.iter().filter(|(_, act)| matches!(act, Act::Bury { .. }));
        let dead: Vec<BookId> = dead.map(|(book, _)| book.id).collect();
        if !dead.is_empty() {
            batch.ended.push((BookOutcome::Dead, BookIds::Each(dead)));
        }
        came.sort_unstable_by_key(|(at, _)| *at);
        let arrivals = batch.arrange(came, piles, receipts, room);
        let mut commit = Commit { arrivals, acts: Vec::new() };
        batch.waiting.extend(later.into_iter().map(|(_, change)| change));
        for (book, act) in acts {
            match receipts.of(book.id) {
                Some(receipt) => {
                    commit.acts.push((receipt, act));
                    batch.acts.push(book);
                }
                // The book is on a pile in memory, or its lease was reported as lost before.
                None => {
                    let outcome = outcome_of(&act);
                    batch.unacked.extend(outcome.map(|outcome| (book.id, outcome)));
                }
            }
        }
        batch.commit = Arc::new(commit);
        batch
    }

    /// True if nothing is to be stored.
    pub(super) fn is_empty(&self) -> bool {
        self.commit.arrivals.is_empty() && self.commit.acts.is_empty()
    }

    /// What comes to piles, in order; adjacent passes to one pile are one.
    fn arrange(
        &mut self,
        came: Vec<(u64, Came)>,
        piles: &[PileName],
        receipts: &Receipts,
        room: bool,
    ) -> Vec<Arrival> {
        let mut arrivals: Vec<Arrival> = Vec::new();
        for (_, came) in came {
            match came {
                Came::New(arrived) if !room => self.waiting.push(Change::Arrived(arrived)),
                Came::Moved(PassedBook { id, known, held }, to, Some(book)) if !room => {
                    let (ids, books) = (BookIds::Each(vec![id]), vec![book]);
                    self.waiting.push(Change::Passed { to, ids, books, held, known });
                }
                Came::New(Arrived { pile, books, checkpoint, held, then }) => {
                    let (books, ..) = books.into_parts();
                    arrivals.push(Arrival::Append(Append {
                        to: piles[pile.index()].clone(),
                        hold: held,
                        books: books.into_iter().map(NewBook::from).collect(),
                        checkpoint,
                    }));
                    self.appends.push((pile, Sequel::Arrived(then)));
                }
                // A book that never had a lease comes from a pile in memory. Stored ids are known,
                // so that no book is stored twice.
                Came::Moved(moved, to, book)
                    if moved.known == Known::No
                        || moved.known == Known::Perhaps && receipts.of(moved.id).is_none() =>
                {
                    let new = book.map(NewBook::from);
                    match (arrivals.last_mut(), self.appends.last()) {
                        (Some(Arrival::Append(last)), Some((pile, Sequel::Passed)))
                            if *pile == to && last.hold == moved.held =>
                        {
                            last.books.extend(new);
                        }
                        _ => {
                            arrivals.push(Arrival::Append(Append {
                                to: piles[to.index()].clone(),
                                hold: moved.held,
                                books: new.into_iter().collect(),
                                checkpoint: None,
                            }));
                            self.appends.push((to, Sequel::Passed));
                        }
                    }
                }
                Came::Moved(moved, to, book) => {
                    let Some(receipt) = receipts.of(moved.id) else {
                        self.lost.push(moved.id);
                        continue;
                    };
                    let entry = (receipt, book);
                    match (arrivals.last_mut(), self.passes.last_mut()) {
                        (Some(Arrival::Pass(last)), Some((pile, books)))
                            if *pile == to && last.hold == moved.held =>
                        {
                            last.books.push(entry);
                            books.push(moved);
                        }
                        _ => {
                            let (to_name, books) = (piles[to.index()].clone(), vec![entry]);
                            let pass = Pass { to: to_name, hold: moved.held, books };
                            arrivals.push(Arrival::Pass(pass));
                            self.passes.push((to, vec![moved]));
                        }
                    }
                }
            }
        }
        arrivals
    }
}
