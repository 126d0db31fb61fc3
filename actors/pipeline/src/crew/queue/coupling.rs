//! Coupling: empty carts that travel as a group.

use std::sync::atomic::Ordering;

use super::holders::COUPLED;
use super::{CrewQueue, NextStep};
use crate::crew::cart::{Cart, CartBody};
use crate::custody::HolderId;

impl CrewQueue {
    /// How many carts may be coupled now; 1 is none.
    ///
    /// A crew whose trips take no time moves waiting carts in groups: one lease and one delivery
    /// for all. The number of carts still bounds the books under way.
    pub(crate) fn coupling(&self) -> usize {
        self.coupling.load(Ordering::Relaxed)
    }

    pub(crate) fn couple_up_to(&self, carts: usize) {
        self.coupling.store(carts, Ordering::Relaxed);
    }

    /// Couples waiting empty carts to one that is about to be sent for books, up to `carts` in
    /// all. With `returns`, includes carts that wait to be brought back.
    pub(crate) fn couple(&self, cart: &mut Cart, carts: usize, returns: bool) {
        let body = cart.body_mut();
        let mut state = self.lock();
        for step in [NextStep::Take, NextStep::Return].into_iter().take(1 + usize::from(returns)) {
            let waiting = &mut state.waiting[step as usize];
            let mut out = 0;
            while body.carts() < carts
                && let Some(next) = waiting.pop_front()
            {
                out += next.carts();
                self.couple_to(body, next);
            }
            let more = !waiting.is_empty();
            state.out += out;
            self.set_wanted(&mut state, step, more);
        }
    }

    /// Couples `other`, and the carts coupled to it, to `body`.
    pub(crate) fn couple_to(&self, body: &mut CartBody, mut other: Box<CartBody>) {
        let more = std::mem::take(&mut other.coupled);
        for other in std::iter::once(other).chain(more) {
            self.held_by(&other, HolderId::new(COUPLED, u64::from(body.number)));
            body.coupled.push(other);
        }
    }
}
