//! One wake-up for many who want somebody to look.
//!
//! Whoever leaves something for another and then wants it to look closes the latch: the first who does sends the wake-up, the others need not, since
//! it has not looked yet. Who looks opens the latch *before* the look: what is left after that look closes it anew. Opened after the look, a
//! latch loses wake-ups.

use crate::atomic::{AtomicBool, Ordering};

/// See the module.
#[derive(Debug, Default)]
pub struct Latch(AtomicBool);

impl Latch {
    /// Open.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Closes it, after something was left to be found: true if it was open, and the wake-up has to be sent.
    pub fn close(&self) -> bool {
        // Not a plain load first: what was left has to be seen by who opens it.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Opens it, before looking; or because the wake-up could not be sent.
    pub fn open(&self) {
        // A swap, so that it sees what was left by all who found the latch closed.
        self.0.swap(false, Ordering::AcqRel);
    }
}
