//! Books are moved as the gophers do it, a cart at a time.

use std::collections::VecDeque;
use std::hint::black_box;

use peers_common::{Answer, Book, Burned, Carried, Moment, Order};

/// Pile, cart, dump, cart, fire.
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
        // What the gophers push has to be there.
        dump.extend(black_box(&mut near).drain(..));
        far.extend(black_box(&mut dump).drain(..));
        black_box(&mut far)
            .drain(..)
            .for_each(|book| fire.burn(&book));
    }
    Answer::new(order, start.elapsed())
        .burned(order, fire)
        .print();
}

/// Pile, cart, fire: four gophers hand the cart around, the books stay in it.
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
        black_box(&mut books)
            .drain(..)
            .for_each(|book| fire.burn(&book));
    }
    Answer::new(order, start.elapsed())
        .burned(order, fire)
        .print();
}
