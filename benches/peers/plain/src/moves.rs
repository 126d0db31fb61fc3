//! Moves books as the gophers do, one cart at a time.

use std::collections::VecDeque;
use std::hint::black_box;

use peers_common::{Answer, Book, Burned, Carried, Moment, Order};

/// Pile, cart, dump, cart, incinerator.
pub fn pipeline<B: Carried>(order: &Order, cart: usize) {
    let mut pile = (1..=order.count).map(B::new);
    let mut near: Vec<B> = Vec::with_capacity(cart);
    let mut dump: VecDeque<B> = VecDeque::with_capacity(cart);
    let mut far: Vec<B> = Vec::with_capacity(cart);
    let mut fire = Burned::default();
    let start = Moment::now();
    loop {
        near.extend(pile.by_ref().take(cart));
        if near.is_empty() {
            break;
        }
        // `black_box` keeps the move of the pushed books.
        dump.extend(black_box(&mut near).drain(..));
        far.extend(black_box(&mut dump).drain(..));
        black_box(&mut far).drain(..).for_each(|book| fire.burn(&book));
    }
    Answer::new(order, start.elapsed()).burned(order, fire).print();
}

/// Pile, cart, incinerator: four gophers pass the cart on, while the books stay in it.
pub fn ring(order: &Order, cart: usize) {
    let mut pile = (1..=order.count).map(Book::new);
    let mut books: Vec<Book> = Vec::with_capacity(cart);
    let mut fire = Burned::default();
    let start = Moment::now();
    loop {
        books.extend(pile.by_ref().take(cart));
        if books.is_empty() {
            break;
        }
        black_box(&mut books).drain(..).for_each(|book| fire.burn(&book));
    }
    Answer::new(order, start.elapsed()).burned(order, fire).print();
}
