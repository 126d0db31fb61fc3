//! Exclusive ends: how many gophers may load from (or unload into) one node at once.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::clock::Time;
use crate::gopher::yard::Yard;

/// The slots of one end of a node. Shared by all crews that use it; served first come, first served.
#[derive(Debug)]
pub struct Slots {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When each free slot was given back, by the schedule of whoever had it.
    free: Vec<Time>,
    waiting: VecDeque<Weak<Yard>>,
}

/// The right to be at one end of a node, for one step. A guard: dropping it lets the next in.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    /// When it was taken, later when it is given back, by the schedule of its holder.
    at: Time,
    returned: Arc<AtomicBool>,
}

/// Takes a slot back from a holder that is fenced.
#[derive(Debug)]
pub(crate) struct SlotClaim {
    slots: Arc<Slots>,
    returned: Arc<AtomicBool>,
}

impl SlotClaim {
    /// Nothing where it was given back before.
    pub(crate) fn take_back(&self, at: Time) {
        if !self.returned.swap(true, Ordering::AcqRel) {
            self.slots.freed(at);
        }
    }
}

impl Slot {
    /// For whoever may have to take it back.
    pub(crate) fn claim(&self) -> SlotClaim {
        SlotClaim {
            slots: self.slots.clone(),
            returned: self.returned.clone(),
        }
    }

    /// From when on it was free.
    pub fn free_since(&self) -> Time {
        self.at
    }

    /// Gives it back as of `at`: a late timer then costs the next holder nothing.
    pub fn give_back_at(mut self, at: Time) {
        self.at = self.at.max(at);
    }
}

impl Slots {
    /// `count` slots (>= 1).
    pub fn new(count: u32) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: vec![Time::ZERO; count.max(1) as usize],
                waiting: VecDeque::new(),
            }),
        })
    }

    /// Takes a slot, or notes that `yard` waits for one: it is told when one may be free.
    pub fn take(self: &Arc<Self>, yard: &Weak<Yard>) -> Option<Slot> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = (0..state.free.len()).min_by_key(|at| state.free[*at]);
        if let Some(earliest) = earliest {
            let at = state.free.swap_remove(earliest);
            return Some(Slot {
                slots: self.clone(),
                at,
                returned: Arc::default(),
            });
        }
        if !state.waiting.iter().any(|known| known.ptr_eq(yard)) {
            state.waiting.push_back(yard.clone());
        }
        None
    }

    /// A slot is free as of `at`.
    fn freed(&self, at: Time) {
        let waiting = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.free.push(at);
            std::mem::take(&mut state.waiting)
        };
        // All are told, in the order in which they came: the first that can use it has it, the others note themselves again.
        for yard in waiting {
            if let Some(yard) = yard.upgrade() {
                yard.dispatch();
            }
        }
    }

    /// Slots that nobody has.
    pub fn free(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.free.len()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.returned.swap(true, Ordering::AcqRel) {
            self.slots.freed(self.at);
        }
    }
}
