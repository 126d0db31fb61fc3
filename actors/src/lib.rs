//! The runtime of gopherworks: custody of books, supervision of actix actors, load balancing, and
//! the actors themselves.
//!
//! It knows no configuration files, command line or formats; the crate `gopherworks` wires it up.

mod atomic;
pub mod balancer;
pub mod book;
pub mod burn;
pub mod cart;
pub mod clock;
pub mod event;
pub mod failure;
pub mod fates;
pub mod fault;
pub mod feeder;
pub mod gopher;
pub mod incinerator;
pub mod job;
mod latch;
pub mod lease;
pub mod ledger;
mod pause;
pub mod pile;
pub mod planted;
pub mod pool;
pub mod reasons;
pub mod requester;
pub mod shelf;
pub mod slots;
pub mod source;
pub mod span;
pub mod store;
pub mod supervision;
mod threads;
pub mod trace;
pub mod transform;
pub mod worker;
pub mod works;
