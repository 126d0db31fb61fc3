//! Rules on the sources, and tests of the examples.

mod examples;
mod tidy;
