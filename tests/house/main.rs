//! The sources and the examples themselves.

mod examples;
mod tidy;
