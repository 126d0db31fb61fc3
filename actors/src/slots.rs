//! Exclusive ends: how many gophers may load from (or unload into) one node at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::gopher::yard::Yard;

/// The slots of one end of a node. Shared by all crews that use it; served first come, first served.
#[derive(Debug)]
pub struct Slots {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: u32,
    waiting: VecDeque<Weak<Yard>>,
}

/// The right to be at one end of a node, for one step. A guard: dropping it lets the next in.
#[derive(Debug)]
pub struct Slot(Arc<Slots>);

impl Slots {
    /// `count` slots (>= 1).
    pub fn new(count: u32) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: count.max(1),
                waiting: VecDeque::new(),
            }),
        })
    }

    /// Takes a slot, or notes that `yard` waits for one: it is told when one may be free.
    pub fn take(self: &Arc<Self>, yard: &Weak<Yard>) -> Option<Slot> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.free > 0 {
            state.free -= 1;
            return Some(Slot(self.clone()));
        }
        if !state.waiting.iter().any(|known| known.ptr_eq(yard)) {
            state.waiting.push_back(yard.clone());
        }
        None
    }

    /// Slots that nobody has.
    pub fn free(&self) -> u32 {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .free
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.free += 1;
            std::mem::take(&mut state.waiting)
        };
        // All are told, in the order in which they came: the first that can use it has it, the others note themselves again.
        for yard in waiting {
            if let Some(yard) = yard.upgrade() {
                yard.dispatch();
            }
        }
    }
}
