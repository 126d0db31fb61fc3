//! Opening a store: what earlier runs have left on its piles.

use std::sync::Arc;
use std::time::Duration;

use super::journal::Kept;
use crate::store::{
    Account, Backend, Checkpoint, Delivery, Depth, PileName, PileSpec, Promises, StoreError, Want,
};

/// Ids that a run reserves if some of its piles are in memory: their books are seen before an id is
/// stored with them.
const RESERVED: u64 = 1 << 32;

/// How many books of a pile are in memory, unless they are leased.
pub(crate) const WINDOW: Want = Want { books: 4096, bytes: Some(8 << 20) };

/// An open store, with the first books of its piles.
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
    /// By pile: its first books, in order.
    pub(crate) books: Vec<Vec<Delivery>>,
    /// By pile: its books that are not in memory; in a shared store, those that no process holds.
    pub(crate) rest: Vec<Rest>,
    /// By durable pile: maximum number and bytes of books in memory.
    pub(crate) windows: Vec<Want>,
}

/// Books of a pile that are in the store only.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rest {
    pub(crate) books: usize,
    pub(crate) bytes: u64,
    /// Time from opening until the first of them can be fetched; `None` if one can be fetched now.
    pub(crate) after: Option<Duration>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("store", &self.store).field("books", &self.len()).finish()
    }
}

impl Opened {
    /// Opens a store for `piles`, in the order of their keys, and reads the first books of the
    /// durable ones. Of a shared store they are fetched later, and no more than `loads` (by pile)
    /// at once, so that other processes get some; none of a pile without loads. Books are held for
    /// `lease`. Engines may block the calling thread, so it must not be called on an arbiter.
    ///
    /// # Errors
    /// Those of [`Backend::open`] and [`Backend::fetch`]. `Unsupported` if the store does not
    /// survive `kill -9`.
    pub async fn open(
        backend: Arc<dyn Backend>,
        piles: Vec<(PileName, Kept)>,
        loads: &[usize],
        lease: Duration,
    ) -> Result<Self, StoreError> {
        let promises = backend.promises();
        if !promises.kill {
            let why = "piles are kept in stores that survive kill -9 only";
            return Err(StoreError::Unsupported(why.into()));
        }
        let durable = |kept: Kept| kept == Kept::Durable;
        let specs: Vec<PileSpec> = (piles.iter())
            .filter(|(_, kept)| durable(*kept))
            .map(|(name, _)| PileSpec { lease, ..PileSpec::new(name.clone()) })
            .collect();
        let recovered = backend.open(&specs).await?;
        let all_durable = piles.iter().all(|(_, kept)| durable(*kept));
        let next_id = match all_durable && !promises.shared {
            true => recovered.next_id,
            false => backend.reserve_ids(RESERVED).await?.start,
        };
        let window = |load: &usize| match promises.shared {
            true => Want { books: (*load).min(WINDOW.books), ..WINDOW },
            false => WINDOW,
        };
        let windows: Vec<Want> = loads.iter().map(window).collect();
        let (mut books, mut rest) = (Vec::new(), Vec::new());
        let mut depths = recovered.piles.into_iter();
        for ((name, kept), window) in piles.iter().zip(&windows) {
            let (mut first, mut left) = (Vec::new(), Rest::default());
            if durable(*kept) && promises.shared {
                let depth = depths.next().unwrap_or_default();
                (left.books, left.bytes) = depth.ready();
            } else if durable(*kept) {
                let depth = depths.next().unwrap_or_default();
                if depth.books > 0 {
                    first = backend.fetch(name, *window, Duration::ZERO).await?;
                }
                let bytes = first.iter().map(|delivery| delivery.book.size()).sum();
                left.books = (depth.books as usize).saturating_sub(first.len());
                left.bytes = depth.bytes.saturating_sub(bytes);
                let rests = first.is_empty() && left.books > 0;
                left.after = rests.then(|| depth.next_due.unwrap_or_default());
            }
            books.push(first);
            rest.push(left);
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
            rest,
            windows,
        })
    }

    /// Forgets the stored position of a source, so that it is read anew.
    ///
    /// # Errors
    /// Those of [`Backend::rewind`].
    pub async fn rewind(&mut self, source: &str) -> Result<(), StoreError> {
        self.backend.rewind(source).await?;
        self.positions.retain(|at| *at.source != *source);
        Ok(())
    }

    /// What the store promises.
    pub fn promises(&self) -> Promises {
        self.backend.promises()
    }

    /// Number of books on the durable piles, of a store that no other process uses.
    pub fn len(&self) -> usize {
        if self.promises().shared {
            return 0;
        }
        let rest: usize = self.rest.iter().map(|rest| rest.books).sum();
        self.books.iter().map(Vec::len).sum::<usize>() + rest
    }

    /// True if [`Opened::len`] is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
