//! Arbiters that are watched, and replaced when they die or are blocked.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::time::Duration;

use actix_rt::Arbiter;

use super::pulse::{Pulse, Residence, Resident};
use super::watchdog;
use crate::clock::Clock;

/// A set of arbiters, each with a place that outlives its thread: where one dies or is given up by the watchdog, the next start of a
/// child makes another one. Dropped, it stops them all.
///
/// The watchdog is an operating system's thread that asks every arbiter for a sign of life. One that gives none for `hang_after` is blocked:
/// the child that was being polled is the culprit, exits as [`Exit::Hung`](super::Exit::Hung) and is charged; all others there exit as
/// [`Exit::Blocked`](super::Exit::Blocked), are charged nothing, and start elsewhere at once. A thread can't be killed: it is left behind,
/// and ends by itself if it ever comes back.
#[derive(Debug)]
pub struct Arbiters {
    slots: Vec<ArbiterSlot>,
    // Dropped, it ends the watchdog.
    _watched: Option<mpsc::Sender<()>>,
}

/// One arbiter of [`Arbiters`], whichever thread it is now. Clones are the same one.
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
    /// `count` arbiters. With `hang_after` they are watched. With a simulated clock there are no threads: their children live on the
    /// supervisor's, and one that hangs (by [`Strike::Hang`](super::Strike::Hang)) holds up those of its arbiter.
    ///
    /// # Panics
    /// Outside an actix system, or where the operating system gives no thread.
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
        Self {
            slots,
            _watched: watched,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The arbiter of this number, modulo how many there are; `None` where there are none.
    pub fn slot(&self, number: usize) -> Option<&ArbiterSlot> {
        self.slots
            .get(number.checked_rem(self.slots.len()).unwrap_or(0))
    }

    /// How many threads had to be replaced so far.
    pub fn replaced(&self) -> u64 {
        self.slots.iter().map(|slot| slot.0.lock().replaced).sum()
    }

    /// Stops all of them; nobody starts there any more.
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
        Self {
            arbiter,
            pulse,
            replaced: 0,
            closed: false,
        }
    }
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ArbiterSlot {
    /// Its number in its set, from 0.
    pub fn number(&self) -> usize {
        self.0.number
    }

    /// The arbiter of now; `None` where time is simulated. It may be another one after the next start of a child.
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

    /// Places for so many lives, on a new thread if the present one is dead or blocked; none where it can't be.
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
                *now = Now {
                    replaced,
                    ..Now::start(self.0.simulated)
                };
                log::warn!("arbiter {} has a new thread", self.0.number);
            }
            if now.closed {
                // Its end is no accident: whoever still starts there fails, and is charged.
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
