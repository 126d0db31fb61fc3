//! Whole topologies, embedded in a test: designs, faults, restarts and custody.

mod control;
mod designs;
mod escalation;
mod faults;
mod feeding;
mod inline_runs;
mod joined;
mod nodes;
mod paused_crews;
mod poison;
mod random_designs;
mod relay;
mod reload;
mod retries;
mod shared_stores;
#[cfg(feature = "sqlite")]
mod store_faults;
mod stores;
#[path = "../support/mod.rs"]
mod support;
mod testing;
mod tiny_bounds;
mod waiting;
