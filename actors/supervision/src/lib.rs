//! Supervision of any actix actor.
//!
//! actix ends an actor that panics and tells nobody; its `Supervisor` restarts only what stopped in good order. Here a
//! [`Supervisor`] runs the lives of its [`Child`]ren one after the other: every poll of an actor is caught, its end is reported
//! whatever it died of, and a [`Policy`] decides what is started again, when, and when to give up. A [`Port`] is an address
//! that survives. Many that are alike come from a [`Template`], with [`Ports`] side by side.
//!
//! What happens to messages: one that was not delivered comes back to its sender ([`Unsent`]); one that was delivered is
//! handled, or dropped with the mailbox of the life that it was for, before that life's end is reported. So a guard in a
//! message acts in time. Nothing is sent twice.
//!
//! What it can't do: end a handler that never returns (its thread goes on; [`Exit::Hung`] only fences it), or catch two `Drop`s
//! of one life that panic, the second while the first unwinds: Rust aborts then. Keep user values in [`Guarded`].

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(panic = "abort")]
compile_error!(
    "gopherworks supervises by catching panics: it can't be built with panic = \"abort\". \
     Remove that line from the profile in Cargo.toml (and -C panic=abort from RUSTFLAGS)."
);

mod arbiters;
mod atomic;
mod catch;
mod child;
pub mod clock;
mod event;
mod exit;
pub mod failure;
pub mod fault;
mod fuzz;
mod guarded;
mod handle;
mod incarnation;
#[doc(hidden)]
pub mod latch;
mod launch;
mod listed;
mod nest;
#[doc(hidden)]
pub mod planted;
mod policy;
pub mod pool;
mod port;
mod ports;
mod pulse;
mod report;
pub mod restart;
pub mod span;
mod supervisor;
mod switch;
mod template;
#[doc(hidden)]
pub mod threads;
mod watchdog;

pub use arbiters::{ArbiterSlot, Arbiters};
pub use child::{Birth, Child, Place};
pub use event::{Heard, SupervisionEvent};
pub use exit::Exit;
pub use fuzz::Fuzz;
pub use guarded::Guarded;
pub use handle::{NotStarted, SupervisorHandle, Which};
pub use policy::{Backoff, ChildSpec, Policy, Restart, Strategy};
pub use port::{AskError, Closed, Port, Unsent};
pub use ports::Ports;
#[doc(hidden)]
pub use pulse::Home;
pub use restart::{ChildId, Outcome};
pub use supervisor::{Setup, Supervisor};
pub use switch::Strike;
pub use template::Template;

#[cfg(test)]
mod tests;
