//! The requester: asks a balancer, as often as its load says.

pub mod load;
