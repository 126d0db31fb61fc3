//! Calls that a worker makes while it serves, of a balancer that is waiting for that worker: where all
//! workers do so at once, each waits for a free one and none will be free.
//!
//! A request that is made while a worker serves carries the balancers on whose behalf it is made, each
//! as a bit of a mask. So a balancer knows a request that its own workers wait for, directly or by way
//! of other balancers, and gives it a deadline.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Time that a call has which a worker makes of a balancer that is waiting for it, where neither the
/// call nor the balancer has a deadline of its own.
pub const NESTED_WITHIN: Duration = Duration::from_secs(30);

/// Most balancers of a process that are watched for calls to themselves at one time.
const MOST: usize = 64;

thread_local! {
    /// The balancers on whose behalf this thread is being used.
    static SERVING: Cell<u64> = const { Cell::new(0) };
}

/// Names of balancers by their bits.
static NAMES: Mutex<[Option<Arc<str>>; MOST]> = Mutex::new([const { None }; MOST]);

fn names() -> MutexGuard<'static, [Option<Arc<str>>; MOST]> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The balancers on whose behalf the calling thread is being used.
#[inline]
pub(crate) fn serving() -> u64 {
    SERVING.get()
}

/// Runs `work`, which must not panic, on behalf of these balancers.
#[inline]
pub(crate) fn on_behalf_of<T>(balancers: u64, work: impl FnOnce() -> T) -> T {
    let before = SERVING.replace(balancers);
    let done = work();
    SERVING.set(before);
    done
}

/// A balancer's bit, as long as the balancer exists.
pub(super) struct Mark(u64);

impl Mark {
    pub(super) fn new(name: &Arc<str>) -> Self {
        let mut names = names();
        let free = names.iter().position(Option::is_none);
        Self(free.map_or(0, |at| {
            names[at] = Some(name.clone());
            1 << at
        }))
    }

    /// 0 where there are too many balancers.
    #[inline]
    pub(super) fn bit(&self) -> u64 {
        self.0
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.0 != 0 {
            names()[self.0.trailing_zeros() as usize] = None;
        }
    }
}

/// Warns of a balancer that is asked on its own behalf.
pub(super) fn warn(name: &str, on_behalf_of: u64, workers: usize) {
    let names = names();
    let others = (0..MOST).filter(|at| on_behalf_of >> at & 1 == 1);
    let others = others.filter_map(|at| names[at].as_deref());
    let by: Vec<&str> = others.filter(|other| *other != name).collect();
    let by = match by.is_empty() {
        true => String::new(),
        false => format!(" by way of `{}`", by.join("`, `")),
    };
    log::warn!(
        "workers of `{name}` ask `{name}`{by} while they serve: when all {workers} do so at once, \
         none is free to answer; such a call fails after {NESTED_WITHIN:?} unless it has a deadline \
         of its own"
    );
}
