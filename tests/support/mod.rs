//! Helpers for the tests of whole topologies.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod command;
pub mod designs;
pub mod kinds;
#[cfg(feature = "http")]
pub mod load;
#[cfg(feature = "http")]
pub mod upstream;
pub mod virtual_time;
pub mod watchdog;
