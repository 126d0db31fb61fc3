//! Coalesces the wake-ups of many producers into one.
//!
//! A producer leaves an item and then closes the latch. The producer that finds it open sends the
//! wake-up; the others need not, because the consumer has not looked yet. The consumer opens the
//! latch *before* it looks, so an item left after that look closes it again. Opening it after the
//! look loses wake-ups.

use crate::atomic::{AtomicBool, Ordering};

/// A wake-up latch; see the module documentation.
#[derive(Debug, Default)]
pub struct Latch(AtomicBool);

impl Latch {
    /// An open latch.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Closes the latch after an item was left. True if it was open: the caller must then send the
    /// wake-up.
    #[inline]
    pub fn close(&self) -> bool {
        // Not preceded by a plain load: the opener must observe the item that was left.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Opens the latch: before the consumer looks, or because the wake-up could not be sent.
    #[inline]
    pub fn open(&self) {
        // A swap, so that it observes the items of all producers that found the latch closed.
        self.0.swap(false, Ordering::AcqRel);
    }
}
