//! Ownership of a source that several processes could read: the owner reads on from the stored
//! position, and the store refuses its books once its token is not the latest.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use super::outbox::{Outbox, Rows};
use super::resume::Prepared;
use super::{FeederCore, Reader};
use crate::source::Source;
use crate::store::{Checkpoint, Ownership};
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::failure::Failure;

/// Creates a source from its beginning.
pub type MakeSource = Box<dyn Fn() -> Result<Box<dyn Source>, Failure> + Send + Sync>;

/// What a feeder needs to own its source.
pub(super) struct Claim {
    make: MakeSource,
    owned: AtomicBool,
    /// True once the source was closed: it is not read again in this run.
    closed: AtomicBool,
    /// The store knows that this process does not read it any more.
    released: AtomicBool,
}

impl Claim {
    pub(super) fn new(make: MakeSource) -> Self {
        Self {
            make,
            owned: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            released: AtomicBool::new(false),
        }
    }

    pub(super) fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl FeederCore {
    /// Number of shares of the source; `None` if no other process could read it.
    pub fn shares(&self) -> Option<u32> {
        self.claim.as_ref().map(|_| self.outboxes.len() as u32)
    }

    /// True unless other processes could read the source and this one does not own it.
    pub fn is_owned(&self) -> bool {
        self.claim.as_ref().is_none_or(|claim| claim.owned.load(Ordering::Acquire))
    }

    /// True if the source has ended or was closed, and no book that was read waits for its pile.
    pub fn is_exhausted(&self) -> bool {
        self.has_ended() && (0..self.outboxes.len()).all(|share| self.outbox(share).books == 0)
    }

    /// True if the source was read to its end.
    pub fn was_read_to_end(&self) -> bool {
        self.over.iter().all(|over| over.load(Ordering::Acquire))
    }

    /// The store knows that this process does not read the source any more: its piles may close.
    pub fn release(&self) {
        self.claim.iter().for_each(|claim| claim.released.store(true, Ordering::Release));
        self.ring();
    }

    /// Continues at the positions of `owned`, which has one token per share. Blocks while the
    /// source is created.
    ///
    /// # Errors The source can't be created, or can't continue at the position.
    pub fn take_over(&self, owned: &[Ownership]) -> Result<(), Failure> {
        let Some(claim) = &self.claim else {
            return Ok(());
        };
        let panicked = |text| Err(Failure::permanent(format!("panicked: {text}")));
        let source = guarded(|| (claim.make)()).unwrap_or_else(panicked)?;
        let stored = (0..).zip(owned).filter_map(|(share, own)| {
            let position = own.position.clone()?;
            let source = self.name.as_str().into();
            Some(Checkpoint { source, share, position, adds: false, owner: own.token })
        });
        let stored: Vec<Checkpoint> = stored.collect();
        let piles = self.outboxes.len();
        let prepared = Prepared::of(&self.name, source, piles, Some(&stored))?;
        if prepared.sources.len() != self.readers.len() {
            return Err(Failure::permanent("it can be split at some times only"));
        }
        let readers =
            self.readers.iter().map(|it| it.lock().unwrap_or_else(PoisonError::into_inner));
        let mut readers: Vec<_> = readers.collect();
        let mut outboxes: Vec<_> = (0..piles).map(|share| self.outbox(share)).collect();
        if self.has_ended() {
            return Ok(());
        }
        let sources = prepared.sources.into_iter().zip(prepared.starts.readers);
        for (reader, (source, read)) in readers.iter_mut().zip(sources) {
            **reader = Reader::at(source, read, piles, true);
        }
        for ((outbox, progress), own) in outboxes.iter_mut().zip(prepared.starts.shares).zip(owned)
        {
            let progress = progress.filter(|_| self.keeps_place).map(Box::new);
            **outbox = Outbox::new(progress, own.token);
        }
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = Rows::new(self.readers.len());
        self.over.iter().for_each(|over| over.store(false, Ordering::Release));
        claim.owned.store(true, Ordering::Release);
        drop((outboxes, readers));
        self.ring();
        self.ask();
        Ok(())
    }

    /// Stops reading if the owner that stored this position is this process, see
    /// [`FeederCore::give_up`].
    pub fn disowned(&self, at: &Checkpoint) {
        let is_mine = (at.share as usize) < self.outboxes.len()
            && self.outbox(at.share as usize).owner == at.owner;
        if is_mine {
            self.give_up();
        }
    }

    /// Stops reading, since another process may own the source: books that were read and not yet
    /// put are dropped. A later take-over continues at the stored position.
    pub fn give_up(&self) {
        let Some(claim) = &self.claim else {
            return;
        };
        let mut outboxes: Vec<_> = (0..self.outboxes.len()).map(|at| self.outbox(at)).collect();
        claim.owned.store(false, Ordering::Release);
        let unread: Vec<Outbox> =
            outboxes.iter_mut().map(|outbox| std::mem::take(&mut **outbox)).collect();
        // The source may have further books for another process or a later owner.
        if !claim.closed.load(Ordering::Acquire) {
            self.ended.store(false, Ordering::Release);
        }
        drop((outboxes, unread));
    }
}
