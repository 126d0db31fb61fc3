//! Fast path for leases settled as a whole, the most frequent case.

use super::MemoryStore;
use crate::book::Book;
use crate::lease::{End, Lease, Verdict};
use crate::store::{PileKey, Refused, Settled, Worked};

impl MemoryStore {
    /// Acks all books of a lease.
    pub(super) fn settle_whole(&self, lease: Lease) -> Settled {
        let pile = lease.pile();
        let Some((batch, end)) = lease.unbind_whole() else {
            return Settled::Stale;
        };
        let ids = batch.ids;
        let (books, last) = {
            let mut shelf = self.shelf(pile);
            let books = shelf.settle_whole(batch);
            if end == End::Burned {
                self.burned(&books, ids);
            }
            (books, shelf.is_idle())
        };
        let acked = books.len();
        self.buffers.give(books);
        Settled::whole(acked, last)
    }

    /// Passes all books of a lease unchanged.
    pub(super) fn pass_whole(
        &self,
        lease: Lease,
        to: PileKey,
        reserved: Option<(usize, u64)>,
    ) -> Result<Settled, Refused> {
        let (mut source, mut target) = self.both(lease.pile(), to);
        match reserved {
            Some((books, bytes)) => target.release(books, bytes),
            None if !target.has_room(lease.len(), lease.bytes()) => {
                drop((source, target));
                let worked = None;
                return Err(Refused { lease, worked });
            }
            None => {}
        }
        let Some((batch, _)) = lease.unbind_whole() else {
            return Ok(Settled::Stale);
        };
        let (bytes, ids) = (batch.bytes, batch.ids);
        let books = source.settle_whole(batch);
        let acked = books.len();
        target.put_all(books, bytes, ids);
        Ok(Settled::whole(acked, source.is_idle()))
    }
}

/// Number and bytes of the books of a cartload that would pass.
pub(super) fn passing(lease: &Lease, worked: &Worked) -> (usize, u64) {
    if worked.is_none() && lease.is_unmarked() {
        return (lease.len(), lease.bytes());
    }
    let (mut books, mut bytes) = (0, 0);
    for (index, book) in lease.books().iter().enumerate() {
        match (worked, lease.marked(index)) {
            (_, Verdict::Drop | Verdict::Refuse(_)) => {}
            (Some(worked), _) => {
                let size = worked.get(index).and_then(Option::as_ref).map(Book::size);
                books += usize::from(size.is_some());
                bytes += size.unwrap_or(0);
            }
            (None, _) => {
                books += 1;
                bytes += book.size();
            }
        }
    }
    (books, bytes)
}
