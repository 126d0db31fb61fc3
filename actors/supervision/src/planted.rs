//! Deliberate defects to test the tools that detect defects: the auditor, the sweep over seeds, and
//! the minimiser. Without the feature `planted` no defect can be enabled.

#[cfg(feature = "planted")]
use std::sync::atomic::{AtomicU8, Ordering};

/// A deliberate defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Defect {
    /// A store acknowledges books that a dying carrier did not settle.
    StoreAcksEarly = 1,
    /// A cart in flight to a gopher that has just died is lost.
    GopherForgetsCart,
    /// A retried request is answered twice.
    BalancerAnswersTwice,
    /// A dump misses the wake-up for books that arrived while its actor was not running.
    DumpLosesWakeUp,
    /// The keeper stores acks of books whose sink is not synced.
    KeeperAcksUnsynced,
    /// The keeper stores the position of a source in a commit of its own, after the books.
    KeeperSplitsPositions,
    /// The keeper does not fence: carts continue with books whose leases expire.
    KeeperFencesNothing,
    /// The keeper does not repeat a commit whose outcome is not known.
    KeeperForgets,
    /// The keeper does not remember the outcome of a book whose ack came after its lease was lost.
    KeeperForgetsLost,
    /// The keeper hands out a redelivered book that is in this process already.
    KeeperTakesTwice,
    /// The store keeps the part of a torn commit that was written.
    StoreKeepsTorn,
}

#[cfg(feature = "planted")]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Enables a defect for the whole process; `None` disables it.
#[cfg(feature = "planted")]
pub fn plant(defect: Option<Defect>) {
    PLANTED.store(defect.map_or(0, |defect| defect as u8), Ordering::SeqCst);
}

/// True if this defect is enabled.
#[cfg(feature = "planted")]
pub fn has(defect: Defect) -> bool {
    PLANTED.load(Ordering::Relaxed) == defect as u8
}

/// Always false: no defect can be enabled in this build.
#[cfg(not(feature = "planted"))]
pub const fn has(_: Defect) -> bool {
    false
}
