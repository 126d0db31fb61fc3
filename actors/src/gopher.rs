//! The gopher.

pub mod steps;
