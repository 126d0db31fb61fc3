//! The laws of [`Backend`] as checks that any engine can be put to.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use gopherworks_pipeline::store::conformance::{Fixture, conformance};
//! use gopherworks_pipeline::store::memory::MemoryStore;
//! use gopherworks_pipeline::store::{Backend, Reply};
//!
//! struct InMemory(MemoryStore);
//!
//! impl Fixture for InMemory {
//!     fn start(&mut self) -> Arc<dyn Backend> {
//!         Arc::new(self.0.process())
//!     }
//!
//!     fn elapse(&mut self, by: Duration) -> Reply<'_, ()> {
//!         self.0.elapse(by);
//!         Box::pin(std::future::ready(()))
//!     }
//! }
//!
//! # futures_executor_block_on(async {
//! let report = conformance(|| InMemory(MemoryStore::new())).await;
//! println!("{report}");
//! report.assert();
//! # });
//! # fn futures_executor_block_on(f: impl Future<Output = ()>) {
//! #     let mut f = std::pin::pin!(f);
//! #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
//! #     while f.as_mut().poll(&mut context).is_pending() {}
//! # }
//! ```

mod commits;
mod durable;
mod kept;
mod leases;
mod names;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::{
    Act, Append, Appended, Backend, Checkpoint, Delivery, NewBook, PileName, PileSpec, Receipt,
    Recovered, Reply, StoreError, Tries, Want,
};
use crate::book::{Book, BookId};

/// An empty store that a check uses by itself.
pub trait Fixture: Send {
    /// A backend on the store, not yet opened, as a new process would make it.
    fn start(&mut self) -> Arc<dyn Backend>;

    /// Kills the process of a backend: by default drops it. It must not be closed, nor end its
    /// work otherwise, and the store must be free for [`Fixture::start`] afterwards.
    fn kill(&mut self, backend: Arc<dyn Backend>) -> Reply<'_, ()> {
        drop(backend);
        Box::pin(std::future::ready(()))
    }

    /// Lets time pass: on the store's simulated clock, or really.
    fn elapse(&mut self, by: Duration) -> Reply<'_, ()>;

    /// Length of the leases in checks; 30 seconds by default. Short where time really passes.
    fn lease(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// Outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The engine keeps the law.
    Passed,
    /// The engine does not promise it, or lacks an optional method.
    Skipped(String),
    /// The engine breaks the law.
    Failed(String),
}

/// The outcomes of all checks.
#[derive(Debug, Clone)]
pub struct Report {
    /// By name of the check, in the order of the run.
    pub checks: Vec<(&'static str, Outcome)>,
}

impl Report {
    /// Names of the laws that are broken.
    pub fn failed(&self) -> Vec<&'static str> {
        let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
        self.checks.iter().filter(|(_, outcome)| failed(outcome)).map(|(name, _)| *name).collect()
    }

    /// Names of the laws that do not apply.
    pub fn skipped(&self) -> Vec<&'static str> {
        let skipped = |outcome: &Outcome| matches!(outcome, Outcome::Skipped(_));
        self.checks.iter().filter(|(_, outcome)| skipped(outcome)).map(|(name, _)| *name).collect()
    }

    /// Checks that no law is broken.
    ///
    /// # Panics
    /// If one is.
    pub fn assert(&self) {
        assert!(self.failed().is_empty(), "\n{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, outcome) in &self.checks {
            match outcome {
                Outcome::Passed => writeln!(f, "passed   {name}")?,
                Outcome::Skipped(why) => writeln!(f, "skipped  {name}: {why}")?,
                Outcome::Failed(why) => writeln!(f, "FAILED   {name}: {why}")?,
            }
        }
        let (failed, skipped) = (self.failed().len(), self.skipped().len());
        let passed = self.checks.len() - failed - skipped;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Puts an engine to all checks, each on a store of its own from `make`. They run side by side, so
/// that time which really has to pass does so once.
pub async fn conformance<F: Fixture + 'static>(mut make: impl FnMut() -> F) -> Report {
    let run = |(name, check): &(&'static str, Check)| {
        let (name, check) = (*name, *check);
        let mut lab = Lab { fixture: Box::new(make()), next: 1 };
        async move {
            let outcome = match check(&mut lab).await {
                Ok(()) => Outcome::Passed,
                Err(Broken::Lacking(why)) => Outcome::Skipped(why),
                Err(Broken::Law(why)) => Outcome::Failed(why),
            };
            (name, outcome)
        }
    };
    Report { checks: join_all(CHECKS.iter().map(run)).await }
}

type Check = for<'a> fn(&'a mut Lab) -> Reply<'a, Law>;

macro_rules! checks {
    ($($module:ident { $($name:ident),* $(,)? })*) => {
        &[$($((stringify!($name), |lab| Box::pin($module::$name(lab)))),*),*]
    };
}

const CHECKS: &[(&str, Check)] = checks! {
    durable {
        appended_books_survive, bodies_of_files_are_copied, acked_books_stay_away,
        a_dropped_append_is_whole, ids_are_never_given_again, a_closed_store_is_kept,
        positions_come_with_their_books, positions_grow, what_was_begun_is_charged,
    }
    commits {
        a_commit_takes_effect, a_dropped_commit_is_whole, a_repeated_commit_changes_nothing,
        a_commit_acts_on_its_own_arrivals, arrivals_keep_their_order, lost_books_fail_alone,
    }
    leases {
        a_held_book_is_delivered_once, a_returned_book_regains_its_place, a_delay_is_kept,
        a_fetch_is_bounded, settling_twice_changes_nothing, a_lost_lease_is_fenced,
        an_extended_lease_lasts, foreign_receipts_are_refused, openers_share_or_exclude,
    }
    kept {
        a_passed_book_is_in_one_place, passing_resets_the_tries, dead_letters_are_kept,
        keys_are_remembered, a_source_has_one_owner, the_account_balances, depths_are_true,
        a_survey_changes_nothing,
    }
    names {
        piles_are_found_by_name, orphans_are_kept, orphans_can_be_moved, orphans_can_be_dropped,
        unknown_piles_are_refused, a_closed_backend_answers,
    }
};

/// Result of a check.
type Law<T = ()> = Result<T, Broken>;

enum Broken {
    Law(String),
    Lacking(String),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unsupported(what) => Self::Lacking(what.to_string()),
            error => Self::Law(format!("unexpected error: {error}")),
        }
    }
}

/// Fails the check unless the condition holds.
macro_rules! ensure {
    ($is:expr, $($why:tt)+) => {
        if !$is {
            return Err(Broken::Law(format!($($why)+)));
        }
    };
}
use ensure;

/// Skips the check unless the engine promises what it is about.
fn needs(promised: bool, what: &str) -> Law {
    match promised {
        true => Ok(()),
        false => Err(Broken::Lacking(format!("{what} is not promised"))),
    }
}

/// What a check works with.
struct Lab {
    fixture: Box<dyn Fixture>,
    /// The next id of a book.
    next: u64,
}

type Shared = Arc<dyn Backend>;

fn name(pile: &str) -> PileName {
    PileName::new("conformance", pile)
}

const ALL: Want = Want { books: 10_000, bytes: None };

impl Lab {
    fn spec(&self, pile: &str) -> PileSpec {
        PileSpec { lease: self.fixture.lease(), ..PileSpec::new(name(pile)) }
    }

    /// Opens the store with these piles, as a new process.
    async fn open(&mut self, piles: &[&str]) -> Law<(Shared, Recovered)> {
        let backend = self.fixture.start();
        let specs: Vec<_> = piles.iter().map(|pile| self.spec(pile)).collect();
        let recovered = backend.open(&specs).await?;
        ensure!(
            recovered.piles.len() == piles.len(),
            "{} piles opened, {} recovered",
            piles.len(),
            recovered.piles.len()
        );
        Ok((backend, recovered))
    }

    /// Kills the process, and waits until its leases have ended.
    async fn kill(&mut self, backend: Shared) {
        let shared = backend.promises().shared;
        self.fixture.kill(backend).await;
        if shared {
            self.outlast().await;
        }
    }

    /// Lets all leases of the checks end.
    async fn outlast(&mut self) {
        let lease = self.fixture.lease();
        self.fixture.elapse(lease + lease / 4).await;
    }

    /// Kills the process and opens the store again.
    async fn reopen(&mut self, backend: Shared, piles: &[&str]) -> Law<(Shared, Recovered)> {
        self.kill(backend).await;
        self.open(piles).await
    }

    /// New books with consecutive ids; headers and sizes of the bodies vary.
    async fn books(&mut self, backend: &Shared, count: u64) -> Law<Vec<Book>> {
        let ids = backend.reserve_ids(count).await?;
        ensure!(ids.end - ids.start == count, "{count} ids reserved, {ids:?} given");
        ensure!(ids.start >= self.next, "{ids:?} were given before {}", self.next);
        self.next = ids.end;
        Ok(ids.map(book).collect())
    }

    /// Appends new books to a pile; answers them.
    async fn fill(&mut self, backend: &Shared, pile: &str, count: u64) -> Law<Vec<Book>> {
        let books = self.books(backend, count).await?;
        let answers = backend.append(&append(pile, &books)).await?;
        let stored = answers.iter().filter(|answer| **answer == Appended::Stored(None)).count();
        ensure!(stored as u64 == count, "{count} books appended: {answers:?}");
        Ok(books)
    }
}

/// The book with this id, as all checks make it.
fn book(id: u64) -> Book {
    let body = vec![id as u8; (id * 37 % 301) as usize];
    let mut book = Book::new(body);
    book.id = BookId(id);
    if id.is_multiple_of(3) {
        book = book.with_header("name", format!("book {id}"));
        book = book.with_header("empty", "").with_header("", vec![0, 255]);
    }
    book
}

fn append(pile: &str, books: &[Book]) -> Append {
    let books = books.iter().cloned().map(NewBook::from).collect();
    Append { to: name(pile), hold: false, books, checkpoint: None }
}

fn checkpoint(position: &str, owner: u64) -> Checkpoint {
    let position = Bytes::copy_from_slice(position.as_bytes());
    Checkpoint { source: "source".into(), share: 0, position, adds: false, owner }
}

/// Fetches until nothing more is delivered.
async fn fetch_all(backend: &Shared, pile: &str) -> Law<Vec<Delivery>> {
    let mut all = Vec::new();
    loop {
        let some = backend.fetch(&name(pile), ALL, Duration::ZERO).await?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}

/// Id, headers and body of a book.
type Content = (u64, BTreeMap<String, Bytes>, Bytes);

/// The books of deliveries, with their content.
fn content(books: &[Book]) -> Law<Vec<Content>> {
    let read = |book: &Book| {
        let body = book.body.read_all(u64::MAX);
        let body = body.map_err(|error| Broken::Law(format!("a body can't be read: {error}")))?;
        let headers = book.headers.iter().map(|(name, value)| (name.to_owned(), value.clone()));
        Ok((book.id.0, headers.collect(), body))
    };
    books.iter().map(read).collect()
}

/// Fails unless these books were delivered, in this order and unchanged.
fn same(wanted: &[Book], delivered: &[Delivery]) -> Law {
    let books: Vec<Book> = delivered.iter().map(|delivery| delivery.book.clone()).collect();
    ensure!(ids(wanted) == ids(&books), "{:?} wanted, {:?} delivered", ids(wanted), ids(&books));
    let (wanted, got) = (content(wanted)?, content(&books)?);
    for (wanted, got) in wanted.iter().zip(&got) {
        ensure!(wanted == got, "book {} changed", wanted.0);
    }
    Ok(())
}

fn ids(books: &[Book]) -> Vec<u64> {
    books.iter().map(|book| book.id.0).collect()
}

/// The same act for all of the deliveries.
fn all(delivered: &[Delivery], act: &Act) -> Vec<(Receipt, Act)> {
    delivered.iter().map(|delivery| (delivery.receipt.clone(), act.clone())).collect()
}

/// Settles and expects success.
async fn settle(backend: &Shared, acts: &[(Receipt, Act)]) -> Law {
    let answers = backend.settle(acts).await;
    ensure!(answers.len() == acts.len(), "{} acts, {} answers", acts.len(), answers.len());
    answers.into_iter().try_for_each(|answer| answer.map_err(Broken::from))
}

fn give_back(delay: Duration, tries: Tries, hold: bool) -> Act {
    Act::Return { delay, tries, hold }
}

/// Polls a call once, as a caller does that is cancelled then; true if the call is not over.
async fn poll_once<T>(call: &mut Reply<'_, T>) -> bool {
    std::future::poll_fn(|context| {
        let is_over = call.as_mut().poll(context).is_ready();
        std::task::Poll::Ready(!is_over)
    })
    .await
}
