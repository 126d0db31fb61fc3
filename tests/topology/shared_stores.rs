//! Several processes on one store, each a topology of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join;
use gopherworks::catalog::Catalog;
use gopherworks::config::builder::{kind, wait};
use gopherworks::config::elements::{KindConfig, TopologyConfig};
use gopherworks::pipeline::book::Book;
use gopherworks::pipeline::store::memory::{MemoryBackend, MemoryStore};
use gopherworks::pipeline::store::{
    Account, Act, Append, Appended, Arrival, Backend, Commit, Committed, Delivery, Depth,
    Ownership, Pass, Passed, PileName, PileSpec, Promises, Receipt, Recovered, Reply, SourceState,
    StoreError, Want,
};
use gopherworks::report::{Report, RunOutcome};
use gopherworks::topology::{Options, RunningTopology, Topology};
use tokio::sync::watch;

/// The duties of a gopher that does all.
const ALL: &str = "load push unload return";

/// One crew from a pile, with a source or without, to a burn that counts.
fn works(store: Arc<dyn Backend>, source: Option<KindConfig>) -> Topology {
    let config = TopologyConfig::builder("works")
        .pile("desk", |pile| match source {
            Some(source) => pile.source(source),
            None => pile,
        })
        .incinerator("out", |fire| fire.burn("count"))
        .crew("crew", "desk", "out", |crew| crew.gophers(1, ALL).cart_books(4))
        .build();
    let topology = Topology::from_config(&config, &Catalog::standard()).expect("a config");
    topology.with_options(Options { store: Some(store), ..Options::default() })
}

fn books(count: usize) -> Vec<Book> {
    (0..count).map(|number| Book::new(format!("book {number}"))).collect()
}

/// Asserts that both runs ended by themselves and burned each of `all` books once between them.
#[track_caller]
fn shared_all(reports: &[Report; 2], all: u64) {
    for report in reports {
        assert_eq!(report.outcome, RunOutcome::Finished);
        assert!(report.ledger.balances() && report.failures.is_empty(), "{:?}", report.failures);
        assert_eq!((report.ledger.in_flight, report.ledger.kept), (0, 0));
    }
    let account = reports.iter().rev().find_map(|report| report.account).expect("it has one");
    assert_eq!((account.offered, account.burned, account.present), (all, all, 0));
}

/// Two processes share a store: each burns some of the books offered to one of them, and both end.
#[actix::test]
async fn two_processes_share_the_books_of_one() {
    let store = MemoryStore::new();
    let [one, two] = [(); 2].map(|()| works(Arc::new(store.process()), None));
    let (one, two) = (one.start().await.expect("it starts"), two.start().await.expect("it starts"));
    for _ in 0..20 {
        one.offer("desk", books(50)).await.expect("there is room");
    }
    for running in [&one, &two] {
        running.close_offers();
    }
    let (first, second) = join(one.done(), two.done()).await;
    let (one, two) = join(one.finish(first), two.finish(second)).await;
    assert_eq!(one.ledger.burned + two.ledger.burned, 1_000);
    shared_all(&[one, two], 1_000);
}

/// Tells the most books that were ready on the pile after a commit of any process.
struct Watched {
    inner: MemoryBackend,
    most: Arc<watch::Sender<u64>>,
}

/// Calls that are passed on.
macro_rules! passed_on {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $name<'a>(&'a self, $($arg: $type),*) -> Reply<'a, $answer> {
            self.inner.$name($($arg),*)
        }
    )*};
}

impl Backend for Watched {
    fn promises(&self) -> Promises {
        self.inner.promises()
    }

    fn commit(&self, commit: Arc<Commit>) -> Reply<'_, Result<Committed, StoreError>> {
        Box::pin(async move {
            let done = self.inner.commit(commit).await;
            let depth = self.inner.depth(&PileName::new("", "desk")).await?;
            self.most.send_modify(|most| *most = (*most).max(depth.books - depth.held));
            done
        })
    }

    passed_on! {
        open(piles: &'a [PileSpec]) -> Result<Recovered, StoreError>;
        reserve_ids(count: u64) -> Result<std::ops::Range<u64>, StoreError>;
        append(books: &'a Append) -> Result<Vec<Appended>, StoreError>;
        fetch(pile: &'a PileName, want: Want, wait: Duration) -> Result<Vec<Delivery>, StoreError>;
        settle(acts: &'a [(Receipt, Act)]) -> Vec<Result<(), StoreError>>;
        pass(books: &'a Pass) -> Vec<Result<Passed, StoreError>>;
        extend(receipts: &'a [Receipt], by: Duration) -> Vec<Result<(), StoreError>>;
        depth(pile: &'a PileName) -> Result<Depth, StoreError>;
        close() -> Result<(), StoreError>;
        account() -> Result<Account, StoreError>;
    }
}

/// Each process offers faster than both burn; none adds books while it knows that the pile is full,
/// and none knows at once what the other has added.
#[actix::test]
async fn a_pile_that_processes_share_is_bounded() {
    const BOUND: u64 = 64;
    let (store, most) = (MemoryStore::new(), Arc::new(watch::channel(0).0));
    let start = async || {
        let config = TopologyConfig::builder("works")
            .pile("desk", |pile| pile.capacity_books(BOUND))
            .incinerator("out", |fire| fire.burn("count"))
            .crew("crew", "desk", "out", |crew| {
                crew.gophers(1, ALL).cart_books(4).push(wait(Duration::from_millis(5)))
            });
        let topology = Topology::from_config(&config.build(), &Catalog::standard());
        let watched = Watched { inner: store.process(), most: most.clone() };
        let options = Options { store: Some(Arc::new(watched)), ..Options::default() };
        topology.expect("a config").with_options(options).start().await.expect("it starts")
    };
    let (one, two) = (start().await, start().await);
    let offering = async |running: &RunningTopology| {
        for _ in 0..40 {
            running.offer("desk", books(5)).await.expect("it is open");
        }
        running.close_offers();
    };
    join(offering(&one), offering(&two)).await;
    let (first, second) = join(one.done(), two.done()).await;
    let reports = join(one.finish(first), two.finish(second)).await;
    shared_all(&reports.into(), 400);
    let most = *most.borrow();
    assert!((BOUND..=2 * BOUND).contains(&most), "{most} books at a time");
}

/// The second process finds no books left in a source that the first process has read.
#[actix::test]
async fn a_source_is_read_by_one_process() {
    let store = MemoryStore::new();
    let generate = || kind("generate").option("books", 1_000);
    let [one, two] = [(); 2].map(|()| works(Arc::new(store.process()), Some(generate())));
    let (one, two) = (one.start().await.expect("it starts"), two.start().await.expect("it starts"));
    for running in [&one, &two] {
        running.close_offers();
    }
    let (first, second) = join(one.done(), two.done()).await;
    let reports = join(one.finish(first), two.finish(second)).await;
    assert_eq!(reports.0.ledger.burned + reports.1.ledger.burned, 1_000);
    shared_all(&reports.into(), 1_000);
}

/// A process whose calls hang from its first commit of new books on, before they take effect, as
/// those of a stopped process do.
struct Stopped {
    inner: MemoryBackend,
    stops: AtomicBool,
    stopped: watch::Sender<bool>,
}

impl Stopped {
    fn new(inner: MemoryBackend) -> Arc<Self> {
        let (stops, (stopped, _)) = (AtomicBool::new(true), watch::channel(false));
        Arc::new(Self { inner, stops, stopped })
    }

    async fn works(&self) {
        // The sender lives as long as this call.
        let _ = self.stopped.subscribe().wait_for(|stopped| !stopped).await;
    }
}

/// Calls that wait while the process is stopped.
macro_rules! waiting {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {$(
        fn $name<'a>(&'a self, $($arg: $type),*) -> Reply<'a, $answer> {
            Box::pin(async move {
                self.works().await;
                self.inner.$name($($arg),*).await
            })
        }
    )*};
}

impl Backend for Stopped {
    fn promises(&self) -> Promises {
        self.inner.promises()
    }

    fn reserve_ids(&self, count: u64) -> Reply<'_, Result<std::ops::Range<u64>, StoreError>> {
        self.inner.reserve_ids(count)
    }

    fn close(&self) -> Reply<'_, Result<(), StoreError>> {
        self.inner.close()
    }

    fn account(&self) -> Reply<'_, Result<Account, StoreError>> {
        self.inner.account()
    }

    fn sources(&self) -> Reply<'_, Result<Vec<SourceState>, StoreError>> {
        self.inner.sources()
    }

    fn commit(&self, commit: Arc<Commit>) -> Reply<'_, Result<Committed, StoreError>> {
        let appends = commit.arrivals.iter().any(|it| matches!(it, Arrival::Append(_)));
        if appends && self.stops.swap(false, Ordering::AcqRel) {
            self.stopped.send_replace(true);
        }
        Box::pin(async move {
            self.works().await;
            self.inner.commit(commit).await
        })
    }

    waiting! {
        open(piles: &'a [PileSpec]) -> Result<Recovered, StoreError>;
        append(books: &'a Append) -> Result<Vec<Appended>, StoreError>;
        fetch(pile: &'a PileName, want: Want, wait: Duration) -> Result<Vec<Delivery>, StoreError>;
        settle(acts: &'a [(Receipt, Act)]) -> Vec<Result<(), StoreError>>;
        pass(books: &'a Pass) -> Vec<Result<Passed, StoreError>>;
        extend(receipts: &'a [Receipt], by: Duration) -> Vec<Result<(), StoreError>>;
        depth(pile: &'a PileName) -> Result<Depth, StoreError>;
        own(source: &'a str, share: u32, token: Option<u64>, lease: Duration)
            -> Result<Ownership, StoreError>;
        disown(source: &'a str, share: u32, token: u64, ended: bool) -> Result<(), StoreError>;
    }
}

/// The stopped process had read further than it had stored; its late appends are refused.
#[actix::test]
async fn a_process_that_stops_loses_its_source_and_stores_nothing_of_it_later() {
    let store = MemoryStore::new();
    let generate = || kind("generate").option("books", 5_000);
    let stopped = Stopped::new(store.process());
    let one = works(stopped.clone(), Some(generate())).start().await.expect("it starts");
    one.close_offers();
    stopped.stopped.subscribe().wait_for(|stopped| *stopped).await.expect("it stops");
    let two = works(Arc::new(store.process()), Some(generate()));
    let two = two.start().await.expect("it starts");
    two.close_offers();
    store.elapse(Duration::from_secs(60));
    let second = two.done().await;
    stopped.stopped.send_replace(false);
    let first = one.done().await;
    let reports = join(one.finish(first), two.finish(second)).await;
    shared_all(&reports.into(), 5_000);
}

/// Its books were refused after it had read the source to its end.
#[actix::test]
async fn a_process_that_lost_its_source_reads_it_again_once_it_is_free() {
    let store = MemoryStore::new();
    let stopped = Stopped::new(store.process());
    let generate = kind("generate").option("books", 100);
    let one = works(stopped.clone(), Some(generate)).start().await.expect("it starts");
    one.close_offers();
    stopped.stopped.subscribe().wait_for(|stopped| *stopped).await.expect("it stops");
    let another = store.process();
    another.open(&[]).await.expect("it opens");
    store.elapse(Duration::from_secs(60));
    let own = another.own("desk.source", 0, None, Duration::from_secs(30)).await;
    another
        .disown("desk.source", 0, own.expect("it is free").token, false)
        .await
        .expect("it is owned");
    stopped.stopped.send_replace(false);
    let first = one.done().await;
    let report = one.finish(first).await;
    assert_eq!(report.ledger.burned, 100, "{report:?}");
}

#[actix::test]
async fn a_source_at_which_no_other_process_could_go_on_is_refused() {
    let store: Arc<dyn Backend> = Arc::new(MemoryStore::new().process());
    let stream = kind("lines").option("path", "-");
    let refused = works(store, Some(stream)).start().await;
    assert!(refused.is_err_and(|error| error.to_string().contains("store is shared")));
}
