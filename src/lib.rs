//! gopherworks moves work with supervised actix actors.
//!
//! A *topology* is a drawing: piles and dumps (queues), incinerators (sinks), and crews of gophers
//! that carry carts of books between them. It comes from a TOML file or from a builder;
//! [`topology::Topology::start`] wires it up inside a running actix system, a supervisor restarts
//! what fails, and nothing is lost.
//!
//! ```
//! use gopherworks::{Book, Catalog, Topology, TopologyConfig};
//!
//! #[actix::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut catalog = Catalog::standard();
//!     catalog.add_burn_fn("shout", "Prints a book", |book: &Book| {
//!         println!("{:?}", book.body);
//!         Ok(())
//!     });
//!     let config = TopologyConfig::builder("greeting")
//!         .pile("desk", |pile| pile)
//!         .incinerator("mouth", |fire| fire.burn("shout"))
//!         .crew("crew", "desk", "mouth", |crew| crew.gophers(1, "load push unload return"))
//!         .build();
//!     let running = Topology::from_config(&config, &catalog)?.start().await?;
//!     running.offer("desk", vec![Book::new("hello"), Book::new("world")]).await?;
//!     let report = running.drain(None).await;
//!     assert_eq!(report.ledger.burned, 2);
//!     assert!(report.ledger.balances());
//!     Ok(())
//! }
//! ```
//!
//! # What it guarantees
//!
//! While the process lives, no book is lost and none is burned twice (by its id), whatever actor
//! dies: custody of books stands outside the actors. A burn that had begun on a thread that never
//! returns can't be called back, so outside effects should be idempotent by the book's id or name,
//! as those of the shipped `files` burn are. Memory is not a disk: a killed process loses what its
//! piles held, and sources that remember (`files`) offer it again in the next run.

pub use gopherworks_actors as actors;
pub use gopherworks_actors::supervision;

pub mod catalog;
pub mod chaos;
pub mod compare;
pub mod config;
pub mod dead;
pub mod graph;
#[cfg(feature = "http")]
mod http;
pub mod plan;
pub mod private;
pub mod report;
pub mod simulate;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod topology;
pub mod verdict;
#[cfg(feature = "actix-web")]
pub mod web;

pub use catalog::Catalog;
pub use config::schema::TopologyConfig;
pub use gopherworks_actors::book::{Body, Book, BookId};
pub use gopherworks_actors::event::Event;
pub use gopherworks_actors::failure::Failure;
pub use report::Report;
pub use topology::{RunningTopology, Topology};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(all(doctest, feature = "actix-web"))]
#[doc = include_str!("../docs/embedding.md")]
struct Embedding;

#[cfg(doctest)]
#[doc = include_str!("../docs/supervision.md")]
struct Supervision;

#[cfg(all(doctest, feature = "test-util"))]
#[doc = include_str!("../docs/faults.md")]
struct Faults;
