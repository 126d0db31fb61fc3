//! The balancer: hands requests to workers, who answer the requesters themselves.

pub mod policy;
