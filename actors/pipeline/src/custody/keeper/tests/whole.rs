//! Custody and its store together, through random lives of a process: what was told to be stored is
//! never lost, what was told to have ended never comes back, and the account balances.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::{Disk, PILES, names, text};
use crate::book::{Book, BookId};
use crate::custody::keeper::Kept;
use crate::custody::keeper::open::{Opened, Rest};
use crate::custody::lease::{DropReason, Lease, LeaseVerdict};
use crate::custody::{Bound, Custody, HolderId, PileKey, Settled, Want};
use crate::store::{
    Act, Append, Appended, Backend, Delivery, Depth, Pass, Passed, PileName, PileSpec, Promises,
    Receipt, Recovered, Reply, StoreError,
};
use gopherworks_supervision::clock::Clock;
use gopherworks_supervision::failure::Failure;

const ATTEMPTS: u32 = 3;

pub(super) const WINDOW: Want = Want { books: 4, bytes: None };

/// Keeps marks of begun books; commits are carried out by the test.
#[derive(Default)]
struct Marks(Mutex<BTreeSet<u64>>);

fn no<'a, T: Send + 'a>() -> Reply<'a, Result<T, StoreError>> {
    Box::pin(std::future::ready(Err(StoreError::Closed)))
}

fn none<'a, T: Send + 'a>() -> Reply<'a, Vec<Result<T, StoreError>>> {
    Box::pin(std::future::ready(Vec::new()))
}

impl Backend for Marks {
    fn promises(&self) -> Promises {
        Promises { kill: true, ..Promises::MEMORY }
    }
    fn open<'a>(&'a self, _: &'a [PileSpec]) -> Reply<'a, Result<Recovered, StoreError>> {
        no()
    }
    fn reserve_ids(&self, _: u64) -> Reply<'_, Result<Range<u64>, StoreError>> {
        no()
    }
    fn append<'a>(&'a self, _: &'a Append) -> Reply<'a, Result<Vec<Appended>, StoreError>> {
        no()
    }
    fn fetch<'a>(
        &'a self,
        _: &'a PileName,
        _: Want,
        _: Duration,
    ) -> Reply<'a, Result<Vec<Delivery>, StoreError>> {
        no()
    }
    fn settle<'a>(&'a self, _: &'a [(Receipt, Act)]) -> Reply<'a, Vec<Result<(), StoreError>>> {
        none()
    }
    fn pass<'a>(&'a self, _: &'a Pass) -> Reply<'a, Vec<Result<Passed, StoreError>>> {
        none()
    }
    fn extend<'a>(
        &'a self,
        _: &'a [Receipt],
        _: Duration,
    ) -> Reply<'a, Vec<Result<(), StoreError>>> {
        none()
    }
    fn depth<'a>(&'a self, _: &'a PileName) -> Reply<'a, Result<Depth, StoreError>> {
        no()
    }
    fn close(&self) -> Reply<'_, Result<(), StoreError>> {
        no()
    }
    fn begin(&self, receipts: &[Receipt]) {
        let ids = receipts.iter().filter_map(Receipt::id).map(|id| id.0);
        self.0.lock().expect("no panic").extend(ids);
    }
}

/// What happens in a process. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Offer {
        pile: usize,
        books: usize,
    },
    Lease {
        pile: usize,
        books: usize,
    },
    /// Settles the oldest lease of the last pile, by a verdict for each book.
    Burn {
        verdicts: Vec<u8>,
    },
    /// Passes the oldest lease of another pile on, with its books changed or as they are.
    Pass {
        changed: bool,
        drops: bool,
    },
    Drop,
    Revoke,
    Commit {
        full: bool,
    },
    /// The answer to a commit is lost, and the process dies.
    Crash {
        stored: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..PILES, 1..5usize).prop_map(|(pile, books)| Step::Offer { pile, books }),
        4 => (0..PILES, 1..6usize).prop_map(|(pile, books)| Step::Lease { pile, books }),
        3 => prop::collection::vec(0..6u8, 6).prop_map(|verdicts| Step::Burn { verdicts }),
        3 => any::<(bool, bool)>().prop_map(|(changed, drops)| Step::Pass { changed, drops }),
        1 => Just(Step::Drop),
        1 => Just(Step::Revoke),
        4 => (0..5u8).prop_map(|luck| Step::Commit { full: luck == 0 }),
        1 => any::<bool>().prop_map(|stored| Step::Crash { stored }),
    ]
}

/// One life of a process.
pub(super) struct Life {
    pub(super) custody: Arc<Custody>,
    marks: Arc<Marks>,
    leases: Vec<(usize, Lease)>,
    /// Offers that are not confirmed.
    offers: Vec<(Vec<u64>, crate::custody::core::durable::Storing)>,
}

impl Life {
    pub(super) fn new(disk: &mut Disk, kept: [Kept; PILES]) -> Self {
        let marks = Arc::<Marks>::default();
        disk.piles.iter_mut().flatten().for_each(|row| row.held = false);
        let (mut books, mut rest) = (Vec::new(), Vec::new());
        for pile in 0..PILES {
            let count = disk.piles[pile].len();
            let first = disk.fetch(pile, WINDOW);
            let (left, bytes) = (count - first.len(), 0);
            rest.push(Rest { books: left, bytes, after: None });
            books.push(first);
        }
        let opened = Opened {
            backend: marks.clone(),
            piles: names().into_iter().zip(kept).collect(),
            store: "test".into(),
            positions: Vec::new(),
            orphans: Vec::new(),
            account: None,
            next_id: disk.known.iter().max().map_or(1, |last| last + 1),
            books,
            rest,
            windows: vec![WINDOW; PILES],
        };
        let bounds = [(Bound::default(), ATTEMPTS); PILES];
        let custody = Custody::kept(bounds, Clock::real(), Arc::new(|_| {}), opened);
        Self { custody, marks, leases: Vec::new(), offers: Vec::new() }
    }

    /// Carries out a commit, and hands out what it stored. Returns the ids that ended for good.
    pub(super) fn commit(&mut self, disk: &mut Disk, full: bool) -> Vec<u64> {
        let journal = self.custody.journal().expect("piles are durable").clone();
        let Some(batch) = journal.take() else {
            self.fetch(disk);
            return Vec::new();
        };
        let answers = disk.commit(&batch.commit, full);
        self.unmark(&batch.commit);
        let answer = batch.answered(answers).expect("answers about single books");
        let ended = answer.stored.ended.iter().flat_map(|(_, ids)| ids.iter().collect::<Vec<_>>());
        let ended = ended.map(|id| id.0).collect();
        self.custody.stored(answer.stored);
        journal.stored(answer.size, answer.refused, false);
        self.fetch(disk);
        ended
    }

    /// Fetches what custody has asked for.
    fn fetch(&self, disk: &mut Disk) {
        let journal = self.custody.journal().expect("piles are durable");
        while let Some(pile) = journal.take_ask() {
            if let Some(want) = self.custody.fetchable(pile) {
                self.custody.fetched(pile, disk.fetch(pile.index(), want));
            }
        }
    }

    fn unmark(&self, commit: &crate::store::Commit) {
        let mut marks = self.marks.0.lock().expect("no panic");
        for (receipt, _) in &commit.acts {
            marks.remove(&receipt.id().expect("an id").0);
        }
        for arrival in &commit.arrivals {
            if let crate::store::Arrival::Pass(pass) = arrival {
                for (receipt, _) in &pass.books {
                    marks.remove(&receipt.id().expect("an id").0);
                }
            }
        }
    }

    /// Offers that were confirmed since the last call.
    fn confirmed(&mut self) -> Vec<u64> {
        let mut told = Vec::new();
        self.offers.retain_mut(|(ids, stored)| match stored.try_recv() {
            Ok(stored) => {
                stored.expect("it is not too large");
                told.append(ids);
                false
            }
            Err(_) => true,
        });
        told
    }
}

fn verdict(luck: u8) -> LeaseVerdict {
    match luck {
        0 | 1 => LeaseVerdict::Ack,
        2 => LeaseVerdict::Return,
        3 => LeaseVerdict::Drop(DropReason::Work),
        4 => LeaseVerdict::Refuse(Failure::transient("again")),
        _ => LeaseVerdict::Apart,
    }
}

fn whole(steps: Vec<Step>, kept: [Kept; PILES]) -> Result<(), TestCaseError> {
    let mut disk = Disk::default();
    let mut life = Life::new(&mut disk, kept);
    // Told to be stored; told to have ended; and ended, told or not, in any life.
    let (mut told, mut gone) = (BTreeSet::new(), BTreeSet::new());
    let mut over: BTreeSet<u64> = BTreeSet::new();
    // Content and attempts of books, as custody has them.
    let mut known: BTreeMap<u64, (Vec<u8>, u32)> = BTreeMap::new();
    let all_durable = kept.iter().all(|kept| *kept == Kept::Durable);
    for step in steps {
        let durable = |pile: usize| kept[pile] == Kept::Durable;
        match step {
            Step::Offer { pile, books } if durable(pile) => {
                let new = (0..books).map(|_| Book::new("text")).collect();
                let next = life.custody.number(0).0;
                let ids: Vec<u64> = (next..next + books as u64).collect();
                known.extend(ids.iter().map(|id| (*id, (b"text".to_vec(), 0))));
                let offered = life.custody.store_offer(PileKey(pile as u32), new, false);
                if let Ok((_, stored)) = offered {
                    life.offers.push((ids, stored));
                }
            }
            Step::Offer { .. } => {}
            Step::Lease { pile, books } => {
                let want = Want { books, bytes: None };
                let lease = life.custody.lease(PileKey(pile as u32), want, HolderId::new(1, 1));
                life.leases.extend(lease.map(|lease| (pile, lease)));
            }
            Step::Burn { verdicts } => {
                let at = life.leases.iter().position(|(pile, _)| *pile == PILES - 1);
                let Some((_, mut lease)) = at.map(|at| life.leases.remove(at)) else {
                    continue;
                };
                if !lease.begin_burn() {
                    continue;
                }
                life.custody.begin_burn(&lease, 0..lease.len());
                let ids: Vec<u64> = lease.books().iter().map(|book| book.id.0).collect();
                for (at, luck) in (0..lease.len()).zip(verdicts.iter().cycle()) {
                    lease.mark_burned(at, verdict(*luck));
                    match verdict(*luck) {
                        LeaseVerdict::Ack | LeaseVerdict::Drop(_) => _ = over.insert(ids[at]),
                        LeaseVerdict::Refuse(_) => known.entry(ids[at]).or_default().1 += 1,
                        LeaseVerdict::Return | LeaseVerdict::Apart | LeaseVerdict::Split(_) => {}
                    }
                }
                prop_assert!(life.custody.settle(lease) != Settled::Stale);
            }
            Step::Pass { changed, drops } => {
                let at = life.leases.iter().position(|(pile, _)| *pile + 1 < PILES);
                let Some((pile, mut lease)) = at.map(|at| life.leases.remove(at)) else {
                    continue;
                };
                if drops && lease.is_live() {
                    over.insert(lease.books()[0].id.0);
                    lease.mark(0, LeaseVerdict::Drop(DropReason::Filtered));
                }
                let live = lease.is_live();
                for (at, book) in lease.books().iter().enumerate().filter(|_| live) {
                    let (content, attempts) = known.entry(book.id.0).or_default();
                    if changed && (at > 0 || !drops) {
                        content.push(b'\'');
                    }
                    // Those that a crash may have charged count further on.
                    let note = lease.note(at);
                    let counts = durable(pile) && durable(pile + 1) && note.begun;
                    *attempts = if counts { note.attempts } else { 0 };
                }
                let worked = changed.then(|| {
                    let change = |(at, book): (usize, &Book)| {
                        let text = [text(book), b"'".to_vec()].concat();
                        (at > 0 || !drops).then(|| Book { id: book.id, ..Book::new(text) })
                    };
                    lease.books().iter().enumerate().map(change).collect()
                });
                let passed = life.custody.pass_on(lease, worked, PileKey(pile as u32 + 1), None);
                prop_assert!(passed.is_ok());
            }
            Step::Drop if !life.leases.is_empty() => {
                let (pile, lease) = life.leases.remove(0);
                drop(lease);
                life.custody.collect(PileKey(pile as u32));
            }
            Step::Revoke => {
                for pile in 0..PILES as u32 {
                    life.custody.revoke(PileKey(pile), &|_| true);
                }
                life.leases.clear();
            }
            Step::Drop => {}
            Step::Commit { full } => {
                let ended = life.commit(&mut disk, full);
                gone.extend(ended);
                told.extend(life.confirmed());
                let is_stored = all_durable && life.custody.unconfirmed() == 0;
                for row in disk.piles.iter().flatten().filter(|_| is_stored) {
                    let stored = (row.text.clone(), row.tries.attempts);
                    prop_assert_eq!(&stored, &known[&row.id], "book {}", row.id);
                }
            }
            Step::Crash { stored } => {
                let journal = life.custody.journal().expect("durable").clone();
                if stored && let Some(batch) = journal.take() {
                    disk.commit(&batch.commit, false);
                    life.unmark(&batch.commit);
                }
                for id in life.marks.0.lock().expect("no panic").iter() {
                    if let Some(row) = disk.row(BookId(*id)) {
                        row.tries.attempts += 1;
                        row.tries.begun = true;
                    }
                }
                let rows = disk.piles.iter().flatten();
                known = rows.map(|row| (row.id, (row.text.clone(), row.tries.attempts))).collect();
                life = Life::new(&mut disk, kept);
            }
        }
        let ledger = life.custody.ledger();
        prop_assert!(ledger.balances(), "{:?}", ledger);
        let there: BTreeMap<u64, usize> = disk
            .piles
            .iter()
            .enumerate()
            .flat_map(|(pile, rows)| rows.iter().map(move |row| (row.id, pile)))
            .collect();
        let dead: BTreeSet<u64> = disk.dead.iter().map(|(id, ..)| *id).collect();
        for id in &told {
            let lost = !there.contains_key(id) && !over.contains(id) && !dead.contains(id);
            prop_assert!(!lost, "book {} is lost", id);
        }
        for id in &gone {
            prop_assert!(!there.contains_key(id), "book {} came back", id);
        }
        let count: usize = disk.piles.iter().map(Vec::len).sum();
        prop_assert_eq!(count, there.len(), "a book is stored twice");
    }
    // All that is left can be burned.
    life.leases.clear();
    for pile in 0..PILES as u32 {
        life.custody.collect(PileKey(pile));
    }
    life.commit(&mut disk, false);
    for _ in 0..3 {
        life.commit(&mut disk, false);
    }
    for pile in 0..PILES as u32 {
        let want = Want { books: 1_000, bytes: None };
        let mut order = Vec::new();
        while let Some(mut lease) = life.custody.lease(PileKey(pile), want, HolderId::new(1, 1)) {
            order.extend(lease.books().iter().map(|book| book.id));
            prop_assert!(lease.begin_burn());
            let _ = life.custody.settle(lease);
            life.fetch(&mut disk);
        }
        // Only new books come to the first pile.
        prop_assert!(pile > 0 || order.is_sorted(), "{:?}", order);
    }
    for _ in 0..3 {
        life.commit(&mut disk, false);
    }
    let ledger = life.custody.ledger();
    prop_assert!(ledger.balances() && ledger.in_flight == 0, "{:?}", ledger);
    prop_assert!(disk.piles.iter().all(Vec::is_empty), "{:?}", disk.piles);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn durable_piles_survive_all_lives(steps in prop::collection::vec(step(), 1..70)) {
        whole(steps, [Kept::Durable; PILES])?;
    }

    #[test]
    fn a_pile_in_memory_between_durable_ones_loses_nothing(
        steps in prop::collection::vec(step(), 1..70),
    ) {
        whole(steps, [Kept::Durable, Kept::Below, Kept::Durable])?;
    }
}
