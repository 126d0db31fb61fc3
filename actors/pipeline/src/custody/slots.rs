//! Exclusive slots: how many gophers may load from, or unload into, a node at once.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use gopherworks_supervision::clock::Time;

/// Slots of one side of a node, shared by all crews that use it; first come, first served.
pub struct Slots {
    state: Mutex<SlotsState>,
}

struct SlotsState {
    /// When each free slot was released, by its holder's schedule.
    free: Vec<Time>,
    waiting: VecDeque<Weak<dyn SlotUser>>,
}

/// Uses slots, and is called when one is released.
pub trait SlotUser: Send + Sync {
    /// A slot was released: it may be taken now.
    fn dispatch(self: Arc<Self>);
}

/// The right to use one side of a node for one step. Dropping it releases the slot.
#[derive(Debug)]
pub struct ExclusiveSlot {
    slots: Arc<Slots>,
    /// When it became free; after a release, when it was released, by its holder's schedule.
    at: Time,
    returned: Arc<AtomicBool>,
}

/// Releases a slot on behalf of a fenced holder.
#[derive(Debug)]
pub(crate) struct SlotClaim {
    slots: Arc<Slots>,
    returned: Arc<AtomicBool>,
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("free", &self.free()).finish()
    }
}

impl SlotClaim {
    /// Releases the slot, unless it was released before.
    pub(crate) fn take_back(&self, at: Time) {
        if !self.returned.swap(true, Ordering::AcqRel) {
            self.slots.freed(at);
        }
    }
}

impl ExclusiveSlot {
    /// A handle by which the slot can be released if its holder hangs.
    pub(crate) fn claim(&self) -> SlotClaim {
        SlotClaim { slots: self.slots.clone(), returned: self.returned.clone() }
    }

    /// When the slot became free.
    pub fn free_since(&self) -> Time {
        self.at
    }

    /// Releases the slot as of `at`, so that a late timer does not delay the next holder.
    pub fn give_back_at(mut self, at: Time) {
        self.at = self.at.max(at);
    }
}

impl Slots {
    /// Creates `count` (>= 1) slots.
    pub fn new(count: u32) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(SlotsState {
                free: vec![Time::ZERO; count.max(1) as usize],
                waiting: VecDeque::new(),
            }),
        })
    }

    /// Takes a slot; otherwise registers `user`, which is called when a slot is released.
    pub fn take<U: SlotUser + 'static>(self: &Arc<Self>, user: &Weak<U>) -> Option<ExclusiveSlot> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = (0..state.free.len()).min_by_key(|at| state.free[*at]);
        if let Some(earliest) = earliest {
            let at = state.free.swap_remove(earliest);
            return Some(ExclusiveSlot { slots: self.clone(), at, returned: Arc::default() });
        }
        let is_known =
            |known: &Weak<dyn SlotUser>| std::ptr::addr_eq(known.as_ptr(), user.as_ptr());
        if !state.waiting.iter().any(is_known) {
            state.waiting.push_back(user.clone());
        }
        None
    }

    /// Releases a slot as of `at`.
    fn freed(&self, at: Time) {
        let waiting = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.free.push(at);
            std::mem::take(&mut state.waiting)
        };
        // All are dispatched in order: the first that can use the slot takes it, the others
        // register again.
        for user in waiting {
            if let Some(user) = user.upgrade() {
                user.dispatch();
            }
        }
    }

    /// Number of free slots.
    pub fn free(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.free.len()
    }
}

impl Drop for ExclusiveSlot {
    fn drop(&mut self) {
        if !self.returned.swap(true, Ordering::AcqRel) {
            self.slots.freed(self.at);
        }
    }
}
