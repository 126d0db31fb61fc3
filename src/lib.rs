//! Pipelines and load balancers of supervised actix actors.
//!
//! A *topology* consists of piles and dumps (queues), incinerators (sinks), crews of gophers that
//! carry carts of books between them, and requesters that call balancers with workers. It comes
//! from a TOML file or a builder and runs inside an actix system; a supervisor restarts what fails.
//!
//! # Where to begin
//!
//! - **To embed it in an application**, build a [`TopologyConfig`], add your own work to a
//!   [`Catalog`] and start a [`Topology`], as below. Balancers and supervision can be used alone:
//!   see [`balancer`] and [`supervision`]. The feature `actix-web` adds `web`: health, metrics,
//!   snapshots and shutdown in order.
//! - **To deploy a file**, use the command: `gopherworks run FILE`, or `gopherworks schema` for
//!   editors. From Rust, [`Topology::from_file`] reads it; [`config`] has layers, overrides and
//!   diagnostics.
//! - **To test against faults**, use `testing` (feature `test-util`): it runs your actors and
//!   topologies under seeds, schedules and faults in virtual time. [`verdict`] and [`chaos`] judge
//!   runs of files with `[faults]` and `[expect]`.
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
//! # Guarantees
//!
//! While the process lives, no book is lost and none is burned twice (by its id), whichever actor
//! dies: books are kept outside the actors. A burn in progress on a thread that never returns can't
//! be cancelled, so side effects must be idempotent by the book's id or name; those of the `files`
//! burn are. Without `[store]` piles are in memory: a killed process loses them, and sources with a
//! state (`files`) offer those books again in the next run.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `cli` | yes | the command; config errors with their lines; implies `simulate` |
//! | `files` | yes | the source and the burn `files` |
//! | `sqlite` | yes | `[store]` with piles in SQLite (needs a C compiler) |
//! | `jetstream` | no | `[store]` with piles in NATS JetStream (needs a C compiler) |
//! | `postgres` | no | `[store]` with piles in PostgreSQL (needs a C compiler) |
//! | `gzip`, `zstd` | yes | the works `gzip`, `gunzip`; `zstd`, `unzstd` (needs a C compiler) |
//! | `http` | yes | the kinds `http` (needs a C compiler); implies `actix-web` |
//! | `actix-web` | by `http` | `web`, for an actix-web application |
//! | `simulate` | by `cli` | runs in virtual time and with faults: `simulate`, `verdict` |
//! | `test-util` | no | `testing`, for tests of your own actors; implies `simulate` |

#![cfg_attr(docsrs, feature(doc_cfg))]

pub use gopherworks_balancer as balancer;
pub use gopherworks_pipeline as pipeline;
pub use gopherworks_supervision as supervision;

pub mod catalog;
#[cfg(feature = "simulate")]
pub mod chaos;
#[cfg(feature = "simulate")]
pub mod compare;
pub mod config;
pub mod dead;
pub mod diagram;
mod glob;
#[cfg(feature = "http")]
mod http;
mod loaded;
pub mod plan;
pub mod private;
pub mod report;
#[cfg(feature = "simulate")]
pub mod simulate;
#[cfg(feature = "test-util")]
pub mod testing;
pub mod topology;
#[cfg(feature = "simulate")]
pub mod verdict;
#[cfg(feature = "actix-web")]
pub mod web;

pub use catalog::Catalog;
pub use config::elements::TopologyConfig;
pub use gopherworks_pipeline::Event;
pub use gopherworks_pipeline::book::{Body, Book, BookId};
pub use gopherworks_supervision::failure::Failure;
pub use loaded::Loaded;
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
