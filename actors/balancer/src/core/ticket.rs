//! Guards of a running copy and of a worker's incarnation: whatever dies, their drops report it,
//! so no other recovery code is needed.

use std::sync::Arc;

use super::BalancerCore;
use super::reply_slot::ReplySlot;
use crate::table::Ref;
use crate::worker::Work;
use gopherworks_supervision::Guarded;
use gopherworks_supervision::clock::Time;

/// A running copy of a request. Dropped without a reply, it is reported lost without charging an
/// attempt.
pub(crate) struct Ticket<W: Work> {
    pub(crate) core: Arc<BalancerCore<W>>,
    pub(crate) which: Ref,
    pub(crate) worker: usize,
    pub(crate) epoch: u64,
    pub(crate) began: Time,
    pub(crate) reply_slot: Arc<ReplySlot<W::Reply>>,
    /// Mask of the balancers that wait for it, this one included.
    pub(crate) behalf: u64,
    pub(crate) open: bool,
}

impl<W: Work> Ticket<W> {
    pub(crate) fn behalf(&self) -> u64 {
        self.behalf
    }

    pub(crate) fn reply_slot(&self) -> &Arc<ReplySlot<W::Reply>> {
        &self.reply_slot
    }

    /// The request is done or given up; `at_once` if its future never returned pending.
    pub(crate) fn saw(&self, at_once: bool) {
        self.core.saw(at_once);
    }

    /// Reports the reply.
    pub(crate) fn answer(mut self, reply: Guarded<W::Reply>) {
        self.open = false;
        self.core.clone().answer(&self, reply);
    }

    /// The reply is no longer wanted: frees the slot.
    pub(crate) fn give_back(self) {}

    /// Reports that the request made its worker panic, which costs an attempt.
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

/// The presence of a worker's incarnation, from when it is ready until it ends.
pub(crate) struct Presence<W: Work> {
    core: Arc<BalancerCore<W>>,
    worker: usize,
    epoch: u64,
}

impl<W: Work> Presence<W> {
    /// `None` if a later incarnation was up before.
    pub(crate) fn new(core: Arc<BalancerCore<W>>, worker: usize, epoch: u64) -> Option<Self> {
        core.up(worker, epoch).then(|| Self { core, worker, epoch })
    }
}

impl<W: Work> Drop for Presence<W> {
    fn drop(&mut self) {
        self.core.down(self.worker, self.epoch);
    }
}
