//! Load balancing: dispatches requests to a set of supervised workers and returns each reply to
//! its caller.
//!
//! Requests are stored in a [`desk::Desk`], outside of all actors; messages are only wake-ups. A
//! request is therefore never lost or answered twice when an actor dies: the caller gets exactly
//! one reply or a [`CallError`].

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod actor;
mod backlog;
mod builder;
mod call;
mod cell;
mod core;
pub mod desk;
pub mod figures;
mod handle;
mod heap;
mod lane;
mod nested;
mod parts;
pub mod policy;
mod recipient;
pub mod resilience;
mod room;
#[cfg(test)]
mod tests;
mod ticket;
pub mod trace;
pub mod worker;

pub use self::actor::{Balancer, Look};
pub use self::builder::{Builder, children};
pub use self::call::{Call, CallError};
pub use self::core::BalancerCore;
pub use self::handle::BalancerHandle;
pub use self::nested::NESTED_WITHIN;
pub use self::parts::{Again, Cost, MakeWorker, Parts, Settings};
pub use self::recipient::{Ask, Doorman};
pub use self::resilience::{CallOptions, Priority};

pub(crate) use self::lane::{Idle, Recalled};
pub(crate) use self::nested::on_behalf_of;
pub(crate) use self::ticket::{Presence, Ticket};
