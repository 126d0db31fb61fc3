//! Ending a life from outside.

use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Waker;

use futures_util::task::AtomicWaker;

const STOP: u8 = 1;
const KILL: u8 = 2;

/// Stops or kills one life, from any thread, any number of times.
#[derive(Debug, Default)]
pub(super) struct Switch {
    thrown: AtomicU8,
    waker: AtomicWaker,
}

impl Switch {
    /// Asks the actor to stop: `stopping` and `stopped` run, queued messages are dropped unhandled.
    pub(super) fn stop(&self) {
        self.throw(STOP);
    }

    /// Ends the life at its next poll; neither `stopping` nor `stopped` runs.
    pub(super) fn kill(&self) {
        self.throw(KILL);
    }

    fn throw(&self, which: u8) {
        self.thrown.fetch_or(which, Ordering::Release);
        self.waker.wake();
    }

    /// To be called before the switch is read, or a throw between the two would wake nobody.
    pub(super) fn listen(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Forgets the waker, and with it the task.
    pub(super) fn release(&self) {
        drop(self.waker.take());
    }

    pub(super) fn stopped(&self) -> bool {
        self.thrown.load(Ordering::Acquire) & STOP != 0
    }

    pub(super) fn killed(&self) -> bool {
        self.thrown.load(Ordering::Acquire) & KILL != 0
    }
}
