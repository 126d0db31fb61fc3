//! The requester: asks a balancer, as often as its load says.
//!
//! What it has under way is kept outside of its actor, so a requester that dies loses no answer: the next life goes on.

mod actor;
mod core;
pub mod load;
mod outside;
#[cfg(test)]
mod tests;
mod way;

pub use self::actor::Requester;
pub use self::core::{Asked, RequesterCore, RequesterParts, Told, Unanswered};
pub use outside::Asker;
