//! The engine: what this process knows of a stream, and how it changes it.
//!
//! One stream has all piles of a works, so that books and the position of their source are one
//! atomic batch. Subjects below the store's prefix: `p` messages with books, `r` their records,
//! `d` dead letters, `m` marks of sources, `a` what was added to
//! their positions, `k` keys of offers, `i` the next id.

mod admin;
mod append;
mod change;
mod fetch;
mod keys;
mod open;
mod pass;
mod source;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use gopherworks_pipeline::store::{PileName, PileSpec, StoreError};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;

use crate::encode::{Mark, PACK_BOOKS, alone, read_alone};
use crate::fault::Fault;
use crate::names::Uid;
use crate::pack::{Pack, Ticket};
use crate::server::{Outgoing, Server};

pub(crate) use open::{look, open};

/// The part of a lease after which this process stops: the server's lease began after the call.
const SAFE: (u32, u32) = (3, 4);

/// How often a change is tried again after another process was faster.
const RACES: usize = 8;

/// The part of a lease for which this process says that it holds a book.
pub(crate) fn safe(lease: Duration) -> Duration {
    lease * SAFE.0 / SAFE.1
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first 16 bytes of a digest.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Uid {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part);
    }
    let mut uid = Uid::default();
    uid.copy_from_slice(&sha.finalize()[..16]);
    uid
}

type Shared = Arc<AsyncMutex<Pack>>;

/// A pile that this opener uses.
pub(crate) struct Pile {
    pub index: u32,
    pub spec: PileSpec,
    pub consumer: String,
    /// One fetch at a time.
    pub turn: AsyncMutex<()>,
    /// By sequence: the messages of which this process holds books.
    packs: Mutex<BTreeMap<u64, Shared>>,
    /// Books a message, of the largest one that was fetched last: what is pulled is to fit.
    pub typical: AtomicU64,
}

impl Pile {
    fn new(index: u32, spec: PileSpec, consumer: String) -> Self {
        let (turn, packs) = Default::default();
        let typical = AtomicU64::new(PACK_BOOKS as u64);
        Self { index, spec, consumer, turn, packs, typical }
    }

    fn pack(&self, sequence: u64) -> Option<Shared> {
        lock(&self.packs).get(&sequence).cloned()
    }

    fn packs(&self) -> Vec<Shared> {
        lock(&self.packs).values().cloned().collect()
    }
}

/// What the owner of this process's share of a source knows.
#[derive(Debug, Clone)]
struct Owned {
    mark: Mark,
    /// Sequence of the mark.
    sequence: u64,
}

pub(crate) struct Engine {
    pub server: Server,
    /// By index; only more of them come.
    piles: RwLock<Vec<Arc<Pile>>>,
    by_name: RwLock<HashMap<PileName, usize>>,
    /// Maximum number of messages with books, if there is a limit.
    limit: Option<u64>,
    /// Messages of the stream when it was last asked, those since, and when that was.
    count: AsyncMutex<(u64, u64, Duration)>,
    dedupe: Duration,
    /// All ids below were reserved or stored.
    ids: AsyncMutex<u64>,
    owned: Mutex<HashMap<(Arc<str>, u32), Owned>>,
    /// The records that there were when the connection was made, and how often it had been lost.
    recorded: Mutex<(HashSet<String>, u64)>,
    /// The last number of a delivery or a record.
    number: AtomicU64,
    closed: AtomicBool,
}

impl Engine {
    fn number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn is_open(&self) -> Result<(), StoreError> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(StoreError::Closed),
            false => Ok(()),
        }
    }

    /// A pile that this opener named.
    pub fn pile(&self, name: &PileName) -> Result<Arc<Pile>, StoreError> {
        self.is_open()?;
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        let index = *by_name.get(name).ok_or(StoreError::Gone)?;
        self.at(index).ok_or(StoreError::Gone)
    }

    fn at(&self, index: usize) -> Option<Arc<Pile>> {
        self.piles.read().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
    }

    fn piles(&self) -> Vec<Arc<Pile>> {
        self.piles.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, spec: PileSpec) -> Result<Arc<Pile>, StoreError> {
        let consumer = self.server.names.consumer(&spec.name)?;
        let mut piles = self.piles.write().unwrap_or_else(PoisonError::into_inner);
        let pile = Arc::new(Pile::new(piles.len() as u32, spec, consumer));
        piles.push(pile.clone());
        Ok(pile)
    }

    /// The message that a receipt names.
    ///
    /// # Errors
    /// `Gone` if it is not this opener's, or settled.
    fn find(&self, ticket: &Ticket) -> Result<(Arc<Pile>, Shared), StoreError> {
        let pile = self.at(ticket.pile as usize).ok_or(StoreError::Gone)?;
        let pack = pile.pack(ticket.sequence).ok_or(StoreError::Gone)?;
        Ok((pile, pack))
    }

    /// Reserves ids by a race for the message that has the next one.
    pub async fn reserve_ids(&self, count: u64) -> Result<Range<u64>, StoreError> {
        self.is_open()?;
        let mut known = self.ids.lock().await;
        let first = self.move_ids(|next| next.checked_add(count)).await?;
        *known = first + count;
        Ok(first..first + count)
    }

    /// Counts ids as given that were stored without a reservation.
    async fn give_ids(&self, end: u64) -> Result<(), StoreError> {
        let mut known = self.ids.lock().await;
        if end > *known {
            let before = self.move_ids(|next| Some(next.max(end))).await?;
            *known = before.max(end);
        }
        Ok(())
    }

    /// Changes the next id; answers the former one.
    async fn move_ids(&self, change: impl Fn(u64) -> Option<u64>) -> Result<u64, StoreError> {
        let subject = self.server.names.ids();
        for _ in 0..RACES {
            let found = self.server.last(&subject).await.map_err(Fault::reading)?;
            let (next, sequence) = match found {
                Some(found) => (read_alone(&found.payload)?, found.sequence),
                None => (1, 0),
            };
            let changed = change(next).ok_or_else(|| StoreError::Other("no more ids".into()))?;
            if changed == next {
                return Ok(next);
            }
            let message = Outgoing::new(subject.clone(), alone(changed));
            match self.server.publish(&[message.after(sequence).replacing()]).await {
                Ok(_) => return Ok(next),
                Err(Fault::Raced) => {}
                Err(fault) => return Err(fault.error()),
            }
        }
        Err(busy())
    }

    /// Gives all leases up, so that their books are delivered to others at once.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.is_open()?;
        self.closed.store(true, Ordering::Release);
        let mut outcome = Ok(());
        for pile in self.piles() {
            for pack in pile.packs() {
                let mut pack = pack.lock().await;
                if let Err(error) = self.release(&mut pack).await {
                    outcome = Err(error);
                }
            }
        }
        // What is on its way is sent before the connection is dropped.
        let flushed = self.server.client.flush().await;
        let unavailable = |error| StoreError::unavailable(error, Duration::from_secs(1));
        outcome.and(flushed.map_err(unavailable))
    }
}

/// Other processes were faster too often.
fn busy() -> StoreError {
    StoreError::unavailable("other processes change the same message", Duration::from_millis(50))
}
