//! Piles of gopherworks in NATS JetStream: books survive on replicated servers, and several
//! processes share them.
//!
//! [`Jetstream`] implements [`Backend`]. The books of a cart are packed into one message; a durable
//! pull consumer a pile leases messages, and an ack removes them. As soon as the books of a message
//! fare differently, or are passed on, a *record* beside it says what became of each. The README
//! describes the promises, and what to know when operating a server.
//!
//! Requests are made by the client of async-nats without its module for JetStream, which has no
//! atomic batches, does not tell the server's time, and takes any answer for an ack.

mod connect;
mod encode;
mod engine;
mod fault;
mod names;
mod pack;
mod record;
mod server;
mod thread;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gopherworks_pipeline::store::{
    Act, Append, Appended, Backend, Cursor, DeadBook, Delivery, Depth, Ownership, Pass, Passed,
    Peeked, PileName, PileSpec, Promises, Receipt, Recovered, Reply, SourceState, StoreError, Want,
};

use engine::Engine;
use thread::Thread;

/// How a store is opened.
#[derive(Clone)]
pub(crate) struct Settings {
    url: String,
    store: String,
    replicas: Option<u32>,
    /// Lease of the books of all piles; `None` for that of each pile.
    lease: Option<Duration>,
    /// Maximum number of messages with books.
    limit: Option<u64>,
    dedupe: Duration,
    plaintext: bool,
    certificates: Option<PathBuf>,
    is_synced: bool,
}

/// A store in a stream of NATS JetStream. Dropping it has the effect of `kill -9`: its leases are
/// not released, but expire.
///
/// ```no_run
/// use gopherworks_jetstream::Jetstream;
/// use gopherworks_pipeline::book::{Book, BookId};
/// use gopherworks_pipeline::store::{Append, Backend, PileName, PileSpec};
///
/// # #[actix::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Jetstream::new("nats://127.0.0.1:4222", "post").replicas(3);
/// let pile = PileName::new("post", "letters");
/// let recovered = store.open(&[PileSpec::new(pile.clone())]).await?;
/// println!("{} books", recovered.piles[0].books);
///
/// let ids = store.reserve_ids(1).await?;
/// let book = Book { id: BookId(ids.start), ..Book::new("hello") };
/// let books = Append { to: pile, hold: false, books: vec![book.into()], checkpoint: None };
/// store.append(&books).await?; // The servers have it now.
/// store.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct Jetstream {
    settings: Settings,
    thread: Thread,
}

impl std::fmt::Debug for Jetstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may have a password.
        f.debug_struct("Jetstream").field("store", &self.settings.store).finish_non_exhaustive()
    }
}

impl Jetstream {
    /// The store `store`, such as the name of a works, on the servers at `url`: one or more of
    /// `nats://user:password@host:port`, separated by commas. [`Backend::open`] connects, and
    /// creates the stream `gopherworks_STORE` unless it exists.
    ///
    /// Beyond loopback, connections are encrypted and certificates verified.
    pub fn new(url: impl Into<String>, store: impl Into<String>) -> Self {
        let settings = Settings {
            url: url.into(),
            store: store.into(),
            replicas: None,
            lease: None,
            limit: None,
            dedupe: Duration::from_secs(120),
            plaintext: false,
            certificates: None,
            is_synced: false,
        };
        Self { settings, thread: Thread::default() }
    }

    /// How many servers keep the stream: 1, 3 or 5. By default an existing stream is left as it
    /// is, and a new stream has 1.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.settings.replicas = Some(replicas);
        self
    }

    /// Holds books for `lease` instead of what each pile says.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = Some(lease);
        self
    }

    /// Maximum number of messages with up to 64 books each that the store holds; appends above it
    /// are `Full`. No limit by default.
    #[must_use]
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.settings.limit = Some(messages);
        self
    }

    /// How long the servers recognise repeated appends and passes, and how long keys of offers are
    /// remembered at most. 2 minutes by default; servers keep this in memory.
    #[must_use]
    pub fn dedupe(mut self, window: Duration) -> Self {
        self.settings.dedupe = window;
        self
    }

    /// Allows unencrypted connections beyond loopback, if the URL does not say `tls://`.
    #[must_use]
    pub fn plaintext(mut self) -> Self {
        self.settings.plaintext = true;
        self
    }

    /// Trusts the certificates in a PEM file, instead of those of the operating system.
    #[must_use]
    pub fn certificates(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.certificates = Some(path.into());
        self
    }

    /// States that all servers have `sync_interval: always`, which a client can't see. Without it,
    /// the store does not promise that books survive a loss of power.
    #[must_use]
    pub fn synced(mut self) -> Self {
        self.settings.is_synced = true;
        self
    }
}

/// One error for all items of a call.
fn each<T>(count: usize, error: &StoreError) -> Vec<Result<T, StoreError>> {
    (0..count).map(|_| Err(error.clone())).collect()
}

impl Backend for Jetstream {
    fn promises(&self) -> Promises {
        Promises {
            actor_death: true,
            kill: true,
            power_loss: self.settings.is_synced,
            shared: true,
            atomic_pass: true,
            atomic_commit: false,
            // The server takes a late ack for one in time.
            fenced_ack: false,
            ordered: false,
            delay: true,
            checkpoints: true,
            begun_marks: false,
            dedupe: Some(self.settings.dedupe),
        }
    }

    fn open<'a>(&'a self, piles: &'a [PileSpec]) -> Reply<'a, Result<Recovered, StoreError>> {
        let lease = |spec: &PileSpec| self.settings.lease.unwrap_or(spec.lease);
        let piles = piles.iter().map(|spec| PileSpec { lease: lease(spec), ..spec.clone() });
        Box::pin(self.thread.open(self.settings.clone(), piles.collect()))
    }

    fn reserve_ids(&self, count: u64) -> Reply<'_, Result<Range<u64>, StoreError>> {
        self.thread.ask(move |engine| async move { engine.reserve_ids(count).await })
    }

    fn append<'a>(&'a self, books: &'a Append) -> Reply<'a, Result<Vec<Appended>, StoreError>> {
        let books = books.clone();
        self.thread.ask(move |engine| async move { engine.append(books).await })
    }

    fn fetch<'a>(
        &'a self,
        pile: &'a PileName,
        want: Want,
        wait: Duration,
    ) -> Reply<'a, Result<Vec<Delivery>, StoreError>> {
        let pile = pile.clone();
        self.thread.ask(move |engine| async move { engine.fetch(&pile, want, wait).await })
    }

    fn settle<'a>(&'a self, acts: &'a [(Receipt, Act)]) -> Reply<'a, Vec<Result<(), StoreError>>> {
        let asked = acts.to_vec();
        Box::pin(async move {
            let answers =
                self.thread.ask(move |engine| async move { Ok(engine.settle(&asked).await) });
            answers.await.unwrap_or_else(|error| each(acts.len(), &error))
        })
    }

    fn pass<'a>(&'a self, books: &'a Pass) -> Reply<'a, Vec<Result<Passed, StoreError>>> {
        let asked = books.clone();
        Box::pin(async move {
            let answers =
                self.thread.ask(move |engine| async move { Ok(engine.pass(asked).await) });
            answers.await.unwrap_or_else(|error| each(books.books.len(), &error))
        })
    }

    fn extend<'a>(
        &'a self,
        receipts: &'a [Receipt],
        by: Duration,
    ) -> Reply<'a, Vec<Result<(), StoreError>>> {
        let asked = receipts.to_vec();
        Box::pin(async move {
            let answers =
                self.thread.ask(move |engine| async move { Ok(engine.extend(&asked, by).await) });
            answers.await.unwrap_or_else(|error| each(receipts.len(), &error))
        })
    }

    fn depth<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<Depth, StoreError>> {
        let pile = pile.clone();
        self.thread.ask(move |engine| async move { engine.depth(&pile).await })
    }

    fn close(&self) -> Reply<'_, Result<(), StoreError>> {
        self.thread.ask(move |engine| async move { engine.close().await })
    }

    fn own<'a>(
        &'a self,
        source: &'a str,
        share: u32,
        token: Option<u64>,
        lease: Duration,
    ) -> Reply<'a, Result<Ownership, StoreError>> {
        let source = source.to_owned();
        self.thread.ask(move |engine| async move { engine.own(&source, share, token, lease).await })
    }

    fn disown<'a>(
        &'a self,
        source: &'a str,
        share: u32,
        token: u64,
        ended: bool,
    ) -> Reply<'a, Result<(), StoreError>> {
        let source = source.to_owned();
        self.thread
            .ask(move |engine| async move { engine.disown(&source, share, token, ended).await })
    }

    fn sources(&self) -> Reply<'_, Result<Vec<SourceState>, StoreError>> {
        self.thread.ask(|engine| async move { engine.sources().await })
    }

    fn rewind<'a>(&'a self, source: &'a str) -> Reply<'a, Result<(), StoreError>> {
        let source = source.to_owned();
        self.thread.ask(move |engine| async move { engine.rewind(&source).await })
    }

    fn dead(&self, from: Cursor, most: usize) -> Reply<'_, Result<Vec<DeadBook>, StoreError>> {
        let call = move |engine: Arc<Engine>| async move { engine.dead(from, most).await };
        self.thread.read(&self.settings, call)
    }

    fn peek<'a>(
        &'a self,
        pile: &'a PileName,
        most: usize,
    ) -> Reply<'a, Result<Vec<Peeked>, StoreError>> {
        let pile = pile.clone();
        let call = move |engine: Arc<Engine>| async move { engine.peek(&pile, most).await };
        self.thread.read(&self.settings, call)
    }

    fn forget_dead<'a>(&'a self, letters: &'a [Cursor]) -> Reply<'a, Result<u64, StoreError>> {
        let letters = letters.to_vec();
        self.thread.ask(move |engine| async move { engine.forget_dead(&letters).await })
    }

    fn replay<'a>(&'a self, letters: &'a [Cursor]) -> Reply<'a, Result<u64, StoreError>> {
        let letters = letters.to_vec();
        self.thread.ask(move |engine| async move { engine.replay(&letters).await })
    }

    fn move_pile<'a>(
        &'a self,
        from: &'a PileName,
        to: &'a PileName,
    ) -> Reply<'a, Result<u64, StoreError>> {
        let (from, to) = (from.clone(), to.clone());
        self.thread.ask(move |engine| async move { engine.move_pile(&from, &to).await })
    }

    fn drop_pile<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<u64, StoreError>> {
        let pile = pile.clone();
        self.thread.ask(move |engine| async move { engine.drop_pile(&pile).await })
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
