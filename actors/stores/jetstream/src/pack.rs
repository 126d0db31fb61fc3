//! A message of which this process holds books.

use std::time::Duration;

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::{Receipt, StoreError};

use crate::names::Uid;
use crate::record::Record;

/// A lease of a book by this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mine {
    /// Distinguishes this delivery from others.
    pub number: u64,
    /// When this process stops settling the book, as time since the store was opened: well before
    /// the server delivers it again.
    pub until: Duration,
}

#[derive(Debug)]
pub(crate) struct Pack {
    pub uid: Uid,
    /// Sequence of the message in the stream.
    pub sequence: u64,
    /// Subject of the record.
    pub subject: String,
    pub books: Vec<Book>,
    pub record: Record,
    /// Sequence of the stored record; 0 if there is none.
    pub stored: u64,
    /// The record may have been stored with this nonce: to be looked up.
    pub unknown: Option<u64>,
    /// Where acks go, while the consumer's lease of the message is the lease of all its books.
    pub ack: Option<String>,
    /// By book: this process's lease.
    pub mine: Vec<Option<Mine>>,
}

impl Pack {
    /// The lease that a receipt names.
    ///
    /// # Errors
    /// `Stale` if it has ended; `Gone` if the book is settled.
    pub fn held(&self, at: usize, number: u64, now: Duration) -> Result<Mine, StoreError> {
        match self.mine.get(at).copied().flatten() {
            Some(mine) if mine.number == number && now < mine.until => Ok(mine),
            Some(_) => Err(StoreError::Stale),
            None if self.record.slots.get(at).is_some_and(|slot| slot.is_gone) => {
                Err(StoreError::Gone)
            }
            None => Err(StoreError::Stale),
        }
    }

    /// Removes expired leases of this process; true if one is left.
    pub fn sweep(&mut self, now: Duration) -> bool {
        for mine in &mut self.mine {
            *mine = mine.filter(|mine| now < mine.until);
        }
        self.is_held()
    }

    pub fn is_held(&self) -> bool {
        self.mine.iter().any(Option::is_some)
    }

    /// Latest time at which this process may ack or extend the whole message.
    pub fn until(&self) -> Option<Duration> {
        self.mine.iter().flatten().map(|mine| mine.until).max()
    }

    /// Takes over a record that another process may have written, or this one.
    pub fn adopt(&mut self, sequence: u64, record: Record, holder: u64) {
        let ours = self.unknown.take() == Some(record.nonce);
        let was_shared = self.record.is_shared;
        for (at, slot) in record.slots.iter().enumerate() {
            let holds = match record.is_shared {
                true => slot.hold.is_some_and(|hold| hold.holder == holder),
                // Written by the holder of the whole message.
                false => ours && !was_shared,
            };
            if (slot.is_gone || !holds) && at < self.mine.len() {
                self.mine[at] = None;
            }
        }
        (self.record, self.stored) = (record, sequence);
    }
}

/// What a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// Index of the pile.
    pub pile: u32,
    /// Sequence of the message.
    pub sequence: u64,
    /// The book in it.
    pub at: u32,
    /// Of [`Mine`].
    pub number: u64,
    pub id: BookId,
}

impl Ticket {
    /// The receipt of the opener with this nonce.
    pub fn receipt(&self, nonce: u64) -> Receipt {
        let mut bytes = Vec::with_capacity(40);
        for number in [nonce, self.sequence, self.number, self.id.0] {
            bytes.extend(number.to_be_bytes());
        }
        for number in [self.pile, self.at] {
            bytes.extend(number.to_be_bytes());
        }
        Receipt(bytes.into())
    }

    /// `None` for receipts of other openers, and other bytes.
    pub fn read(receipt: &Receipt, nonce: u64) -> Option<Self> {
        let bytes: &[u8; 40] = receipt.0[..].try_into().ok()?;
        let (wide, narrow) = bytes.split_at(32);
        let mut wide = wide
            .chunks_exact(8)
            .map(|bytes| bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)));
        let mut narrow = narrow
            .chunks_exact(4)
            .map(|bytes| bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)));
        (wide.next()? == nonce).then_some(())?;
        let (sequence, number, id) = (wide.next()?, wide.next()?, BookId(wide.next()?));
        Some(Self { pile: narrow.next()?, sequence, at: narrow.next()?, number, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Hold;

    fn a_pack(books: usize) -> Pack {
        let mine = Mine { number: 4, until: Duration::from_secs(3) };
        Pack {
            uid: [0; 16],
            sequence: 9,
            subject: String::new(),
            books: vec![Book::new("x"); books],
            record: Record::new(books),
            stored: 0,
            unknown: None,
            ack: Some("ack".to_owned()),
            mine: vec![Some(mine); books],
        }
    }

    #[test]
    fn a_lease_that_has_ended_is_stale_without_asking() {
        let mut pack = a_pack(2);
        let at = |millis| Duration::from_millis(millis);
        assert!(pack.held(0, 4, at(2999)).is_ok());
        assert!(matches!(pack.held(0, 4, at(3000)), Err(StoreError::Stale)));
        assert!(matches!(pack.held(0, 3, at(0)), Err(StoreError::Stale)), "an earlier delivery");
        pack.record.slots[1].is_gone = true;
        pack.mine[1] = None;
        assert!(matches!(pack.held(1, 4, at(0)), Err(StoreError::Gone)));
        assert!(matches!(pack.held(7, 4, at(0)), Err(StoreError::Stale)), "no such book");
        assert!(pack.sweep(at(2999)) && !pack.sweep(at(3000)));
    }

    #[test]
    fn a_record_of_another_process_ends_the_leases_that_it_does_not_name() {
        let mut pack = a_pack(3);
        let hold = |holder| Some(Hold { holder, until: 5 });
        let mut record = Record { is_shared: true, ..Record::new(3) };
        (record.slots[0].hold, record.slots[1].hold) = (hold(1), hold(2));
        pack.adopt(12, record.clone(), 1);
        let left: Vec<bool> = pack.mine.iter().map(Option::is_some).collect();
        assert_eq!(left, [true, false, false]);
        assert_eq!((pack.stored, &pack.record), (12, &record));
    }

    #[test]
    fn a_record_of_unknown_outcome_is_recognised() {
        let mut pack = a_pack(2);
        pack.unknown = Some(8);
        let mut record = Record { nonce: 8, ..Record::new(2) };
        record.slots[0].is_gone = true;
        pack.adopt(12, record.clone(), 1);
        assert!(pack.mine[0].is_none() && pack.mine[1].is_some());
        record.nonce = 9;
        pack.adopt(13, record, 1);
        assert!(!pack.is_held(), "another process wrote as the holder of the message");
    }

    #[test]
    fn a_receipt_is_read_by_its_opener_only() {
        let ticket = Ticket { pile: 1, sequence: 1 << 40, at: 63, number: 5, id: BookId(7) };
        let receipt = ticket.receipt(77);
        assert_eq!(Ticket::read(&receipt, 77), Some(ticket));
        assert_eq!(Ticket::read(&receipt, 78), None);
        assert_eq!(Ticket::read(&Receipt(vec![0; 39].into()), 0), None);
    }
}
