//! The store on a real server: the laws of the contract, kills, stopped holders, cut connections.
//!
//! Each test binary starts a PostgreSQL server of its own. Where that can't be had, each test
//! writes a line with "skipped" to standard error; with `GOPHERWORKS_REQUIRE_SERVERS=1` it fails.

mod conformance;
mod cut;
mod fence;
mod kill;
mod model;
mod open;
mod server;
mod support;
