//! Tests of the request table: its sums, and the known tail latencies of its policies.

mod model;
mod overload;
mod sums;
mod tails;
