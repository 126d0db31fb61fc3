//! Balancers and designs in virtual time, over many requests and many seeds.

mod balancers;
mod chaos_suite;
