//! Tests of the storage contract, with the in-memory engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::custody::lease::{Children, Lease, LeaseVerdict};
use gopherworks_supervision::clock::Clock;
use gopherworks_supervision::failure::Failure;

const A: PileKey = PileKey(0);
const B: PileKey = PileKey(1);

fn store(bound: Option<u64>) -> (Arc<Custody>, Arc<AtomicUsize>) {
    let rings = Arc::new(AtomicUsize::new(0));
    let counted = rings.clone();
    let bell: Bell = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let bounded = Bound { books: bound, bytes: None };
    let piles = [(Bound::default(), 2), (bounded, 2)];
    (Custody::new(piles, Clock::real(), bell), rings)
}

fn put(store: &Custody, count: usize) {
    let books = (0..count).map(|n| Book::new(format!("{n}"))).collect();
    store.put(A, books).expect("no bound");
}

fn lease(store: &Custody, pile: PileKey, books: usize) -> Option<Lease> {
    store.lease(pile, Want { books, bytes: None }, HolderId::NONE)
}

fn ids(lease: &Lease) -> Vec<u64> {
    lease.books().iter().map(|book| book.id.0).collect()
}

fn drained(store: &Custody) -> (u64, u64, i64, u64) {
    let ledger = store.ledger();
    (ledger.burned, ledger.in_flight, ledger.lost, ledger.duplicates)
}

#[test]
fn a_dropped_lease_goes_home_and_the_book_regains_its_place() {
    let (store, rings) = store(None);
    put(&store, 4);
    let first = lease(&store, A, 2).unwrap();
    let second = lease(&store, A, 1).unwrap();
    drop(second);
    drop(first);
    assert_eq!(rings.load(Ordering::Relaxed), 2, "the bell is rung for each");
    assert_eq!(store.counts(A).inbox, 2, "and nothing is done before the pile looks");
    assert_eq!(store.collect(A), 2);
    let again = lease(&store, A, 4).unwrap();
    assert_eq!(ids(&again), [1, 2, 3, 4]);
    assert_eq!(again.note(0).deliveries, 2);
    assert_eq!(again.note(0).attempts, 0, "the loss of a carrier charges no book");
    assert_eq!(drained(&store), (0, 4, 0, 0));
}

#[test]
fn a_panic_in_the_middle_of_a_cart_acks_charges_and_returns() {
    let (store, _) = store(None);
    put(&store, 4);
    let mut cart = lease(&store, A, 4).unwrap();
    assert!(cart.begin_burn());
    cart.mark_burned(0, LeaseVerdict::Ack);
    cart.mark_burned(1, LeaseVerdict::Ack);
    cart.mark_burned(2, LeaseVerdict::Refuse(Failure::transient("boom")));
    drop(cart);
    store.collect(A);
    assert_eq!(drained(&store), (2, 2, 0, 0));
    let rest = lease(&store, A, 4).unwrap();
    let noted =
        |(at, book): (usize, &Book)| (book.id.0, rest.note(at).attempts, rest.note(at).begun);
    let seen: Vec<(u64, u32, bool)> = rest.books().iter().enumerate().map(noted).collect();
    assert_eq!(seen, [(3, 1, true), (4, 0, false)]);
}

#[test]
fn a_book_is_buried_at_its_last_attempt_with_the_reason() {
    let (store, _) = store(None);
    put(&store, 1);
    for attempt in 1..=2 {
        let mut cart = lease(&store, A, 1).unwrap();
        cart.mark(0, LeaseVerdict::Refuse(Failure::transient(format!("no {attempt}"))));
        store.settle(cart);
    }
    let (dead, forgotten) = store.take_dead();
    assert_eq!((dead.len(), forgotten), (1, 0));
    assert_eq!((dead[0].reason.as_str(), dead[0].attempts), ("no 2", 2));
    let ledger = store.ledger();
    assert_eq!((ledger.dead, ledger.in_flight, ledger.lost), (1, 0, 0));
}

#[test]
fn a_revoked_lease_has_no_effect() {
    for act in 0..4 {
        let (store, _) = store(None);
        put(&store, 2);
        let mut zombie = lease(&store, A, 2).unwrap();
        zombie.hand_to(HolderId(42));
        assert_eq!(store.revoke(A, &|holder| holder == HolderId(41)), 0, "not this holder's");
        assert_eq!(store.revoke(A, &|holder| holder == HolderId(42)), 2);
        assert_eq!(store.revoke(A, &|holder| holder == HolderId(42)), 0, "once");
        let live = lease(&store, A, 2).expect("the books are back");
        assert!(!zombie.is_live());
        match act {
            0 => assert!(!zombie.begin_burn()),
            1 => assert_eq!(store.settle(zombie), Settled::Stale),
            2 => {
                let passed = store.pass_on(zombie, None, B, None).unwrap();
                assert_eq!(passed, Settled::Stale);
            }
            _ => drop(zombie),
        }
        store.collect(A);
        assert_eq!((store.counts(A).leased, store.counts(B).ready), (2, 0));
        let mut live = live;
        assert!(live.begin_burn());
        store.settle(live);
        assert_eq!(drained(&store), (2, 0, 0, 0));
    }
}

#[test]
fn a_burn_that_had_begun_is_known_when_its_books_come_back() {
    let (store, _) = store(None);
    put(&store, 1);
    let mut hung = lease(&store, A, 1).unwrap();
    assert!(hung.begin_burn());
    hung.hand_to(HolderId(9));
    store.revoke(A, &|holder| holder == HolderId(9));
    assert!(lease(&store, A, 1).unwrap().note(0).begun);
}

#[test]
fn what_a_dump_has_no_room_for_comes_back_whole() {
    let (store, _) = store(Some(3));
    put(&store, 4);
    let two = lease(&store, A, 2).unwrap();
    assert!(matches!(store.pass_on(two, None, B, None), Ok(Settled::Done { acked: 2, .. })));
    let more = lease(&store, A, 2).unwrap();
    let worked = Some(vec![Some(Book::new("x")), Some(Book::new("y"))]);
    let back = store.pass_on(more, worked, B, None).expect_err("2 and 2 are more than 3");
    assert_eq!(ids(&back.lease), [3, 4]);
    assert_eq!(back.worked.as_ref().map(Vec::len), Some(2));
    assert_eq!((store.counts(A).leased, store.counts(B).ready), (2, 2));
    let freed = lease(&store, B, 2).unwrap();
    let passed = store.pass_on(back.lease, back.worked, B, None);
    assert!(passed.is_ok(), "a slot frees when its book is leased");
    drop(freed);
    store.collect(B);
    assert_eq!(store.counts(B).ready, 4, "returned books are taken back whatever the bound says");
}

#[test]
fn reserved_space_is_exclusive() {
    let (store, _) = store(Some(2));
    put(&store, 3);
    assert!(store.reserve(B, 2, 0));
    assert!(!store.reserve(B, 1, 0));
    let other = lease(&store, A, 1).unwrap();
    let back = store.pass_on(other, None, B, None).expect_err("the room is kept");
    let mine = lease(&store, A, 2).unwrap();
    assert!(store.pass_on(mine, None, B, Some((2, 0))).is_ok());
    assert_eq!((store.counts(B).ready, store.counts(B).reserved), (2, 0));
    drop(back);
}

#[test]
fn a_book_without_a_result_is_never_taken_for_passed() {
    let (store, _) = store(None);
    put(&store, 3);
    let cart = lease(&store, A, 3).unwrap();
    // Too short, and with a book missing without a mark: a defect of the work, so the books
    // return.
    let worked = Some(vec![Some(Book::new("a")), None]);
    assert!(store.pass_on(cart, worked, B, None).is_ok());
    assert_eq!((store.counts(A).ready, store.counts(B).ready), (2, 1));
    assert_eq!(drained(&store), (0, 3, 0, 0));
}

#[test]
fn a_split_book_and_its_parts_change_places_at_once() {
    let (store, _) = store(Some(2));
    put(&store, 2);
    let split = |lease: &mut Lease| {
        let children = ["x", "y", "z"].map(Book::new);
        lease.mark(0, LeaseVerdict::Split(Children(children.into())));
    };
    // A cart that is lost has stored no part.
    let mut lost = lease(&store, A, 2).unwrap();
    split(&mut lost);
    drop(lost);
    store.collect(A);
    assert_eq!((store.counts(A).ready, store.counts(B).ready), (2, 0));
    let mut cart = lease(&store, A, 2).unwrap();
    split(&mut cart);
    let second = cart.books()[1].clone();
    let worked = Some(vec![None, Some(second)]);
    // More than the bound, but there is no other book.
    let settled = store.pass_on(cart, worked, B, None).unwrap();
    let Settled::Done { acked: 1, dropped: 1, children: Some((ids, 3)), .. } = settled else {
        panic!("{settled:?}");
    };
    let there = lease(&store, B, 4).unwrap();
    let mut bodies: Vec<(u64, u64)> =
        there.books().iter().map(|book| (book.id.0, book.size())).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, [(2, 1), (3, 1), (4, 1), (5, 1)]);
    assert_eq!(ids.first.0, 3);
    let ledger = store.ledger();
    assert_eq!((ledger.offered, ledger.dropped, ledger.split, ledger.in_flight), (5, 1, 1, 4));
    assert!(ledger.balances());
}

#[test]
fn one_book_larger_than_the_cart_goes_alone() {
    let (store, _) = store(None);
    let books = [1usize, 9, 1, 1].map(|size| Book::new(vec![0u8; size])).to_vec();
    store.put(A, books).unwrap();
    let want = Want { books: 10, bytes: Some(4) };
    let mut sizes = Vec::new();
    let mut held = Vec::new();
    while let Some(cart) = store.lease(A, want, HolderId::NONE) {
        sizes.push(cart.books().iter().map(Book::size).collect::<Vec<_>>());
        held.push(cart);
    }
    assert_eq!(sizes, [vec![1], vec![9], vec![1, 1]]);
}

#[test]
fn two_piles_that_pass_both_ways_from_many_threads_lose_nothing() {
    let (store, _) = store(None);
    put(&store, 200);
    let turns = 2_000;
    std::thread::scope(|scope| {
        for thread in 0..4usize {
            let store = &store;
            scope.spawn(move || {
                for turn in 0..turns {
                    let (from, to) = if (turn + thread) % 2 == 0 { (A, B) } else { (B, A) };
                    let Some(cart) = lease(store, from, 1 + turn % 5) else {
                        continue;
                    };
                    match turn % 3 {
                        0 => drop(cart),
                        _ => drop(store.pass_on(cart, None, to, None)),
                    }
                    store.collect(from);
                }
            });
        }
    });
    store.collect(A);
    store.collect(B);
    assert_eq!(store.counts(A).ready + store.counts(B).ready, 200);
    assert_eq!(drained(&store), (0, 200, 0, 0));
}

/// An operation on carts and piles.
#[derive(Debug, Clone)]
enum StoreOp {
    Put(usize),
    Lease(bool, usize),
    Pass(usize),
    Burn(usize, Vec<u8>),
    Drop(usize),
    Revoke(usize),
    Collect,
}

fn op() -> impl Strategy<Value = StoreOp> {
    prop_oneof![
        (1usize..4).prop_map(StoreOp::Put),
        (any::<bool>(), 1usize..4).prop_map(|(b, n)| StoreOp::Lease(b, n)),
        (0usize..8).prop_map(StoreOp::Pass),
        (0usize..8, prop::collection::vec(0u8..5, 4)).prop_map(|(at, how)| StoreOp::Burn(at, how)),
        (0usize..8).prop_map(StoreOp::Drop),
        (0usize..8).prop_map(StoreOp::Revoke),
        Just(StoreOp::Collect),
    ]
}

proptest! {
    /// In any order of operations, every book is in one place, ends once, and is leased by at most
    /// one live cart.
    #[test]
    fn custody_holds_for_any_order_of_operations(ops in prop::collection::vec(op(), 1..60)) {
        let (store, _) = store(Some(6));
        let mut carts: Vec<(HolderId, Lease)> = Vec::new();
        let mut burned: BTreeMap<u64, u32> = BTreeMap::new();
        let mut holders = 0;
        for act in ops {
            match act {
                StoreOp::Put(count) => put(&store, count),
                StoreOp::Lease(b, count) => {
                    holders += 1;
                    if let Some(cart) = lease(&store, if b { B } else { A }, count) {
                        let holder = HolderId(holders);
                        cart.hand_to(holder);
                        carts.push((holder, cart));
                    }
                }
                StoreOp::Pass(at) if at < carts.len() && carts[at].1.pile() == A => {
                    let (holder, cart) = carts.remove(at);
                    if let Err(back) = store.pass_on(cart, None, B, None) {
                        carts.push((holder, back.lease));
                    }
                }
                StoreOp::Burn(at, how) if at < carts.len() => {
                    let (_, mut cart) = carts.remove(at);
                    if cart.begin_burn() {
                        let all = ids(&cart);
                        for (index, id) in all.iter().enumerate() {
                            let verdict = match how[index % how.len()] {
                                0 => LeaseVerdict::Refuse(Failure::transient("t")),
                                1 => LeaseVerdict::Refuse(Failure::permanent("p")),
                                2 => LeaseVerdict::Apart,
                                _ => LeaseVerdict::Ack,
                            };
                            if verdict == LeaseVerdict::Ack {
                                *burned.entry(*id).or_default() += 1;
                            }
                            cart.mark_burned(index, verdict);
                        }
                        let settled = store.settle(cart);
                        prop_assert!(settled != Settled::Stale);
                    }
                }
                StoreOp::Drop(at) if at < carts.len() => drop(carts.remove(at)),
                StoreOp::Revoke(at) if at < carts.len() => {
                    let lost = carts[at].0;
                    for pile in [A, B] {
                        store.revoke(pile, &|holder| holder == lost);
                    }
                }
                StoreOp::Collect => {
                    store.collect(A);
                    store.collect(B);
                }
                _ => {}
            }
            let ledger = store.ledger();
            prop_assert!(ledger.balances(), "{ledger:?}");
            let mut held = BTreeSet::new();
            for (_, cart) in carts.iter().filter(|(_, cart)| cart.is_live()) {
                for id in ids(cart) {
                    prop_assert!(held.insert(id), "book {id} is in two carts");
                }
            }
        }
        carts.clear();
        store.collect(A);
        store.collect(B);
        let ledger = store.ledger();
        prop_assert_eq!((store.counts(A).leased, store.counts(B).leased), (0, 0));
        prop_assert!(burned.values().all(|times| *times == 1));
        prop_assert_eq!(burned.len() as u64, ledger.burned);
        prop_assert!(ledger.balances(), "{:?}", ledger);
    }
}

#[test]
fn a_book_that_rests_is_not_leased_before_its_time() {
    let (store, _) = store(None);
    put(&store, 1);
    let mut cart = lease(&store, A, 1).unwrap();
    let rest = Duration::from_secs(3600);
    cart.mark(0, LeaseVerdict::Refuse(Failure::transient("tired").after(rest)));
    store.settle(cart);
    assert!(lease(&store, A, 1).is_none());
    let counts = store.counts(A);
    assert_eq!(counts.ready, 1);
    assert!(counts.next_due.is_some());
}
