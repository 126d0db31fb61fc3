//! Piles of gopherworks in SQLite: books survive `kill -9` and the loss of power.
//!
//! [`Sqlite`] implements [`Backend`] for one process at a time. All changes that arrive while a
//! transaction is being synced go into the next one; books are stored together in packs, and
//! passing them on moves ranges of them without writing a body again. The README describes the
//! files, and what to know when operating them.

mod begun;
mod bodies;
mod change;
mod check;
mod encode;
mod engine;
mod error;
mod ids;
mod lock;
mod range;
mod reserve;
mod schema;
mod thread;
mod view;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gopherworks_pipeline::book::BookId;
use gopherworks_pipeline::store::{
    Account, Act, Append, Appended, Arrival, Arrived, Backend, Commit, Committed, Cursor, DeadBook,
    Delivery, Depth, Holder, Ownership, Pass, Passed, Peeked, PileName, PileSpec, Promises,
    Receipt, Recovered, Reply, StoreError, Survey, Want,
};
use gopherworks_supervision::clock::Stopwatch;
use thread::Thread;
use view::View;

pub use check::check;
pub use gopherworks_pipeline::store::Finding;

/// What [`Sqlite`] promises.
const PROMISES: Promises = Promises {
    actor_death: true,
    kill: true,
    power_loss: true,
    shared: false,
    atomic_pass: true,
    atomic_commit: true,
    fenced_ack: true,
    ordered: true,
    delay: true,
    checkpoints: true,
    begun_marks: true,
    dedupe: Some(Duration::MAX),
};

/// The way back to a caller.
type Answer<T> = tokio::sync::oneshot::Sender<T>;

/// How a store is opened.
#[derive(Clone)]
struct Settings {
    path: PathBuf,
    /// Bytes put by for a full disk.
    reserve: u64,
    /// Time since 1970.
    time: Arc<dyn Fn() -> Duration + Send + Sync>,
}

impl Settings {
    /// Milliseconds since 1970.
    fn now(&self) -> i64 {
        i64::try_from((self.time)().as_millis()).unwrap_or(i64::MAX)
    }

    /// A file or folder beside the database.
    fn beside(&self, what: &str) -> PathBuf {
        beside(&self.path, what)
    }
}

fn beside(path: &Path, what: &str) -> PathBuf {
    with_suffix(path, &format!(".{what}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The files and the folder of a store whose database is at `path`, there or not: nothing else may
/// write to them. Follows links, so it blocks on the file system.
pub fn files(path: &Path) -> Vec<PathBuf> {
    let path = resolved(path);
    let suffixes = ["", "-wal", "-shm", "-journal", ".lock", ".begun", ".reserve", ".bodies"];
    suffixes.iter().map(|suffix| with_suffix(&path, suffix)).collect()
}

/// The database that `path` names, so that a store has one lock under all its names.
fn resolved(path: &Path) -> PathBuf {
    /// As many links as Linux follows.
    const LINKS: usize = 40;
    let mut path = path.to_owned();
    // Step by step, since the last link may lead to a file that does not exist yet.
    for _ in 0..LINKS {
        let Ok(target) = path.read_link() else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    let folder = path.parent().map(|folder| match folder == Path::new("") {
        true => Path::new("."),
        false => folder,
    });
    match (folder.and_then(|folder| folder.canonicalize().ok()), path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

/// Wall time at the first call, and from then on what the monotonic clock adds.
fn real_time() -> impl Fn() -> Duration + Send + Sync {
    #[allow(clippy::disallowed_methods, reason = "delays outlast the process")]
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let (wall, start) = (wall.unwrap_or_default(), Stopwatch::start());
    move || wall + start.elapsed()
}

/// A store in a SQLite database. Dropping it ends its process's leases, as `kill -9` would.
///
/// ```
/// use gopherworks_pipeline::book::{Book, BookId};
/// use gopherworks_pipeline::store::{Append, Backend, PileName, PileSpec};
/// use gopherworks_sqlite::Sqlite;
///
/// # #[actix::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let store = Sqlite::new(folder.path().join("works.db"));
/// let pile = PileName::new("", "letters");
/// let recovered = store.open(&[PileSpec::new(pile.clone())]).await?;
/// assert_eq!(recovered.piles[0].books, 0);
///
/// let ids = store.reserve_ids(1).await?;
/// let book = Book { id: BookId(ids.start), ..Book::new("hello") };
/// let books = Append { to: pile, hold: false, books: vec![book.into()], checkpoint: None };
/// store.append(&books).await?; // It is on the disk now.
/// store.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct Sqlite {
    thread: Thread,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sqlite").field(&self.thread.settings.path).finish()
    }
}

impl Sqlite {
    /// A store in the database at `path`, which [`Backend::open`] opens, or creates with its
    /// folder. Further files are beside it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (path, time) = (path.into(), Arc::new(real_time()));
        Self { thread: Thread::new(Settings { path, reserve: 24 << 20, time }) }
    }

    /// Puts `bytes` of disk space by, so that books can be acked while the disk is full. 24 MiB by
    /// default; with less the log is moved into the database more often.
    #[must_use]
    pub fn reserve(mut self, bytes: u64) -> Self {
        self.thread.settings.reserve = bytes;
        self
    }

    /// Reads the store on a thread of its own, since that waits for the disk.
    fn apart<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Settings) -> Result<T, StoreError> + Send + 'static,
    ) -> Reply<'_, Result<T, StoreError>> {
        let mut settings = self.thread.settings.clone();
        Box::pin(async move {
            let (answer, answered) = tokio::sync::oneshot::channel();
            let thread = std::thread::Builder::new().name("gopherworks-sqlite".to_owned());
            let spawned = thread.spawn(move || {
                settings.path = resolved(&settings.path);
                let _ = answer.send(read(&settings));
            });
            spawned.map_err(|error| StoreError::Other(error.to_string().into()))?;
            let lost = || Err(StoreError::Other("the thread that read the store has ended".into()));
            answered.await.unwrap_or_else(|_| lost())
        })
    }

    /// Takes the time since 1970 from `time`, which must not go back; for tests and simulations.
    #[must_use]
    pub fn time(mut self, time: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.thread.settings.time = Arc::new(time);
        self
    }
}

/// A commit of one act or arrival answers with the whole commit's error, or its own.
fn each<T>(count: usize, error: &StoreError) -> Vec<Result<T, StoreError>> {
    (0..count).map(|_| Err(error.clone())).collect()
}

impl Backend for Sqlite {
    fn promises(&self) -> Promises {
        PROMISES
    }

    fn open<'a>(&'a self, piles: &'a [PileSpec]) -> Reply<'a, Result<Recovered, StoreError>> {
        Box::pin(self.thread.open(piles.to_vec()))
    }

    fn reserve_ids(&self, count: u64) -> Reply<'_, Result<Range<u64>, StoreError>> {
        self.thread.ask(move |engine| engine.reserve_ids(count))
    }

    fn append<'a>(&'a self, books: &'a Append) -> Reply<'a, Result<Vec<Appended>, StoreError>> {
        let commit = Commit { arrivals: vec![Arrival::Append(books.clone())], acts: vec![] };
        Box::pin(async move {
            match self.thread.commit(commit.into()).await?.arrivals.pop() {
                Some(Arrived::Appended(answer)) => answer,
                _ => Err(StoreError::Closed),
            }
        })
    }

    fn fetch<'a>(
        &'a self,
        pile: &'a PileName,
        want: Want,
        _wait: Duration,
    ) -> Reply<'a, Result<Vec<Delivery>, StoreError>> {
        let pile = pile.clone();
        self.thread.ask(move |engine| engine.fetch(&pile, want))
    }

    fn settle<'a>(&'a self, acts: &'a [(Receipt, Act)]) -> Reply<'a, Vec<Result<(), StoreError>>> {
        let commit = Commit { arrivals: vec![], acts: acts.to_vec() };
        Box::pin(async move {
            let done = self.thread.commit(commit.into()).await;
            done.map_or_else(|error| each(acts.len(), &error), |done| done.acts)
        })
    }

    fn pass<'a>(&'a self, books: &'a Pass) -> Reply<'a, Vec<Result<Passed, StoreError>>> {
        let commit = Commit { arrivals: vec![Arrival::Pass(books.clone())], acts: vec![] };
        Box::pin(async move {
            match self.thread.commit(commit.into()).await.map(|mut done| done.arrivals.pop()) {
                Ok(Some(Arrived::Passed(answers))) => answers,
                Ok(_) => each(books.books.len(), &StoreError::Closed),
                Err(error) => each(books.books.len(), &error),
            }
        })
    }

    fn extend<'a>(
        &'a self,
        receipts: &'a [Receipt],
        _by: Duration,
    ) -> Reply<'a, Vec<Result<(), StoreError>>> {
        let asked = receipts.to_vec();
        Box::pin(async move {
            let answers = self.thread.ask(move |engine| Ok(engine.extend(&asked))).await;
            answers.unwrap_or_else(|error| each(receipts.len(), &error))
        })
    }

    fn depth<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<Depth, StoreError>> {
        let pile = pile.clone();
        self.thread.ask(move |engine| engine.depth(&pile))
    }

    fn close(&self) -> Reply<'_, Result<(), StoreError>> {
        Box::pin(self.thread.close())
    }

    fn commit(&self, commit: Arc<Commit>) -> Reply<'_, Result<Committed, StoreError>> {
        Box::pin(self.thread.commit(commit))
    }

    fn resolve<'a>(&'a self, ids: &'a [BookId]) -> Reply<'a, Result<Vec<bool>, StoreError>> {
        let ids = ids.to_vec();
        self.thread.ask(move |engine| engine.resolve(&ids))
    }

    fn begin(&self, receipts: &[Receipt]) {
        self.thread.begun.begin(receipts);
    }

    fn end(&self, receipts: &[Receipt]) {
        self.thread.begun.end(receipts.iter().filter_map(Receipt::id).map(|id| id.0));
    }

    fn own<'a>(
        &'a self,
        source: &'a str,
        share: u32,
        token: Option<u64>,
        _lease: Duration,
    ) -> Reply<'a, Result<Ownership, StoreError>> {
        let source = source.to_owned();
        self.thread.ask(move |engine| engine.own(&source, share, token))
    }

    fn disown<'a>(
        &'a self,
        _source: &'a str,
        _share: u32,
        token: u64,
        _ended: bool,
    ) -> Reply<'a, Result<(), StoreError>> {
        self.thread.ask(move |engine| engine.disown(token))
    }

    fn rewind<'a>(&'a self, source: &'a str) -> Reply<'a, Result<(), StoreError>> {
        let source = source.to_owned();
        self.thread.ask(move |engine| engine.rewind(&source))
    }

    fn dead(&self, from: Cursor, most: usize) -> Reply<'_, Result<Vec<DeadBook>, StoreError>> {
        match self.thread.is_new() {
            true => self.apart(move |settings| View::open(settings)?.dead(from, most)),
            false => self.thread.ask(move |engine| engine.dead(from, most)),
        }
    }

    fn forget_dead<'a>(&'a self, letters: &'a [Cursor]) -> Reply<'a, Result<u64, StoreError>> {
        let letters = letters.to_vec();
        self.thread.ask(move |engine| engine.forget_dead(&letters))
    }

    fn replay<'a>(&'a self, letters: &'a [Cursor]) -> Reply<'a, Result<u64, StoreError>> {
        let letters = letters.to_vec();
        self.thread.ask(move |engine| engine.replay(&letters))
    }

    fn move_pile<'a>(
        &'a self,
        from: &'a PileName,
        to: &'a PileName,
    ) -> Reply<'a, Result<u64, StoreError>> {
        let (from, to) = (from.clone(), to.clone());
        self.thread.ask(move |engine| engine.move_pile(&from, &to))
    }

    fn drop_pile<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<u64, StoreError>> {
        let pile = pile.clone();
        self.thread.ask(move |engine| engine.drop_pile(&pile))
    }

    fn account(&self) -> Reply<'_, Result<Account, StoreError>> {
        self.thread.ask(|engine| Ok(engine.account()))
    }

    fn holders(&self) -> Reply<'_, Result<Vec<Holder>, StoreError>> {
        self.thread.ask(|engine| Ok(engine.holders()))
    }

    fn survey(&self) -> Reply<'_, Result<Survey, StoreError>> {
        self.apart(|settings| View::open(settings)?.survey())
    }

    fn peek<'a>(
        &'a self,
        pile: &'a PileName,
        most: usize,
    ) -> Reply<'a, Result<Vec<Peeked>, StoreError>> {
        let pile = pile.clone();
        self.apart(move |settings| View::open(settings)?.peek(&pile, most))
    }

    fn check(&self) -> Reply<'_, Result<Vec<Finding>, StoreError>> {
        self.apart(|settings| check(&settings.path, true))
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
