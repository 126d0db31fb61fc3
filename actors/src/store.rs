//! The custody contract: what a pile asks of whatever keeps its books, in memory or elsewhere.
//!
//! A pile *leases* books and forgets them only when they are *settled*. A call never waits: an engine that has to ask a
//! disk or a server answers [`Answer::Later`].

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

/// A pile or dump within one run: its position in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PileKey(pub u32);

impl PileKey {
    /// As an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Most that a pile admits; `None` does not bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bound {
    /// Books that are ready (not on lease) at once.
    pub books: Option<u64>,
    /// Bytes of their bodies.
    pub bytes: Option<u64>,
}

/// What a cart has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Most books (>= 1).
    pub books: usize,
    /// Most bytes; one larger book goes alone.
    pub bytes: Option<u64>,
}

/// What an engine survives. `validate` and `run` print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promises {
    /// Books survive the death of any actor.
    pub actor_death: bool,
    /// Books survive `kill -9` of the process.
    pub kill: bool,
    /// Books survive the loss of power.
    pub power_loss: bool,
    /// Several processes may work from it.
    pub shared: bool,
    /// Passing on between two of its piles is one step.
    pub atomic_pass: bool,
}

impl Promises {
    /// What [`MemoryStore`] survives.
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
        let kept: Vec<&str> = yes
            .iter()
            .filter(|(yes, _)| *yes)
            .map(|(_, what)| *what)
            .collect();
        let lost: Vec<&str> = yes
            .iter()
            .filter(|(yes, _)| !*yes)
            .map(|(_, what)| *what)
            .collect();
        write!(f, "books survive {}", kept.join(", "))?;
        if !lost.is_empty() {
            write!(f, "; not {}", lost.join(", "))?;
        }
        Ok(())
    }
}

/// An answer that is there, or one that an engine owes.
pub enum Answer<T> {
    /// Here it is.
    Ready(T),
    /// It comes.
    Later(BoxFuture<'static, T>),
}

impl<T> Answer<T> {
    /// The answer of an engine that never makes anybody wait.
    ///
    /// # Panics
    /// If the engine does.
    pub fn now(self) -> T {
        match self {
            Answer::Ready(answer) => answer,
            Answer::Later(_) => panic!("this store answers later"),
        }
    }
}

/// The bound is reached: nothing was stored, the books come back.
#[derive(Debug)]
pub struct Full<T>(pub T);

/// Whether a settlement took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Done: so many books acked, refused or returned to their pile, buried, dropped.
    Done {
        /// Burned or passed on.
        acked: usize,
        /// Back on the pile.
        returned: usize,
        /// Now dead letters.
        buried: usize,
        /// Dropped on purpose.
        dropped: usize,
        /// Nothing of the pile is ready or on lease any more.
        last: bool,
    },
    /// The lease had been revoked; nothing was touched.
    Stale,
}

impl Settled {
    /// All books acked, so many.
    pub(crate) fn whole(acked: usize, last: bool) -> Self {
        Settled::Done {
            acked,
            returned: 0,
            buried: 0,
            dropped: 0,
            last,
        }
    }
}

/// How full a pile is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Books that could be leased.
    pub ready: usize,
    /// Books on lease.
    pub leased: usize,
    /// Books on their way home that the pile has not taken back yet.
    pub inbox: usize,
    /// Room kept for books that are about to come.
    pub reserved: usize,
    /// When the first delayed book is due.
    pub next_due: Option<Time>,
}

impl Counts {
    /// True if no book is here, in a cart, or on its way back.
    pub fn is_drained(&self) -> bool {
        self.ready + self.leased + self.inbox + self.reserved == 0
    }
}

/// Books after the crew's work, one a leased book and in its order: the worked book, or `None` where the mark of the
/// lease says why there is none. `None` for the whole: the books pass as they are.
pub type Worked = Option<Vec<Option<Book>>>;

/// A cartload that was refused for want of room: custody comes back whole.
#[derive(Debug)]
pub struct Refused {
    /// The lease, unsettled.
    pub lease: Lease,
    /// The worked books.
    pub worked: Worked,
}

/// Hears of every failed attempt that is charged.
pub type Charges = Box<dyn Fn(Charge) + Send + Sync>;

/// Called when something came home to a pile: it should look. May be called from any thread, even while unwinding, and may be lost.
pub type Bell = Arc<dyn Fn(PileKey) + Send + Sync>;

/// What keeps the books of piles.
///
/// # Guarantees
/// `put` that answered `Ok` has stored to the engine's [`Promises`]; `Full` has stored nothing. Settling is idempotent: the
/// first settlement or revocation of a lease wins, all others answer [`Settled::Stale`]. A lease that is dropped goes home by
/// [`Store::give_back`]. No method runs user code or waits.
pub trait Store: Send + Sync + 'static {
    /// What it survives.
    fn promises(&self) -> Promises;

    /// True if it never answers [`Answer::Later`]: whoever is at a pile may then be served there and then, without waiting for its actor.
    fn answers_at_once(&self) -> bool {
        false
    }

    /// Puts new books; they are given their ids here, in order, and count as offered from here on.
    fn put(&self, pile: PileKey, books: Vec<Book>) -> Answer<Result<(), Full<Vec<Book>>>>;

    /// The same; what becomes of each book is told, in the order of the books.
    fn put_watched(
        &self,
        pile: PileKey,
        books: Vec<Book>,
    ) -> Answer<Result<Vec<Awaited>, Full<Vec<Book>>>>;

    /// The run is over: whoever still waits for the fate of a book is told that there will be none.
    fn unwatch(&self);

    /// Ids for `count` books that will be put by [`Store::put_numbered`]: the first of them; the others follow it. So a source's books have
    /// the same ids however they are dealt out afterwards.
    fn number(&self, count: u64) -> BookId;

    /// Puts new books whose ids are from [`Store::number`]; they count as offered from here on.
    fn put_numbered(&self, pile: PileKey, books: Numbered) -> Answer<Result<(), Full<Numbered>>>;

    /// How many more books `pile` would admit now (bound in books only); for sizing a `put`.
    fn room(&self, pile: PileKey) -> usize;

    /// Leases ready books in the order of their places, or `None` if there is none.
    fn lease(&self, pile: PileKey, want: Want, holder: u64) -> Answer<Option<Lease>>;

    /// Settles by the lease's marks. A lease without any mark is acked whole; beside marks, an unmarked book returns.
    fn settle(&self, lease: Lease) -> Answer<Settled>;

    /// Puts the books on `to` and settles them here: one step where both piles are in one engine.
    /// With `reserved`, the room was kept before by [`Store::reserve`] and is used up (or given up, if the lease is stale).
    fn pass_on(
        &self,
        lease: Lease,
        worked: Worked,
        to: PileKey,
        reserved: Option<(usize, u64)>,
    ) -> Answer<Result<Settled, Refused>>;

    /// Takes the books off a pile that came by [`Store::put_numbered`] and were never leased: their
    /// source can give them again, and they count as not offered. Where all books of the pile came
    /// that way, those that return without a mark from here on are taken as well
    /// ([`Store::recalls`]). By default, nothing is taken.
    fn recall(&self, pile: PileKey) -> Vec<Book> {
        let _ = pile;
        Vec::new()
    }

    /// True if books that return to `pile` unburned go back to their source.
    fn recalls(&self, pile: PileKey) -> bool {
        let _ = pile;
        false
    }

    /// True if books could be put now; a snapshot, for not trying what must fail.
    fn has_room(&self, pile: PileKey, books: usize, bytes: u64) -> bool;

    /// Keeps room for books that are about to come.
    fn reserve(&self, pile: PileKey, books: usize, bytes: u64) -> bool;

    /// Gives up room kept by [`Store::reserve`].
    fn release(&self, pile: PileKey, books: usize, bytes: u64);

    /// Takes a dropped lease home: settles it by its marks, the unmarked return. Only queues and rings the bell; the pile does the rest by [`Store::collect`].
    fn give_back(&self, unbound: Unbound);

    /// Takes in what came home; answers how many leases that were.
    fn collect(&self, pile: PileKey) -> usize;

    /// Takes back every lease of `pile` whose holder `lost` names; used for hung threads only. Answers how many books returned.
    fn revoke(&self, pile: PileKey, lost: &dyn Fn(u64) -> bool) -> usize;

    /// `count` bodies are being burned although an earlier burn of them had begun.
    fn reburning(&self, count: u64);

    /// How full a pile is.
    fn counts(&self, pile: PileKey) -> Counts;

    /// The account of all books at one instant.
    fn ledger(&self) -> LedgerReport;

    /// The dead letters that are waiting to be fetched, oldest first, and how many had to be forgotten since the last call.
    fn take_dead(&self) -> (Vec<DeadLetter>, u64);

    /// From now on every failed attempt that is charged is told to `told`, off all locks. Once, before the start; an engine that can't tell ignores it.
    fn tell_charges(&self, told: Charges) {
        drop(told);
    }

    /// Notified when a book went to the dead letters.
    fn deaths(&self) -> &Notify;
}
