//! Piles of gopherworks in PostgreSQL: books survive `kill -9` and the loss of power, and many
//! processes on many hosts share them.
//!
//! [`Postgres`] implements [`Backend`]. Up to 64 books are one row, so that a transaction writes
//! few of them; leases are columns that no index has. The README describes the tables, and what to
//! know when operating them.

mod admin;
mod append;
mod cart;
mod commit;
mod core;
mod error;
mod fetch;
mod link;
mod plan;
mod schema;
mod settings;
mod single;
mod source;
#[cfg(feature = "tls")]
mod tls;
mod view;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use gopherworks_pipeline::book::BookId;
use gopherworks_pipeline::store::{
    Account, Act, Append, Appended, Backend, Commit, Committed, Cursor, DeadBook, Delivery, Depth,
    Finding, Holder, Ownership, Pass, Passed, Peeked, PileName, PileSpec, Promises, Receipt,
    Recovered, Reply, SourceState, StoreError, Survey, Want,
};
use gopherworks_supervision::clock::Clock;

use link::{Link, State, Thread};
use settings::Settings;

/// What [`Postgres`] promises of a server that syncs its log.
const PROMISES: Promises = Promises {
    actor_death: true,
    kill: true,
    power_loss: true,
    shared: true,
    atomic_pass: true,
    atomic_commit: true,
    fenced_ack: true,
    ordered: true,
    delay: true,
    checkpoints: true,
    begun_marks: true,
    // Times in the tables reach a century ahead.
    dedupe: Some(Duration::from_secs(100 * 365 * 24 * 3600)),
};

/// Pause between two rounds of housekeeping.
const TENDING: Duration = Duration::from_secs(60);

/// A store in a PostgreSQL database. Dropping it closes its connections, as `kill -9` would: its
/// leases are not released, but expire.
///
/// ```no_run
/// use gopherworks_pipeline::book::{Book, BookId};
/// use gopherworks_pipeline::store::{Append, Backend, PileName, PileSpec};
/// use gopherworks_postgres::Postgres;
///
/// # #[actix::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Postgres::new("postgres://works@localhost/works");
/// let pile = PileName::new("post", "letters");
/// let recovered = store.open(&[PileSpec::new(pile.clone())]).await?;
/// println!("{} books", recovered.piles[0].books);
///
/// let ids = store.reserve_ids(1).await?;
/// let book = Book { id: BookId(ids.start), ..Book::new("hello") };
/// let books = Append { to: pile, hold: false, books: vec![book.into()], checkpoint: None };
/// store.append(&books).await?; // The server has synced it now.
/// store.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct Postgres {
    settings: Settings,
    link: Link,
}

impl std::fmt::Debug for Postgres {
    /// Without the URL, which may contain a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Postgres").field(&self.settings).finish()
    }
}

impl Postgres {
    /// A store in the database of a URL such as `postgres://user:password@host/database`, or of
    /// libpq's key-value form. [`Backend::open`] connects, and creates the tables that are missing.
    ///
    /// Connections to other hosts use TLS, and verify the server's certificate and name with the
    /// certificates that the system trusts (feature `tls`). [`Backend::open`] refuses a URL that
    /// forbids it.
    pub fn new(url: &str) -> Self {
        Self { settings: Settings::new(url), link: Link::new() }
    }

    /// The schema of the tables, `gopherworks` by default.
    /// Stores in different schemas share nothing.
    #[must_use]
    pub fn schema(mut self, schema: &str) -> Self {
        self.settings.schema = schema.into();
        self
    }

    /// How long books are held that are delivered, or kept by an append or a pass, whatever
    /// [`PileSpec::lease`] says.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = Some(lease);
        self
    }

    /// Identity of this process's run, which [`Holder::run`] tells others.
    #[must_use]
    pub fn run(mut self, run: &str) -> Self {
        self.settings.run = Some(run.into());
        self
    }

    /// How long the server may take for a statement before it is given up; 30 seconds by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Accepts a server with `fsync` or `full_page_writes` off, which [`Backend::open`] refuses
    /// otherwise: then books do not survive the loss of power.
    #[must_use]
    pub fn accept_unsynced(mut self) -> Self {
        self.settings.unsynced = true;
        self
    }

    /// Moves on when the server is asked, even if the caller gives up.
    async fn open_on(&self, specs: Vec<PileSpec>) -> Result<Recovered, StoreError> {
        let handle = {
            let mut state = self.link.state();
            match *state {
                State::New => {}
                State::Closed => return Err(StoreError::Closed),
                State::Opening(_) | State::Open(..) => {
                    return Err(StoreError::Other("the store is open already".into()));
                }
            }
            let thread = Thread::start()?;
            let handle = thread.handle.clone();
            *state = State::Opening(thread);
            handle
        };
        let (settings, link) = (self.settings.clone(), self.link.clone());
        let opened = handle.spawn(async move {
            let opened = schema::open(&settings, &specs).await;
            let mut state = link.state();
            let before = std::mem::replace(&mut *state, State::New);
            let (core, recovered) = opened?;
            match before {
                State::Opening(thread) => {
                    let tended = Arc::downgrade(&core);
                    thread.handle.spawn(async move {
                        loop {
                            Clock::real().sleep(TENDING).await;
                            let Some(core) = tended.upgrade() else { return };
                            if let Err(error) = core.tend().await {
                                log::debug!("the store: {error}");
                            }
                        }
                    });
                    *state = State::Open(core, thread);
                }
                closed => *state = closed,
            }
            Ok(recovered)
        });
        opened.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *self.link.state(), State::Closed);
        drop(before);
    }
}

/// The error of a call, for each of its items.
fn each<T>(count: usize, error: &StoreError) -> Vec<Result<T, StoreError>> {
    (0..count).map(|_| Err(error.clone())).collect()
}

impl Backend for Postgres {
    fn promises(&self) -> Promises {
        Promises { power_loss: !self.settings.unsynced, ..PROMISES }
    }

    fn open<'a>(&'a self, piles: &'a [PileSpec]) -> Reply<'a, Result<Recovered, StoreError>> {
        Box::pin(self.open_on(piles.to_vec()))
    }

    fn reserve_ids(&self, count: u64) -> Reply<'_, Result<Range<u64>, StoreError>> {
        self.link.ask(move |core| async move { core.reserve_ids(count).await })
    }

    fn append<'a>(&'a self, books: &'a Append) -> Reply<'a, Result<Vec<Appended>, StoreError>> {
        self.link.ask(move |core| core.append(books.clone()))
    }

    fn fetch<'a>(
        &'a self,
        pile: &'a PileName,
        want: Want,
        wait: Duration,
    ) -> Reply<'a, Result<Vec<Delivery>, StoreError>> {
        let pile = pile.clone();
        self.link.ask(move |core| async move { core.fetch(&pile, want, wait).await })
    }

    fn settle<'a>(&'a self, acts: &'a [(Receipt, Act)]) -> Reply<'a, Vec<Result<(), StoreError>>> {
        let commit = Commit { arrivals: vec![], acts: acts.to_vec() };
        Box::pin(async move {
            let done = self.link.ask(move |core| core.commit(commit.into())).await;
            done.map_or_else(|error| each(acts.len(), &error), |done| done.acts)
        })
    }

    fn pass<'a>(&'a self, books: &'a Pass) -> Reply<'a, Vec<Result<Passed, StoreError>>> {
        Box::pin(async move {
            let done = self.link.ask(move |core| core.pass(books.clone())).await;
            done.unwrap_or_else(|error| each(books.books.len(), &error))
        })
    }

    fn extend<'a>(
        &'a self,
        receipts: &'a [Receipt],
        by: Duration,
    ) -> Reply<'a, Vec<Result<(), StoreError>>> {
        let asked = receipts.to_vec();
        Box::pin(async move {
            let call = move |core: Arc<core::Core>| async move { core.extend(&asked, by).await };
            let done = self.link.ask(call).await;
            done.unwrap_or_else(|error| each(receipts.len(), &error))
        })
    }

    fn depth<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<Depth, StoreError>> {
        let pile = pile.clone();
        self.link.ask(move |core| async move { core.depth(&pile).await })
    }

    fn close(&self) -> Reply<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.link.ask(move |core| async move { core.close().await }).await?;
            let before = std::mem::replace(&mut *self.link.state(), State::Closed);
            drop(before);
            Ok(())
        })
    }

    fn commit(&self, commit: Arc<Commit>) -> Reply<'_, Result<Committed, StoreError>> {
        self.link.ask(move |core| core.commit(commit))
    }

    fn begin(&self, receipts: &[Receipt]) {
        self.link.begin(receipts);
    }

    fn resolve<'a>(&'a self, ids: &'a [BookId]) -> Reply<'a, Result<Vec<bool>, StoreError>> {
        let ids = ids.to_vec();
        self.link.ask(move |core| async move { core.resolve(&ids).await })
    }

    fn own<'a>(
        &'a self,
        source: &'a str,
        share: u32,
        token: Option<u64>,
        lease: Duration,
    ) -> Reply<'a, Result<Ownership, StoreError>> {
        let source = source.to_owned();
        self.link.ask(move |core| async move { core.own(&source, share, token, lease).await })
    }

    fn disown<'a>(
        &'a self,
        source: &'a str,
        share: u32,
        token: u64,
        ended: bool,
    ) -> Reply<'a, Result<(), StoreError>> {
        let source = source.to_owned();
        self.link.ask(move |core| async move { core.disown(&source, share, token, ended).await })
    }

    fn sources(&self) -> Reply<'_, Result<Vec<SourceState>, StoreError>> {
        self.link.ask(move |core| async move { core.sources().await })
    }

    fn rewind<'a>(&'a self, source: &'a str) -> Reply<'a, Result<(), StoreError>> {
        let source = source.to_owned();
        self.link.ask(move |core| async move { core.rewind(&source).await })
    }

    fn dead(&self, from: Cursor, most: usize) -> Reply<'_, Result<Vec<DeadBook>, StoreError>> {
        self.link.look(&self.settings, move |core| async move { core.dead(from, most).await })
    }

    fn forget_dead<'a>(&'a self, letters: &'a [Cursor]) -> Reply<'a, Result<u64, StoreError>> {
        let letters = letters.to_vec();
        self.link.ask(move |core| async move { core.forget_dead(&letters).await })
    }

    fn replay<'a>(&'a self, letters: &'a [Cursor]) -> Reply<'a, Result<u64, StoreError>> {
        let letters = letters.to_vec();
        self.link.ask(move |core| async move { core.replay(&letters).await })
    }

    fn move_pile<'a>(
        &'a self,
        from: &'a PileName,
        to: &'a PileName,
    ) -> Reply<'a, Result<u64, StoreError>> {
        let (from, to) = (from.clone(), to.clone());
        self.link.ask(move |core| async move { core.move_pile(&from, &to).await })
    }

    fn drop_pile<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<u64, StoreError>> {
        let pile = pile.clone();
        self.link.ask(move |core| async move { core.drop_pile(&pile).await })
    }

    fn account(&self) -> Reply<'_, Result<Account, StoreError>> {
        self.link.ask(move |core| async move { core.account().await })
    }

    fn holders(&self) -> Reply<'_, Result<Vec<Holder>, StoreError>> {
        self.link.ask(move |core| async move { core.holders().await })
    }

    fn survey(&self) -> Reply<'_, Result<Survey, StoreError>> {
        self.link.look(&self.settings, move |core| async move { core.survey().await })
    }

    fn peek<'a>(
        &'a self,
        pile: &'a PileName,
        most: usize,
    ) -> Reply<'a, Result<Vec<Peeked>, StoreError>> {
        let name = pile.clone();
        self.link.look(&self.settings, move |core| async move { core.peek(&name, most).await })
    }

    fn check(&self) -> Reply<'_, Result<Vec<Finding>, StoreError>> {
        self.link.look(&self.settings, move |core| async move { core.check().await })
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
