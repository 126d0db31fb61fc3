//! Acting on a life from outside.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

/// It was asked to stop.
pub(super) const STOP: u8 = 1;
/// It was killed.
pub(super) const KILL: u8 = 2;
/// It was struck with a panic or a hang.
pub(super) const STRUCK: u8 = 4;

/// What a fault does to a life, at its next poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strike {
    /// It panics with this text.
    Panic(String),
    /// It is killed: neither `stopping` nor `stopped` runs.
    Kill,
    /// It stops in good order, as if by itself.
    Stop,
    /// It blocks its thread for so long, or until it is given up. Where time is simulated, the arbiter that it is said to live on
    /// (an [`ArbiterSlot`](super::ArbiterSlot)) stands still with all who live there; without one, it alone does.
    Hang(Duration),
}

/// Stops, kills or strikes one life, from any thread, any number of times.
#[derive(Debug, Default)]
pub(super) struct Switch {
    thrown: AtomicU8,
    /// Of the life's task. It stays there: a life listens once and not at every poll.
    waker: Mutex<Option<Waker>>,
    strikes: Mutex<VecDeque<Strike>>,
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

    /// Does to the life what a fault does.
    pub(super) fn strike(&self, strike: Strike) {
        match strike {
            Strike::Kill => self.kill(),
            Strike::Stop => self.stop(),
            Strike::Panic(_) | Strike::Hang(_) => {
                let mut strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
                strikes.push_back(strike);
                drop(strikes);
                self.throw(STRUCK);
            }
        }
    }

    /// The next panic or hang that it was struck with.
    pub(super) fn struck(&self) -> Option<Strike> {
        if self.thrown.load(Ordering::Acquire) & STRUCK == 0 {
            return None;
        }
        let mut strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        let next = strikes.pop_front();
        if strikes.is_empty() {
            self.thrown.fetch_and(!STRUCK, Ordering::AcqRel);
        }
        next
    }

    fn throw(&self, which: u8) {
        // Before the waker is looked for: a life listens, then reads.
        self.thrown.fetch_or(which, Ordering::AcqRel);
        let waker = self.waker().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called before the switch is read for the first time, and when the waker is another one: or a throw between the two would wake
    /// nobody.
    pub(super) fn listen(&self, waker: &Waker) {
        let before = self.waker().replace(waker.clone());
        drop(before);
    }

    /// What was thrown; 0 if nothing was.
    #[inline]
    pub(super) fn thrown(&self) -> u8 {
        self.thrown.load(Ordering::Acquire)
    }

    /// Forgets the waker, and with it the task.
    pub(super) fn release(&self) {
        let waker = self.waker().take();
        drop(waker);
    }

    pub(super) fn stopped(&self) -> bool {
        self.thrown.load(Ordering::Acquire) & STOP != 0
    }

    pub(super) fn killed(&self) -> bool {
        self.thrown.load(Ordering::Acquire) & KILL != 0
    }
}
