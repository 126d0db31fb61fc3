//! Leases that are settled as a whole: nearly all.

use super::MemoryStore;
use crate::lease::{End, Lease};
use crate::store::{PileKey, Refused, Settled};

impl MemoryStore {
    /// All books of a lease are acked: nearly always.
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

    /// All books of a lease pass as they are: nearly always.
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
