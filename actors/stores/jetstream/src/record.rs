//! The record of a message: what became of each of its books. Pure.
//!
//! A message that is fetched whole, worked on and acked has no record. One is written as soon as
//! the states of its books differ: some are settled, some returned, some held by another process.

use gopherworks_pipeline::store::Tries;

/// A lease of one book, for messages whose books have several holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    /// The opener that holds the book.
    pub holder: u64,
    /// In milliseconds of the server's clock.
    pub until: u64,
}

/// One book of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    /// True if the book was settled, passed on or buried.
    pub is_gone: bool,
    pub tries: Tries,
    /// Earliest time of the next delivery, in milliseconds of the server's clock.
    pub due: u64,
    pub hold: Option<Hold>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// True if books are leased one by one, by [`Slot::hold`]. Otherwise the consumer's lease of
    /// the message is the lease of all its books.
    pub is_shared: bool,
    /// Distinguishes one writing from another.
    pub nonce: u64,
    /// Sequence of the message; 0 for the one before the record.
    pub pack: u64,
    /// How often the message had been delivered when this was written.
    pub seen: u64,
    pub slots: Vec<Slot>,
}

impl Record {
    pub fn new(books: usize) -> Self {
        Self { slots: vec![Slot::default(); books], ..Self::default() }
    }

    pub fn is_gone(&self) -> bool {
        self.slots.iter().all(|slot| slot.is_gone)
    }

    /// Takes note of the `number`th delivery of the whole message.
    pub fn is_delivered(&mut self, number: u64) {
        let more = number.saturating_sub(1).saturating_sub(self.seen);
        for slot in &mut self.slots {
            let count = u64::from(slot.tries.deliveries).saturating_add(more);
            slot.tries.deliveries = u32::try_from(count).unwrap_or(u32::MAX);
        }
        self.seen = number;
    }

    /// Books that may be delivered at `now`.
    pub fn is_free(&self, at: usize, now: u64) -> bool {
        let slot = &self.slots[at];
        let held = slot.hold.filter(|hold| self.is_shared && hold.until > now);
        !slot.is_gone && slot.due <= now && held.is_none()
    }

    /// Milliseconds until one more book may be delivered.
    pub fn next_free(&self, now: u64) -> Option<u64> {
        let free = |slot: &&Slot| !slot.is_gone;
        let at = |slot: &Slot| {
            let until = slot.hold.filter(|_| self.is_shared).map_or(0, |hold| hold.until);
            slot.due.max(until).saturating_sub(now)
        };
        self.slots.iter().filter(free).map(at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_counted_once() {
        let mut record = Record::new(1);
        record.is_delivered(1);
        assert_eq!(record.slots[0].tries.deliveries, 0, "the first delivery is the present one");
        record.slots[0].tries.deliveries += 1;
        let mut again = record.clone();
        again.is_delivered(2);
        assert_eq!(again.slots[0].tries.deliveries, 1);
        again.is_delivered(4);
        assert_eq!(again.slots[0].tries.deliveries, 2, "one delivery was not recorded");
        let mut unknown = Record::new(1);
        unknown.is_delivered(3);
        assert_eq!(unknown.slots[0].tries.deliveries, 2, "there was no record");
    }

    #[test]
    fn a_book_is_free_when_it_is_due_and_no_lease_holds_it() {
        let mut record = Record::new(2);
        record.slots[0].due = 50;
        record.slots[1].hold = Some(Hold { holder: 7, until: 80 });
        assert!(!record.is_free(0, 49) && record.is_free(0, 50));
        assert!(record.is_free(1, 49), "the consumer's lease is the lease of all");
        record.is_shared = true;
        assert!(!record.is_free(1, 79) && record.is_free(1, 80));
        assert_eq!(record.next_free(20), Some(30));
        record.slots[0].is_gone = true;
        assert_eq!(record.next_free(20), Some(60));
        assert!(!record.is_free(0, 90));
        record.slots[1].is_gone = true;
        assert_eq!((record.next_free(20), record.is_gone()), (None, true));
    }
}
