//! The config language: files that extend files, and the JSON Schema.

mod extends;
mod schema;
