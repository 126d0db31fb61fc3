//! Opening a store: what earlier runs have left on its piles.

use std::sync::Arc;
use std::time::Duration;

use super::journal::Kept;
use crate::custody::PileKey;
use crate::store::{
    Account, Backend, Checkpoint, Delivery, Depth, PileName, PileSpec, Promises, Reply, StoreError,
    Want,
};

/// Ids that a run reserves if some of its piles are in memory: their books are seen before an id is
/// stored with them.
const RESERVED: u64 = 1 << 32;

/// How much is read at once.
const CHUNK: Want = Want { books: 4096, bytes: Some(16 << 20) };

/// An open store, with the books of its piles.
pub struct Opened {
    /// The engine, open.
    pub(crate) backend: Arc<dyn Backend>,
    /// Name of each pile, by key, and how it is kept.
    pub(crate) piles: Vec<(PileName, Kept)>,
    /// A name that no other store has.
    pub store: Arc<str>,
    /// Positions of sources.
    pub positions: Vec<Checkpoint>,
    /// Piles that the store has and the caller has not named.
    pub orphans: Vec<(PileName, Depth)>,
    /// The account over all runs, if the store keeps it.
    pub account: Option<Account>,
    /// First id of this run.
    pub(crate) next_id: u64,
    /// By pile: its books, in order.
    pub(crate) books: Vec<Vec<Delivery>>,
    /// Books that rest until a time.
    pub(crate) late: Vec<Late>,
}

/// Books of a pile that can't be fetched yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Late {
    pub(crate) pile: PileKey,
    pub(crate) books: usize,
    /// When the first one can be, from the opening or the last fetch.
    pub(crate) after: Duration,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("store", &self.store).field("books", &self.len()).finish()
    }
}

impl Opened {
    /// Opens a store for `piles`, in the order of their keys, and reads the books of the durable
    /// ones. Blocks, so it must not be called on an arbiter.
    ///
    /// # Errors
    /// Those of [`Backend::open`] and [`Backend::fetch`]. `Unsupported` if the store does not
    /// survive `kill -9`, or is shared by processes.
    pub fn open(
        backend: Arc<dyn Backend>,
        piles: Vec<(PileName, Kept)>,
    ) -> Result<Self, StoreError> {
        let promises = backend.promises();
        if !promises.kill || promises.shared {
            let why = "piles are kept in exclusive stores that survive kill -9 only";
            return Err(StoreError::Unsupported(why.into()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StoreError::Other(error.to_string().into()))?;
        let wait = Wait(&runtime);
        let durable = |kept: Kept| kept == Kept::Durable;
        let specs: Vec<PileSpec> = (piles.iter())
            .filter(|(_, kept)| durable(*kept))
            .map(|(name, _)| PileSpec::new(name.clone()))
            .collect();
        let recovered = wait.on(backend.open(&specs))?;
        let next_id = match piles.iter().all(|(_, kept)| durable(*kept)) {
            true => recovered.next_id,
            false => wait.on(backend.reserve_ids(RESERVED))?.start,
        };
        let (mut books, mut late) = (Vec::new(), Vec::new());
        for (key, (name, kept)) in (0..).map(PileKey).zip(&piles) {
            let mut all = Vec::new();
            if durable(*kept) {
                late.extend(fetch(&wait, &*backend, (key, name), &mut all)?);
            }
            books.push(all);
        }
        Ok(Self {
            store: recovered.store,
            positions: recovered.positions,
            orphans: recovered.orphans,
            account: recovered.account,
            backend,
            piles,
            next_id,
            books,
            late,
        })
    }

    /// What the store promises.
    pub fn promises(&self) -> Promises {
        self.backend.promises()
    }

    /// Number of books on the durable piles.
    pub fn len(&self) -> usize {
        let late: usize = self.late.iter().map(|late| late.books).sum();
        self.books.iter().map(Vec::len).sum::<usize>() + late
    }

    /// True if the durable piles are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Waits for answers of a store.
pub(super) struct Wait<'a>(pub(super) &'a tokio::runtime::Runtime);

impl Wait<'_> {
    pub(super) fn on<T>(&self, reply: Reply<'_, T>) -> T {
        self.0.block_on(reply)
    }
}

/// Reads all books of a pile that can be had now; returns what is left.
pub(super) fn fetch(
    wait: &Wait<'_>,
    backend: &dyn Backend,
    (pile, name): (PileKey, &PileName),
    books: &mut Vec<Delivery>,
) -> Result<Option<Late>, StoreError> {
    loop {
        let more = wait.on(backend.fetch(name, CHUNK, Duration::ZERO))?;
        if more.is_empty() {
            break;
        }
        books.extend(more);
    }
    let depth = wait.on(backend.depth(name))?;
    let left = depth.books.saturating_sub(depth.held) as usize;
    Ok(depth.next_due.filter(|_| left > 0).map(|after| Late { pile, books: left, after }))
}
