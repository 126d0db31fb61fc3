//! The runtime of gopherworks: custody of books, supervision of actix actors, load balancing, and
//! the actors themselves.
//!
//! It knows no configuration files, command line or formats; the crate `gopherworks` wires it up.

pub mod book;
pub mod burn;
pub mod cart;
pub mod event;
pub mod fates;
pub mod feeder;
pub mod gopher;
pub mod incinerator;
pub mod job;
pub mod lease;
pub mod ledger;
mod pause;
pub mod pile;
pub mod reasons;
pub mod requester;
pub mod shelf;
pub mod slots;
pub mod source;
pub mod store;
pub mod trace;
pub mod transform;
pub mod works;

pub use gopherworks_balancer as balancer;
pub use gopherworks_supervision as supervision;
#[doc(hidden)]
pub use gopherworks_supervision::planted;
pub use gopherworks_supervision::{clock, failure, fault, pool, span};
use gopherworks_supervision::{latch, threads};
