//! How books, records, marks and dead letters are stored.

use bytes::Bytes;
use gopherworks_pipeline::book::{Body, Book, BookId};
use gopherworks_pipeline::store::encoding::{Decoder, put_headers, put_number, put_part};
use gopherworks_pipeline::store::{StoreError, Tries};

use crate::names::Uid;
use crate::record::{Hold, Record, Slot};

/// The version of all encodings; the stream's metadata has it too.
pub(crate) const VERSION: u8 = 1;

/// Begins each message, so that a foreign one does not look like one of a newer version.
const MAGIC: u8 = 0xc7;

/// Maximum number of books of one message.
pub(crate) const PACK_BOOKS: usize = 64;

/// Reads a message; strings share its bytes.
struct Reader<'a> {
    bytes: &'a Bytes,
    decoder: Decoder<'a>,
}

impl<'a> Reader<'a> {
    /// Reads from the beginning; checks the version.
    fn new(bytes: &'a Bytes) -> Result<Self, StoreError> {
        let mut decoder = Decoder::new(bytes);
        if decoder.byte()? != MAGIC {
            return Err(Decoder::damaged());
        }
        match decoder.byte()? {
            VERSION => Ok(Self { bytes, decoder }),
            newer if newer > VERSION => {
                let what = format!("a message of version {newer}; this program knows {VERSION}");
                Err(StoreError::Unsupported(what.into()))
            }
            _ => Err(Decoder::damaged()),
        }
    }

    fn byte(&mut self) -> Result<u8, StoreError> {
        self.decoder.byte()
    }

    fn number(&mut self) -> Result<u64, StoreError> {
        self.decoder.number()
    }

    fn small(&mut self) -> Result<u32, StoreError> {
        u32::try_from(self.number()?).map_err(|_| Decoder::damaged())
    }

    fn part(&mut self) -> Result<Bytes, StoreError> {
        Ok(self.bytes.slice_ref(self.decoder.part()?))
    }

    fn text(&mut self) -> Result<String, StoreError> {
        self.decoder.text().map(str::to_owned)
    }

    fn uid(&mut self) -> Result<Uid, StoreError> {
        self.decoder.take(16)?.try_into().map_err(|_| Decoder::damaged())
    }

    fn book(&mut self) -> Result<Book, StoreError> {
        let id = BookId(self.number()?);
        let headers = self.decoder.headers(|value| self.bytes.slice_ref(value))?;
        Ok(Book { id, headers, body: Body::Bytes(self.part()?) })
    }

    /// The end of the message.
    fn end<T>(self, value: T) -> Result<T, StoreError> {
        if self.decoder.is_at_end() { Ok(value) } else { Err(Decoder::damaged()) }
    }
}

/// Appends a book whose body is in memory.
fn book(out: &mut Vec<u8>, book: &Book) {
    put_number(out, book.id.0);
    put_headers(out, &book.headers);
    match &book.body {
        Body::Bytes(body) => put_part(out, body),
        // Bodies are read before they come here.
        Body::File { .. } => put_part(out, &[]),
    }
}

/// Maximum number of bytes that a book needs in a message.
pub(crate) fn book_size(book: &Book) -> usize {
    let headers = book.headers.iter().map(|(name, value)| name.len() + value.len() + 20);
    30 + headers.sum::<usize>() + book.body.size() as usize
}

/// Books that are stored in one message.
#[derive(Debug)]
pub(crate) struct Packed {
    pub uid: Uid,
    /// True if the record was stored together with the books.
    pub has_record: bool,
    pub books: Vec<Book>,
}

pub(crate) fn pack(uid: &Uid, has_record: bool, books: &[Book]) -> Bytes {
    let mut out = Vec::with_capacity(24 + books.iter().map(book_size).sum::<usize>());
    out.extend([MAGIC, VERSION, u8::from(has_record)]);
    out.extend(uid);
    put_number(&mut out, books.len() as u64);
    books.iter().for_each(|written| book(&mut out, written));
    out.into()
}

/// # Errors
/// `Corrupt`; `Unsupported` for a newer version.
pub(crate) fn unpack(bytes: &Bytes) -> Result<Packed, StoreError> {
    let mut reader = Reader::new(bytes)?;
    let has_record = reader.byte()? != 0;
    let uid = reader.uid()?;
    let count = reader.number()?;
    if count == 0 || count > PACK_BOOKS as u64 {
        return Err(Decoder::damaged());
    }
    let books = (0..count).map(|_| reader.book()).collect::<Result<_, _>>()?;
    reader.end(Packed { uid, has_record, books })
}

pub(crate) fn record(record: &Record) -> Bytes {
    let mut out = vec![MAGIC, VERSION, u8::from(record.is_shared)];
    for value in [record.nonce, record.pack, record.seen, record.slots.len() as u64] {
        put_number(&mut out, value);
    }
    for slot in &record.slots {
        let Tries { attempts, deliveries, begun, apart } = slot.tries;
        let flags = [slot.is_gone, begun, apart, slot.hold.is_some()];
        out.push(flags.iter().enumerate().map(|(bit, set)| u8::from(*set) << bit).sum());
        for value in [u64::from(attempts), u64::from(deliveries), slot.due] {
            put_number(&mut out, value);
        }
        if let Some(hold) = slot.hold {
            put_number(&mut out, hold.holder);
            put_number(&mut out, hold.until);
        }
    }
    out.into()
}

/// # Errors
/// `Corrupt`; `Unsupported` for a newer version.
pub(crate) fn read_record(bytes: &Bytes) -> Result<Record, StoreError> {
    let mut reader = Reader::new(bytes)?;
    let is_shared = reader.byte()? != 0;
    let (nonce, pack, seen) = (reader.number()?, reader.number()?, reader.number()?);
    let count = reader.number()?;
    if count > PACK_BOOKS as u64 {
        return Err(Decoder::damaged());
    }
    let mut slots = Vec::new();
    for _ in 0..count {
        let flags = reader.byte()?;
        let set = |bit: u8| flags >> bit & 1 == 1;
        let (attempts, deliveries, due) = (reader.small()?, reader.small()?, reader.number()?);
        let hold = match set(3) {
            true => Some(Hold { holder: reader.number()?, until: reader.number()? }),
            false => None,
        };
        let tries = Tries { attempts, deliveries, begun: set(1), apart: set(2) };
        slots.push(Slot { is_gone: set(0), tries, due, hold });
    }
    reader.end(Record { is_shared, nonce, pack, seen, slots })
}

/// The owner and the position of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub token: u64,
    /// The opener that owns the source, and the host and id of its process.
    pub holder: u64,
    pub name: String,
    /// When the ownership began and when it ends, in milliseconds of the server's clock.
    pub since: u64,
    pub until: u64,
    /// True if the share was read to its end.
    pub ended: bool,
    pub position: Option<Bytes>,
    /// What was added after an earlier mark than this does not belong to the position.
    pub from: u64,
    /// Names the append that stored the position.
    pub append: Uid,
}

pub(crate) fn mark(mark: &Mark) -> Bytes {
    let flags = u8::from(mark.position.is_some()) | u8::from(mark.ended) << 1;
    let mut out = vec![MAGIC, VERSION, flags];
    for value in [mark.token, mark.holder, mark.since, mark.until, mark.from] {
        put_number(&mut out, value);
    }
    out.extend(mark.append);
    put_part(&mut out, mark.name.as_bytes());
    put_part(&mut out, mark.position.as_deref().unwrap_or_default());
    out.into()
}

/// # Errors
/// `Corrupt`; `Unsupported` for a newer version.
pub(crate) fn read_mark(bytes: &Bytes) -> Result<Mark, StoreError> {
    let mut reader = Reader::new(bytes)?;
    let flags = reader.byte()?;
    let (token, holder) = (reader.number()?, reader.number()?);
    let (since, until, from) = (reader.number()?, reader.number()?, reader.number()?);
    let (append, name) = (reader.uid()?, reader.text()?);
    let position = Some(reader.part()?).filter(|_| flags & 1 == 1);
    let ended = flags & 2 == 2;
    reader.end(Mark { token, holder, name, since, until, ended, position, from, append })
}

/// Why and where a book died.
#[derive(Debug)]
pub(crate) struct Death {
    pub book: Book,
    pub reason: String,
    pub node: Option<String>,
    pub attempts: u32,
}

pub(crate) fn death(died: &Book, reason: &str, node: Option<&str>, attempts: u32) -> Bytes {
    let mut out = vec![MAGIC, VERSION, u8::from(node.is_some())];
    put_part(&mut out, reason.as_bytes());
    put_part(&mut out, node.unwrap_or_default().as_bytes());
    put_number(&mut out, attempts.into());
    book(&mut out, died);
    out.into()
}

/// # Errors
/// `Corrupt`; `Unsupported` for a newer version.
pub(crate) fn read_death(bytes: &Bytes) -> Result<Death, StoreError> {
    let mut reader = Reader::new(bytes)?;
    let has_node = reader.byte()? != 0;
    let reason = reader.text()?;
    let node = Some(reader.text()?).filter(|_| has_node);
    let attempts = reader.small()?;
    let book = reader.book()?;
    reader.end(Death { book, reason, node, attempts })
}

/// A number as the whole message.
pub(crate) fn alone(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

/// # Errors
/// `Corrupt`.
pub(crate) fn read_alone(bytes: &Bytes) -> Result<u64, StoreError> {
    let bytes: [u8; 8] = bytes[..].try_into().map_err(|_| Decoder::damaged())?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use gopherworks_pipeline::book::Headers;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..200)
    }

    fn a_book() -> impl Strategy<Value = Book> {
        let headers = prop::collection::btree_map(".{0,9}", bytes(), 0..3);
        (any::<u64>(), headers, bytes()).prop_map(|(id, headers, body)| {
            let mut book = Book { id: BookId(id), ..Book::new(body) };
            headers.into_iter().for_each(|(name, value)| book.headers.set(name, value));
            book
        })
    }

    fn a_slot() -> impl Strategy<Value = Slot> {
        let hold = prop::option::of((any::<u64>(), any::<u64>()));
        (any::<[bool; 3]>(), any::<(u32, u32, u64)>(), hold).prop_map(|(flags, numbers, hold)| {
            let ([is_gone, begun, apart], (attempts, deliveries, due)) = (flags, numbers);
            let hold = hold.map(|(holder, until)| Hold { holder, until });
            Slot { is_gone, tries: Tries { attempts, deliveries, begun, apart }, due, hold }
        })
    }

    fn content(book: &Book) -> (BookId, Headers, Bytes) {
        (book.id, book.headers.clone(), book.body.read_all(u64::MAX).unwrap())
    }

    proptest! {
        #[test]
        fn books_are_read_as_they_were_written(
            books in prop::collection::vec(a_book(), 1..5),
            uid in any::<Uid>(),
            flag in any::<bool>(),
        ) {
            let written = pack(&uid, flag, &books);
            prop_assert!(written.len() <= 24 + books.iter().map(book_size).sum::<usize>());
            let read = unpack(&written).unwrap();
            prop_assert_eq!((read.uid, read.has_record), (uid, flag));
            let all = |books: &[Book]| books.iter().map(content).collect::<Vec<_>>();
            prop_assert_eq!(all(&read.books), all(&books));
            for cut in 0..written.len() {
                prop_assert!(unpack(&written.slice(..cut)).is_err(), "cut at {}", cut);
            }
        }

        #[test]
        fn records_are_read_as_they_were_written(
            slots in prop::collection::vec(a_slot(), 0..5),
            numbers in any::<(u64, u64, u64)>(),
            is_shared in any::<bool>(),
        ) {
            let (nonce, pack, seen) = numbers;
            let written = Record { is_shared, nonce, pack, seen, slots };
            let bytes = record(&written);
            prop_assert_eq!(read_record(&bytes).unwrap(), written);
            for cut in 0..bytes.len() {
                prop_assert!(read_record(&bytes.slice(..cut)).is_err(), "cut at {}", cut);
            }
        }

        #[test]
        fn marks_and_deaths_are_read_as_they_were_written(
            numbers in any::<(u64, u64, u64, u64, u64, u32)>(),
            (append, ended) in any::<(Uid, bool)>(),
            position in prop::option::of(bytes()),
            died in a_book(),
            texts in (".{0,20}", prop::option::of(".{0,20}")),
        ) {
            let ((token, holder, since, until, from, attempts), (reason, node)) = (numbers, texts);
            let (position, name) = (position.map(Bytes::from), reason.clone());
            let written =
                Mark { token, holder, name, since, until, ended, position, from, append };
            prop_assert_eq!(read_mark(&mark(&written)).unwrap(), written);
            let read = read_death(&death(&died, &reason, node.as_deref(), attempts)).unwrap();
            prop_assert_eq!((read.reason, read.node, read.attempts), (reason, node, attempts));
            prop_assert_eq!(content(&read.book), content(&died));
        }

        #[test]
        fn other_bytes_are_refused_or_read(mut bytes in bytes()) {
            bytes.splice(..0, [MAGIC, VERSION]);
            let bytes = Bytes::from(bytes);
            let _ = (unpack(&bytes).is_ok(), read_record(&bytes).is_ok());
            let _ = (read_mark(&bytes).is_ok(), read_death(&bytes).is_ok());
        }
    }

    #[test]
    fn a_newer_version_is_refused() {
        let mut newer = pack(&[0; 16], false, &[Book::new("x")]).to_vec();
        newer[1] = VERSION + 1;
        assert!(matches!(unpack(&newer.clone().into()), Err(StoreError::Unsupported(_))));
        newer[0] += 1;
        assert!(matches!(unpack(&newer.into()), Err(StoreError::Corrupt(_))));
    }
}
