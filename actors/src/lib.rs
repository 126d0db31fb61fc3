//! Everything of gopherworks that runs: custody of books, supervision of actix actors, and the actors themselves.
//!
//! This crate knows no files of configuration, no command line and no formats; the crate `gopherworks` wires it up.

pub mod book;
pub mod burn;
pub mod clock;
pub mod failure;
pub mod gopher;
pub mod source;
pub mod supervision;
pub mod transform;
