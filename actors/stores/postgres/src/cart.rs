//! How books are stored: up to 64 in a row, and how a receipt names one of them.
//!
//! The bytes of a row are a version, and records. A record is: the book's position in the row, in
//! one byte; its id; its headers; its body. The row's column `live` has a bit for each position
//! whose book is still there; records of others are skipped.

use std::ops::Range;

use bytes::{BufMut, Bytes};
use gopherworks_pipeline::book::{Body, Book, BookId};
use gopherworks_pipeline::store::encoding::{Decoder, put_headers, put_number, put_part};
use gopherworks_pipeline::store::{Receipt, StoreError};

/// Maximum number of books of a row: one bit each.
pub(crate) const MOST: usize = 64;

/// A row with this many bytes takes no further book.
pub(crate) const FULL: usize = 256 << 10;

/// Maximum number of bytes of a book: headers and body.
pub(crate) const LARGEST: u64 = 64 << 20;

/// Version of the encoding.
const VERSION: u8 = 1;

/// A row under a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub pile: i32,
    pub at: i64,
    pub token: i64,
}

/// A book under a lease: what a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub key: Key,
    /// Its position in the row.
    pub pos: u8,
    /// How many books the row had then: acts on all of them need not read it.
    pub of: u8,
    /// Bytes of its body.
    pub size: u32,
}

impl Held {
    pub fn bit(&self) -> i64 {
        1 << self.pos
    }

    pub fn receipt(&self) -> Receipt {
        let mut bytes = Vec::with_capacity(26);
        bytes.put_i32(self.key.pile);
        bytes.put_i64(self.key.at);
        bytes.put_i64(self.key.token);
        bytes.put_u8(self.pos);
        bytes.put_u8(self.of);
        bytes.put_u32(self.size);
        Receipt(bytes.into())
    }

    /// `None` if another engine gave the receipt.
    pub fn of(receipt: &Receipt) -> Option<Self> {
        let bytes: &[u8; 26] = receipt.0[..].try_into().ok()?;
        let number = |at: usize| Some(i64::from_be_bytes(bytes[at..at + 8].try_into().ok()?));
        let pile = i32::from_be_bytes(bytes[..4].try_into().ok()?);
        let key = Key { pile, at: number(4)?, token: number(12)? };
        let size = u32::from_be_bytes(bytes[22..].try_into().ok()?);
        let held = Self { key, pos: bytes[20], of: bytes[21], size };
        // A free row has no token, and rows have no such positions.
        (key.token != 0 && usize::from(held.pos) < MOST).then_some(held)
    }
}

/// The bytes of a row that is being filled.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub bytes: Vec<u8>,
    pub books: u8,
    /// Total bytes of the bodies.
    pub size: i64,
}

impl Default for Packed {
    fn default() -> Self {
        Self { bytes: vec![VERSION], books: 0, size: 0 }
    }
}

impl Packed {
    pub fn has_room(&self) -> bool {
        usize::from(self.books) < MOST && self.bytes.len() < FULL
    }

    /// The bits of its positions.
    pub fn live(&self) -> i64 {
        mask(self.books)
    }

    /// Adds a record without its position; answers the position.
    pub fn add(&mut self, record: &[u8], size: u32) -> u8 {
        let pos = self.books;
        self.bytes.push(pos);
        self.bytes.extend_from_slice(record);
        self.books += 1;
        self.size += i64::from(size);
        pos
    }
}

/// The bits of the first `books` positions.
pub(crate) fn mask(books: u8) -> i64 {
    match usize::from(books) {
        MOST.. => -1,
        books => (1 << books) - 1,
    }
}

/// Appends the record of a book, without its position. Answers the size of the body. Blocks if
/// that is a file.
///
/// # Errors
/// `TooLarge`; `Other` if the body can't be read.
pub(crate) fn encode(out: &mut Vec<u8>, book: &Book) -> Result<u32, StoreError> {
    let too_large = StoreError::TooLarge { limit: LARGEST };
    let headers: usize = book.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let Some(room) = LARGEST.checked_sub(headers as u64) else { return Err(too_large) };
    let body = book.body.read_all(room).map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => too_large,
        _ => StoreError::Other(format!("a body: {error}").into()),
    })?;
    put_number(out, book.id.0);
    put_headers(out, &book.headers);
    put_part(out, &body);
    Ok(body.len() as u32)
}

/// A decoded record.
#[derive(Debug)]
pub(crate) struct Record {
    pub pos: u8,
    pub book: Book,
    /// Its bytes in the row, without the position.
    pub range: Range<usize>,
    /// Bytes of the body.
    pub size: u32,
}

/// Reads a record after its position. Copies, so that a book keeps no row in memory.
fn book(decoder: &mut Decoder<'_>) -> Result<Book, StoreError> {
    let id = BookId(decoder.number()?);
    let headers = decoder.headers(Bytes::copy_from_slice)?;
    let body = Body::Bytes(Bytes::copy_from_slice(decoder.part()?));
    Ok(Book { id, headers, body })
}

/// Passes over a record after its position.
fn skip(decoder: &mut Decoder<'_>) -> Result<(), StoreError> {
    decoder.number()?;
    decoder.skip_headers()?;
    decoder.part().map(drop)
}

/// The books of a row that are live, in the order of their positions.
///
/// # Errors
/// `Corrupt`; `Unsupported` if a newer version wrote it.
pub(crate) fn decode(bytes: &[u8], live: i64) -> Result<Vec<Record>, StoreError> {
    let mut decoder = Decoder::new(bytes);
    let version = decoder.byte()?;
    if version > VERSION {
        let what = format!("books of the version {version}; this one reads {VERSION}");
        return Err(StoreError::Unsupported(what.into()));
    }
    let mut records = Vec::with_capacity(live.count_ones() as usize);
    let (mut open, mut least) = (live, 0);
    while !decoder.is_at_end() {
        let pos = decoder.byte()?;
        if pos < least || usize::from(pos) >= MOST {
            return Err(Decoder::damaged());
        }
        least = pos + 1;
        let start = decoder.position();
        if live & (1 << pos) == 0 {
            skip(&mut decoder)?;
            continue;
        }
        open &= !(1 << pos);
        let book = book(&mut decoder)?;
        let size = u32::try_from(book.size()).map_err(|_| Decoder::damaged())?;
        records.push(Record { pos, book, range: start..decoder.position(), size });
    }
    match open {
        0 => Ok(records),
        _ => Err(Decoder::damaged()),
    }
}

/// The book of a record without a position.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn decode_one(bytes: &[u8]) -> Result<Book, StoreError> {
    book(&mut Decoder::new(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..300)
    }

    fn books() -> impl Strategy<Value = Vec<Book>> {
        let headers = prop::collection::btree_map(".{0,9}", bytes(), 0..3);
        let book = (any::<u64>(), headers, bytes()).prop_map(|(id, headers, body)| {
            let mut book = Book { id: BookId(id), ..Book::new(body) };
            headers.into_iter().for_each(|(name, value)| book.headers.set(name, value));
            book
        });
        prop::collection::vec(book, 1..9)
    }

    fn packed(books: &[Book]) -> Packed {
        let mut packed = Packed::default();
        for book in books {
            let mut record = Vec::new();
            let size = encode(&mut record, book).unwrap();
            packed.add(&record, size);
        }
        packed
    }

    proptest! {
        #[test]
        fn a_row_is_read_as_it_was_written(books in books(), some in any::<i64>()) {
            let row = packed(&books);
            prop_assert_eq!(row.size as u64, books.iter().map(Book::size).sum::<u64>());
            let live = row.live() & some;
            let records = decode(&row.bytes, live).unwrap();
            let wanted: Vec<usize> =
                (0..books.len()).filter(|pos| live & (1 << pos) != 0).collect();
            prop_assert_eq!(records.len(), wanted.len());
            for (record, pos) in records.iter().zip(wanted) {
                let (book, wanted) = (&record.book, &books[pos]);
                prop_assert_eq!(usize::from(record.pos), pos);
                prop_assert_eq!((book.id, &book.headers), (wanted.id, &wanted.headers));
                let body = |book: &Book| book.body.read_all(999).unwrap();
                prop_assert_eq!(body(book), body(wanted));
                let again = decode_one(&row.bytes[record.range.clone()]).unwrap();
                prop_assert_eq!(again.id, wanted.id);
            }
            for cut in 0..row.bytes.len() {
                prop_assert!(decode(&row.bytes[..cut], row.live()).is_err(), "cut at {}", cut);
            }
        }

        #[test]
        fn damaged_rows_are_refused_or_read(bytes in bytes(), live in any::<i64>()) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            if let Ok(records) = decode(&bytes, live) {
                prop_assert_eq!(records.len(), live.count_ones() as usize);
            }
        }

        #[test]
        fn a_receipt_is_read_as_it_was_given(
            (pile, at, token) in any::<(i32, i64, i64)>(),
            (pos, of, size) in (0..64u8, any::<u8>(), any::<u32>()),
        ) {
            let held = Held { key: Key { pile, at, token: token | 1 }, pos, of, size };
            prop_assert_eq!(Held::of(&held.receipt()), Some(held));
        }
    }

    #[test]
    fn a_newer_version_and_foreign_receipts_are_refused() {
        let mut row = packed(&[Book::new("body")]);
        row.bytes[0] = VERSION + 1;
        assert!(matches!(decode(&row.bytes, 1), Err(StoreError::Unsupported(_))));
        for foreign in [vec![], vec![0; 26], vec![255; 26], vec![7; 25], vec![7; 27]] {
            assert_eq!(Held::of(&Receipt(foreign.clone().into())), None, "{foreign:?}");
        }
    }
}
