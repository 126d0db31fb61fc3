//! What is moved.

use std::hint::black_box;

/// A book: an id, and 64 bytes in all. It is moved by value.
#[derive(Clone, Copy)]
pub struct Book {
    /// From 1, in the order of the pile.
    pub id: u64,
    /// The rest of the 64 bytes.
    pub body: [u8; 56],
}

impl Book {
    /// The book with this number.
    #[inline]
    pub fn new(id: u64) -> Self {
        Self { id, body: [0; 56] }
    }
}

/// The fire's account: how many books, and the sum of their ids.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Burned {
    /// Books.
    pub count: u64,
    /// Sum of their ids, modulo 2^64.
    pub sum: u64,
}

impl Burned {
    /// Burns a book. The whole of it has to be there, so the optimiser can't leave out its moves.
    #[inline]
    pub fn burn(&mut self, book: &Book) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(black_box(book).id);
    }
}

/// The sum of the ids 1 to `count`, modulo 2^64.
pub fn sum_of_ids(count: u64) -> u64 {
    (u128::from(count) * (u128::from(count) + 1) / 2) as u64
}
