//! Stops, kills or strikes a life from outside.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

pub(super) const STOP: u8 = 1;
pub(super) const KILL: u8 = 2;
/// A panic or hang is pending.
pub(super) const STRUCK: u8 = 4;

/// A fault applied to a life at its next poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strike {
    /// The actor panics with this message.
    Panic(String),
    /// The actor is killed: neither `stopping` nor `stopped` runs.
    Kill,
    /// The actor stops normally, as if by itself.
    Stop,
    /// It blocks its thread for this long, or until it is given up. In simulated time it stalls all
    /// children of its [`ArbiterSlot`](super::ArbiterSlot), or only itself if it has none.
    Hang(Duration),
}

/// Stops, kills or strikes one life, from any thread, any number of times.
#[derive(Debug, Default)]
pub(super) struct Switch {
    thrown: AtomicU8,
    /// The waker of the life's task, registered once rather than at every poll.
    waker: Mutex<Option<Waker>>,
    strikes: Mutex<VecDeque<Strike>>,
}

impl Switch {
    /// Asks the actor to stop: `stopping` and `stopped` run; queued messages are dropped unhandled.
    pub(super) fn stop(&self) {
        self.throw(STOP);
    }

    /// Ends the life at its next poll; neither `stopping` nor `stopped` runs.
    pub(super) fn kill(&self) {
        self.throw(KILL);
    }

    /// Applies a fault to the life.
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

    /// The next pending panic or hang.
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
        // Set before the waker is read, since a life registers its waker and then reads the flags.
        self.thrown.fetch_or(which, Ordering::AcqRel);
        let waker = self.waker().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers the waker. Must be called before the flags are read for the first time and
    /// whenever the waker changes, or a wake-up may be lost.
    pub(super) fn listen(&self, waker: &Waker) {
        let before = self.waker().replace(waker.clone());
        drop(before);
    }

    /// The flags thrown; 0 if none.
    #[inline]
    pub(super) fn thrown(&self) -> u8 {
        self.thrown.load(Ordering::Acquire)
    }

    /// Drops the waker, which keeps the task alive.
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
