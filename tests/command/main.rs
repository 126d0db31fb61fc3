//! The command as a user runs it.

mod archive;
mod bad_input;
mod balancers;
mod chaos;
mod dead;
#[cfg(feature = "sqlite")]
mod dead_stores;
mod disk_full;
mod documents;
mod graph;
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod jobs;
#[cfg(feature = "http")]
mod keys;
mod many;
#[cfg(feature = "http")]
mod operations;
mod output_folders;
#[cfg(feature = "sqlite")]
mod piles;
mod pipes;
mod programs;
mod reload;
mod remember;
mod run;
mod schema;
mod served;
mod service;
#[cfg(feature = "postgres")]
mod shared_stores;
mod signals;
mod simulate;
#[cfg(feature = "sqlite")]
mod stores;
#[cfg(all(feature = "jetstream", feature = "postgres", feature = "sqlite"))]
mod streams;
#[path = "../support/mod.rs"]
mod support;
mod tap;
mod top;
mod widths;
