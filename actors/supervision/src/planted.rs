//! Defects on purpose, so that those who look for defects can be tested: does the auditor see them, does a sweep find them, how small are they
//! made? There is nothing of it in a build without the feature `planted`.

#[cfg(feature = "planted")]
use std::sync::atomic::{AtomicU8, Ordering};

/// A defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Defect {
    /// A store takes what a dying carrier leaves behind for done.
    StoreAcksEarly = 1,
    /// A cart that was on its way to a gopher that has just died is forgotten.
    GopherForgetsCart,
    /// A request that was begun again is answered twice.
    BalancerAnswersTwice,
    /// A dump does not hear of what came for it while nobody was there.
    DumpLosesWakeUp,
}

#[cfg(feature = "planted")]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants a defect in the whole process, or takes it out again.
#[cfg(feature = "planted")]
pub fn plant(defect: Option<Defect>) {
    PLANTED.store(defect.map_or(0, |defect| defect as u8), Ordering::SeqCst);
}

/// True where this defect is planted.
#[cfg(feature = "planted")]
pub fn has(defect: Defect) -> bool {
    PLANTED.load(Ordering::Relaxed) == defect as u8
}

/// Nothing is planted here.
#[cfg(not(feature = "planted"))]
pub const fn has(_: Defect) -> bool {
    false
}
