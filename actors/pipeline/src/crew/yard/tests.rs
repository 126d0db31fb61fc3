//! Tests of coupling: no cart is lost, duplicated or kept, whatever happens to the lead cart.

use proptest::prelude::*;

use super::*;
use crate::gopher::Gopher;
use gopherworks_supervision::Port;

const ME: u64 = 7 << 40 | 3;

fn yard(carts: usize) -> Arc<Yard> {
    let seats = vec![Seat { duties: Duties::ALL, port: Arc::new(Port::<Gopher>::new()), node: 7 }];
    let want = Want { books: 4, bytes: None };
    let clock = Clock::simulated();
    Yard::new(clock, "crew", want, carts, seats, None, None, false)
}

fn waiting(yard: &Yard) -> usize {
    let state = yard.lock();
    let bodies = state.waiting.iter().flatten();
    bodies.map(|body| body.carts()).sum()
}

fn taken(yard: &Arc<Yard>) -> Cart {
    let (cart, leg) = yard.advance(0, 3, None).expect("a cart waits");
    assert_eq!(leg, Leg::Take);
    cart
}

#[test]
fn a_coupled_cart_has_room_for_all_and_all_go_home_with_it() {
    let yard = yard(5);
    let mut cart = taken(&yard);
    yard.couple(&mut cart, 4, true);
    assert_eq!((cart.carts(), cart.want().books), (4, 16));
    assert_eq!((yard.under_way(), waiting(&yard)), (4, 1));
    cart.uncouple(3);
    assert_eq!((cart.carts(), yard.under_way(), waiting(&yard)), (3, 3, 2));
    drop(cart);
    assert_eq!((yard.under_way(), waiting(&yard)), (0, 5));
}

#[test]
fn what_a_hung_gopher_has_is_replaced_and_what_is_coupled_to_it() {
    let yard = yard(4);
    let mut cart = taken(&yard);
    yard.couple(&mut cart, 3, false);
    assert_eq!(yard.reclaim(8 << 40 | 3), 0, "somebody else's");
    assert_eq!(yard.reclaim(ME), 3);
    assert_eq!((yard.under_way(), waiting(&yard)), (0, 4));
    // The hung thread continues: its cart is stale and is dropped.
    cart.hand_to(ME);
    drop(cart);
    assert_eq!((yard.under_way(), waiting(&yard)), (0, 4));
    assert_eq!(yard.reclaim(ME), 0);
}

#[test]
fn carts_that_were_coupled_retire_each() {
    let yard = yard(3);
    let mut cart = taken(&yard);
    yard.couple(&mut cart, 3, false);
    yard.retire(cart);
    assert!(yard.is_done());
    assert_eq!(yard.under_way(), 0);
}

proptest! {
    /// In any order of operations each cart waits, is under way, or is retired.
    #[test]
    fn carts_are_conserved(
        carts in 1usize..9,
        acts in prop::collection::vec((0u8..7, 1usize..9), 1..60),
    ) {
        let yard = yard(carts);
        let mut held: Vec<Cart> = Vec::new();
        let mut retired = 0;
        for (act, number) in acts {
            let at = number % held.len().max(1);
            match act {
                0 => held.extend(yard.advance(0, 3, None).map(|(cart, _)| cart)),
                1 if !held.is_empty() => {
                    let mut cart = held.remove(at);
                    yard.couple(&mut cart, number, number % 2 == 0);
                    held.push(cart);
                }
                2 if !held.is_empty() => held[at].uncouple(number),
                3 if !held.is_empty() => drop(held.remove(at)),
                4 if !held.is_empty() => {
                    let leg = if number % 2 == 0 { Leg::Return } else { Leg::Take };
                    held.remove(at).put(leg);
                }
                5 if held.len() > 1 => {
                    let other = held.remove(at);
                    held[0].couple(other);
                }
                6 if !held.is_empty() && number > 6 => {
                    let cart = held.remove(at);
                    retired += cart.carts();
                    yard.retire(cart);
                }
                _ => {}
            }
            let out: usize = held.iter().map(Cart::carts).sum();
            prop_assert_eq!(yard.under_way(), out);
            prop_assert_eq!(waiting(&yard) + out + retired, carts);
        }
        held.clear();
        prop_assert_eq!(waiting(&yard) + retired, carts);
    }

    /// All carts of a hung holder are replaced once; what it drops later is ignored.
    #[test]
    fn what_hangs_is_replaced_once(
        carts in 2usize..9,
        couples in prop::collection::vec(1usize..5, 1..5),
    ) {
        let yard = yard(carts);
        let mut held: Vec<Cart> = Vec::new();
        for most in couples {
            let Some((mut cart, _)) = yard.advance(0, 3, None) else {
                break;
            };
            yard.couple(&mut cart, most, true);
            held.push(cart);
        }
        let out: usize = held.iter().map(Cart::carts).sum();
        prop_assert_eq!(yard.reclaim(ME), out);
        prop_assert_eq!((yard.under_way(), waiting(&yard)), (0, carts));
        held.clear();
        prop_assert_eq!((yard.under_way(), waiting(&yard)), (0, carts));
    }
}
