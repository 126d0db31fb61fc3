//! The `gopherworks` command.
fn main() {}
