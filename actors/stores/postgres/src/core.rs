//! What an opener knows: its piles, its name in the store, and how it makes tokens.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_postgres::Pool;
use gopherworks_pipeline::store::{Act, Delivery, PileName, Receipt, StoreError, Tries};

use crate::cart::MOST;

/// A pile that this opener has named.
#[derive(Debug)]
pub(crate) struct Pile {
    pub id: i32,
    /// In microseconds.
    pub lease: i64,
    /// In microseconds.
    pub dedupe: i64,
    /// Books of a row, as the last fetch found it.
    pub per_row: AtomicU64,
}

/// An open store.
pub(crate) struct Core {
    pub pool: Pool,
    /// Quoted, with a point.
    pub schema: String,
    /// How a transaction begins.
    pub begin: String,
    pub timeout: Duration,
    /// The works of all piles; `None` without piles: then the whole store is meant.
    pub works: Option<String>,
    pub piles: HashMap<PileName, Pile>,
    /// This opener in the table of openers.
    pub me: i32,
    /// All ids below are reserved.
    pub reserved: AtomicI64,
    /// Held books whose holder before did not settle them, with their tries.
    again: Mutex<HashMap<Receipt, Tries>>,
    secret: RandomState,
    calls: AtomicU64,
}

/// Maximum number of books that are remembered as delivered again. Beyond it all are forgotten, and
/// a crash charges them nothing.
const MOST_AGAIN: usize = 64 * 1024;

/// Puts the schema before the names of tables, which are marked by `@`.
pub(crate) fn in_schema(schema: &str, sql: &str) -> String {
    sql.replace('@', schema)
}

/// Microseconds, at most a hundred years, so that sums with the present time can be stored.
pub(crate) fn micros(span: Duration) -> i64 {
    const CENTURY: i64 = 100 * 365 * 24 * 3600 * 1_000_000;
    i64::try_from(span.as_micros()).map_or(CENTURY, |span| span.min(CENTURY))
}

impl Core {
    pub fn new(pool: Pool, schema: String, begin: String, timeout: Duration) -> Self {
        Self {
            pool,
            schema,
            begin,
            timeout,
            works: None,
            piles: HashMap::new(),
            me: 0,
            reserved: AtomicI64::new(0),
            again: Mutex::default(),
            secret: RandomState::new(),
            calls: AtomicU64::new(0),
        }
    }

    pub fn sql(&self, sql: &str) -> String {
        in_schema(&self.schema, sql)
    }

    pub fn pile(&self, name: &PileName) -> Result<&Pile, StoreError> {
        self.piles.get(name).ok_or(StoreError::Gone)
    }

    fn again(&self) -> MutexGuard<'_, HashMap<Receipt, Tries>> {
        self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers deliveries whose holder before did not settle them.
    pub fn is_again<'a>(&self, books: impl Iterator<Item = &'a Delivery>) {
        let mut again = self.again();
        if again.len() >= MOST_AGAIN {
            again.clear();
        }
        again.extend(books.map(|Delivery { receipt, tries, .. }| {
            let deliveries = tries.deliveries.saturating_add(1);
            (receipt.clone(), Tries { deliveries, ..*tries })
        }));
    }

    /// One attempt more for those of these books that are delivered again.
    pub fn charges(&self, receipts: &[Receipt]) -> Vec<(Receipt, Act)> {
        let mut again = self.again();
        let charge = |receipt: &Receipt| {
            let tries = again.get_mut(receipt)?;
            (tries.attempts, tries.begun) = (tries.attempts.saturating_add(1), true);
            let (delay, tries) = (Duration::ZERO, *tries);
            Some((receipt.clone(), Act::Return { delay, tries, hold: true }))
        };
        receipts.iter().filter_map(charge).collect()
    }

    /// A token that no other lease has. Free rows have 0.
    pub fn token(&self) -> i64 {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        self.secret.hash_one((call, "lease")) as i64 | 1
    }

    /// The token of the lease under which this opener appends a row that begins with this id. An
    /// append that is repeated finds its rows by it.
    pub fn token_of_new(&self, id: i64) -> i64 {
        self.secret.hash_one((id, "append")) as i64 | 1
    }
}

impl Pile {
    /// How many rows may be needed for a number of books; the guess may be wrong.
    pub fn rows(&self, books: usize) -> i64 {
        let per_row = self.per_row.load(Ordering::Relaxed).clamp(1, MOST as u64) as usize;
        // More than a group has, so that the first group is always seen as a whole.
        (books / per_row + books / (4 * per_row) + MOST + 1) as i64
    }

    pub fn found(&self, books: u64, rows: u64) {
        if let Some(per_row) = books.checked_div(rows) {
            self.per_row.store(per_row, Ordering::Relaxed);
        }
    }
}
