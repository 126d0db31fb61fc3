//! Piles larger than memory: order, counts and the bound on books in memory.

use std::sync::Arc;

use proptest::prelude::*;

use super::whole::Life;
use super::{Disk, PILES};
use crate::book::Book;
use crate::custody::keeper::Kept;
use crate::custody::lease::LeaseVerdict;
use crate::custody::{Custody, HolderId, PileKey, Settled, Want};
use gopherworks_supervision::failure::Failure;

const LOAD: Want = Want { books: 3, bytes: None };

fn first(custody: &Arc<Custody>, pile: u32) -> Option<crate::custody::lease::Lease> {
    custody.lease(PileKey(pile), LOAD, HolderId::new(1, 1))
}

/// What a process does with a deep pile.
#[derive(Debug, Clone)]
enum Deed {
    Offer(usize),
    Pass { changed: bool },
    Burn,
    Refuse { rests: bool },
    Commit,
    Restart,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (1..12usize).prop_map(Deed::Offer),
        4 => any::<bool>().prop_map(|changed| Deed::Pass { changed }),
        2 => Just(Deed::Burn),
        1 => any::<bool>().prop_map(|rests| Deed::Refuse { rests }),
        4 => Just(Deed::Commit),
        1 => Just(Deed::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, ..ProptestConfig::default()
    })]

    /// Books are handed out in the order in which they came, however often the process ends and
    /// however deep the piles are; memory has no more than the window; all are counted.
    #[test]
    fn a_deep_pile_keeps_its_order_in_a_small_window(
        deeds in prop::collection::vec(deed(), 1..120),
    ) {
        let mut disk = Disk::default();
        let mut life = Life::new(&mut disk, [Kept::Durable; PILES]);
        let (mut offered, mut passed, mut over) = (0, 0, 0);
        let (mut next, mut rested) = (1, false);
        for deed in deeds {
            match deed {
                Deed::Offer(books) => {
                    let new = (0..books).map(|_| Book::new("text")).collect();
                    prop_assert!(life.custody.store_offer(PileKey(0), new, false).is_ok());
                    // In one commit each, so that no book is lost with the process.
                    life.commit(&mut disk, false);
                    offered += books;
                }
                Deed::Pass { changed } => {
                    let Some(lease) = first(&life.custody, 0) else {
                        continue;
                    };
                    for book in lease.books().iter().filter(|_| !rested) {
                        prop_assert_eq!(book.id.0, next, "out of order");
                        next += 1;
                    }
                    passed += lease.len();
                    let again = || lease.books().iter().cloned().map(Some).collect();
                    let worked = changed.then(again);
                    prop_assert!(life.custody.pass_on(lease, worked, PileKey(1), None).is_ok());
                }
                Deed::Burn => {
                    let Some(mut lease) = first(&life.custody, 1) else {
                        continue;
                    };
                    let ids: Vec<_> = lease.books().iter().map(|book| book.id).collect();
                    prop_assert!(rested || ids.is_sorted(), "{:?}", ids);
                    over += lease.len();
                    prop_assert!(lease.begin_burn());
                    let _ = life.custody.settle(lease);
                }
                Deed::Refuse { rests } => {
                    let Some(mut lease) = first(&life.custody, 1) else {
                        continue;
                    };
                    let failure = Failure::unavailable("later");
                    rested |= rests;
                    let wait = std::time::Duration::from_secs(60);
                    let failure = if rests { failure.after(wait) } else { failure };
                    (0..lease.len()).for_each(|at| {
                        let verdict = match rests {
                            true => LeaseVerdict::Refuse(failure.clone()),
                            false => LeaseVerdict::Return,
                        };
                        lease.mark(at, verdict);
                    });
                    if let Settled::Done { buried, .. } = life.custody.settle(lease) {
                        over += buried;
                    }
                }
                Deed::Commit => drop(life.commit(&mut disk, false)),
                Deed::Restart => {
                    while life.custody.unconfirmed() > 0 {
                        life.commit(&mut disk, false);
                    }
                    life = Life::new(&mut disk, [Kept::Durable; PILES]);
                }
            }
            let [one, two] = [0, 1].map(|pile| life.custody.counts(PileKey(pile)));
            // Returned books, as many as a lease has, may be above the window.
            for counts in [one, two] {
                prop_assert!(counts.ready <= 2 * super::whole::WINDOW.books + LOAD.books);
            }
            let ledger = life.custody.ledger();
            prop_assert!(ledger.balances(), "{:?}", ledger);
            prop_assert_eq!(one.ready + one.late + one.reserved + passed, offered);
            prop_assert_eq!(ledger.in_flight as usize, offered - over - one.reserved);
            prop_assert_eq!(two.ready + two.late + over, passed);
        }
    }
}

#[test]
fn what_is_behind_the_window_is_not_in_memory() {
    let mut disk = Disk::default();
    let mut life = Life::new(&mut disk, [Kept::Durable; PILES]);
    for _ in 0..100 {
        let new = (0..10).map(|_| Book::new("text")).collect();
        assert!(life.custody.store_offer(PileKey(0), new, false).is_ok());
        life.commit(&mut disk, false);
    }
    let most = super::whole::WINDOW.books;
    let held = |disk: &Disk| disk.piles.iter().flatten().filter(|row| row.held).count();
    assert!(held(&disk) <= most, "{} are held", held(&disk));
    assert_eq!(life.custody.kept_books(), 1000);
    let mut next = 1;
    while let Some(mut lease) = first(&life.custody, 0) {
        for book in lease.books() {
            assert_eq!(book.id.0, next);
            next += 1;
        }
        assert!(lease.begin_burn());
        let _ = life.custody.settle(lease);
        life.commit(&mut disk, false);
        assert!(held(&disk) <= most, "{} are held", held(&disk));
    }
    assert_eq!(next, 1001);
    let ledger = life.custody.ledger();
    assert!(ledger.balances() && ledger.burned == 1000 && ledger.in_flight == 0);
}
