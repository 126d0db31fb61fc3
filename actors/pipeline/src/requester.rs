//! The requester, which sends requests to a balancer at the rate of its load.
//!
//! Requests in flight are kept outside its actor, so a requester that dies loses no reply: its
//! next incarnation continues.

mod actor;
mod core;
pub mod load;
mod outside;
mod requests;
#[cfg(test)]
mod tests;

pub use self::actor::Requester;
pub use self::core::{FailureCallback, RequesterCore, RequesterParts, Unanswered};
pub use outside::Asker;
