//! Load balancing: dispatches requests to supervised workers and returns each reply to its caller.
//!
//! Requests are stored in a table outside of all actors; messages are only wake-ups. A
//! request is therefore never lost or answered twice when an actor dies: the caller gets exactly
//! one reply or a [`CallError`].

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod builder;
mod core;
pub mod figures;
mod handle;
pub mod policy;
mod recipient;
pub mod resilience;
mod table;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod worker;

pub use self::builder::Builder;
pub use self::core::{Balancer, Call, CallError, NESTED_WITHIN};
pub use self::handle::BalancerHandle;
pub use self::recipient::Ask;
pub use self::resilience::{CallOptions, Priority};

/// Internals for the other crates of gopherworks; exempt from semantic versioning.
#[doc(hidden)]
pub mod __private {
    pub use crate::builder::children;
    pub use crate::core::{Again, BalancerCore, Cost, MakeWorker, Parts, Settings};
    pub use crate::table::times::{histogram, record};
    pub use crate::table::{RequestTable, RequestVerdict, Rules, Terms};
}
