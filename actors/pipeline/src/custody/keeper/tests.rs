//! Properties of the pure parts: commits equal single changes, in order, whatever fails.

mod refused;
mod shared;
mod whole;
mod windows;

use std::time::Duration;

use proptest::prelude::*;

use super::batch::Batch;
use super::change::{Arrived, BookIds, Change, Known, Then};
use super::core::{Core, Limits, Next, Setback};
use super::receipts::Receipts;
use crate::book::{Book, BookId};
use crate::custody::ledger::BookOutcome;
use crate::custody::{Numbered, PileKey};
use crate::store::{
    self, Act, Appended, Arrival, Checkpoint, Commit, Committed, Delivery, Passed, PileName,
    Receipt, StoreError, Tries, Want,
};
use gopherworks_supervision::clock::Time;

const PILES: usize = 3;

/// A stored book.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    id: u64,
    text: Vec<u8>,
    tries: Tries,
    held: bool,
}

/// What a store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Disk {
    piles: [Vec<Row>; PILES],
    /// Id, pile, content and attempts of each dead letter.
    dead: Vec<(u64, usize, Vec<u8>, u32)>,
    /// All ids that were ever stored.
    known: Vec<u64>,
    position: Vec<u8>,
}

fn text(book: &Book) -> Vec<u8> {
    book.body.read_all(1 << 20).expect("it is in memory").to_vec()
}

fn batch(changes: Vec<Change>, now: Time, room: bool) -> Batch {
    Batch::of(changes, &names(), &Receipts::OfIds, now, room)
}

fn names() -> Vec<PileName> {
    (0..PILES).map(|pile| PileName::new("", pile.to_string())).collect()
}

fn key(name: &PileName) -> usize {
    name.pile.parse().expect("a number")
}

impl Disk {
    fn take(&mut self, id: BookId) -> Option<(usize, Row)> {
        self.piles.iter_mut().enumerate().find_map(|(at, pile)| {
            let place = pile.iter().position(|row| row.id == id.0 && row.held)?;
            Some((at, pile.remove(place)))
        })
    }

    fn row(&mut self, id: BookId) -> Option<&mut Row> {
        self.piles.iter_mut().flatten().find(|row| row.id == id.0 && row.held)
    }

    fn add(&mut self, pile: usize, book: &Book, held: bool) {
        if !self.known.contains(&book.id.0) {
            self.known.push(book.id.0);
            let (id, text, tries) = (book.id.0, text(book), Tries::default());
            self.piles[pile].push(Row { id, text, tries, held });
        }
    }

    fn pass(
        &mut self,
        id: BookId,
        to: usize,
        book: Option<&Book>,
        held: bool,
    ) -> Result<(), StoreError> {
        let (_, mut row) = self.take(id).ok_or(StoreError::Gone)?;
        row.text = book.map_or(row.text, text);
        row.held = held;
        row.tries = Tries::default();
        self.piles[to].push(row);
        Ok(())
    }

    fn act(&mut self, id: BookId, act: &Act) -> Result<(), StoreError> {
        match act {
            Act::Return { tries, hold, .. } => {
                let row = self.row(id).ok_or(StoreError::Gone)?;
                (row.tries, row.held) = (*tries, *hold);
            }
            Act::Bury { attempts, .. } => {
                let (pile, row) = self.take(id).ok_or(StoreError::Gone)?;
                self.dead.push((id.0, pile, row.text, *attempts));
            }
            _ => drop(self.take(id).ok_or(StoreError::Gone)?),
        }
        Ok(())
    }

    /// Carries out one change by itself.
    fn change(&mut self, change: &Change) {
        let done = match change {
            Change::Arrived(arrived) => {
                let books = arrived.books.books();
                books.iter().for_each(|book| self.add(arrived.pile.index(), book, arrived.held));
                let position = arrived.checkpoint.as_ref().map(|mark| mark.position.to_vec());
                self.position = position.unwrap_or_default();
                Ok(())
            }
            Change::Passed { to, ids, books, held, .. } => ids
                .iter()
                .enumerate()
                .try_for_each(|(at, id)| self.pass(id, to.index(), books.get(at), *held)),
            Change::Ended { ids, .. } => ids.iter().try_for_each(|id| self.act(id, &Act::Ack)),
            Change::Buried { id, reason, attempts, .. } => {
                let (reason, attempts) = (reason.clone(), *attempts);
                self.act(*id, &Act::Bury { reason, node: None, attempts })
            }
            Change::Returned { id, tries, held, .. } => {
                let (delay, tries, hold) = (Duration::ZERO, *tries, *held);
                self.act(*id, &Act::Return { delay, tries, hold })
            }
        };
        done.expect("the book is there");
    }

    /// Carries out a commit, which may be a repetition. With `full`, refuses all that needs room.
    fn commit(&mut self, commit: &Commit, full: bool) -> Committed {
        let mut done = Committed::default();
        for arrival in &commit.arrivals {
            done.arrivals.push(match arrival {
                Arrival::Append(_) if full => store::Arrived::Appended(Err(StoreError::Full)),
                Arrival::Append(append) => {
                    let to = key(&append.to);
                    append.books.iter().for_each(|new| self.add(to, &new.book, append.hold));
                    if let Some(mark) = &append.checkpoint {
                        self.position = mark.position.to_vec();
                    }
                    store::Arrived::Appended(Ok(vec![Appended::Stored(None); append.books.len()]))
                }
                Arrival::Pass(pass) => store::Arrived::Passed(
                    pass.books
                        .iter()
                        .map(|(receipt, book)| {
                            let id = receipt.id().expect("an id");
                            if full && book.is_some() {
                                return Err(StoreError::Full);
                            }
                            let there = self.row(id).is_some()
                                && self.piles[key(&pass.to)].iter().any(|row| row.id == id.0);
                            // As in a commit before.
                            if !there {
                                self.pass(id, key(&pass.to), book.as_ref(), pass.hold)?;
                            }
                            Ok(Passed { receipt: Some(receipt.clone()), acked: true })
                        })
                        .collect(),
                ),
            });
        }
        let id = |receipt: &Receipt| receipt.id().expect("an id");
        done.acts = commit.acts.iter().map(|(receipt, act)| self.act(id(receipt), act)).collect();
        done
    }

    /// Delivers books, in order.
    fn fetch(&mut self, pile: usize, want: Want) -> Vec<Delivery> {
        let free = self.piles[pile].iter_mut().filter(|row| !row.held);
        let deliver = |row: &mut Row| {
            row.held = true;
            let book = Book { id: BookId(row.id), ..Book::new(row.text.clone()) };
            Delivery { book, receipt: Receipt::of(BookId(row.id)), tries: row.tries, lease: None }
        };
        free.take(want.books).map(deliver).collect()
    }

    /// Dead letters in the order of their ids, which is all that a commit keeps of theirs.
    fn sorted(mut self) -> Self {
        self.dead.sort();
        self.known.sort_unstable();
        self
    }
}

/// Something that happens in custody. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Arrive { pile: usize, books: usize, held: bool },
    Pass { from: usize, to: usize, books: usize, changed: bool, held: bool },
    End { pile: usize, books: usize, dropped: bool },
    Bury { pile: usize, at: usize },
    Return { pile: usize, at: usize, attempts: u32, held: bool },
}

fn mostly() -> impl Strategy<Value = bool> {
    (0..4u8).prop_map(|luck| luck > 0)
}

fn step() -> impl Strategy<Value = Step> {
    let pile = || 0..PILES;
    prop_oneof![
        // New books come to the first pile only: on one that crews fill too, a new book comes when
        // it is stored, and a passed one at once.
        (1..6usize, mostly()).prop_map(|(books, held)| Step::Arrive { pile: 0, books, held }),
        (1..PILES, 1..6usize, any::<bool>(), mostly()).prop_flat_map(
            |(to, books, changed, held)| {
                (0..to).prop_map(move |from| Step::Pass { from, to, books, changed, held })
            }
        ),
        (pile(), 1..6usize, any::<bool>()).prop_map(|(pile, books, dropped)| Step::End {
            pile,
            books,
            dropped
        }),
        (pile(), 0..6usize).prop_map(|(pile, at)| Step::Bury { pile, at }),
        (pile(), 0..6usize, 1..4u32, mostly())
            .prop_map(|(pile, at, attempts, held)| { Step::Return { pile, at, attempts, held } }),
    ]
}

/// Makes the changes of steps; custody as it would be if each were stored at once.
#[derive(Default)]
struct World {
    disk: Disk,
    given: u64,
}

impl World {
    fn step(&mut self, step: Step, seen: &[u64]) -> Option<Change> {
        // Only what was handed out can be passed, ended or returned.
        let first = |pile: usize, books: usize| -> Vec<BookId> {
            let rows = self.disk.piles[pile].iter();
            let rows = rows.filter(|row| row.held && seen.contains(&row.id));
            rows.take(books).map(|row| BookId(row.id)).collect()
        };
        let change = match step {
            Step::Arrive { pile, books, held } => {
                let first = BookId(self.given + 1);
                self.given += books as u64;
                let of = |n| Book::new(format!("book {}", first.0 + n));
                let books = (0..books as u64).map(of).collect();
                let checkpoint = Some(Checkpoint {
                    source: "inbox".into(),
                    share: 0,
                    position: self.given.to_le_bytes().to_vec().into(),
                    adds: false,
                    owner: 0,
                });
                let (pile, books) = (PileKey(pile as u32), Numbered::from(books, first));
                let then = Then::Sourced;
                Change::Arrived(Arrived { pile, books, checkpoint, held, then })
            }
            Step::Pass { from, to, books, changed, held } => {
                let ids = first(from, books);
                let mut books = Vec::new();
                if changed {
                    let more = ids.iter().map(|id| Book {
                        id: *id,
                        ..Book::new([&self.disk.row(*id).expect("there").text[..], b"'"].concat())
                    });
                    books.extend(more.collect::<Vec<_>>());
                }
                let (to, ids, known) = (PileKey(to as u32), BookIds::Each(ids), Known::Yes);
                Change::Passed { to, ids, books, held, known }
            }
            Step::End { pile, books, dropped } => {
                let outcome = if dropped { BookOutcome::Dropped } else { BookOutcome::Burned };
                Change::Ended { outcome, ids: BookIds::Each(first(pile, books)) }
            }
            Step::Bury { pile, at } => {
                let id = *first(pile, at + 1).get(at)?;
                Change::Buried { id, reason: "it failed".into(), node: None, attempts: 3 }
            }
            Step::Return { pile, at, attempts, held } => {
                let id = *first(pile, at + 1).get(at)?;
                let tries = Tries { attempts, deliveries: attempts + 1, ..Tries::default() };
                let (pile, due) = (PileKey(pile as u32), None);
                Change::Returned { pile, id, tries, due, held }
            }
        };
        self.disk.change(&change);
        Some(change)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, ..ProptestConfig::default()
    })]

    /// A commit of many changes stores what the changes would, one by one; also if it is repeated.
    #[test]
    fn a_commit_equals_its_changes(
        steps in prop::collection::vec((step(), 0..4u8), 1..60),
    ) {
        let (mut world, mut disk, mut changes) = (World::default(), Disk::default(), Vec::new());
        for (step, then) in steps {
            changes.extend(world.step(step, &(0..1000).collect::<Vec<_>>()));
            if then == 0 {
                // Twice, since some changes follow others in the next commit.
                for _ in 0..2 {
                    let batch = batch(std::mem::take(&mut changes), Time::ZERO, true);
                    let answers = disk.commit(&batch.commit, false);
                    changes = batch.answered(answers).expect("it is stored").refused;
                }
                prop_assert_eq!(disk.clone().sorted(), world.disk.clone().sorted());
            }
        }
    }

    /// Whatever commits fail or are refused in part, and whether or not those that failed were
    /// stored: no book is confirmed before it is stored, what is unconfirmed is bounded, no pause
    /// is cut short, and in the end the store has what custody has, in its order.
    #[test]
    fn nothing_is_lost_or_reordered_by_failures(
        steps in prop::collection::vec((step(), 0..14u8, 0..40u64), 1..80),
    ) {
        let limits = Limits { books: 24, ..Limits::default() };
        let mut core = Core::new(limits);
        let (mut world, mut disk) = (World::default(), Disk::default());
        // Books that custody has handed out.
        let mut seen: Vec<u64> = Vec::new();
        let (mut now, mut blocked, mut no_room) = (Time::ZERO, Time::ZERO, Time::ZERO);
        // Passes of changed books were put off, so that others may have overtaken them.
        let mut overtaken = false;
        let ordered = |mut disk: Disk, overtaken: bool| {
            let behind = disk.piles.iter_mut().skip(1).filter(|_| overtaken);
            behind.for_each(|pile| pile.sort_by_key(|row| row.id));
            disk.sorted()
        };
        let calm = (0..30).map(|_| (None, u8::MAX, 6_000));
        let steps = steps.into_iter().map(|(step, luck, passes)| (Some(step), luck, passes));
        for (step, luck, passes) in steps.chain(calm) {
            let room = match &step {
                Some(Step::Arrive { books, .. }) => core.has_room(*books, 0),
                Some(_) => !core.is_full(),
                None => false,
            };
            if let Some(change) = step.filter(|_| room).and_then(|step| world.step(step, &seen)) {
                core.push(change);
            }
            prop_assert!(core.unconfirmed() <= 2 * limits.books + 6, "{:?}", core);
            now = now + Duration::from_millis(passes);
            let batch = match core.next(now) {
                Next::Commit { changes, room } => {
                    prop_assert!(room || now < no_room + limits.retry.1, "there may be room");
                    batch(changes, now, room)
                }
                Next::Repeat(batch) => batch,
                Next::Until(until) => {
                    prop_assert!(until > now);
                    prop_assert!(until - now <= limits.put_off.max(limits.retry.1));
                    continue;
                }
                Next::Wait => {
                    prop_assert!(core.is_idle() && core.unconfirmed() == 0);
                    let there = ordered(disk.clone(), overtaken);
                    prop_assert_eq!(there, ordered(world.disk.clone(), overtaken));
                    continue;
                }
            };
            prop_assert!(now >= blocked, "a pause was cut short");
            prop_assert!(now >= no_room || !needs_room(&batch.commit), "asked for room in a pause");
            prop_assert!(!core.is_idle(), "a commit is under way");
            if luck < 4 {
                // Not stored; or stored, but the answer is lost.
                if luck < 2 {
                    disk.commit(&batch.commit, false);
                }
                let pause = core.failed(batch, Setback::Again(Duration::ZERO), now);
                blocked = now + pause.expect("it is repeated");
                prop_assert!(core.is_down());
                continue;
            }
            let full = luck < 7;
            let asked = needs_room(&batch.commit);
            let answers = disk.commit(&batch.commit, full);
            let answer = batch.answered(answers).expect("it says something about single books");
            for (_, books, _, held) in &answer.stored.books {
                for book in books.books() {
                    prop_assert!(disk.known.contains(&book.id.0), "confirmed, and not stored");
                    seen.extend(held.then_some(book.id.0));
                }
            }
            prop_assert!(answer.broken.is_none());
            prop_assert_eq!(answer.full, full && asked);
            let is_full = answer.full;
            overtaken |= is_full;
            core.stored(answer.size, answer.refused, is_full, now);
            if is_full {
                no_room = now + limits.retry.0;
                prop_assert!(core.is_down());
            } else if !core.is_down() {
                // All that waited for room has ended meanwhile.
                no_room = now;
            }
        }
        prop_assert!(core.is_idle() && !core.is_down(), "{:?}", core);
        prop_assert_eq!(ordered(disk, overtaken), ordered(world.disk, overtaken));
    }
}

fn needs_room(commit: &Commit) -> bool {
    commit.arrivals.iter().any(|arrival| match arrival {
        Arrival::Append(_) => true,
        Arrival::Pass(pass) => pass.books.iter().any(|(_, book)| book.is_some()),
    })
}

#[test]
fn a_book_that_passed_and_burned_is_one_deletion() {
    let mut world = World::default();
    let changes: Vec<Change> = [
        Step::Arrive { pile: 0, books: 2, held: true },
        Step::Pass { from: 0, to: 1, books: 2, changed: true, held: true },
        Step::Pass { from: 1, to: 2, books: 2, changed: false, held: true },
        Step::End { pile: 2, books: 2, dropped: false },
    ]
    .into_iter()
    .filter_map(|step| world.step(step, &[1, 2]))
    .collect();
    let batch = batch(changes.into_iter().skip(1).collect(), Time::ZERO, true);
    assert!(batch.commit.arrivals.is_empty(), "{batch:?}");
    let acks = [1, 2].map(|id| (Receipt::of(BookId(id)), Act::Ack));
    assert_eq!(batch.commit.acts, acks);
    assert!(batch.burned);
}

#[test]
fn only_what_nothing_waits_for_is_put_off() {
    let limits = Limits::default();
    let mut core = Core::new(limits);
    core.push(Change::Ended { outcome: BookOutcome::Burned, ids: BookIds::Each(vec![BookId(1)]) });
    let Next::Until(until) = core.next(Time::ZERO) else {
        panic!("a settlement is put off");
    };
    assert_eq!(until, Time::ZERO + limits.put_off);
    let mut world = World::default();
    core.push(world.step(Step::Arrive { pile: 0, books: 1, held: true }, &[]).expect("a change"));
    let Next::Commit { changes, .. } = core.next(Time::ZERO) else {
        panic!("an arrival is not");
    };
    assert_eq!(changes.len(), 2);
}

#[test]
fn a_broken_store_keeps_nothing_and_retries_nothing() {
    let mut core = Core::new(Limits::default());
    let mut world = World::default();
    core.push(world.step(Step::Arrive { pile: 0, books: 1, held: true }, &[]).expect("a change"));
    let Next::Commit { changes, .. } = core.next(Time::ZERO) else {
        panic!("an arrival is committed");
    };
    let batch = batch(changes, Time::ZERO, true);
    assert_eq!(core.failed(batch, Setback::Broken, Time::ZERO), None);
    core.push(world.step(Step::Arrive { pile: 0, books: 1, held: true }, &[]).expect("a change"));
    assert!(core.is_broken() && core.is_down());
    assert!(matches!(core.next(Time::MAX), Next::Wait));
}

#[test]
fn a_book_from_a_pile_in_memory_is_appended() {
    let book = Book { id: BookId(7), ..Book::new("text") };
    let (to, ids, books) = (PileKey(1), BookIds::Each(vec![book.id]), vec![book]);
    let pass = Change::Passed { to, ids, books, held: true, known: Known::Perhaps };
    let (mut disk, mut core) = (Disk::default(), Core::new(Limits::default()));
    core.push(pass);
    core.hurry();
    for _ in 0..2 {
        let Next::Commit { changes, .. } = core.next(Time::ZERO) else {
            panic!("it is committed");
        };
        let batch = batch(changes, Time::ZERO, true);
        let answers = disk.commit(&batch.commit, false);
        let answer = batch.answered(answers).expect("answers");
        assert!(answer.broken.is_none());
        core.stored(answer.size, answer.refused, false, Time::ZERO);
    }
    assert!(core.is_idle() && core.unconfirmed() == 0);
    assert_eq!(disk.piles[1].len(), 1);
}
