//! Stores on a server of the tests, and what is put there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use gopherworks_jetstream::Jetstream;
use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::conformance::Fixture;
use gopherworks_pipeline::store::{
    Act, Append, Backend, Delivery, PileName, PileSpec, Reply, Want,
};
use gopherworks_supervision::clock::Clock;

/// Length of the leases in tests, in which time really passes.
pub const LEASE: Duration = Duration::from_millis(1000);

/// A name that no other test has.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}.{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A store of its own on a shared server.
pub struct OnServer {
    pub url: String,
    pub store: String,
}

impl OnServer {
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), store: unique("store *") }
    }

    pub fn store(&self) -> Jetstream {
        Jetstream::new(&self.url, &self.store)
    }
}

impl Fixture for OnServer {
    fn start(&mut self) -> Arc<dyn Backend> {
        Arc::new(self.store())
    }

    fn elapse(&mut self, by: Duration) -> Reply<'_, ()> {
        Box::pin(async move { Clock::real().sleep(by).await })
    }

    fn lease(&self) -> Duration {
        LEASE
    }
}

pub fn name(pile: &str) -> PileName {
    PileName::new("test", pile)
}

pub fn spec(pile: &str) -> PileSpec {
    PileSpec { lease: LEASE, ..PileSpec::new(name(pile)) }
}

pub const ALL: Want = Want { books: 10_000, bytes: None };

/// A body that its id determines.
pub fn book(id: u64) -> Book {
    let mut book =
        Book::new(vec![id as u8; 20 + id as usize % 200]).with_header("id", id.to_string());
    book.id = BookId(id);
    book
}

pub fn append(pile: &str, ids: impl IntoIterator<Item = u64>) -> Append {
    let books = ids.into_iter().map(|id| book(id).into()).collect();
    Append { to: name(pile), hold: false, books, checkpoint: None }
}

pub fn ids(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.book.id.0).collect()
}

/// Fetches until nothing more is delivered.
pub async fn fetch_all(store: &Jetstream, pile: &str) -> Vec<Delivery> {
    let mut all = Vec::new();
    loop {
        let some = store.fetch(&name(pile), ALL, Duration::ZERO).await.unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

/// Acks deliveries; expects success.
pub async fn settle_all(store: &Jetstream, held: Vec<Delivery>) {
    let acts: Vec<_> = held.into_iter().map(|held| (held.receipt, Act::Ack)).collect();
    let answers = store.settle(&acts).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}
