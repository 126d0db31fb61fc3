//! Tests of coupling: no cart is lost, duplicated or kept, whatever happens to the lead cart.

use proptest::prelude::*;

use super::*;
use crate::gopher::Gopher;
use gopherworks_supervision::Port;

fn me() -> HolderId {
    HolderId::new(7, 3)
}

fn queue(carts: usize) -> Arc<CrewQueue> {
    let members =
        vec![CrewMember { duties: Duties::ALL, port: Arc::new(Port::<Gopher>::new()), node: 7 }];
    let want = Want { books: 4, bytes: None };
    let clock = Clock::simulated();
    CrewQueue::new(clock, "crew", want, carts, members, None, None, false)
}

fn waiting(queue: &CrewQueue) -> usize {
    let state = queue.lock();
    let bodies = state.waiting.iter().flatten();
    bodies.map(|body| body.carts()).sum()
}

fn taken(queue: &Arc<CrewQueue>) -> Cart {
    let (cart, step) = queue.advance(0, 3, None).expect("a cart waits");
    assert_eq!(step, NextStep::Take);
    cart
}

#[test]
fn a_coupled_cart_has_room_for_all_and_all_go_home_with_it() {
    let queue = queue(5);
    let mut cart = taken(&queue);
    queue.couple(&mut cart, 4, true);
    assert_eq!((cart.carts(), cart.want().books), (4, 16));
    assert_eq!((queue.under_way(), waiting(&queue)), (4, 1));
    cart.uncouple(3);
    assert_eq!((cart.carts(), queue.under_way(), waiting(&queue)), (3, 3, 2));
    drop(cart);
    assert_eq!((queue.under_way(), waiting(&queue)), (0, 5));
}

#[test]
fn what_a_hung_gopher_has_is_replaced_and_what_is_coupled_to_it() {
    let queue = queue(4);
    let mut cart = taken(&queue);
    queue.couple(&mut cart, 3, false);
    assert_eq!(queue.reclaim(HolderId::new(8, 3)), 0, "not this holder's");
    assert_eq!(queue.reclaim(me()), 3);
    assert_eq!((queue.under_way(), waiting(&queue)), (0, 4));
    // The hung thread continues: its cart is stale and is dropped.
    cart.hand_to(me());
    drop(cart);
    assert_eq!((queue.under_way(), waiting(&queue)), (0, 4));
    assert_eq!(queue.reclaim(me()), 0);
}

#[test]
fn surplus_gophers_get_no_cart_and_are_told_once_they_are_free() {
    let queue = queue(4);
    for node in 8..11 {
        let port = Arc::new(Port::<Gopher>::new());
        queue.add(CrewMember { duties: Duties::ALL, port, node });
    }
    queue.resize(4);
    let (busy, step) = queue.advance(3, 1, None).expect("a cart waits");
    for cart in [1, 2].map(|gopher| queue.advance(gopher, 1, None)) {
        drop(cart);
    }
    assert!(queue.may_take(3) && queue.left().is_empty());
    queue.resize(1);
    assert!(!queue.may_take(3) && queue.may_take(0));
    assert!(queue.advance(3, 1, Some((busy, step))).is_none(), "its cart is for others");
    assert!(queue.advance(2, 1, None).is_none());
    assert_eq!(queue.left(), [3, 2]);
    assert!(queue.left().is_empty(), "each is told once");
    // One that has not been told yet is idle when it is wanted again.
    assert!(queue.advance(1, 1, None).is_none());
    queue.resize(2);
    assert!(queue.left().is_empty() && queue.may_take(1));
    assert_eq!((queue.under_way(), waiting(&queue)), (0, 4));
}

#[test]
fn carts_that_were_coupled_retire_each() {
    let queue = queue(3);
    let mut cart = taken(&queue);
    queue.couple(&mut cart, 3, false);
    queue.retire(cart);
    assert!(queue.is_done());
    assert_eq!(queue.under_way(), 0);
}

proptest! {
    /// In any order of operations each cart waits, is under way, or is retired; while the crew is
    /// held, none is sent for books.
    #[test]
    fn carts_are_conserved(
        carts in 1usize..9,
        acts in prop::collection::vec((0u8..9, 1usize..9), 1..60),
    ) {
        let queue = queue(carts);
        let mut held: Vec<Cart> = Vec::new();
        let mut retired = 0;
        for (act, number) in acts {
            let at = number % held.len().max(1);
            match act {
                0 => {
                    let next = queue.advance(0, 3, None);
                    let is_sent = next.as_ref().is_some_and(|(_, step)| *step == NextStep::Take);
                    prop_assert!(!(is_sent && queue.is_held()));
                    held.extend(next.map(|(cart, _)| cart));
                }
                1 if !held.is_empty() => {
                    let mut cart = held.remove(at);
                    queue.couple(&mut cart, number, number % 2 == 0);
                    held.push(cart);
                }
                2 if !held.is_empty() => held[at].uncouple(number),
                3 if !held.is_empty() => drop(held.remove(at)),
                4 if !held.is_empty() => {
                    let step = if number % 2 == 0 { NextStep::Return } else { NextStep::Take };
                    held.remove(at).put(step);
                }
                5 if held.len() > 1 => {
                    let other = held.remove(at);
                    held[0].couple(other);
                }
                6 if !held.is_empty() && number > 6 => {
                    let cart = held.remove(at);
                    retired += cart.carts();
                    queue.retire(cart);
                }
                7 => _ = queue.hold(),
                8 => _ = queue.resume(),
                _ => {}
            }
            let out: usize = held.iter().map(Cart::carts).sum();
            prop_assert_eq!(queue.under_way(), out);
            prop_assert_eq!(waiting(&queue) + out + retired, carts);
        }
        held.clear();
        prop_assert_eq!(waiting(&queue) + retired, carts);
    }

    /// All carts of a hung holder are replaced once; what it drops later is ignored.
    #[test]
    fn what_hangs_is_replaced_once(
        carts in 2usize..9,
        couples in prop::collection::vec(1usize..5, 1..5),
    ) {
        let queue = queue(carts);
        let mut held: Vec<Cart> = Vec::new();
        for most in couples {
            let Some((mut cart, _)) = queue.advance(0, 3, None) else {
                break;
            };
            queue.couple(&mut cart, most, true);
            held.push(cart);
        }
        let out: usize = held.iter().map(Cart::carts).sum();
        prop_assert_eq!(queue.reclaim(me()), out);
        prop_assert_eq!((queue.under_way(), waiting(&queue)), (0, carts));
        held.clear();
        prop_assert_eq!((queue.under_way(), waiting(&queue)), (0, carts));
    }
}
