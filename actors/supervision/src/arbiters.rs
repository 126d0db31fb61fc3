//! Arbiters that are watched, and replaced when they die or block.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::time::Duration;

use actix_rt::Arbiter;

use super::heartbeat::{Heartbeat, RegisteredLife, Registration};
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
pub struct ArbiterSlot(Arc<SlotShared>);

#[derive(Debug)]
struct SlotShared {
    number: usize,
    simulated: bool,
    hang_after: Option<Duration>,
    current: Mutex<CurrentArbiter>,
}

#[derive(Debug)]
struct CurrentArbiter {
    arbiter: Option<Arbiter>,
    heartbeat: Arc<Heartbeat>,
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
                ArbiterSlot(Arc::new(SlotShared {
                    number,
                    simulated,
                    hang_after,
                    current: Mutex::new(CurrentArbiter::start(simulated, hang_after)),
                }))
            })
            .collect();
        let watched = hang_after.filter(|_| !simulated && count > 0).map(|after| {
            let slots: Vec<Weak<SlotShared>> =
                slots.iter().map(|slot| Arc::downgrade(&slot.0)).collect();
            let heartbeats = move || -> Vec<Option<Arc<Heartbeat>>> {
                let slots = slots.iter();
                let heartbeat = |slot: Arc<SlotShared>| slot.lock().heartbeat.clone();
                slots.map(|slot| slot.upgrade().map(heartbeat)).collect()
            };
            watchdog::start(after, heartbeats)
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
            let mut current = slot.0.lock();
            current.closed = true;
            if let Some(arbiter) = &current.arbiter {
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

impl CurrentArbiter {
    fn start(simulated: bool, hang_after: Option<Duration>) -> Self {
        let arbiter = (!simulated).then(Arbiter::new);
        let heartbeat = Arc::new(Heartbeat::new(arbiter.as_ref().map(Arbiter::handle), hang_after));
        if let Some(arbiter) = &arbiter {
            arbiter.spawn(heartbeat.clone().beat());
        }
        Self { arbiter, heartbeat, replaced: 0, closed: false }
    }
}

impl SlotShared {
    fn lock(&self) -> MutexGuard<'_, CurrentArbiter> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
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
    pub(super) fn heartbeat(&self) -> Arc<Heartbeat> {
        self.0.lock().heartbeat.clone()
    }

    /// Registers `count` lives, on a new thread if the current one is dead or blocked. No
    /// registrations are returned if the set is closed.
    pub(super) fn register(
        &self,
        count: usize,
        life: impl Fn(usize) -> RegisteredLife,
    ) -> (Option<actix_rt::ArbiterHandle>, Vec<Registration>) {
        let mut current = self.0.lock();
        for _ in 0..2 {
            let dead = (current.arbiter.as_ref()).is_some_and(|arbiter| !arbiter.handle().alive());
            if !current.closed && (dead || current.heartbeat.is_given_up()) {
                let replaced = current.replaced + 1;
                let next = CurrentArbiter::start(self.0.simulated, self.0.hang_after);
                *current = CurrentArbiter { replaced, ..next };
                log::warn!("arbiter {} has a new thread", self.0.number);
            }
            if current.closed {
                // Stopped deliberately, so it is not replaced: starts here fail and count as
                // failures.
                break;
            }
            let handle = current.arbiter.as_ref().map(Arbiter::handle);
            if let Some(registrations) = current.heartbeat.register_all((0..count).map(&life)) {
                return (handle, registrations);
            }
        }
        (current.arbiter.as_ref().map(Arbiter::handle), Vec::new())
    }
}
