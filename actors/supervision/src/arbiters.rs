//! Arbiters that are watched, and replaced when they die or block.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::time::Duration;

use actix_rt::Arbiter;

use super::pulse::{Pulse, Residence, Resident};
use super::watchdog;
use crate::clock::Clock;

/// A set of arbiters, each with a slot that outlives its thread: if a thread dies or is given up by
/// the watchdog, the next start of a child in that slot creates a new one. Dropping the set stops
/// all of them.
///
/// The watchdog is an operating-system thread that sends every arbiter a heartbeat request. An
/// arbiter that does not answer for `hang_after` is blocked. The child being polled is the culprit:
/// it exits as [`Exit::Hung`](super::Exit::Hung), which counts as a failure. All other children
/// there exit as [`Exit::Blocked`](super::Exit::Blocked), which does not count, and are restarted
/// elsewhere immediately. A thread cannot be killed: it is abandoned, and ends by itself if it ever
/// resumes.
#[derive(Debug)]
pub struct Arbiters {
    slots: Vec<ArbiterSlot>,
    // Dropping it ends the watchdog.
    _watched: Option<mpsc::Sender<()>>,
}

/// A slot of [`Arbiters`] for one arbiter, whichever thread runs it now. Clones are the same slot.
#[derive(Debug, Clone)]
pub struct ArbiterSlot(Arc<Slot>);

#[derive(Debug)]
struct Slot {
    number: usize,
    simulated: bool,
    hang_after: Option<Duration>,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    arbiter: Option<Arbiter>,
    pulse: Arc<Pulse>,
    replaced: u64,
    closed: bool,
}

impl Arbiters {
    /// Starts `count` arbiters, watched if `hang_after` is given. With a simulated clock no threads
    /// are created: the children run on the supervisor's thread, and one that hangs (by
    /// [`Strike::Hang`](super::Strike::Hang)) stalls the other children of its arbiter.
    ///
    /// # Panics
    /// Outside an actix system, or if the operating system refuses a thread.
    pub fn start(count: usize, hang_after: Option<Duration>, clock: &Clock) -> Self {
        let simulated = clock.is_simulated();
        let slots: Vec<ArbiterSlot> = (0..count)
            .map(|number| {
                ArbiterSlot(Arc::new(Slot {
                    number,
                    simulated,
                    hang_after,
                    now: Mutex::new(Now::start(simulated)),
                }))
            })
            .collect();
        let watched = hang_after.filter(|_| !simulated && count > 0).map(|after| {
            let slots: Vec<Weak<Slot>> = slots.iter().map(|slot| Arc::downgrade(&slot.0)).collect();
            let pulses = move || -> Vec<Option<Arc<Pulse>>> {
                let slots = slots.iter();
                let pulse = |slot: Arc<Slot>| slot.lock().pulse.clone();
                slots.map(|slot| slot.upgrade().map(pulse)).collect()
            };
            watchdog::start(after, pulses)
        });
        Self { slots, _watched: watched }
    }

    /// Number of arbiters.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True if there are no arbiters.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The slot with this number, modulo the number of slots; `None` if there are none.
    pub fn slot(&self, number: usize) -> Option<&ArbiterSlot> {
        self.slots.get(number.checked_rem(self.slots.len()).unwrap_or(0))
    }

    /// How many threads have been replaced so far.
    pub fn replaced(&self) -> u64 {
        self.slots.iter().map(|slot| slot.0.lock().replaced).sum()
    }

    /// Stops all arbiters; later starts on them fail.
    pub fn stop(&self) {
        for slot in &self.slots {
            let mut now = slot.0.lock();
            now.closed = true;
            if let Some(arbiter) = &now.arbiter {
                arbiter.stop();
            }
        }
    }
}

impl Drop for Arbiters {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Now {
    fn start(simulated: bool) -> Self {
        let arbiter = (!simulated).then(Arbiter::new);
        let pulse = Arc::new(Pulse::new(arbiter.as_ref().map(Arbiter::handle)));
        if let Some(arbiter) = &arbiter {
            arbiter.spawn(pulse.clone().beat());
        }
        Self { arbiter, pulse, replaced: 0, closed: false }
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ArbiterSlot {
    /// Its number in the set, from 0.
    pub fn number(&self) -> usize {
        self.0.number
    }

    /// The current arbiter; `None` if time is simulated. The next start of a child may replace it.
    pub fn handle(&self) -> Option<actix_rt::ArbiterHandle> {
        self.0.lock().arbiter.as_ref().map(Arbiter::handle)
    }

    #[cfg(test)]
    pub(super) fn pulse(&self) -> Arc<Pulse> {
        self.0.lock().pulse.clone()
    }

    pub(super) fn hang_after(&self) -> Option<Duration> {
        self.0.hang_after
    }

    /// Registers `count` lives, on a new thread if the current one is dead or blocked. No
    /// residences are returned if the set is closed.
    pub(super) fn settle(
        &self,
        count: usize,
        resident: impl Fn(usize) -> Resident,
    ) -> (Option<actix_rt::ArbiterHandle>, Vec<Residence>) {
        let mut now = self.0.lock();
        for _ in 0..2 {
            let dead = (now.arbiter.as_ref()).is_some_and(|arbiter| !arbiter.handle().alive());
            if !now.closed && (dead || now.pulse.is_given_up()) {
                let replaced = now.replaced + 1;
                *now = Now { replaced, ..Now::start(self.0.simulated) };
                log::warn!("arbiter {} has a new thread", self.0.number);
            }
            if now.closed {
                // Stopped deliberately, so it is not replaced: starts here fail and count as
                // failures.
                break;
            }
            let handle = now.arbiter.as_ref().map(Arbiter::handle);
            if let Some(residences) = now.pulse.join_all((0..count).map(&resident)) {
                return (handle, residences);
            }
        }
        (now.arbiter.as_ref().map(Arbiter::handle), Vec::new())
    }
}
