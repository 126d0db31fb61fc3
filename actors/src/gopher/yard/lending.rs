//! Gophers that lend themselves: a leg that takes no time is done for one who is idle by whoever is up on its thread.
//!
//! A message would be handled on the same thread, a little later, and by nothing but the same calls: what differs is the cost of two wake-ups. In whose
//! name a leg is done stays the same, and so do its counters and the holder of its cart. What runs at the far end, a burn or a source, is caught there
//! whoever brings the cart.

use std::sync::{Arc, Weak};

use super::super::GopherCore;
use super::{CartBody, Leg, Legs, State, Yard};
use crate::cart::Cart;
use crate::clock::Time;

/// In whose name a leg is done: one life of a gopher.
#[derive(Debug)]
pub(crate) struct Doer {
    pub(crate) yard: Weak<Yard>,
    /// What outlives it.
    pub(crate) core: Arc<GopherCore>,
    /// As a holder of carts.
    pub(crate) holder: u64,
    pub(crate) epoch: u64,
    /// Where it lives, as a number of [`crate::threads`].
    pub(crate) thread: u64,
    /// Nothing is begun before it was there.
    pub(crate) born: Time,
    /// Its legs that take no time, by [`Leg`].
    pub(crate) at_once: [bool; 6],
    /// Those are all that it has, and nobody wants to hear of them.
    pub(crate) lends: bool,
}

/// A gopher that lends itself. It counts as busy meanwhile, so nobody sends to it; dropped, it is idle again and those who waited for it are looked at.
#[derive(Debug)]
pub(crate) struct Loan(Option<Arc<Doer>>);

/// What a gopher is to do next, and in whose name if not its own.
pub(crate) struct Next {
    pub(crate) cart: Cart,
    pub(crate) leg: Leg,
    pub(crate) on: Option<Loan>,
}

/// A waiting cart, and who lends itself for it.
type Lent = (Box<CartBody>, Leg, Loan);

impl Loan {
    pub(crate) fn doer(&self) -> Option<&Doer> {
        self.0.as_deref()
    }

    /// Ends it under the lock that its drop would take.
    pub(super) fn end(mut self, state: &mut State) {
        if let Some(doer) = self.0.take() {
            state.is_idle_again(doer);
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(doer) = self.0.take()
            && let Some(yard) = doer.yard.upgrade()
        {
            yard.lock().is_idle_again(doer);
            yard.dispatch();
        }
    }
}

impl State {
    fn borrow(&mut self, at: usize) -> Option<Loan> {
        let doer = self.doers[self.idle[at]].take()?;
        self.idle.remove(at);
        Some(Loan(Some(doer)))
    }

    fn is_idle_again(&mut self, doer: Arc<Doer>) {
        let gopher = doer.core.index;
        // A later life says itself that it is idle, and may be on loan just now.
        if self.lives[gopher] == doer.epoch {
            self.doers[gopher] = Some(doer);
            if !self.idle.contains(&gopher) {
                self.idle.push(gopher);
            }
        }
    }
}

impl Yard {
    /// A new life is at its place. One that was made too late, on a thread that hung meanwhile, changes nothing.
    pub(crate) fn settle(&self, doer: &Arc<Doer>) {
        let (gopher, lends) = (doer.core.index, doer.lends.then(|| doer.clone()));
        let mut state = self.lock();
        if state.lives[gopher] < doer.epoch {
            state.lives[gopher] = doer.epoch;
            let earlier = std::mem::replace(&mut state.doers[gopher], lends);
            drop(state);
            drop(earlier);
        }
    }

    /// What `gopher` is to do next on the thread `here`, itself or for somebody idle. Carts that are under way go first: those that are to be sent
    /// for books gather meanwhile, and travel together.
    pub(super) fn choose(
        self: &Arc<Self>,
        state: &mut State,
        gopher: usize,
        here: u64,
    ) -> Option<(Box<CartBody>, Leg, Option<Loan>)> {
        for among in [Legs::UNDER_WAY, Legs::TAKE] {
            if state.wanted.and(among).is_empty() {
                continue;
            }
            if let Some((body, leg)) = self.pick(state, self.legs[gopher].and(among)) {
                return Some((body, leg, None));
            }
            if let Some((body, leg, loan)) = self.lend(state, here, among) {
                return Some((body, leg, Some(loan)));
            }
        }
        None
    }

    /// A waiting cart for an idle gopher on the thread `here`.
    fn lend(self: &Arc<Self>, state: &mut State, here: u64, among: Legs) -> Option<Lent> {
        let wanted = state.wanted.and(among);
        let at = self.lender(state, wanted, here)?;
        let (body, leg) = self.pick(state, self.legs[state.idle[at]].and(among))?;
        Some((body, leg, state.borrow(at)?))
    }

    /// From hand to hand, where no other cart waits for anything: true if somebody idle on the thread `here` has lent itself for `leg`. The loan before
    /// ends then.
    pub(crate) fn hand_over(
        &self,
        cart: &Cart,
        leg: Leg,
        loan: &mut Option<Loan>,
        here: u64,
    ) -> bool {
        debug_assert!(cart.body().slot.is_none(), "a slot is for one step");
        let mut state = self.lock();
        if !state.wanted.is_empty() {
            return false;
        }
        let mut wanted = Legs::default();
        wanted.set(leg, true);
        let Some(next) = (self.lender(&state, wanted, here)).and_then(|at| state.borrow(at)) else {
            return false;
        };
        let holder = next.doer().map_or(0, |doer| doer.holder);
        if let Some(before) = loan.replace(next) {
            before.end(&mut state);
        }
        drop(state);
        cart.hand_to(holder);
        true
    }

    /// Where in the list of those who are idle somebody is who lends itself for one of `wanted`.
    fn lender(&self, state: &State, wanted: Legs, here: u64) -> Option<usize> {
        let lends = |gopher: usize| {
            // One that is gone has not left the list.
            (state.doers[gopher].as_ref()).is_some_and(|doer| {
                doer.thread == here && self.seats[gopher].port.is_at(doer.epoch)
            })
        };
        let mut idle = state.idle.iter();
        idle.position(|gopher| !wanted.and(self.legs[*gopher]).is_empty() && lends(*gopher))
    }
}

#[cfg(test)]
mod tests;
