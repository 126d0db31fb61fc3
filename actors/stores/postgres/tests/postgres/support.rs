//! What the tests share.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gopherworks_pipeline::book::{Book, BookId};
use gopherworks_pipeline::store::conformance::Fixture;
use gopherworks_pipeline::store::{
    Append, Backend, Delivery, PileName, PileSpec, Receipt, Reply, Want,
};
use gopherworks_postgres::Postgres;
use tokio_postgres::NoTls;

use crate::server::Server;

pub const ALL: Want = Want { books: 100_000, bytes: None };

/// A new seed each time; tests print it.
pub fn any_seed() -> u64 {
    RandomState::new().hash_one(0)
}

pub fn name(pile: &str) -> PileName {
    PileName::new("tests", pile)
}

pub fn specs(piles: &[&str]) -> Vec<PileSpec> {
    piles.iter().map(|pile| PileSpec::new(name(pile))).collect()
}

/// A book whose body follows from its id.
pub fn book(id: u64) -> Book {
    let mut book = Book::new(vec![id as u8; 20 + id as usize % 200]);
    book.id = BookId(id);
    book.with_header("id", id.to_string())
}

pub fn append(pile: &str, ids: impl IntoIterator<Item = u64>) -> Append {
    let books = ids.into_iter().map(|id| book(id).into()).collect();
    Append { to: name(pile), hold: false, books, checkpoint: None }
}

pub fn ids(held: &[Delivery]) -> Vec<u64> {
    held.iter().map(|held| held.book.id.0).collect()
}

pub fn receipts(held: &[Delivery]) -> Vec<Receipt> {
    held.iter().map(|held| held.receipt.clone()).collect()
}

/// A schema of its own on a server. Time passes there when stored times are set back.
pub struct Schema {
    pub url: String,
    pub name: String,
}

impl Schema {
    pub fn new(server: &Server) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("odd \" name {}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { url: server.url(), name }
    }

    pub fn store(&self) -> Postgres {
        Postgres::new(&self.url).schema(&self.name)
    }

    /// Runs statements as another client would.
    pub async fn run(&self, sql: &str) -> Vec<tokio_postgres::SimpleQueryMessage> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let schema = format!("\"{}\".", self.name.replace('"', "\"\""));
        let answer = client.simple_query(&sql.replace('@', &schema)).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
        answer
    }

    /// The first column of the first row.
    pub async fn ask(&self, sql: &str) -> String {
        let answer = self.run(sql).await;
        let row = answer.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        row.unwrap_or_default().to_owned()
    }

    pub async fn pass_time(&self, by: Duration) {
        let by = format!("interval '{} microseconds'", by.as_micros());
        // Transactions that were under way when a process was killed are awaited.
        let sql = format!(
            "begin; lock table @cart in access exclusive mode;
            update @cart set until = until - {by}, due = due - {by};
            update @seen set until = until - {by}; update @source set until = until - {by};
            update @taken set since = since - {by}; update @meta set tended = tended - {by};
            commit"
        );
        self.run(&sql).await;
    }
}

impl Fixture for Schema {
    fn start(&mut self) -> Arc<dyn Backend> {
        Arc::new(self.store())
    }

    fn elapse(&mut self, by: Duration) -> Reply<'_, ()> {
        Box::pin(self.pass_time(by))
    }
}
