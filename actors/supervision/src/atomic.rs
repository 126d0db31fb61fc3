//! The atomics used by model-checked code: `tests/latch.rs` substitutes loom's.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
