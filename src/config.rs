//! Reading the config language.

pub mod schema;
