//! Durable piles in an application: offers, outcomes, a store that fails, and the next run.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use gopherworks::catalog::Catalog;
use gopherworks::config::builder::kind;
use gopherworks::pipeline::BookOutcome;
use gopherworks::pipeline::book::BookId;
use gopherworks::pipeline::store::{
    Account, Act, Arrival, Arrived, Backend, Commit, Committed, Delivery, Depth, Pass, Passed,
    PileName, PileSpec, Promises, Receipt, Recovered, Reply, StoreError, Want,
};
use gopherworks::report::RunOutcome;
use gopherworks::topology::{Event, OfferError, Options, Topology};
use gopherworks::{Book, TopologyConfig};
use gopherworks_sqlite::Sqlite;

const ALL: &str = "load push unload return";

/// A store that fails while `fails` is set, takes no new books while `full` is, and never any with
/// more than `limit` bytes.
struct Flaky {
    inner: Sqlite,
    fails: AtomicBool,
    full: AtomicBool,
    limit: u64,
    commits: AtomicUsize,
    /// Books that are held, and how many were asked for at once.
    held: Mutex<(HashSet<BookId>, usize)>,
}

impl Flaky {
    fn new(folder: &tempfile::TempDir) -> Arc<Self> {
        let inner = Sqlite::new(folder.path().join("works.db"));
        let (fails, full, commits, held) = Default::default();
        Arc::new(Self { inner, fails, full, limit: 1 << 20, commits, held })
    }

    fn refuses(&self, arrival: &Arrival) -> Option<StoreError> {
        let Arrival::Append(append) = arrival else {
            return None;
        };
        let limit = self.limit;
        if append.books.iter().any(|new| new.book.size() > limit) {
            return Some(StoreError::TooLarge { limit });
        }
        self.full.load(Ordering::Acquire).then_some(StoreError::Full)
    }

    fn note(&self, commit: &Commit) {
        let mut held = self.held.lock().expect("no panic");
        for arrival in &commit.arrivals {
            match arrival {
                Arrival::Append(append) if append.hold => {
                    held.0.extend(append.books.iter().map(|new| new.book.id));
                }
                Arrival::Pass(pass) if !pass.hold => {
                    let ids = pass.books.iter().filter_map(|(receipt, _)| receipt.id());
                    ids.for_each(|id| _ = held.0.remove(&id));
                }
                _ => {}
            }
        }
        for (receipt, act) in &commit.acts {
            if !matches!(act, Act::Return { hold: true, .. }) {
                receipt.id().inspect(|id| _ = held.0.remove(id));
            }
        }
    }

    fn held(&self) -> usize {
        self.held.lock().expect("no panic").0.len()
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
        Box::pin(async move {
            let books = self.inner.fetch(pile, want, wait).await?;
            let mut held = self.held.lock().expect("no panic");
            held.1 = held.1.max(want.books);
            held.0.extend(books.iter().map(|delivery| delivery.book.id));
            Ok(books)
        })
    }

    fn settle<'a>(&'a self, acts: &'a [(Receipt, Act)]) -> Reply<'a, Vec<Result<(), StoreError>>> {
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
        Box::pin(async move {
            let refused: Vec<_> =
                commit.arrivals.iter().map(|arrival| self.refuses(arrival)).collect();
            let taken = commit.arrivals.iter().zip(&refused).filter(|(_, why)| why.is_none());
            let arrivals = taken.map(|(arrival, _)| arrival.clone()).collect();
            let part = Arc::new(Commit { arrivals, acts: commit.acts.clone() });
            let done = self.inner.commit(part.clone()).await?;
            self.note(&part);
            let mut taken = done.arrivals.into_iter();
            let arrivals = refused.into_iter().map(|why| match why {
                Some(why) => Arrived::Appended(Err(why)),
                None => taken.next().expect("an answer for each"),
            });
            Ok(Committed { arrivals: arrivals.collect(), acts: done.acts })
        })
    }

    fn account(&self) -> Reply<'_, Result<Account, StoreError>> {
        self.inner.account()
    }

    fn begin(&self, receipts: &[Receipt]) {
        self.inner.begin(receipts);
    }

    fn end(&self, receipts: &[Receipt]) {
        self.inner.end(receipts);
    }
}

/// One crew from a durable pile to a burn that counts, or to none.
fn works(store: Arc<dyn Backend>, burn: &str) -> Topology {
    let mut catalog = Catalog::standard();
    catalog.add_burn_fn("never", "Takes nothing", |_: &Book| {
        Err(gopherworks::Failure::unavailable("it is closed"))
    });
    works_of(store, burn, 100, &catalog)
}

fn works_of(store: Arc<dyn Backend>, burn: &str, capacity: u64, catalog: &Catalog) -> Topology {
    let config = TopologyConfig::builder("works")
        .pile("desk", |pile| pile.capacity_books(capacity))
        .incinerator("out", |fire| fire.burn(burn))
        .crew("crew", "desk", "out", |crew| crew.gophers(1, ALL).cart_books(4))
        .build();
    let topology = Topology::from_config(&config, catalog).expect("a config");
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
    let account = report.account.expect("the store keeps one");
    assert_eq!((account.offered, account.burned, account.present), (20, 20, 0));
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

#[actix::test]
async fn a_pile_of_any_depth_needs_its_window_in_memory() {
    const BOOKS: usize = 20_000;
    const WINDOW: usize = 4096;
    let folder = tempfile::tempdir().expect("a folder");
    let store = Flaky::new(&folder);
    let mut catalog = Catalog::standard();
    catalog.add_burn_fn("never", "Takes nothing", |_: &Book| {
        Err(gopherworks::Failure::unavailable("it is closed"))
    });
    let burned = Arc::<Mutex<Vec<BookId>>>::default();
    let order = burned.clone();
    catalog.add_burn_fn("order", "Notes what it burns", move |book: &Book| {
        order.lock().expect("no panic").push(book.id);
        Ok(())
    });
    let capacity = 2 * BOOKS as u64;
    let running =
        works_of(store.clone(), "never", capacity, &catalog).start().await.expect("starts");
    for _ in 0..BOOKS / 1_000 {
        running.offer("desk", books(1_000)).await.expect("there is room");
        assert!(store.held() <= WINDOW, "{} books in memory", store.held());
    }
    let report = running.drain(None).await;
    assert_eq!(report.ledger.kept, BOOKS as u64, "{:?}", report.ledger);
    assert!(report.ledger.balances());
    let store = Flaky::new(&folder);
    let running =
        works_of(store.clone(), "order", capacity, &catalog).start().await.expect("starts");
    assert_eq!(running.found_store().map(|found| found.books), Some(BOOKS));
    running.close_offers();
    let done = running.done().await;
    let report = running.finish(done).await;
    let ledger = report.ledger;
    assert_eq!((ledger.recovered, ledger.burned, ledger.kept), (BOOKS as u64, BOOKS as u64, 0));
    assert!(ledger.balances() && report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(store.held.lock().expect("no panic").1, WINDOW, "most books of one fetch");
    let burned = burned.lock().expect("no panic");
    assert!(burned.len() == BOOKS && burned.is_sorted(), "in the order of the offers");
}

#[actix::test]
async fn an_offer_that_is_too_large_for_the_store_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let running = works(Flaky::new(&folder), "count").start().await.expect("it starts");
    let large = vec![Book::new("small"), Book::new(vec![0; (1 << 20) + 1])];
    let refused = running.offer("desk", large).await;
    let Err(OfferError::TooLarge { books: back, limit: 0x10_0000 }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(back.len(), 2);
    let outcomes = running.offer_watched("desk", books(3)).await.expect("they fit");
    for outcome in outcomes {
        assert_eq!(outcome.await, Some(BookOutcome::Burned));
    }
    let report = running.drain(None).await;
    assert_eq!((report.ledger.offered, report.ledger.burned), (3, 3));
    assert_eq!(report.outcome, RunOutcome::Finished);
}

#[actix::test]
async fn books_of_a_source_that_are_too_large_for_the_store_are_dead_letters() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = Flaky::new(&folder);
    Arc::get_mut(&mut store).expect("it is not used").limit = 4;
    fs::write(folder.path().join("in.txt"), "one\ntwo\nthree\nfour\nfive\nsix\n").expect("a file");
    let lines = kind("lines").option("path", folder.path().join("in.txt").display().to_string());
    let config = TopologyConfig::builder("works")
        .pile("desk", |pile| pile.source(lines))
        .incinerator("out", |fire| fire.burn("count"))
        .crew("crew", "desk", "out", |crew| crew.gophers(1, ALL))
        .build();
    let topology = Topology::from_config(&config, &Catalog::standard()).expect("a config");
    let options = Options { store: Some(store), ..Options::default() };
    let running = topology.with_options(options).start().await.expect("it starts");
    running.close_offers();
    let done = running.done().await;
    let report = running.finish(done).await;
    assert_eq!((report.ledger.burned, report.ledger.dead), (5, 1), "{:?}", report.ledger);
    assert!(report.ledger.balances() && report.failures.is_empty(), "{:?}", report.failures);
    let dead = running.dead();
    assert!(matches!(&*dead, [letter] if letter.reason.contains("more than 4 bytes")), "{dead:?}");
}
