//! The store on a real server: the laws of the contract, kills, lost leases, a full stream.

mod access;
mod conformance;
mod kill;
mod lease;
mod limits;
mod server;
mod support;
