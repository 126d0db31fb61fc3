//! Holders of carts, generations that tell replaced carts from live ones, and replacement of the
//! carts of a hung holder.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::crew::cart::CartBody;
use crate::custody::HolderId;
use crate::custody::reservation::{Reservation, ReservationClaim};
use crate::custody::slots::{ExclusiveSlot, SlotClaim};
use gopherworks_supervision::clock::Clock;

/// What a cart holds, to be released if the cart is replaced.
#[derive(Default)]
struct Claims {
    slot: Option<SlotClaim>,
    reservation: Option<Arc<ReservationClaim>>,
}

/// Generation and holder in one word, so that both change atomically: 16 bits of generation, 20 of
/// the node, 28 of the epoch.
const HOLDER_BITS: u32 = 48;

pub(super) fn packed(generation: u16, holder: HolderId) -> u64 {
    let (node, epoch) = (holder.0 >> 40, holder.0 & 0xfff_ffff);
    u64::from(generation) << HOLDER_BITS | (node & 0xf_ffff) << 28 | epoch
}

/// Node number that marks a coupled cart; the epoch is then the number of the lead cart.
const COUPLED: u32 = 0xf_ffff;

/// Holder of the carts that are coupled to a cart.
pub(super) fn coupled_to(lead: &CartBody) -> HolderId {
    HolderId::new(COUPLED, u64::from(lead.number))
}

/// Holders of a crew's carts, and what each cart holds.
pub(super) struct CartHolders {
    /// By number - 1: generation and holder of each cart.
    pub(super) held: Box<[AtomicU64]>,
    /// By number - 1: what has to be released if the cart's holder is fenced.
    claims: Box<[Mutex<Claims>]>,
}

impl CartHolders {
    pub(super) fn new(carts: usize) -> Self {
        Self {
            held: (0..carts).map(|_| AtomicU64::new(0)).collect(),
            claims: (0..carts).map(|_| Mutex::default()).collect(),
        }
    }

    /// Sets the holder of a cart; ignored if another cart has replaced it.
    pub(super) fn set(&self, body: &CartBody, holder: HolderId) {
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

    /// Notes the slot and the reservation of a cart that gets a holder.
    pub(super) fn note_claims(&self, body: &CartBody) {
        if body.slot.is_none() && body.reservation.is_none() {
            return;
        }
        let claims = Claims {
            slot: body.slot.as_ref().map(ExclusiveSlot::claim),
            reservation: body.reservation.as_ref().map(Reservation::claim),
        };
        let kept = &self.claims[body.number as usize - 1];
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = claims;
    }

    /// Replaces every cart held by `lost` and releases what the cart holds. Calls `put` with each
    /// new cart.
    pub(super) fn reclaim(
        &self,
        lost: HolderId,
        clock: &Clock,
        mut put: impl FnMut(Box<CartBody>),
    ) {
        for index in 0..self.held.len() {
            let Some(body) = self.replaced(index, lost) else {
                continue;
            };
            // Before the new cart can be sent on and get claims of its own.
            let claims = std::mem::take(
                &mut *(self.claims[index].lock()).unwrap_or_else(PoisonError::into_inner),
            );
            if let Some(slot) = claims.slot {
                slot.take_back(clock.now());
            }
            if let Some(reservation) = claims.reservation {
                reservation.give_up();
            }
            let coupled = coupled_to(&body);
            let others = (0..self.held.len()).filter_map(|at| self.replaced(at, coupled));
            std::iter::once(body).chain(others).for_each(&mut put);
        }
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
