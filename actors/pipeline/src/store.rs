//! The contract of storage engines: how piles survive the process.
//!
//! Books are kept in two layers. *Custody* holds them in memory and always answers at once; a
//! [`Backend`] holds what survives. Between the two, a *keeper* writes what happened in custody to
//! the backend, in order, and loads what custody has no room for. Actors see custody only.
//!
//! # Laws
//! The suite in `store::conformance` (feature `test-util`) checks every law on any engine.
//!
//! 1. **Durable.** A call that answered `Ok` survives what [`Backend::promises`] says.
//! 2. **Whole.** A call whose future was dropped, or that the process did not survive, took effect
//!    as a whole or not at all. What is whole: the books of one [`Append`] with their checkpoint,
//!    each book of a [`Pass`], each act, and all of a [`Commit`] if [`Promises::atomic_commit`].
//! 3. **Held once.** A book that is held (appended, passed or returned with `hold`, or delivered)
//!    is delivered to no other holder until its lease ends, and then again.
//! 4. **Fenced.** An act, pass or extension of a lost lease answers [`StoreError::Stale`] or
//!    [`StoreError::Gone`] and changes nothing, if [`Promises::fenced_ack`].
//! 5. **Repeatable.** Repeating a call after [`StoreError::Unknown`] changes nothing more: books
//!    that an append has stored are not stored again, and what is settled answers `Gone`.
//! 6. **In order.** A pile delivers in the order of arrival, a returned book in its former place,
//!    if [`Promises::ordered`]. The arrivals of one call keep their order.
//! 7. **By name.** Piles are found again by name; those that the caller does not name are reported
//!    and kept.
//! 8. **Unique.** An id that was reserved or stored is never reserved again.
//! 9. **Never a panic.** Foreign receipts, unknown piles and calls after [`Backend::close`] are
//!    answered with an error.
//!
//! # Exclusive engines
//! An engine with `shared: false` admits one opener at a time. It needs no fencing tokens: there,
//! the receipt of a book is [`Receipt::of`] its id for as long as the book is stored, and leases
//! last until the engine is closed or its process ends. All that was held is then free again.

#[cfg(feature = "test-util")]
pub mod conformance;
pub mod encoding;
mod error;
#[cfg(any(feature = "simulate", feature = "test-util"))]
pub mod memory;
mod parts;
mod promises;
mod survey;

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::book::BookId;

pub use error::StoreError;
pub use parts::{
    Account, Act, Append, Appended, Arrival, Arrived, Bound, Checkpoint, Commit, Committed, Cursor,
    DeadBook, Delivery, Depth, HeldLeases, Holder, NewBook, Ownership, Pass, Passed, PileName,
    PileSpec, Receipt, Recovered, SourceOwner, SourceState, Tries, Want,
};
pub use promises::Promises;
pub use survey::{Finding, Peeked, Survey, Surveyed};

/// The answer of a backend, which may take as long as a disk or a network does.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A storage engine.
///
/// Required methods are the base that every engine has; the others are optional and answer
/// [`StoreError::Unsupported`] by default. Calls may overlap; those of one caller that waits for
/// each answer take effect in the order of the calls.
pub trait Backend: Send + Sync + 'static {
    /// What this engine's books survive, and what else may be relied on. Constant.
    fn promises(&self) -> Promises;

    /// Opens the store, creates the piles that it does not know, and says what it holds. The first
    /// call on a backend; a second one is an error.
    ///
    /// # Errors
    /// `InUse` if an exclusive engine is open elsewhere; `Unsupported` if the stored data has a
    /// newer version; `Corrupt`; `Unavailable`.
    fn open<'a>(&'a self, piles: &'a [PileSpec]) -> Reply<'a, Result<Recovered, StoreError>>;

    /// Reserves `count` consecutive ids for books, durably: no later call, after any failure and
    /// by any process, gives one of them again.
    ///
    /// # Errors
    /// `Full`, `Unavailable`, `Unknown`: the caller asks again; ids may be skipped.
    fn reserve_ids(&self, count: u64) -> Reply<'_, Result<Range<u64>, StoreError>>;

    /// Stores new books at the end of a pile, and a source's position, in one transaction. Answers
    /// one entry a book.
    ///
    /// A book whose id this store has accepted before is not stored again; it answers `Stored`. A
    /// book whose key was accepted before, within the pile's `dedupe`, answers `Duplicate`.
    ///
    /// # Errors
    /// `Full`: nothing was stored. `Stale`: the checkpoint's owner lost the source; nothing was
    /// stored. `TooLarge`: a book exceeds what the engine can store; nothing was stored.
    fn append<'a>(&'a self, books: &'a Append) -> Reply<'a, Result<Vec<Appended>, StoreError>>;

    /// Delivers the first books of a pile that are neither held nor delayed, and holds them for
    /// the caller. At least one if there is any, however large; otherwise at most `want`. Without
    /// any, waits up to `wait` for some, if another process may add them, and answers none.
    ///
    /// # Errors
    /// `Unavailable`, `Unknown` (what was held comes back at the end of its lease), `Corrupt`.
    fn fetch<'a>(
        &'a self,
        pile: &'a PileName,
        want: Want,
        wait: Duration,
    ) -> Reply<'a, Result<Vec<Delivery>, StoreError>>;

    /// Ends or updates leases; one answer an act, in order. An act that fails changes nothing of
    /// its book, and does not keep the others from taking effect.
    fn settle<'a>(&'a self, acts: &'a [(Receipt, Act)]) -> Reply<'a, Vec<Result<(), StoreError>>>;

    /// Moves held books to the end of another pile; one answer a book, in order. With
    /// [`Promises::atomic_pass`] a book is on exactly one of the piles at any time; otherwise it
    /// is stored on the second before it leaves the first, and [`Passed::acked`] tells whether it
    /// has left. A book passed to the pile that it is on already keeps its place.
    fn pass<'a>(&'a self, books: &'a Pass) -> Reply<'a, Vec<Result<Passed, StoreError>>>;

    /// Extends leases to `by` from now; one answer a receipt, in order. A caller that gets no
    /// answer must stop working on the books before their leases end.
    fn extend<'a>(
        &'a self,
        receipts: &'a [Receipt],
        by: Duration,
    ) -> Reply<'a, Vec<Result<(), StoreError>>>;

    /// How many books a pile holds; approximate if the engine counts so ([`Depth::exact`]).
    ///
    /// # Errors
    /// `Unavailable`; `Gone` if there is no such pile.
    fn depth<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<Depth, StoreError>>;

    /// Ends all leases of this opener and closes the store. Later calls answer `Closed`.
    ///
    /// # Errors
    /// `Unavailable`, `Unknown`: leases end by their time.
    fn close(&self) -> Reply<'_, Result<(), StoreError>>;

    /// Applies arrivals, in order, and then acts. A receipt stands at most once in each of the two.
    /// In an exclusive engine an act may name a book that the same commit appends or passes with
    /// `hold`.
    ///
    /// With [`Promises::atomic_commit`], all of it in one transaction; an `Err` then says that
    /// nothing took effect (`Unavailable`, `Corrupt`, `Closed`) or that the outcome is not known
    /// (`Unknown`): the caller repeats the same commit (law 5). Single arrivals and acts that
    /// cannot take effect (`Full`, `Stale`, `Gone`, `TooLarge`) are answered one by one and do not
    /// keep the others from it; after a `Full`, later appends of the commit to that pile are
    /// `Full` too, so that their order is kept. Acts need no room, so a full store carries them
    /// out.
    ///
    /// By default, plays the commit by [`Backend::append`], [`Backend::pass`] and
    /// [`Backend::settle`], and acks what a pass has not removed; after an answer that says nothing
    /// about a single book, such as `Unavailable`, it tries no more and answers that error for the
    /// rest.
    fn commit(&self, commit: Arc<Commit>) -> Reply<'_, Result<Committed, StoreError>> {
        Box::pin(parts::play(self, commit))
    }

    /// Whether an append of each of these ids took effect, whatever became of the book since. For
    /// appends whose outcome is `Unknown`.
    fn resolve<'a>(&'a self, ids: &'a [BookId]) -> Reply<'a, Result<Vec<bool>, StoreError>> {
        let _ = ids;
        unsupported("resolving unknown outcomes")
    }

    /// Marks held books as begun, before the work on them begins: if the process then dies, each
    /// is charged one attempt ([`Tries`]) when it is delivered again. Other books are not charged.
    /// A shared engine may mark only those that an earlier holder had lost.
    /// A later act that [ends the work](Act::ends_work) removes the mark; a pass does not, since
    /// the work may have begun while the pass was on its way.
    ///
    /// Called on the thread that does the work. An exclusive engine waits for no disk. A shared
    /// one, which is given only books that were delivered before, may wait for its server. Does
    /// nothing by default, and where [`Promises::begun_marks`] is false.
    fn begin(&self, receipts: &[Receipt]) {
        let _ = receipts;
    }

    /// Removes the marks of books whose work has ended, before that is stored: a crash caused by
    /// the next book does not charge them. Called for exclusive engines only, on the thread that
    /// did the work. Does nothing by default.
    fn end(&self, receipts: &[Receipt]) {
        let _ = receipts;
    }

    /// Takes or renews the ownership of a share of a source, for `lease`. Only its owner's
    /// checkpoints are accepted, by the token. An exclusive engine always grants it.
    ///
    /// # Errors
    /// `InUse` while another process owns it; `Stale` if `token` is not the owner's any more.
    fn own<'a>(
        &'a self,
        source: &'a str,
        share: u32,
        token: Option<u64>,
        lease: Duration,
    ) -> Reply<'a, Result<Ownership, StoreError>> {
        let _ = (source, share, token, lease);
        unsupported("ownership of sources")
    }

    /// Gives up the ownership of a share of a source, so that another process may take it at once.
    /// `ended` says that the share was read to its end, which [`SourceState::ended`] tells until it
    /// has another owner.
    ///
    /// # Errors
    /// `Stale` if `token` is not the owner's any more.
    fn disown<'a>(
        &'a self,
        source: &'a str,
        share: u32,
        token: u64,
        ended: bool,
    ) -> Reply<'a, Result<(), StoreError>> {
        let _ = (source, share, token, ended);
        unsupported("ownership of sources")
    }

    /// The owners and positions of the sources of this opener's works.
    fn sources(&self) -> Reply<'_, Result<Vec<SourceState>, StoreError>> {
        unsupported("listing sources")
    }

    /// Forgets the positions of all shares of a source, so that it is read anew. In a
    /// shared engine an owner loses it.
    fn rewind<'a>(&'a self, source: &'a str) -> Reply<'a, Result<(), StoreError>> {
        let _ = source;
        unsupported("reading a source anew")
    }

    /// Dead letters after `from`, oldest first, at most `most`. They stay until
    /// [`Backend::forget_dead`] or [`Backend::replay`]. Where [`Backend::survey`] is supported, may
    /// be called before [`Backend::open`] as well.
    fn dead(&self, from: Cursor, most: usize) -> Reply<'_, Result<Vec<DeadBook>, StoreError>> {
        let _ = (from, most);
        unsupported("dead letters")
    }

    /// Removes these dead letters; answers how many there were.
    fn forget_dead<'a>(&'a self, letters: &'a [Cursor]) -> Reply<'a, Result<u64, StoreError>> {
        let _ = letters;
        unsupported("dead letters")
    }

    /// Moves these dead letters to the end of the piles where they died, without attempts; answers
    /// how many there were.
    fn replay<'a>(&'a self, letters: &'a [Cursor]) -> Reply<'a, Result<u64, StoreError>> {
        let _ = letters;
        unsupported("dead letters")
    }

    /// Moves all books of a pile that this opener did not name to the end of one that it did;
    /// answers their number.
    fn move_pile<'a>(
        &'a self,
        from: &'a PileName,
        to: &'a PileName,
    ) -> Reply<'a, Result<u64, StoreError>> {
        let _ = (from, to);
        unsupported("moving piles")
    }

    /// Drops all books of a pile that this opener did not name, and the pile; answers their
    /// number, which is counted as dropped.
    fn drop_pile<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<u64, StoreError>> {
        let _ = pile;
        unsupported("dropping piles")
    }

    /// The account over all runs until now.
    fn account(&self) -> Reply<'_, Result<Account, StoreError>> {
        unsupported("an account")
    }

    /// The processes that hold books.
    fn holders(&self) -> Reply<'_, Result<Vec<Holder>, StoreError>> {
        unsupported("listing holders")
    }

    /// What the store holds, for an operator. Called before [`Backend::open`], or without it:
    /// holds nothing, changes nothing, and works while other processes use the store.
    ///
    /// # Errors
    /// `Gone` if there is no store yet.
    fn survey(&self) -> Reply<'_, Result<Survey, StoreError>> {
        unsupported("reading a store that is not open")
    }

    /// The first books of a pile, at most `most`, in the order of delivery, held ones included.
    /// Called like [`Backend::survey`].
    ///
    /// # Errors
    /// `Gone` if there is no store yet, or no such pile.
    fn peek<'a>(
        &'a self,
        pile: &'a PileName,
        most: usize,
    ) -> Reply<'a, Result<Vec<Peeked>, StoreError>> {
        let _ = (pile, most);
        unsupported("reading a store that is not open")
    }

    /// Checks all that is stored, corrects what follows from the rest, and answers what was wrong.
    /// Removes no book. Called instead of [`Backend::open`].
    ///
    /// # Errors
    /// `InUse` while another process has an exclusive store open; `Gone` if there is no store yet.
    fn check(&self) -> Reply<'_, Result<Vec<Finding>, StoreError>> {
        unsupported("checking a store")
    }
}

/// The default answer of an optional method.
fn unsupported<'a, T: Send + 'a>(what: &'static str) -> Reply<'a, Result<T, StoreError>> {
    Box::pin(std::future::ready(Err(StoreError::Unsupported(what.into()))))
}
