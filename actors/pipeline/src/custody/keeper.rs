//! The keeper: writes changes of custody to a store that survives the process.
//!
//! Custody decides in memory and at once. Each change of a durable pile is handed to the
//! `journal`, in order; the keeper's thread commits all that came while the last commit was
//! synced. A new book is handed out only once it is stored; everything else is written behind, so
//! that after a crash a book is where it was last written: never later than where it was.

mod batch;
mod change;
mod core;
mod journal;
mod open;
#[cfg(test)]
mod tests;
mod thread;

pub(crate) use batch::Stored;
pub(crate) use change::{Arrived, BookIds, Change, Then};
pub(crate) use core::Limits;
pub(crate) use journal::Journal;
pub use journal::Kept;
pub use open::Opened;
pub use thread::KeeperHooks;
pub(crate) use thread::start;
