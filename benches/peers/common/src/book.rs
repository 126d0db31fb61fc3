//! The books that the programs move.

use std::hint::black_box;

use bytes::Bytes;

/// A book: an id, and a body of 64 bytes that all books share, so that nothing is copied.
#[derive(Clone)]
pub struct Book {
    /// From 1, in the order of the pile.
    pub id: u64,
    /// The content of the book.
    pub body: Bytes,
}

/// A book of 64 bytes in all, moved by value: what a program with small fixed-size messages would
/// send.
#[derive(Clone, Copy)]
pub struct Bare {
    /// From 1, in the order of the pile.
    pub id: u64,
    /// The rest of the 64 bytes.
    pub body: [u8; 56],
}

/// A book of either type.
pub trait Carried: Send + 'static {
    /// The book with this id.
    fn new(id: u64) -> Self;
    /// Id of the book.
    fn id(&self) -> u64;
}

impl Book {
    /// The book with this id.
    #[inline]
    pub fn new(id: u64) -> Self {
        Self { id, body: Bytes::from_static(&[0; 64]) }
    }
}

impl Carried for Book {
    #[inline]
    fn new(id: u64) -> Self {
        Book::new(id)
    }

    #[inline]
    fn id(&self) -> u64 {
        self.id
    }
}

impl Carried for Bare {
    #[inline]
    fn new(id: u64) -> Self {
        Self { id, body: [0; 56] }
    }

    #[inline]
    fn id(&self) -> u64 {
        self.id
    }
}

/// What an incinerator burned: number of books and sum of their ids.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Burned {
    /// Number of books.
    pub count: u64,
    /// Sum of their ids, modulo 2^64.
    pub sum: u64,
}

impl Burned {
    /// Burns a book. The whole book is read, so that the optimiser can't remove its moves.
    #[inline]
    pub fn burn(&mut self, book: &impl Carried) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(black_box(book).id());
    }
}

/// The sum of the ids 1 to `count`, modulo 2^64.
pub fn sum_of_ids(count: u64) -> u64 {
    (u128::from(count) * (u128::from(count) + 1) / 2) as u64
}
