//! Durable piles in an application: offers, outcomes, a store that fails, and the next run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use gopherworks::catalog::Catalog;
use gopherworks::pipeline::BookOutcome;
use gopherworks::pipeline::store::{
    Arrival, Arrived, Backend, Commit, Committed, Delivery, Depth, Pass, Passed, PileName,
    PileSpec, Promises, Receipt, Recovered, Reply, StoreError, Want,
};
use gopherworks::report::RunOutcome;
use gopherworks::topology::{Event, OfferError, Options, Topology};
use gopherworks::{Book, TopologyConfig};
use gopherworks_sqlite::Sqlite;

const ALL: &str = "load push unload return";

/// A store that fails while `fails` is set, and takes no new books while `full` is.
struct Flaky {
    inner: Sqlite,
    fails: AtomicBool,
    full: AtomicBool,
    commits: AtomicUsize,
}

impl Flaky {
    fn new(folder: &tempfile::TempDir) -> Arc<Self> {
        let inner = Sqlite::new(folder.path().join("works.db"));
        let (fails, full, commits) = Default::default();
        Arc::new(Self { inner, fails, full, commits })
    }
}

impl Backend for Flaky {
    fn promises(&self) -> Promises {
        self.inner.promises()
    }

    fn open<'a>(&'a self, piles: &'a [PileSpec]) -> Reply<'a, Result<Recovered, StoreError>> {
        self.inner.open(piles)
    }

    fn reserve_ids(&self, count: u64) -> Reply<'_, Result<std::ops::Range<u64>, StoreError>> {
        self.inner.reserve_ids(count)
    }

    fn append<'a>(
        &'a self,
        books: &'a gopherworks::pipeline::store::Append,
    ) -> Reply<'a, Result<Vec<gopherworks::pipeline::store::Appended>, StoreError>> {
        self.inner.append(books)
    }

    fn fetch<'a>(
        &'a self,
        pile: &'a PileName,
        want: Want,
        wait: Duration,
    ) -> Reply<'a, Result<Vec<Delivery>, StoreError>> {
        self.inner.fetch(pile, want, wait)
    }

    fn settle<'a>(
        &'a self,
        acts: &'a [(Receipt, gopherworks::pipeline::store::Act)],
    ) -> Reply<'a, Vec<Result<(), StoreError>>> {
        self.inner.settle(acts)
    }

    fn pass<'a>(&'a self, books: &'a Pass) -> Reply<'a, Vec<Result<Passed, StoreError>>> {
        self.inner.pass(books)
    }

    fn extend<'a>(
        &'a self,
        receipts: &'a [Receipt],
        by: Duration,
    ) -> Reply<'a, Vec<Result<(), StoreError>>> {
        self.inner.extend(receipts, by)
    }

    fn depth<'a>(&'a self, pile: &'a PileName) -> Reply<'a, Result<Depth, StoreError>> {
        self.inner.depth(pile)
    }

    fn close(&self) -> Reply<'_, Result<(), StoreError>> {
        self.inner.close()
    }

    fn commit(&self, commit: Arc<Commit>) -> Reply<'_, Result<Committed, StoreError>> {
        if self.fails.load(Ordering::Acquire) {
            let failed = StoreError::unavailable("the disk is gone", Duration::ZERO);
            return Box::pin(std::future::ready(Err(failed)));
        }
        self.commits.fetch_add(1, Ordering::AcqRel);
        if !self.full.load(Ordering::Acquire) {
            return self.inner.commit(commit);
        }
        Box::pin(async move {
            let is_new = |arrival: &Arrival| matches!(arrival, Arrival::Append(_));
            let old = commit.arrivals.iter().filter(|arrival| !is_new(arrival)).cloned();
            let part = Commit { arrivals: old.collect(), acts: commit.acts.clone() };
            let done = self.inner.commit(Arc::new(part)).await?;
            let mut passed = done.arrivals.into_iter();
            let arrivals = commit.arrivals.iter().map(|arrival| match is_new(arrival) {
                true => Arrived::Appended(Err(StoreError::Full)),
                false => passed.next().expect("an answer for each"),
            });
            Ok(Committed { arrivals: arrivals.collect(), acts: done.acts })
        })
    }

    fn begin(&self, receipts: &[Receipt]) {
        self.inner.begin(receipts);
    }
}

/// One crew from a durable pile to a burn that counts, or to none.
fn works(store: Arc<dyn Backend>, burn: &str) -> Topology {
    let config = TopologyConfig::builder("works")
        .pile("desk", |pile| pile.capacity_books(100))
        .incinerator("out", |fire| fire.burn(burn))
        .crew("crew", "desk", "out", |crew| crew.gophers(1, ALL).cart_books(4))
        .build();
    let mut catalog = Catalog::standard();
    catalog.add_burn_fn("never", "Takes nothing", |_: &Book| {
        Err(gopherworks::Failure::unavailable("it is closed"))
    });
    let topology = Topology::from_config(&config, &catalog).expect("a config");
    topology.with_options(Options { store: Some(store), ..Options::default() })
}

fn books(count: usize) -> Vec<Book> {
    (0..count).map(|number| Book::new(format!("book {number}"))).collect()
}

#[actix::test]
async fn an_offer_is_answered_once_it_is_stored_and_an_outcome_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Flaky::new(&folder);
    let running = works(store.clone(), "count").start().await.expect("it starts");
    let refused = running.try_offer("desk", books(1));
    assert!(matches!(refused, Err(OfferError::WouldWait(books)) if books.len() == 1));
    let mut events = std::pin::pin!(running.events());
    store.fails.store(true, Ordering::Release);
    let offer = running.offer_watched("desk", books(3));
    let mut offer = Box::pin(offer);
    assert!(offer.as_mut().now_or_never().is_none());
    let down = |event| matches!(event, Event::StoreDown { retry: Some(_), .. });
    assert!(events.as_mut().any(|event| std::future::ready(down(event))).await);
    assert!(running.is_store_down());
    // Nothing was handed out, since nothing is stored.
    assert!(offer.as_mut().now_or_never().is_none());
    assert_eq!(running.snapshot().ledger.offered, 0);
    store.fails.store(false, Ordering::Release);
    let outcomes = offer.await.expect("it is stored");
    let up = |event| matches!(event, Event::StoreUp { .. });
    assert!(events.as_mut().any(|event| std::future::ready(up(event))).await);
    for outcome in outcomes {
        assert_eq!(outcome.await, Some(BookOutcome::Burned));
    }
    let report = running.drain(None).await;
    assert_eq!(report.outcome, RunOutcome::Finished);
    assert_eq!((report.ledger.burned, report.ledger.kept), (3, 0));
    assert!(report.ledger.balances() && report.failures.is_empty(), "{:?}", report.failures);
}

#[actix::test]
async fn a_full_store_takes_acks_and_later_the_books_that_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Flaky::new(&folder);
    let running = works(store.clone(), "count").start().await.expect("it starts");
    let mut events = std::pin::pin!(running.events());
    let burned = running.offer_watched("desk", books(3)).await.expect("there is room");
    store.full.store(true, Ordering::Release);
    let mut waiting = Box::pin(running.offer("desk", books(2)));
    assert!(waiting.as_mut().now_or_never().is_none());
    let full = |event| matches!(event, Event::StoreDown { reason, .. } if reason.contains("full"));
    assert!(events.as_mut().any(|event| std::future::ready(full(event))).await);
    for outcome in burned {
        assert_eq!(outcome.await, Some(BookOutcome::Burned));
    }
    assert!(waiting.as_mut().now_or_never().is_none());
    store.full.store(false, Ordering::Release);
    waiting.await.expect("there is room again");
    running.close_offers();
    let done = running.done().await;
    let report = running.finish(done).await;
    assert_eq!((report.ledger.burned, report.ledger.kept), (5, 0));
    assert!(report.failures.is_empty(), "{:?}", report.failures);
}

#[actix::test]
async fn a_drain_keeps_what_the_sink_does_not_take_and_the_next_run_has_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = works(Flaky::new(&folder), "never").start().await.expect("it starts");
    running.offer("desk", books(20)).await.expect("there is room");
    let report = running.drain(None).await;
    assert_eq!(report.outcome, RunOutcome::Finished);
    assert_eq!((report.ledger.offered, report.ledger.kept), (20, 20), "{:?}", report.ledger);
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    let running = works(Flaky::new(&folder), "count").start().await.expect("it starts");
    assert_eq!(running.found_store().map(|found| found.books), Some(20));
    running.close_offers();
    let done = running.done().await;
    let report = running.finish(done).await;
    assert_eq!((report.ledger.recovered, report.ledger.burned), (20, 20));
    assert!(report.ledger.balances());
    assert_eq!(report.account.map(|account| account.present), Some(20));
}

#[actix::test]
async fn a_stop_keeps_what_was_in_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = works(Flaky::new(&folder), "never").start().await.expect("it starts");
    running.offer("desk", books(20)).await.expect("there is room");
    let report = running.stop().await;
    assert_eq!((report.ledger.in_flight, report.ledger.kept), (20, 20), "{:?}", report.ledger);
    let running = works(Flaky::new(&folder), "count").start().await.expect("it starts");
    running.close_offers();
    let done = running.done().await;
    assert_eq!(running.finish(done).await.ledger.burned, 20);
}

#[actix::test]
async fn many_offers_share_commits() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Flaky::new(&folder);
    let running = works(store.clone(), "count").start().await.expect("it starts");
    let offers = (0..50).map(|_| running.offer("desk", books(1)));
    let stored = futures_util::future::join_all(offers).await;
    assert!(stored.iter().all(Result::is_ok));
    assert!(store.commits.load(Ordering::Acquire) < 50);
    let report = running.drain(None).await;
    assert_eq!(report.ledger.burned + report.ledger.kept, 50);
}
