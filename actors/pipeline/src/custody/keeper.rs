//! The keeper: writes changes of custody to a store that survives the process.
//!
//! Custody decides in memory and at once. Each change of a durable pile is handed to the
//! `journal`, in order; the keeper's thread commits all that came while the last commit was
//! synced. A new book is handed out only once it is stored; everything else is written behind, so
//! that after a crash a book is where it was last written: never later than where it was.
//!
//! Of a deep pile only a window is in memory. The keeper fetches more when less than half of it is
//! left; what comes to a pile with books behind its window is stored behind them.

mod answer;
mod batch;
mod change;
mod core;
mod journal;
mod open;
mod receipts;
#[cfg(test)]
mod tests;
mod thread;
mod times;

pub(crate) use answer::{Stored, Unfit};
pub(crate) use change::{Arrived, BookIds, Change, Known, RefusedOffer, Then};
pub(crate) use core::Limits;
pub(crate) use journal::Journal;
pub use journal::Kept;
pub use open::Opened;
pub use thread::KeeperHooks;
pub(crate) use thread::{LOOK, start};
