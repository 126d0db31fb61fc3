//! The config language: files that extend files, the JSON Schema, and the reference page.

mod extends;
#[cfg(feature = "http")]
mod reference;
mod schema;
