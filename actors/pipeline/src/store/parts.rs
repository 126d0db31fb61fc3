//! The types of the contract.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Backend, StoreError};
use crate::book::{Book, BookId};

/// The name of a pile in its store: the works that it belongs to, and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PileName {
    /// The works; distinguishes the users of a shared store.
    pub works: Arc<str>,
    /// The pile's name in the works, such as `near[lane=2]`.
    pub pile: Arc<str>,
}

impl PileName {
    /// A name from its parts.
    pub fn new(works: impl Into<Arc<str>>, pile: impl Into<Arc<str>>) -> Self {
        Self { works: works.into(), pile: pile.into() }
    }
}

impl fmt::Display for PileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.works {
            "" => f.write_str(&self.pile),
            works => write!(f, "{works}/{}", self.pile),
        }
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

/// How many books are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Maximum number of books (>= 1).
    pub books: usize,
    /// Maximum number of bytes; a larger book comes alone.
    pub bytes: Option<u64>,
}

/// A pile that is to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PileSpec {
    /// Its name in the store.
    pub name: PileName,
    /// Its capacity, for engines that enforce it; custody enforces its own in any case.
    pub bound: Bound,
    /// How long a delivered book is held, in shared engines.
    pub lease: Duration,
    /// How long keys of appended books are remembered.
    pub dedupe: Duration,
}

impl PileSpec {
    /// An unbounded pile with a lease of 30 seconds that remembers keys for a day.
    pub fn new(name: PileName) -> Self {
        let (lease, dedupe) = (Duration::from_secs(30), Duration::from_secs(24 * 60 * 60));
        Self { name, bound: Bound::default(), lease, dedupe }
    }
}

/// What a store holds when it is opened.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// A name that no other store has: with a book's id, an identity for the outside world.
    pub store: Arc<str>,
    /// The piles that were opened, in the order in which they were given.
    pub piles: Vec<Depth>,
    /// All other piles of the store that hold books or dead letters. They are kept.
    pub orphans: Vec<(PileName, Depth)>,
    /// The last position of each share of each source.
    pub positions: Vec<Checkpoint>,
    /// No id from here on was reserved or stored.
    pub next_id: u64,
    /// The account over all runs, if the engine keeps it.
    pub account: Option<Account>,
}

/// How many books a pile holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// All books: held, delayed and ready.
    pub books: u64,
    /// Total bytes of their bodies.
    pub bytes: u64,
    /// Books that are held, by any process.
    pub held: u64,
    /// Dead letters that died here.
    pub dead: u64,
    /// When the first delayed book that is not held may be delivered, from now.
    pub next_due: Option<Duration>,
    /// False if the numbers are approximate.
    pub exact: bool,
}

impl Depth {
    /// Books that are not held, and their bytes, for which a mean book stands.
    pub(crate) fn ready(&self) -> (usize, u64) {
        let books = self.books.saturating_sub(self.held);
        let bytes = u128::from(self.bytes) * u128::from(books) / u128::from(self.books.max(1));
        (books as usize, bytes as u64)
    }
}

/// The account of a store over all its runs: offered = burned + dropped + dead + present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Books appended.
    pub offered: u64,
    /// Books acknowledged.
    pub burned: u64,
    /// Books dropped on purpose, dropped piles and forgotten dead letters included.
    pub dropped: u64,
    /// Dead letters in the store.
    pub dead: u64,
    /// Books on all piles.
    pub present: u64,
}

impl Account {
    /// True if every book is accounted for.
    pub fn balances(&self) -> bool {
        self.offered == self.burned + self.dropped + self.dead + self.present
    }
}

/// The position of a source up to which its books are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The source's name in the works.
    pub source: Arc<str>,
    /// The share of a source that is read in parts; 0 for the whole.
    pub share: u32,
    /// The position, opaque to the engine.
    pub position: Bytes,
    /// True if these bytes are added to the stored position, false if they replace it. A repeated
    /// append adds none. An append answers `Unsupported` where positions can't grow.
    pub adds: bool,
    /// The token of [`Backend::own`]; 0 in exclusive engines. An older one is `Stale`.
    pub owner: u64,
}

/// Ownership of a share of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// Increases with each new owner.
    pub token: u64,
    /// The last position that an owner stored.
    pub position: Option<Bytes>,
}

/// The state of a share of a source in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    /// The source's name in the works.
    pub source: Arc<str>,
    /// The share of a source that is read in parts; 0 for the whole.
    pub share: u32,
    /// The process that owns it.
    pub owner: Option<SourceOwner>,
    /// True if the share was read to its end, and has had no owner since.
    pub ended: bool,
}

/// The process that owns a share of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceOwner {
    /// Host and process id, as in [`Holder::name`].
    pub name: Arc<str>,
    /// How long ago it became the owner.
    pub since: Duration,
    /// Time until its ownership ends, unless it is renewed.
    pub left: Duration,
}

/// New books for a pile.
#[derive(Debug, Clone)]
pub struct Append {
    /// The pile that gets them.
    pub to: PileName,
    /// True if the caller holds the books at once, as if they had been delivered to it.
    pub hold: bool,
    /// The books, in order.
    pub books: Vec<NewBook>,
    /// The position of their source after these books.
    pub checkpoint: Option<Checkpoint>,
}

/// A book that is to be stored.
#[derive(Debug, Clone)]
pub struct NewBook {
    /// The book; its id is one of a reserved block. A body that is a file is copied.
    pub book: Book,
    /// Identifies the offer: a second book with this key is not stored.
    pub key: Option<Bytes>,
}

impl From<Book> for NewBook {
    fn from(book: Book) -> Self {
        Self { book, key: None }
    }
}

/// What became of a new book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// Stored, with its receipt if it is held.
    Stored(Option<Receipt>),
    /// A book with its key was stored before: this one, and it was not stored.
    Duplicate(BookId),
}

/// Held books for another pile.
#[derive(Debug, Clone)]
pub struct Pass {
    /// The pile that they go to.
    pub to: PileName,
    /// True if the caller holds the books at once, as if they had been delivered to it.
    pub hold: bool,
    /// Receipts, in the order of arrival; with the book if its headers or its body changed. Its
    /// id is the same.
    pub books: Vec<(Receipt, Option<Book>)>,
}

/// The outcome of a passed book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Its receipt on the pile that it was passed to, if it is held. The former receipt is void.
    pub receipt: Option<Receipt>,
    /// False if it was stored downstream and not yet removed upstream: the former receipt has to
    /// be acked.
    pub acked: bool,
}

/// Opaque to all but the engine: names one delivery of one book.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receipt(pub Bytes);

impl Receipt {
    /// The receipt of a book in an exclusive engine: its id, in big-endian order.
    pub fn of(id: BookId) -> Self {
        Self(Bytes::copy_from_slice(&id.0.to_be_bytes()))
    }

    /// The id in a receipt of an exclusive engine.
    pub fn id(&self) -> Option<BookId> {
        let bytes: [u8; 8] = (*self.0).try_into().ok()?;
        Some(BookId(u64::from_be_bytes(bytes)))
    }
}

/// Attempts on a book by its pile so far, and what follows from them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tries {
    /// Attempts charged on this pile.
    pub attempts: u32,
    /// How often it was leased from this pile before.
    pub deliveries: u32,
    /// True if work on it began before, so that its effects may be repeated.
    pub begun: bool,
    /// True if it has to be worked on alone.
    pub apart: bool,
}

/// A book that is held for the caller.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The book as it was stored last.
    pub book: Book,
    /// Names this delivery in later calls.
    pub receipt: Receipt,
    /// The book's attempts and deliveries before this one. A shared engine counts deliveries
    /// itself; an exclusive one returns what was last stored.
    pub tries: Tries,
    /// How long it is held, counted from the *call* of fetch; `None` until the store is closed.
    pub lease: Option<Duration>,
}

/// What a commit does with a held book.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Act {
    /// The book is done, and is removed.
    Ack,
    /// The book was dropped on purpose, and is removed.
    Drop,
    /// The book is not done: it keeps its place, with these tries, and is not delivered before
    /// `delay`.
    Return {
        /// Shortest time until the book is delivered again, if the engine promises delays. A jump
        /// of the machine's clock never lengthens it.
        delay: Duration,
        /// These tries replace the stored ones.
        tries: Tries,
        /// True if the caller keeps it: only what is stored about it changes.
        hold: bool,
    },
    /// The book is given up, and becomes a dead letter.
    Bury {
        /// Why it was given up.
        reason: Arc<str>,
        /// The node that failed on it last.
        node: Option<Arc<str>>,
        /// Attempts charged.
        attempts: u32,
    },
}

impl Act {
    /// True if it removes the mark of a begun book. A return without a delivery does not: it stores
    /// the tries of a book that was passed on, and on which work may have begun since.
    pub fn ends_work(&self) -> bool {
        !matches!(self, Self::Return { tries, .. } if tries.deliveries == 0)
    }
}

/// Changes that belong together.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// What comes to piles, in order: the end of each pile has the order of this list.
    pub arrivals: Vec<Arrival>,
    /// Acts on held books that are not passed. Each succeeds or fails by itself.
    pub acts: Vec<(Receipt, Act)>,
}

/// Books that come to a pile.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// New ones.
    Append(Append),
    /// Held books, from other piles.
    Pass(Pass),
}

/// The answers to a commit.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// One answer per arrival, in order.
    pub arrivals: Vec<Arrived>,
    /// One answer per act, in order.
    pub acts: Vec<Result<(), StoreError>>,
}

/// The answer to an arrival.
#[derive(Debug, Clone)]
pub enum Arrived {
    /// The answer of [`Backend::append`].
    Appended(Result<Vec<Appended>, StoreError>),
    /// The answer of [`Backend::pass`].
    Passed(Vec<Result<Passed, StoreError>>),
}

/// A position among the dead letters of a store, in the order of their deaths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cursor(pub u64);

impl Cursor {
    /// Before the oldest dead letter.
    pub const START: Cursor = Cursor(0);
}

/// A dead letter.
#[derive(Debug, Clone)]
pub struct DeadBook {
    /// Its position; pass it to [`Backend::dead`] for the next ones.
    pub at: Cursor,
    /// The book as it was stored.
    pub book: Book,
    /// The pile where it died.
    pub pile: PileName,
    /// Why it was given up.
    pub reason: Arc<str>,
    /// The node that failed on it last, if known.
    pub node: Option<Arc<str>>,
    /// Attempts charged.
    pub attempts: u32,
}

/// A process that holds books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Host and process id, such as `host:4711`.
    pub name: Arc<str>,
    /// Identity of its run, if it told one.
    pub run: Option<Arc<str>>,
    /// How many books it holds, if another process can know that.
    pub held: Option<u64>,
    /// How long ago it opened the store.
    pub since: Duration,
    /// The piles whose books it holds by leases, if the engine knows them.
    pub leases: Vec<HeldLeases>,
}

/// The books of one pile that a process holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldLeases {
    /// The pile that these books are on.
    pub pile: PileName,
    /// How many books.
    pub books: u64,
    /// Time until the first and the last of the leases end, unless they are extended.
    pub left: (Duration, Duration),
}

/// Passes books, and acks those that the engine could not remove from where they were. One that
/// can't be acked now is answered with the error, so that the pass is repeated.
async fn pass_whole<B: Backend + ?Sized>(
    backend: &B,
    books: &Pass,
) -> Vec<Result<Passed, StoreError>> {
    let mut answers = backend.pass(books).await;
    let left =
        |answer: &Result<Passed, StoreError>| matches!(answer, Ok(Passed { acked: false, .. }));
    let left: Vec<usize> = (0..answers.len()).filter(|at| left(&answers[*at])).collect();
    if left.is_empty() {
        return answers;
    }
    let acts: Vec<_> = left.iter().map(|at| (books.books[*at].0.clone(), Act::Ack)).collect();
    for (at, acked) in left.into_iter().zip(backend.settle(&acts).await) {
        match acked {
            // A lost lease: the copy is worked on again by its next holder.
            Err(error) if !error.is_single() => answers[at] = Err(error),
            _ => answers[at].iter_mut().for_each(|passed| passed.acked = true),
        }
    }
    answers
}

/// Plays a commit by the single calls.
pub(super) async fn play<B: Backend + ?Sized>(
    backend: &B,
    commit: Arc<Commit>,
) -> Result<Committed, StoreError> {
    let mut done = Committed::default();
    let mut failed: Option<StoreError> = None;
    let mut full: Vec<&PileName> = Vec::new();
    let note = |failed: &mut Option<StoreError>, error: Option<&StoreError>| {
        *failed = error.filter(|error| !error.is_single()).cloned().or(failed.take());
    };
    for arrival in &commit.arrivals {
        let arrived = match (arrival, &failed) {
            (Arrival::Append(_), Some(error)) => Arrived::Appended(Err(error.clone())),
            (Arrival::Pass(books), Some(error)) => {
                Arrived::Passed(vec![Err(error.clone()); books.books.len()])
            }
            (Arrival::Append(books), None) if full.contains(&&books.to) => {
                Arrived::Appended(Err(StoreError::Full))
            }
            (Arrival::Append(books), None) => {
                let answer = backend.append(books).await;
                if matches!(answer, Err(StoreError::Full)) {
                    full.push(&books.to);
                }
                note(&mut failed, answer.as_ref().err());
                Arrived::Appended(answer)
            }
            (Arrival::Pass(books), None) => {
                let answers = pass_whole(backend, books).await;
                answers.iter().for_each(|answer| note(&mut failed, answer.as_ref().err()));
                Arrived::Passed(answers)
            }
        };
        done.arrivals.push(arrived);
    }
    done.acts = match failed {
        Some(error) => vec![Err(error); commit.acts.len()],
        None => backend.settle(&commit.acts).await,
    };
    Ok(done)
}
