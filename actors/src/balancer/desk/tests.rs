//! The desk against its sums, and against the tails that are known of its policies.

mod model;
mod overload;
mod sums;
mod tails;
