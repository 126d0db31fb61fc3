//! What operators change: the pause of a crew, in which no cart is sent for books, and its size.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Notify;

use super::{CartBody, CrewMember, CrewQueue, NextStep, NextSteps, QueueState};
use crate::custody::slots::SlotUser;

/// The load of a cart whose loading has not begun, as a cart to be dropped: its books go back to
/// their pile, uncharged.
pub(super) fn unloaded(body: &mut CartBody) -> Box<CartBody> {
    Box::new(CartBody { lease: body.lease.take(), ..CartBody::default() })
}

impl QueueState {
    /// Notes that a gopher has nothing in hand: it is idle, or leaves.
    pub(super) fn rest(&mut self, gopher: usize) {
        let list = if gopher < self.size { &mut self.idle } else { &mut self.left };
        if !list.contains(&gopher) {
            list.push(gopher);
            if let Some(leavers) = self.leavers.as_ref().filter(|_| gopher >= self.size) {
                leavers.notify_one();
            }
        }
    }
}

impl CrewQueue {
    /// Sets what is rung when [`CrewQueue::left`] has something to return.
    pub fn tells(&self, leavers: Arc<Notify>) {
        self.lock().leavers = Some(leavers);
    }

    /// Adds a gopher, which gets carts once the crew is as large as that.
    pub fn add(&self, member: CrewMember) {
        let mut state = self.lock();
        state.steps.push(NextSteps::of(member.duties));
        state.lendable.push(None);
        state.lives.push(0);
        state.members.push(member);
        // Nothing allocates later, not even in a drop.
        let most = state.members.len();
        let (idle, left) = (state.idle.len(), state.left.len());
        state.idle.reserve(most - idle);
        state.left.reserve(most - left);
    }

    /// Gives carts to the first `size` (>= 1) gophers only. The others finish what they have in
    /// hand; [`CrewQueue::left`] then returns them.
    pub fn resize(self: &Arc<Self>, size: usize) {
        {
            let mut state = self.lock();
            let most = state.members.len();
            state.size = size.clamp(1, most);
            if !state.held {
                self.takers.store(state.size, Ordering::Release);
            }
            // With the capacity for all gophers.
            let room = || Vec::with_capacity(most);
            let idle = std::mem::replace(&mut state.idle, room());
            let left = std::mem::replace(&mut state.left, room());
            idle.into_iter().chain(left).for_each(|gopher| state.rest(gopher));
        }
        self.clone().dispatch();
    }

    /// Gophers beyond the size of the crew that have nothing in hand and get nothing more, each
    /// once: their actors may end.
    pub fn left(&self) -> Vec<usize> {
        self.lock().left.drain(..).collect()
    }

    /// Sends no further cart for books. Loads that no gopher has begun go back to their pile; carts
    /// under way finish their trips. False if the crew is held already.
    pub fn hold(&self) -> bool {
        let mut back = Vec::new();
        {
            let mut state = self.lock();
            if state.held {
                return false;
            }
            state.held = true;
            self.takers.store(0, Ordering::Release);
            while let Some(mut body) = state.waiting[NextStep::Load as usize].pop_front() {
                back.push(unloaded(&mut body));
                state.waiting[NextStep::Take as usize].push_back(body);
            }
            self.set_wanted(&mut state, NextStep::Load, false);
            self.set_wanted(&mut state, NextStep::Take, false);
        }
        // Without the lock: the books wake their pile.
        drop(back);
        true
    }

    /// Sends carts for books again, from now on. False if the crew is not held.
    pub fn resume(self: &Arc<Self>) -> bool {
        let now = self.now();
        {
            let mut state = self.lock();
            if !state.held {
                return false;
            }
            state.held = false;
            self.takers.store(state.size, Ordering::Release);
            // The time of the pause is not caught up.
            let waiting = &mut state.waiting[NextStep::Take as usize];
            waiting.iter_mut().for_each(|body| body.due = body.due.max(now));
            let any = !waiting.is_empty();
            self.set_wanted(&mut state, NextStep::Take, any);
        }
        self.clone().dispatch();
        true
    }

    /// True while an operator pauses the crew.
    pub fn is_held(&self) -> bool {
        self.takers.load(Ordering::Acquire) == 0
    }

    /// True if each cart is empty and here, or retired: a crew that is held has ended its trips.
    pub fn is_home(&self) -> bool {
        let state = self.lock();
        let under_way = NextStep::ALL.into_iter().filter(|step| *step != NextStep::Take);
        state.out == 0 && { under_way }.all(|step| state.waiting[step as usize].is_empty())
    }

    /// True if this gopher may send a cart for books.
    pub(crate) fn may_take(&self, gopher: usize) -> bool {
        gopher < self.takers.load(Ordering::Acquire)
    }
}
