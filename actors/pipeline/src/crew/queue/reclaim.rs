//! Replaces the carts of a hung holder.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::CrewQueue;
use super::holders::{COUPLED, HOLDER_BITS, packed};
use crate::crew::cart::CartBody;
use crate::custody::HolderId;

impl CrewQueue {
    /// Replaces every cart held by `lost`, a fenced holder whose thread may never return them, and
    /// releases their slots and reservations. Their books are recalled by the store. Returns how
    /// many carts that were.
    pub fn reclaim(self: &Arc<Self>, lost: HolderId) -> usize {
        let mut reclaimed = 0;
        for index in 0..self.held.len() {
            let Some(body) = self.replaced(index, lost) else {
                continue;
            };
            // Before the new cart can be sent on and get claims of its own.
            let claims = std::mem::take(
                &mut *(self.claims[index].lock()).unwrap_or_else(PoisonError::into_inner),
            );
            if let Some(slot) = claims.slot {
                slot.take_back(self.clock.now());
            }
            if let Some(reservation) = claims.reservation {
                reservation.give_up();
            }
            let coupled = HolderId::new(COUPLED, index as u64 + 1);
            let others = (0..self.held.len()).filter_map(|at| self.replaced(at, coupled));
            for body in std::iter::once(body).chain(others) {
                reclaimed += 1;
                self.return_empty(body);
            }
        }
        reclaimed
    }

    /// A new cart in place of the one at `index`, if `lost` holds that one.
    fn replaced(&self, index: usize, lost: HolderId) -> Option<Box<CartBody>> {
        let held = &self.held[index];
        let now = held.load(Ordering::Acquire);
        let generation = (now >> HOLDER_BITS) as u16;
        if now != packed(generation, lost) {
            return None;
        }
        let generation_next = generation.wrapping_add(1);
        let next = packed(generation_next, HolderId::NONE);
        held.compare_exchange(now, next, Ordering::AcqRel, Ordering::Acquire).ok()?;
        Some(Box::new(CartBody {
            number: index as u32 + 1,
            generation: generation_next,
            ..CartBody::default()
        }))
    }
}
