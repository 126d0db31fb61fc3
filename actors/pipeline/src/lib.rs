//! Pipelines of gopherworks: books, their custody, and the actors that move and burn them.
//!
//! It knows no configuration files, command line or formats; the crate `gopherworks` wires it up.

pub mod asking;
pub mod book;
pub mod burn;
pub mod crew;
pub mod custody;
pub mod event;
pub mod feeder;
pub mod gopher;
pub mod incinerator;
pub mod job;
mod pause;
pub mod pile;
pub mod reasons;
pub mod requester;
pub mod source;
pub mod stats;
pub mod trace;
pub mod transform;
pub mod works;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
