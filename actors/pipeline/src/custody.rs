//! Custody of the books of all piles, outside the actors.
//!
//! A pile *leases* books and forgets them only when they are *settled*. No call blocks or runs user
//! code.

mod core;
pub(crate) mod keeper;
pub mod lease;
pub mod ledger;
mod numbered;
pub mod outcomes;
pub mod reservation;
pub mod shelf;
pub mod slots;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::book::Book;
use gopherworks_supervision::clock::Time;
use lease::Lease;
use shelf::Charge;

pub use self::core::Custody;
pub use crate::store::{Bound, Want};
pub use numbered::Numbered;

/// A pile or dump of a run: its index in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PileKey(pub u32);

impl PileKey {
    /// The key as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Holder of a lease or a cart: a node, and the epoch of its actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HolderId(pub(crate) u64);

impl HolderId {
    /// A holder that cannot be lost, such as a queue.
    pub(crate) const NONE: Self = Self(0);

    /// Incarnation `epoch` of the node with this number.
    pub fn new(node: u32, epoch: u64) -> Self {
        Self(u64::from(node) << 40 | (epoch & 0xff_ffff_ffff))
    }

    /// The node's number; 0 for a holder that cannot be lost.
    pub fn node(self) -> u32 {
        (self.0 >> 40) as u32
    }
}

/// The capacity is reached: nothing was stored, and the books are returned.
#[derive(Debug)]
pub struct PileFull<T>(pub T);

/// Outcome of a settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Settled, with the number of books in each outcome.
    Done {
        /// Burned or passed on.
        acked: usize,
        /// Returned to the pile.
        returned: usize,
        /// Became dead letters.
        buried: usize,
        /// Dropped on purpose by the crew's work.
        dropped: usize,
        /// Ids and number of the books stored in place of some of the dropped ones.
        children: Option<(ledger::Ids, u64)>,
        /// True if no book of the pile is ready or leased any more.
        last: bool,
    },
    /// The lease had been revoked or settled before; nothing was changed.
    Stale,
}

impl Settled {
    /// All `acked` books of the lease are acked.
    pub(crate) fn whole(acked: usize, last: bool) -> Self {
        Settled::Done { acked, returned: 0, buried: 0, dropped: 0, children: None, last }
    }
}

/// How many books a pile holds, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PileCounts {
    /// Books waiting to be leased, delayed ones included.
    pub ready: usize,
    /// Leased books.
    pub leased: usize,
    /// Ready books that may not be leased before their delay has passed.
    pub delayed: usize,
    /// Leases on their way back that the pile has not collected yet.
    pub inbox: usize,
    /// Books for which space is reserved.
    pub reserved: usize,
    /// When the first delayed book may be leased again.
    pub next_due: Option<Time>,
    /// Books that are still in the store only.
    pub late: usize,
    /// True if its books are kept for the next run.
    pub keeps: bool,
}

impl PileCounts {
    /// True if no book is here, unless it is kept, in a cart, or on its way.
    pub fn is_drained(&self) -> bool {
        let here = if self.keeps { 0 } else { self.ready + self.late };
        here + self.leased + self.inbox + self.reserved == 0
    }
}

/// Books after the crew's work, one entry per leased book in the same order: the worked book, or
/// `None` if the lease's mark says why there is none. `None` for the whole: the books pass
/// unchanged.
pub type Worked = Option<Vec<Option<Book>>>;

/// A cartload refused for lack of space, returned unchanged.
#[derive(Debug)]
pub struct RefusedLoad {
    /// The lease, unsettled.
    pub lease: Lease,
    /// The worked books, as they were passed in.
    pub worked: Worked,
}

/// Callback for every failed attempt that was charged.
pub type Charges = Box<dyn Fn(Charge) + Send + Sync>;

/// Wakes a pile after a lease was returned to it. May be called from any thread, even while
/// unwinding, and may be lost.
pub type Bell = Arc<dyn Fn(PileKey) + Send + Sync>;
