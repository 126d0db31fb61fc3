//! The storage contract: what a pile requires of the engine that keeps its books, in memory or
//! elsewhere.
//!
//! A pile *leases* books and forgets them only when they are *settled*. Calls never block: an
//! engine that has to access a disk or a server returns [`Answer::Later`].

mod memory;
mod numbered;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::book::{Book, BookId};
use crate::clock::Time;
use crate::fates::Awaited;
use crate::lease::{Lease, Unbound};
use crate::ledger::LedgerReport;
use crate::shelf::{Charge, DeadLetter};

pub use memory::MemoryStore;
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

/// Capacity of a pile; `None` is unbounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bound {
    /// Books that are ready (not leased) at one time.
    pub books: Option<u64>,
    /// Total bytes of their bodies.
    pub bytes: Option<u64>,
}

/// How many books a cart asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Most books (>= 1).
    pub books: usize,
    /// Most bytes; a larger book is leased alone.
    pub bytes: Option<u64>,
}

/// What an engine's books survive. Printed by `validate` and `run`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promises {
    /// Books survive the death of any actor.
    pub actor_death: bool,
    /// Books survive `kill -9` of the process.
    pub kill: bool,
    /// Books survive the loss of power.
    pub power_loss: bool,
    /// Several processes may share it.
    pub shared: bool,
    /// Passing books between two of its piles is atomic.
    pub atomic_pass: bool,
}

impl Promises {
    /// Promises of [`MemoryStore`].
    pub const MEMORY: Promises = Promises {
        actor_death: true,
        kill: false,
        power_loss: false,
        shared: false,
        atomic_pass: true,
    };
}

impl fmt::Display for Promises {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes = [
            (self.actor_death, "the death of any actor"),
            (self.kill, "kill -9"),
            (self.power_loss, "power loss"),
        ];
        let kept: Vec<&str> = yes.iter().filter(|(yes, _)| *yes).map(|(_, what)| *what).collect();
        let lost: Vec<&str> = yes.iter().filter(|(yes, _)| !*yes).map(|(_, what)| *what).collect();
        write!(f, "books survive {}", kept.join(", "))?;
        if !lost.is_empty() {
            write!(f, "; not {}", lost.join(", "))?;
        }
        Ok(())
    }
}

/// A reply that is available now, or a future resolving to it.
pub enum Answer<T> {
    /// Available now.
    Ready(T),
    /// Available when the future resolves.
    Later(BoxFuture<'static, T>),
}

impl<T> Answer<T> {
    /// Unwraps the reply of an engine that always answers immediately.
    ///
    /// # Panics
    /// If the reply is pending.
    pub fn now(self) -> T {
        match self {
            Answer::Ready(answer) => answer,
            Answer::Later(_) => panic!("this store answers later"),
        }
    }
}

/// The capacity is reached: nothing was stored, and the books are returned.
#[derive(Debug)]
pub struct Full<T>(pub T);

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
        /// No book of the pile is ready or leased any more.
        last: bool,
    },
    /// The lease had been revoked or settled before; nothing was changed.
    Stale,
}

impl Settled {
    /// All `acked` books of the lease are acked.
    pub(crate) fn whole(acked: usize, last: bool) -> Self {
        Settled::Done { acked, returned: 0, buried: 0, dropped: 0, last }
    }
}

/// How many books a pile holds, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Books waiting to be leased, delayed ones included.
    pub ready: usize,
    /// Leased books.
    pub leased: usize,
    /// Leases on their way back that the pile has not collected yet.
    pub inbox: usize,
    /// Books for which space is reserved.
    pub reserved: usize,
    /// When the first delayed book may be leased again.
    pub next_due: Option<Time>,
}

impl Counts {
    /// True if no book is here, in a cart, or on its way back.
    pub fn is_drained(&self) -> bool {
        self.ready + self.leased + self.inbox + self.reserved == 0
    }
}

/// Books after the crew's work, one entry per leased book in the same order: the worked book, or
/// `None` if the lease's mark says why there is none. `None` for the whole: the books pass
/// unchanged.
pub type Worked = Option<Vec<Option<Book>>>;

/// A cartload refused for lack of space, returned unchanged.
#[derive(Debug)]
pub struct Refused {
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

/// The storage engine of the piles.
///
/// # Guarantees
/// A `put` that returned `Ok` has stored the books as durably as the engine [promises](Promises);
/// `Full` has stored nothing. Settling is idempotent: the first settlement or revocation of a
/// lease wins, all others return [`Settled::Stale`]. A dropped lease is returned through
/// [`Store::give_back`]. No method runs user code or blocks.
pub trait Store: Send + Sync + 'static {
    /// What stored books survive.
    fn promises(&self) -> Promises;

    /// True if no method ever returns [`Answer::Later`]: carts may then be served directly on
    /// their caller's thread. False by default.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// Stores new books, in order, and assigns their ids; they count as offered from now on.
    fn put(&self, pile: PileKey, books: Vec<Book>) -> Answer<Result<(), Full<Vec<Book>>>>;

    /// Like [`Store::put`], but returns one future per book, in order, resolving to its outcome.
    fn put_watched(
        &self,
        pile: PileKey,
        books: Vec<Book>,
    ) -> Answer<Result<Vec<Awaited>, Full<Vec<Book>>>>;

    /// The run is over: futures of [`Store::put_watched`] that are still pending resolve to
    /// `None`.
    fn unwatch(&self);

    /// Reserves `count` consecutive ids, for books that will be stored by [`Store::put_numbered`];
    /// returns the first. Ids of a source's books thus do not depend on how they are dealt out.
    fn number(&self, count: u64) -> BookId;

    /// Stores new books that have ids from [`Store::number`]; they count as offered from now on.
    fn put_numbered(&self, pile: PileKey, books: Numbered) -> Answer<Result<(), Full<Numbered>>>;

    /// How many more books `pile` admits now, by its bound in books alone; to size a `put`.
    fn room(&self, pile: PileKey) -> usize;

    /// Leases up to `want` ready books, oldest first; `None` if none is ready.
    fn lease(&self, pile: PileKey, want: Want, holder: u64) -> Answer<Option<Lease>>;

    /// Settles a lease by its marks. Without any marks all its books are acked; with some,
    /// unmarked books return to the pile.
    fn settle(&self, lease: Lease) -> Answer<Settled>;

    /// Stores the books on `to` and settles their lease, atomically if one engine has both piles.
    /// With `reserved` (books, bytes), uses up a reservation made by [`Store::reserve`], or
    /// releases it if the lease is stale.
    fn pass_on(
        &self,
        lease: Lease,
        worked: Worked,
        to: PileKey,
        reserved: Option<(usize, u64)>,
    ) -> Answer<Result<Settled, Refused>>;

    /// Removes and returns books that were stored by [`Store::put_numbered`] and never leased:
    /// their source can produce them again, and they no longer count as offered. If all books of
    /// the pile came that way, those that return untried from now on are removed as well, see
    /// [`Store::recalls`]. By default removes nothing.
    fn recall(&self, pile: PileKey) -> Vec<Book> {
        let _ = pile;
        Vec::new()
    }

    /// True if books that return to `pile` untried go back to their source.
    fn recalls(&self, pile: PileKey) -> bool {
        let _ = pile;
        false
    }

    /// True if the books could be stored now. A snapshot, to avoid futile attempts.
    fn has_room(&self, pile: PileKey, books: usize, bytes: u64) -> bool;

    /// Reserves space for books that are about to come; false if there is none.
    fn reserve(&self, pile: PileKey, books: usize, bytes: u64) -> bool;

    /// Releases a reservation of [`Store::reserve`].
    fn release(&self, pile: PileKey, books: usize, bytes: u64);

    /// Returns a dropped lease: settles it by its marks, where unmarked books return to the pile.
    /// Only queues it and wakes the pile, which completes it by [`Store::collect`].
    fn give_back(&self, unbound: Unbound);

    /// Settles queued returns; returns how many leases there were.
    fn collect(&self, pile: PileKey) -> usize;

    /// Revokes every lease of `pile` whose holder matches `lost`, for holders on hung threads.
    /// Returns how many books came back.
    fn revoke(&self, pile: PileKey, lost: &dyn Fn(u64) -> bool) -> usize;

    /// Counts `count` books that are burned although an earlier burn of them had begun.
    fn reburning(&self, count: u64);

    /// How many books the pile holds, by state.
    fn counts(&self, pile: PileKey) -> Counts;

    /// A consistent account of all books.
    fn ledger(&self) -> LedgerReport;

    /// Removes and returns the dead letters, oldest first, and how many had to be discarded since
    /// the last call.
    fn take_dead(&self) -> (Vec<DeadLetter>, u64);

    /// Sets the callback for charged attempts, called outside all locks. Only the first call,
    /// before the start, has an effect. By default ignored.
    fn tell_charges(&self, told: Charges) {
        drop(told);
    }

    /// Notified when a book became a dead letter.
    fn deaths(&self) -> &Notify;
}
