//! gopherworks.

pub use gopherworks_actors as actors;

pub mod catalog;
pub mod config;
pub mod dead;
pub mod plan;
pub mod report;
pub mod topology;
