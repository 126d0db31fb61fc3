//! Rules on the sources and their prose, and tests of the examples.

mod circles;
mod examples;
mod prose;
mod tidy;
