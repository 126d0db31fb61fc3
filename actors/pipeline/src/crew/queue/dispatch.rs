//! Dispatch of waiting carts to idle gophers: by a message, or by lending. A step that takes no
//! time is run for an idle gopher by another gopher that is active on the same thread.
//!
//! A message would run the same calls on the same thread a little later, at the cost of two
//! wake-ups. Counters and the cart's holder remain those of the idle gopher. Panics at the
//! destination, in a burn or a source, are caught there, whichever gopher brings the cart.

use std::sync::{Arc, Weak};

use super::{CartBody, CrewMember, CrewQueue, NextStep, NextSteps, QueueState};
use crate::crew::GopherCore;
use crate::crew::cart::Cart;
use crate::custody::HolderId;
use crate::custody::slots::SlotUser;
use gopherworks_supervision::__private::planted::{self, Defect};
use gopherworks_supervision::clock::Time;

/// An incarnation of a gopher, in whose name steps are run.
#[derive(Debug)]
pub(crate) struct Incarnation {
    pub(crate) queue: Weak<CrewQueue>,
    pub(crate) core: Arc<GopherCore>,
    pub(crate) holder: HolderId,
    pub(crate) epoch: u64,
    /// Its thread, as numbered by [`gopherworks_supervision::__private::threads`].
    pub(crate) thread: u64,
    /// Start of the incarnation: its first step begins no earlier.
    pub(crate) born: Time,
    /// The steps that it does.
    pub(crate) steps: NextSteps,
    /// By [`NextStep`]: it does this step, in no time.
    pub(crate) at_once: [bool; 6],
    /// True if its steps take no time and need no events, so that it can be lent.
    pub(crate) lends: bool,
}

/// Steps run in the name of a lent gopher, which counts as busy, so that no cart is sent to it.
/// Dropping the run makes the gopher idle again and dispatches waiting carts.
#[derive(Debug)]
pub(crate) struct InlineRun(Option<Arc<Incarnation>>);

/// The next cart and step of a gopher, and the lent gopher in whose name it runs, if not its own.
pub(crate) struct NextCart {
    pub(crate) cart: Cart,
    pub(crate) step: NextStep,
    pub(crate) run: Option<InlineRun>,
}

/// A waiting cart, and the gopher lent for it.
type LentCart = (Box<CartBody>, NextStep, InlineRun);

/// A cart for an idle gopher.
pub(super) struct Assignment {
    body: Box<CartBody>,
    step: NextStep,
    to: CrewMember,
    /// True if there may be further matches.
    more: bool,
}

impl InlineRun {
    /// The lent gopher.
    pub(crate) fn lent(&self) -> Option<&Incarnation> {
        self.0.as_deref()
    }

    /// Ends the run under a lock that is already held.
    pub(super) fn end(mut self, state: &mut QueueState) {
        if let Some(incarnation) = self.0.take() {
            state.end_run(incarnation);
        }
    }
}

impl Drop for InlineRun {
    fn drop(&mut self) {
        if let Some(incarnation) = self.0.take()
            && let Some(queue) = incarnation.queue.upgrade()
        {
            queue.lock().end_run(incarnation);
            queue.dispatch();
        }
    }
}

impl QueueState {
    fn start_run(&mut self, at: usize) -> Option<InlineRun> {
        let incarnation = self.lendable[self.idle[at]].take()?;
        self.idle.remove(at);
        Some(InlineRun(Some(incarnation)))
    }

    fn end_run(&mut self, incarnation: Arc<Incarnation>) {
        let gopher = incarnation.core.index;
        // A later incarnation reports by itself when it is idle, and may be lent now.
        if self.lives[gopher] == incarnation.epoch {
            self.lendable[gopher] = Some(incarnation);
            self.rest(gopher);
        }
    }
}

impl CrewQueue {
    /// Registers a new incarnation; ignored if a later one is registered, as happens after its
    /// thread hung.
    pub(crate) fn register(&self, incarnation: &Arc<Incarnation>) {
        let (gopher, lends) =
            (incarnation.core.index, incarnation.lends.then(|| incarnation.clone()));
        let mut state = self.lock();
        if state.lives[gopher] < incarnation.epoch {
            state.lives[gopher] = incarnation.epoch;
            let earlier = std::mem::replace(&mut state.lendable[gopher], lends);
            drop(state);
            drop(earlier);
        }
    }

    /// Chooses the next cart on thread `here`, for `gopher` itself or an idle one. Carts under way
    /// go first: those to be sent for books gather meanwhile, and are coupled.
    pub(super) fn choose(
        self: &Arc<Self>,
        state: &mut QueueState,
        gopher: usize,
        here: u64,
    ) -> Option<(Box<CartBody>, NextStep, Option<InlineRun>)> {
        for among in [NextSteps::UNDER_WAY, NextSteps::TAKE] {
            if state.wanted.and(among).is_empty() {
                continue;
            }
            let steps = state.steps[gopher];
            if let Some((body, step)) = self.pick(state, steps.and(among)) {
                return Some((body, step, None));
            }
            if let Some((body, step, run)) = self.lend(state, here, among) {
                return Some((body, step, Some(run)));
            }
        }
        None
    }

    /// A waiting cart for an idle gopher on thread `here`.
    fn lend(
        self: &Arc<Self>,
        state: &mut QueueState,
        here: u64,
        among: NextSteps,
    ) -> Option<LentCart> {
        let wanted = state.wanted.and(among);
        let at = self.find_lendable(state, wanted, here)?;
        let steps = state.steps[state.idle[at]];
        let (body, step) = self.pick(state, steps.and(among))?;
        Some((body, step, state.start_run(at)?))
    }

    /// Fast path if no other cart waits: true if an idle gopher on thread `here` was lent for
    /// `step`. That ends the previous run.
    pub(crate) fn hand_over(
        &self,
        cart: &Cart,
        step: NextStep,
        run: &mut Option<InlineRun>,
        here: u64,
    ) -> bool {
        debug_assert!(cart.body().slot.is_none(), "a slot is for one step");
        let mut state = self.lock();
        if !state.wanted.is_empty() {
            return false;
        }
        let mut wanted = NextSteps::default();
        wanted.set(step, true);
        let Some(next) =
            (self.find_lendable(&state, wanted, here)).and_then(|at| state.start_run(at))
        else {
            return false;
        };
        let holder = next.lent().map_or(HolderId::NONE, |lent| lent.holder);
        if let Some(before) = run.replace(next) {
            before.end(&mut state);
        }
        drop(state);
        cart.hand_to(holder);
        true
    }

    /// Index in `state.idle` of a gopher on thread `here` that can be lent for one of `wanted`.
    fn find_lendable(&self, state: &QueueState, wanted: NextSteps, here: u64) -> Option<usize> {
        let lends = |gopher: usize| {
            // A dead gopher may still be in the list.
            (state.lendable[gopher].as_ref()).is_some_and(|incarnation| {
                incarnation.thread == here && state.members[gopher].port.is_at(incarnation.epoch)
            })
        };
        let mut idle = state.idle.iter();
        idle.position(|gopher| !wanted.and(state.steps[*gopher]).is_empty() && lends(*gopher))
    }

    /// Matches an idle gopher with a waiting cart.
    pub(super) fn assign(self: &Arc<Self>, state: &mut QueueState) -> Option<Assignment> {
        for at in 0..state.idle.len() {
            let gopher = state.idle[at];
            let steps = state.steps[gopher];
            if state.wanted.and(steps).is_empty() {
                continue;
            }
            if let Some((body, step)) = self.pick(state, steps) {
                state.idle.remove(at);
                let more = !state.idle.is_empty() && !state.wanted.is_empty();
                return Some(Assignment { body, step, to: state.members[gopher].clone(), more });
            }
        }
        None
    }

    /// Sends a cart to an idle gopher, then further ones while there are matches.
    pub(super) fn send(self: &Arc<Self>, assignment: Assignment) {
        let mut next = Some(assignment);
        while let Some(Assignment { body, step, to: CrewMember { port, node, .. }, more }) =
            next.take()
        {
            if let Err(cart) = port.carry(self.cart(body, HolderId::NONE), step, node) {
                // The gopher is gone; its next incarnation looks here when it starts.
                let mut body = cart.into_body();
                body.slot = None;
                if planted::has(Defect::GopherForgetsCart) {
                    std::mem::forget(body);
                    return;
                }
                let stale = self.keep(&mut self.lock(), body, step);
                drop(stale);
            } else if !more {
                return;
            }
            next = self.assign(&mut self.lock());
        }
    }
}

impl SlotUser for CrewQueue {
    /// Sends waiting carts to idle gophers while there are matches.
    fn dispatch(self: Arc<Self>) {
        let assignment = self.assign(&mut self.lock());
        if let Some(assignment) = assignment {
            self.send(assignment);
        }
    }
}

#[cfg(test)]
mod tests;
