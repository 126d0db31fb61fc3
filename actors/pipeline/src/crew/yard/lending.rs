//! Lending: a leg that takes no time is run for an idle gopher by another gopher that is active on
//! the same thread.
//!
//! A message would run the same calls on the same thread a little later, at the cost of two
//! wake-ups. Counters and the cart's holder remain those of the idle gopher. Panics at the
//! destination, in a burn or a source, are caught there, whichever gopher brings the cart.

use std::sync::{Arc, Weak};

use super::{CartBody, Leg, Legs, State, Yard};
use crate::crew::GopherCore;
use crate::crew::cart::Cart;
use crate::custody::slots::SlotUser;
use gopherworks_supervision::clock::Time;

/// The incarnation of a gopher in whose name a leg is run.
#[derive(Debug)]
pub(crate) struct Doer {
    pub(crate) yard: Weak<Yard>,
    pub(crate) core: Arc<GopherCore>,
    /// Its holder id.
    pub(crate) holder: u64,
    pub(crate) epoch: u64,
    /// Its thread, as numbered by [`gopherworks_supervision::__private::threads`].
    pub(crate) thread: u64,
    /// Nothing starts earlier than this.
    pub(crate) born: Time,
    /// By [`Leg`]: it does this leg, in no time.
    pub(crate) at_once: [bool; 6],
    /// All its legs take no time and need no events, so that it can be lent.
    pub(crate) lends: bool,
}

/// A lent gopher, which counts as busy, so that no cart is sent to it. Dropping the loan makes it
/// idle again and dispatches waiting carts.
#[derive(Debug)]
pub(crate) struct Loan(Option<Arc<Doer>>);

/// The next cart and leg of a gopher, and the lent gopher in whose name it runs, if not its own.
pub(crate) struct Next {
    pub(crate) cart: Cart,
    pub(crate) leg: Leg,
    pub(crate) on: Option<Loan>,
}

/// A waiting cart, and the gopher lent for it.
type Lent = (Box<CartBody>, Leg, Loan);

impl Loan {
    pub(crate) fn doer(&self) -> Option<&Doer> {
        self.0.as_deref()
    }

    /// Ends the loan under a lock that is already held.
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
        // A later incarnation reports by itself when it is idle, and may be on loan now.
        if self.lives[gopher] == doer.epoch {
            self.doers[gopher] = Some(doer);
            if !self.idle.contains(&gopher) {
                self.idle.push(gopher);
            }
        }
    }
}

impl Yard {
    /// Registers a new incarnation; ignored if a later one is registered, as happens after its
    /// thread hung.
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

    /// Chooses the next cart on thread `here`, for `gopher` itself or an idle one. Carts under way
    /// go first: those to be sent for books gather meanwhile, and are coupled.
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

    /// A waiting cart for an idle gopher on thread `here`.
    fn lend(self: &Arc<Self>, state: &mut State, here: u64, among: Legs) -> Option<Lent> {
        let wanted = state.wanted.and(among);
        let at = self.lender(state, wanted, here)?;
        let (body, leg) = self.pick(state, self.legs[state.idle[at]].and(among))?;
        Some((body, leg, state.borrow(at)?))
    }

    /// Fast path if no other cart waits: true if an idle gopher on thread `here` was lent for
    /// `leg`. That ends the previous loan.
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

    /// Index in `state.idle` of a gopher on thread `here` that can be lent for one of `wanted`.
    fn lender(&self, state: &State, wanted: Legs, here: u64) -> Option<usize> {
        let lends = |gopher: usize| {
            // A dead gopher may still be in the list.
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
