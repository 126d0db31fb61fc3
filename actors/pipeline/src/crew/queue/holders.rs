//! Holders of carts, and generations that tell replaced carts from live ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::CrewQueue;
use crate::crew::cart::CartBody;
use crate::custody::HolderId;
use crate::custody::reservation::ReservationClaim;
use crate::custody::slots::SlotClaim;

/// What a cart holds, to be released if the cart is replaced.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) slot: Option<SlotClaim>,
    pub(super) reservation: Option<Arc<ReservationClaim>>,
}

/// Generation and holder in one word, so that both change atomically: 16 bits of generation, 20 of
/// the node, 28 of the epoch.
pub(super) const HOLDER_BITS: u32 = 48;

pub(super) fn packed(generation: u16, holder: HolderId) -> u64 {
    let (node, epoch) = (holder.0 >> 40, holder.0 & 0xfff_ffff);
    u64::from(generation) << HOLDER_BITS | (node & 0xf_ffff) << 28 | epoch
}

/// Node number that marks a coupled cart; the epoch is then the number of the lead cart.
pub(super) const COUPLED: u32 = 0xf_ffff;

impl CrewQueue {
    /// Sets the holder of a cart; ignored if another cart has replaced it.
    pub(crate) fn held_by(&self, body: &CartBody, holder: HolderId) {
        let Some(held) = self.held.get(body.number as usize - 1) else {
            return;
        };
        let next = packed(body.generation, holder);
        let mut now = held.load(Ordering::Acquire);
        if now == next {
            return;
        }
        while now >> HOLDER_BITS == u64::from(body.generation) {
            match held.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
    }

    /// True if another cart has replaced it.
    pub(super) fn is_stale(&self, body: &CartBody) -> bool {
        let held = self.held.get(body.number as usize - 1);
        held.is_some_and(|held| {
            held.load(Ordering::Acquire) >> HOLDER_BITS != u64::from(body.generation)
        })
    }
}
