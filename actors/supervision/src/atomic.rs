//! The atomics of what is model-checked: `tests/latch.rs` puts loom's in their place.

pub(crate) use std::sync::atomic::{AtomicBool, Ordering};
