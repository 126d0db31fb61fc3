//! The balancer: hands requests to workers, who answer the requesters themselves.

mod backlog;
pub mod desk;
mod heap;
pub mod policy;
