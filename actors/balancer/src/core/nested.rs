//! Detects calls that a worker makes, while it serves a request, to a balancer that is waiting for
//! that worker. If all workers do so at once, no worker is free to answer them: a deadlock.
//!
//! A request made while a worker serves carries a mask with one bit for each balancer that waits
//! for it. A balancer thus recognises requests that its own workers wait for, directly or through
//! other balancers, and gives them a deadline.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Deadline of a call by a worker to a balancer that waits for it, if neither the call nor the
/// balancer has one.
pub const NESTED_WITHIN: Duration = Duration::from_secs(30);

/// Number of balancers in a process that can be watched at one time.
const MOST: usize = 64;

thread_local! {
    /// Balancers waiting for what this thread does now.
    static SERVING: Cell<u64> = const { Cell::new(0) };
}

/// Names of balancers by bit.
static NAMES: Mutex<[Option<Arc<str>>; MOST]> = Mutex::new([const { None }; MOST]);

fn names() -> MutexGuard<'static, [Option<Arc<str>>; MOST]> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The balancers waiting for what the calling thread does now.
#[inline]
pub(crate) fn serving() -> u64 {
    SERVING.get()
}

/// Declares that this thread is used on behalf of these balancers from now on; returns what
/// [`leave`] restores.
#[inline]
pub(crate) fn enter(balancers: u64) -> u64 {
    SERVING.replace(balancers)
}

/// Restores what [`enter`] returned.
#[inline]
pub(crate) fn leave(before: u64) {
    SERVING.set(before);
}

/// Runs `work`, which must not panic, with this mask.
#[inline]
pub(crate) fn on_behalf_of<T>(balancers: u64, work: impl FnOnce() -> T) -> T {
    let before = enter(balancers);
    let done = work();
    leave(before);
    done
}

/// A balancer's bit, reserved while the balancer exists.
pub(crate) struct Mark(u64);

impl Mark {
    pub(crate) fn new(name: &Arc<str>) -> Self {
        let mut names = names();
        let free = names.iter().position(Option::is_none);
        Self(free.map_or(0, |at| {
            names[at] = Some(name.clone());
            1 << at
        }))
    }

    /// 0 if all bits were taken.
    #[inline]
    pub(crate) fn bit(&self) -> u64 {
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

/// Logs a warning about a balancer called by its own workers.
pub(crate) fn warn(name: &str, on_behalf_of: u64, workers: usize) {
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
         none is free to answer; such a call fails after {NESTED_WITHIN:?} unless it has a \
         deadline of its own"
    );
}
