//! Supervision of any actix actor.
//!
//! When an actor panics, actix drops it without notifying anything; actix's own `Supervisor`
//! restarts only actors that stopped normally. Here a [`Supervisor`] runs the successive lives of
//! its [`Child`]ren: every poll of an actor is caught, its end is reported whatever the cause, and
//! a [`RestartPolicy`] decides what is restarted, when, and when to give up. A [`Port`] is an
//! address that survives restarts. A [`Template`] starts many identical children, reached through
//! [`Ports`].
//!
//! Messages: an undelivered message is returned to its sender ([`Unsent`]). A delivered message is
//! handled, or is dropped with the mailbox of that life before the end of the life is reported, so
//! a guard in a message runs in time. No message is sent twice.
//!
//! Limits: a handler that never returns cannot be ended ([`Exit::Hung`] only fences it; its thread
//! keeps running). Two `Drop`s of one life that both panic, the second while the first unwinds,
//! make Rust abort; keep user values in [`Guarded`] to prevent that.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(panic = "abort")]
compile_error!(
    "gopherworks supervises by catching panics: it can't be built with panic = \"abort\". \
     Remove that line from the profile in Cargo.toml (and -C panic=abort from RUSTFLAGS)."
);

mod arbiters;
mod atomic;
mod catch;
mod child;
mod child_list;
pub mod clock;
mod event;
mod exit;
pub mod failure;
pub mod fault;
mod fuzz;
mod guarded;
mod handle;
mod heartbeat;
mod incarnation;
mod latch;
mod launch;
mod nested;
mod panic;
mod planted;
mod policy;
pub mod pool;
mod port;
mod ports;
mod report;
mod restart;
pub mod span;
mod supervisor;
mod switch;
mod template;
mod threads;
mod watchdog;

pub use arbiters::{ArbiterSlot, Arbiters};
pub use child::{Birth, Child, ChildThread};
pub use event::{EventListener, SupervisionEvent};
pub use exit::Exit;
pub use fuzz::Fuzz;
pub use guarded::Guarded;
pub use handle::{NotStarted, SupervisorHandle, Which};
pub use policy::{Backoff, ChildSpec, Restart, RestartPolicy, Strategy};
pub use port::{AskError, Closed, Port, Unsent};
pub use ports::Ports;
pub use restart::{ChildId, SupervisorOutcome};
pub use supervisor::{Setup, Supervisor};
pub use switch::Strike;
pub use template::Template;

/// Internals for the other engine crates of gopherworks; exempt from semantic versioning.
#[doc(hidden)]
pub mod __private {
    pub use crate::heartbeat::WatchedLife;
    pub use crate::latch::Latch;
    pub use crate::panic::{die, guarded};
    pub use crate::restart::{RestartAction, Restarts};
    pub use crate::threads::{CachePadded, Count, PerThread};

    pub mod planted {
        pub use crate::planted::*;
    }

    pub mod threads {
        pub use crate::threads::number;
    }
}

#[cfg(test)]
mod tests;
