//! Guards: a copy that runs, and a worker's life. What a drop can do needs no recovery.

use std::sync::Arc;

use super::BalancerCore;
use super::cell::Cell;
use super::desk::Ref;
use crate::clock::Time;
use crate::supervision::Guarded;
use crate::worker::Work;

/// A copy of a request that a worker has begun. Dropped unanswered, it is lost, and nobody is charged.
pub(crate) struct Ticket<W: Work> {
    pub(super) core: Arc<BalancerCore<W>>,
    pub(super) which: Ref,
    pub(super) worker: usize,
    pub(super) epoch: u64,
    pub(super) began: Time,
    pub(super) cell: Arc<Cell<W::Reply>>,
    /// The balancers that wait for it, this one among them.
    pub(super) behalf: u64,
    pub(super) open: bool,
}

impl<W: Work> Ticket<W> {
    pub(crate) fn behalf(&self) -> u64 {
        self.behalf
    }

    pub(crate) fn cell(&self) -> &Arc<Cell<W::Reply>> {
        &self.cell
    }

    /// It was done, or given up, without waiting or not.
    pub(crate) fn saw(&self, at_once: bool) {
        self.core.saw(at_once);
    }

    /// The answer.
    pub(crate) fn answer(mut self, reply: Guarded<W::Reply>) {
        self.open = false;
        self.core.clone().answer(&self, reply);
    }

    /// Nobody wants it any more: the place is free.
    pub(crate) fn give_back(self) {}

    /// It was the end of its worker.
    pub(crate) fn charge(mut self, text: &str) {
        self.open = false;
        self.core.lost(&self, true, &format!("panicked: {text}"));
    }
}

impl<W: Work> Drop for Ticket<W> {
    fn drop(&mut self) {
        if self.open {
            let core = self.core.clone();
            core.lost(self, false, "it ended before it had answered");
        }
    }
}

/// A worker's life, from when it can work to its end.
pub(crate) struct Presence<W: Work> {
    core: Arc<BalancerCore<W>>,
    worker: usize,
    epoch: u64,
}

impl<W: Work> Presence<W> {
    /// `None` where a later life was there before.
    pub(crate) fn new(core: Arc<BalancerCore<W>>, worker: usize, epoch: u64) -> Option<Self> {
        core.up(worker, epoch).then(|| Self {
            core,
            worker,
            epoch,
        })
    }
}

impl<W: Work> Drop for Presence<W> {
    fn drop(&mut self) {
        self.core.down(self.worker, self.epoch);
    }
}
