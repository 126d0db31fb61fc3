//! The reference engine keeps all laws, and the suite finds engines that break one.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;

use super::*;
use crate::store::memory::{Fault, MemoryBackend, MemoryStore, Simulation};
use crate::store::{
    Arrival, Arrived, Commit, Committed, Cursor, DeadBook, Depth, Holder, Ownership, Pass, Passed,
    Promises,
};
use gopherworks_supervision::clock::{Clock, Seed};

/// A defect of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    /// Acts are answered before they are stored.
    AcksEarly,
    /// An old receipt is as good as the present one.
    Unfenced,
    /// A commit is played step by step, though it is promised to be atomic.
    CommitsInSteps,
    /// A position is stored before the books that it stands for.
    PositionsFirst,
    /// An empty store numbers its books from 1 again.
    IdsAgain,
    /// Delays are ignored.
    Hasty,
    /// A passed book stays on its pile.
    Copies,
    /// Returned books lose their tries.
    Forgets,
    /// None, but only the required methods are there.
    Plain,
    /// None: a passed book stays on its pile, and the answer says so.
    Leaves,
}

/// What the processes of a defective engine share.
type Latest = Arc<Mutex<HashMap<Bytes, Receipt>>>;

struct Planted {
    inner: MemoryBackend,
    defect: Option<Defect>,
    latest: Latest,
    pending: Mutex<Vec<(Receipt, Act)>>,
    /// The next id, if they are counted here.
    next: Mutex<Option<u64>>,
}

impl Planted {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// The present receipt of the book that `old` is a receipt of.
    fn present(&self, old: &Receipt) -> Receipt {
        let latest = self.latest.lock().unwrap();
        let id = old.0.get(8..).map(Bytes::copy_from_slice);
        id.and_then(|id| latest.get(&id)).unwrap_or(old).clone()
    }
}

/// Pending once, as a call that waits for a disk.
async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|context| match std::mem::replace(&mut paused, true) {
        true => std::task::Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        }
    })
    .await;
}

impl Backend for Planted {
    fn promises(&self) -> Promises {
        let plain = self.has(Defect::Plain);
        let promises = self.inner.promises();
        Promises { atomic_commit: !plain, begun_marks: !plain, ..promises }
    }

    fn open<'a>(&'a self, piles: &'a [PileSpec]) -> Reply<'a, Result<Recovered, StoreError>> {
        Box::pin(async move {
            let mut recovered = self.inner.open(piles).await?;
            let is_empty = recovered.piles.iter().all(|pile| pile.books == 0);
            if self.has(Defect::IdsAgain) && is_empty && recovered.orphans.is_empty() {
                recovered.next_id = 1;
                *self.next.lock().unwrap() = Some(1);
            }
            Ok(recovered)
        })
    }

    fn reserve_ids(&self, count: u64) -> Reply<'_, Result<Range<u64>, StoreError>> {
        if let Some(next) = &mut *self.next.lock().unwrap() {
            *next += count;
            return Box::pin(std::future::ready(Ok(*next - count..*next)));
        }
        self.inner.reserve_ids(count)
    }

    fn append<'a>(&'a self, books: &'a Append) -> Reply<'a, Result<Vec<Appended>, StoreError>> {
        if !self.has(Defect::PositionsFirst) {
            return self.inner.append(books);
        }
        Box::pin(async move {
            let mut position = books.clone();
            position.books.clear();
            self.inner.append(&position).await?;
            pause().await;
            self.inner.append(books).await
        })
    }

    fn fetch<'a>(
        &'a self,
        pile: &'a PileName,
        want: Want,
        wait: Duration,
    ) -> Reply<'a, Result<Vec<Delivery>, StoreError>> {
        Box::pin(async move {
            let delivered = self.inner.fetch(pile, want, wait).await?;
            for Delivery { receipt, .. } in &delivered {
                self.latest.lock().unwrap().insert(receipt.0.slice(8..), receipt.clone());
            }
            Ok(delivered)
        })
    }

    fn settle<'a>(&'a self, acts: &'a [(Receipt, Act)]) -> Reply<'a, Vec<Result<(), StoreError>>> {
        let mut acts = acts.to_vec();
        for (receipt, act) in &mut acts {
            match act {
                Act::Return { delay, .. } if self.has(Defect::Hasty) => *delay = Duration::ZERO,
                Act::Return { tries, .. } if self.has(Defect::Forgets) => *tries = Tries::default(),
                _ if self.has(Defect::Unfenced) => *receipt = self.present(receipt),
                _ => {}
            }
        }
        if self.has(Defect::AcksEarly) {
            let answers = vec![Ok(()); acts.len()];
            self.pending.lock().unwrap().extend(acts);
            return Box::pin(std::future::ready(answers));
        }
        Box::pin(async move { self.inner.settle(&acts).await })
    }

    fn pass<'a>(&'a self, books: &'a Pass) -> Reply<'a, Vec<Result<Passed, StoreError>>> {
        if self.has(Defect::Leaves) {
            let passed = Ok(Passed { receipt: None, acked: false });
            return Box::pin(std::future::ready(vec![passed; books.books.len()]));
        }
        if !self.has(Defect::Copies) {
            return self.inner.pass(books);
        }
        Box::pin(async move {
            let back = |(receipt, _): &(Receipt, Option<Book>)| {
                (receipt.clone(), give_back(Duration::ZERO, Tries::default(), false))
            };
            let acts: Vec<_> = books.books.iter().map(back).collect();
            let answers = self.inner.settle(&acts).await.into_iter();
            let copied =
                |()| Passed { receipt: books.hold.then(|| acts[0].0.clone()), acked: true };
            answers.map(|answer| answer.map(copied)).collect()
        })
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
        Box::pin(async move {
            let pending = std::mem::take(&mut *self.pending.lock().unwrap());
            drop(self.inner.settle(&pending).await);
            self.inner.close().await
        })
    }

    fn commit(&self, commit: Arc<Commit>) -> Reply<'_, Result<Committed, StoreError>> {
        match self.defect {
            Some(Defect::CommitsInSteps) => Box::pin(async move {
                let mut done = Committed::default();
                for arrival in &commit.arrivals {
                    done.arrivals.push(match arrival {
                        Arrival::Append(books) => Arrived::Appended(self.append(books).await),
                        Arrival::Pass(books) => Arrived::Passed(self.pass(books).await),
                    });
                    pause().await;
                }
                done.acts = self.settle(&commit.acts).await;
                Ok(done)
            }),
            None => self.inner.commit(commit),
            Some(_) => Box::pin(crate::store::parts::play(self, commit)),
        }
    }

    fn begin(&self, receipts: &[Receipt]) {
        self.inner.begin(receipts);
    }

    fn end(&self, receipts: &[Receipt]) {
        self.inner.end(receipts);
    }

    fn own<'a>(
        &'a self,
        source: &'a str,
        share: u32,
        token: Option<u64>,
        lease: Duration,
    ) -> Reply<'a, Result<Ownership, StoreError>> {
        match self.defect {
            Some(Defect::Plain) => Box::pin(std::future::ready(Err(missing()))),
            _ => self.inner.own(source, share, token, lease),
        }
    }

    fn dead(&self, from: Cursor, most: usize) -> Reply<'_, Result<Vec<DeadBook>, StoreError>> {
        match self.defect {
            Some(Defect::Plain) => Box::pin(std::future::ready(Err(missing()))),
            _ => self.inner.dead(from, most),
        }
    }

    fn holders(&self) -> Reply<'_, Result<Vec<Holder>, StoreError>> {
        self.inner.holders()
    }
}

fn missing() -> StoreError {
    StoreError::Unsupported("it".into())
}

struct InMemory {
    store: MemoryStore,
    defect: Option<Defect>,
    latest: Latest,
}

impl Fixture for InMemory {
    fn start(&mut self) -> Arc<dyn Backend> {
        let (defect, latest) = (self.defect, self.latest.clone());
        let (pending, next) = (Mutex::default(), Mutex::default());
        Arc::new(Planted { inner: self.store.process(), defect, latest, pending, next })
    }

    fn elapse(&mut self, by: Duration) -> Reply<'_, ()> {
        self.store.elapse(by);
        Box::pin(std::future::ready(()))
    }
}

async fn examine(defect: Option<Defect>) -> Report {
    conformance(|| InMemory { store: MemoryStore::new(), defect, latest: Latest::default() }).await
}

struct Reference(MemoryStore);

impl Fixture for Reference {
    fn start(&mut self) -> Arc<dyn Backend> {
        Arc::new(self.0.process())
    }

    fn elapse(&mut self, by: Duration) -> Reply<'_, ()> {
        self.0.elapse(by);
        Box::pin(std::future::ready(()))
    }
}

#[actix::test]
async fn the_reference_keeps_all_laws() {
    let report = conformance(|| Reference(MemoryStore::new())).await;
    report.assert();
    // Laws of exclusive engines do not apply to a shared one.
    assert_eq!(report.skipped(), ["a_commit_acts_on_its_own_arrivals"]);
    assert_eq!(report.checks.len(), CHECKS.len());
}

/// A store whose calls take simulated time.
struct Simulated(MemoryStore, Clock);

impl Fixture for Simulated {
    fn start(&mut self) -> Arc<dyn Backend> {
        Arc::new(self.0.process())
    }

    fn elapse(&mut self, by: Duration) -> Reply<'_, ()> {
        Box::pin(self.1.sleep(by))
    }
}

#[test]
fn the_simulated_store_keeps_all_laws_in_both_forms() {
    let of_exclusive = ["a_commit_acts_on_its_own_arrivals"];
    for (make, skipped) in [
        (MemoryStore::new as fn() -> MemoryStore, &of_exclusive[..]),
        (MemoryStore::exclusive, &["a_lost_lease_is_fenced"]),
    ] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let report = runtime.block_on(async {
            let clock = Clock::simulated();
            let own = clock.clone();
            let suite = conformance(move || {
                let simulation = Simulation::new(own.clone(), Seed(7), None);
                Simulated(make().simulated(simulation), own.clone())
            });
            tokio::select! {
                report = suite => report,
                () = clock.driver() => unreachable!("it drives for ever"),
            }
        });
        report.assert();
        assert_eq!(report.skipped(), skipped, "{report}");
    }
}

#[actix::test]
async fn the_required_methods_are_enough() {
    let report = examine(Some(Defect::Plain)).await;
    report.assert();
    for skipped in ["a_source_has_one_owner", "dead_letters_are_kept", "orphans_can_be_moved"] {
        assert!(report.skipped().contains(&skipped), "{report}");
    }
    assert!(report.skipped().len() < 10, "{report}");
}

#[actix::test]
async fn planted_defects_are_found() {
    for (defect, law) in [
        (Defect::AcksEarly, "acked_books_stay_away"),
        (Defect::Unfenced, "a_lost_lease_is_fenced"),
        (Defect::CommitsInSteps, "a_dropped_commit_is_whole"),
        (Defect::PositionsFirst, "a_dropped_append_is_whole"),
        (Defect::IdsAgain, "ids_are_never_given_again"),
        (Defect::Hasty, "a_delay_is_kept"),
        (Defect::Copies, "a_passed_book_is_in_one_place"),
        (Defect::Forgets, "a_returned_book_regains_its_place"),
    ] {
        let report = examine(Some(defect)).await;
        assert!(report.failed().contains(&law), "{defect:?} is not found:\n{report}");
    }
    assert_eq!(examine(None).await.failed(), [""; 0], "the wrapper alone breaks nothing");
}

#[actix::test]
async fn a_commit_acks_what_a_pass_has_left() {
    let mut fixture = InMemory {
        store: MemoryStore::new(),
        defect: Some(Defect::Leaves),
        latest: Latest::default(),
    };
    let (backend, piles) = (fixture.start(), ["a", "b"].map(|pile| PileSpec::new(name(pile))));
    backend.open(&piles).await.unwrap();
    backend.append(&append("a", &[book(1), book(2)])).await.unwrap();
    let held = fetch_all(&backend, "a").await.unwrap_or_default();
    let commit = |at: usize| {
        let books = vec![(held[at].receipt.clone(), None)];
        let pass = Arrival::Pass(Pass { to: name("b"), hold: false, books });
        Arc::new(Commit { arrivals: vec![pass], acts: vec![] })
    };
    let done = backend.commit(commit(0)).await.unwrap().arrivals;
    assert!(
        matches!(&done[..], [Arrived::Passed(all)] if all[0].as_ref().is_ok_and(|it| it.acked))
    );
    assert_eq!(backend.depth(&name("a")).await.unwrap().books, 1, "the first has left");
    // A closed store can't be acked: the pass has to be repeated.
    backend.close().await.unwrap();
    let done = backend.commit(commit(1)).await.unwrap().arrivals;
    assert!(matches!(&done[..], [Arrived::Passed(all)] if all[0].is_err()), "{done:?}");
}

#[actix::test]
async fn queued_faults_are_met_in_order() {
    let store = MemoryStore::new();
    let backend = store.process();
    let pile = PileSpec::new(name("a"));
    backend.open(std::slice::from_ref(&pile)).await.unwrap();
    let lost = StoreError::Unknown("the answer was lost".into());
    backend.fail(Fault::Before(StoreError::Full));
    backend.fail(Fault::After(lost));
    let append = append("a", &[book(1)]);
    assert!(matches!(backend.append(&append).await, Err(StoreError::Full)));
    assert_eq!(backend.depth(&pile.name).await.unwrap().books, 0, "refused");
    assert!(matches!(backend.append(&append).await, Err(StoreError::Unknown(_))));
    assert_eq!(backend.depth(&pile.name).await.unwrap().books, 1, "stored, unanswered");
    assert_eq!(backend.resolve(&[BookId(1), BookId(2)]).await.unwrap(), [true, false]);
    assert_eq!(backend.append(&append).await.unwrap(), [Appended::Stored(None)]);
    assert_eq!(backend.depth(&pile.name).await.unwrap().books, 1, "not stored twice");
}
