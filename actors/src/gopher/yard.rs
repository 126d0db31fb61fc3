//! The crew's yard: the carts that wait for a gopher, and the gophers that wait for a cart.
//!
//! It stands outside the actors, so a gopher's death loses no cart. A cart goes to an idle gopher as a message; where all
//! who could take it are busy it waits here, and whoever is free first takes what has waited longest.

mod coupling;
mod held;
mod hung;
mod legs;
mod lending;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::steps::Duties;
use super::{Carry, Gopher};
use crate::cart::{Cart, CartBody};
use crate::clock::{Clock, Time};
use crate::planted::{self, Defect};
use crate::slots::Slots;
use crate::store::Want;
use crate::supervision::Port;

use held::Claims;
pub use held::holder;
pub use legs::Leg;
use legs::Legs;
pub(crate) use lending::{Doer, Loan, Next};

/// A gopher's place in its crew.
#[derive(Debug, Clone)]
pub struct Seat {
    /// What it does.
    pub duties: Duties,
    /// How to reach it.
    pub port: Port<Gopher>,
    /// Number of its node within the works, for `held_by`.
    pub node: u32,
}

#[derive(Default)]
struct State {
    waiting: [VecDeque<Box<CartBody>>; 6],
    /// Of which legs a cart waits.
    wanted: Legs,
    /// Gophers that have nothing to do, the longest idle first.
    idle: Vec<usize>,
    /// By seat: who lends itself while it is idle.
    doers: Vec<Option<Arc<Doer>>>,
    /// By seat: the last life that came to it.
    lives: Vec<u64>,
    /// Carts under way: neither waiting nor retired.
    out: usize,
    retired: usize,
}

/// A cart for an idle gopher.
struct Pair {
    body: Box<CartBody>,
    leg: Leg,
    gopher: usize,
    /// There may be others.
    more: bool,
}

/// The yard of one crew.
pub struct Yard {
    me: Weak<Yard>,
    clock: Clock,
    name: String,
    want: Want,
    carts: usize,
    seats: Vec<Seat>,
    /// By seat: the legs that its gopher does.
    legs: Vec<Legs>,
    load_slots: Option<Arc<Slots>>,
    unload_slots: Option<Arc<Slots>>,
    /// Room at a dump is kept before the unloading begins, since it takes time.
    timed_unload: bool,
    state: Mutex<State>,
    /// What `state` says is wanted, for a look in passing.
    wanted: AtomicU8,
    /// So many carts may travel as one now.
    coupling: AtomicUsize,
    /// By number - 1: the generation of each cart, and who has it.
    held: Box<[AtomicU64]>,
    /// What the cart of a fenced holder has to give back, if it has anything such.
    claims: Box<[Mutex<Claims>]>,
}

impl std::fmt::Debug for Yard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Yard").field("crew", &self.name).finish()
    }
}

impl Yard {
    /// A yard with `carts` empty carts that wait to be sent for books.
    #[allow(clippy::too_many_arguments, reason = "called once, by the wiring")]
    pub fn new(
        clock: Clock,
        name: impl Into<String>,
        want: Want,
        carts: usize,
        seats: Vec<Seat>,
        load_slots: Option<Arc<Slots>>,
        unload_slots: Option<Arc<Slots>>,
        timed_unload: bool,
    ) -> Arc<Self> {
        // Every queue can hold every cart: nothing here allocates later, not even in a drop.
        let mut state = State {
            waiting: std::array::from_fn(|_| VecDeque::with_capacity(carts)),
            wanted: Legs::default(),
            idle: Vec::with_capacity(seats.len()),
            doers: seats.iter().map(|_| None).collect(),
            lives: vec![0; seats.len()],
            out: 0,
            retired: 0,
        };
        state.wanted.set(Leg::Take, carts > 0);
        let bodies = (1..=carts as u32).map(|number| CartBody {
            number,
            ..CartBody::default()
        });
        state.waiting[Leg::Take as usize].extend(bodies.map(Box::new));
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            clock,
            name: name.into(),
            want,
            carts,
            legs: seats.iter().map(|seat| Legs::of(seat.duties)).collect(),
            seats,
            load_slots,
            unload_slots,
            timed_unload,
            wanted: AtomicU8::new(state.wanted.0),
            state: Mutex::new(state),
            coupling: AtomicUsize::new(1),
            held: (0..carts).map(|_| AtomicU64::new(0)).collect(),
            claims: (0..carts).map(|_| Mutex::default()).collect(),
        })
    }

    /// The time now.
    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    /// The crew's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What one cart has room for.
    pub fn want(&self) -> Want {
        self.want
    }

    /// True if unloading takes time, so that room is kept before it begins.
    pub fn unloads_in_time(&self) -> bool {
        self.timed_unload
    }

    /// True if `leg` needs an exclusive slot.
    pub(crate) fn is_exclusive(&self, leg: Leg) -> bool {
        match leg {
            Leg::Load => self.load_slots.is_some(),
            Leg::Unload => self.unload_slots.is_some(),
            _ => false,
        }
    }

    /// The gopher of this number, in the life `epoch`, as a holder of carts.
    pub(crate) fn holder_at(&self, gopher: usize, epoch: u64) -> u64 {
        holder(self.seats[gopher].node, epoch)
    }

    /// What the gopher of this number does.
    pub(crate) fn duties_of(&self, gopher: usize) -> Duties {
        self.seats[gopher].duties
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carts under way: neither waiting in the yard nor retired.
    pub fn under_way(&self) -> usize {
        self.lock().out
    }

    /// Carts that circulate in all.
    pub fn carts(&self) -> usize {
        self.carts
    }

    /// True once every cart was retired: the pile is closed and nothing is under way.
    pub fn is_done(&self) -> bool {
        self.lock().retired == self.carts
    }

    /// Takes a cart in; one whose place was taken comes back, to be dropped when no lock is held.
    #[must_use]
    fn keep(&self, state: &mut State, body: Box<CartBody>, leg: Leg) -> Option<Box<CartBody>> {
        if self.is_stale(&body) {
            return Some(body);
        }
        self.held_by(&body, 0);
        state.out = state.out.saturating_sub(body.carts());
        self.want_leg(state, leg, true);
        let queue = &mut state.waiting[leg as usize];
        // Nearly always the youngest; a cart whose send failed regains its place.
        if queue.back().is_none_or(|last| last.due <= body.due) {
            queue.push_back(body);
            return None;
        }
        let at = queue.iter().rposition(|other| other.due <= body.due);
        queue.insert(at.map_or(0, |at| at + 1), body);
        None
    }

    /// The cart that has waited longest among those that need one of `legs` and whose slot, if it needs one, is free.
    fn pick(self: &Arc<Self>, state: &mut State, legs: Legs) -> Option<(Box<CartBody>, Leg)> {
        let mut open = state.wanted.and(legs);
        while !open.is_empty() {
            let mut best: Option<(Time, Leg)> = None;
            for leg in open.iter() {
                if let Some(front) = state.waiting[leg as usize].front()
                    && best.is_none_or(|(since, _)| front.due < since)
                {
                    best = Some((front.due, leg));
                }
            }
            let (_, leg) = best?;
            let slots = match leg {
                Leg::Load => self.load_slots.as_ref(),
                Leg::Unload => self.unload_slots.as_ref(),
                _ => None,
            };
            let slot = match slots.map(|slots| slots.take(&self.me)) {
                Some(None) => {
                    open.set(leg, false);
                    continue;
                }
                Some(some) => some,
                None => None,
            };
            let queue = &mut state.waiting[leg as usize];
            let mut body = queue.pop_front()?;
            let more = !queue.is_empty();
            self.want_leg(state, leg, more);
            if let Some(slot) = &slot {
                body.due = body.due.max(slot.free_since());
            }
            debug_assert!(body.slot.is_none(), "a waiting cart holds no slot");
            body.slot = slot;
            state.out += body.carts();
            return Some((body, leg));
        }
        None
    }

    fn cart(self: &Arc<Self>, body: Box<CartBody>, holder: u64) -> Cart {
        if body.slot.is_some() || body.room.is_some() {
            let claims = Claims {
                slot: body.slot.as_ref().map(crate::slots::Slot::claim),
                room: body.room.as_ref().map(crate::cart::Room::claim),
            };
            let kept = &self.claims[body.number as usize - 1];
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = claims;
        }
        let cart = Cart::from_body(self.clone(), body);
        cart.hand_to(holder);
        cart
    }

    /// A gopher is free: it puts down what it has done, if anything, and gets what it should do next; `None` notes it as idle.
    pub fn advance(
        self: &Arc<Self>,
        gopher: usize,
        epoch: u64,
        done: Option<(Cart, Leg)>,
    ) -> Option<(Cart, Leg)> {
        let next = self.next(gopher, epoch, done, None, None)?;
        Some((next.cart, next.leg))
    }

    /// [`Yard::advance`] at the end of a `loan`, if it was one. Those who are idle on the thread `here`, if said, may lend themselves.
    pub(crate) fn next(
        self: &Arc<Self>,
        gopher: usize,
        epoch: u64,
        done: Option<(Cart, Leg)>,
        loan: Option<Loan>,
        here: Option<u64>,
    ) -> Option<Next> {
        let done = done.map(|(mut cart, leg)| {
            cart.leave_slot();
            (cart, leg)
        });
        let (picked, stale, pair) = {
            let mut stale = None;
            let mut state = self.lock();
            let changed = done.is_some() || loan.is_some();
            if let Some(loan) = loan {
                loan.end(&mut state);
            }
            // On a thread that hung: whoever has its place by now is idle or not, whatever this one does.
            let replaced = state.lives[gopher] > epoch;
            // After the loan's end: a cart that was meant for its last life may have had it borrow itself.
            if !replaced && !state.idle.is_empty() {
                state.idle.retain(|idle| *idle != gopher);
            }
            if let Some((cart, leg)) = done {
                stale = self.keep(&mut state, cart.into_body(), leg);
            }
            let picked = match here {
                _ if replaced => None,
                Some(here) => self.choose(&mut state, gopher, here),
                None => {
                    let picked = self.pick(&mut state, self.legs[gopher]);
                    picked.map(|(body, leg)| (body, leg, None))
                }
            };
            // For others, if there are some.
            let pair = changed.then(|| self.pair(&mut state)).flatten();
            if picked.is_none() && !replaced {
                state.idle.push(gopher);
            }
            (picked, stale, pair)
        };
        drop(stale);
        let next = picked.map(|(body, leg, on)| {
            let doer = on.as_ref().and_then(Loan::doer);
            let holder = doer.map_or_else(|| self.holder_at(gopher, epoch), |doer| doer.holder);
            let cart = self.cart(body, holder);
            Next { cart, leg, on }
        });
        if let Some(pair) = pair {
            self.send(pair);
        }
        next
    }

    /// Puts a cart down where it needs `leg` next, and sends it on if somebody is idle.
    pub fn put(self: &Arc<Self>, mut cart: Cart, leg: Leg) {
        // A slot is for whoever is at the node, and a waiting cart is not. Given back before the lock: it tells other yards.
        cart.leave_slot();
        self.take_in(cart.into_body(), leg);
    }

    /// True if a cart waits for something that this gopher does. A look in passing: it may be over by now.
    pub(crate) fn is_wanted(&self, gopher: usize) -> bool {
        self.wanted.load(Ordering::Relaxed) & self.legs[gopher].0 != 0
    }

    fn want_leg(&self, state: &mut State, leg: Leg, there: bool) {
        state.wanted.set(leg, there);
        self.wanted.store(state.wanted.0, Ordering::Relaxed);
    }

    pub(crate) fn take_in(self: &Arc<Self>, body: Box<CartBody>, leg: Leg) {
        let (stale, pair) = {
            let mut state = self.lock();
            let stale = self.keep(&mut state, body, leg);
            (stale, self.pair(&mut state))
        };
        drop(stale);
        if let Some(pair) = pair {
            self.send(pair);
        }
    }

    /// Takes a cart out of circulation: its pile is closed.
    pub fn retire(&self, cart: Cart) {
        let mut body = cart.into_body();
        let coupled = std::mem::take(&mut body.coupled);
        for body in std::iter::once(body).chain(coupled) {
            if self.is_stale(&body) {
                continue;
            }
            self.held_by(&body, 0);
            drop(body);
            let mut state = self.lock();
            state.out = state.out.saturating_sub(1);
            state.retired += 1;
        }
    }

    /// An empty cart whose holder is gone. Its schedule went with it: it is here from now on.
    pub(crate) fn welcome_home(self: &Arc<Self>, mut body: Box<CartBody>) {
        let now = self.clock.now();
        while let Some(mut coupled) = body.coupled.pop() {
            coupled.due = now;
            self.take_in(coupled, Leg::Take);
        }
        body.due = now;
        self.take_in(body, Leg::Take);
    }

    /// Lets the books of waiting carts go home; for the end of a run, when no gopher lives.
    pub fn evict(&self) {
        let mut loads = Vec::new();
        {
            let mut state = self.lock();
            for leg in Leg::ALL.into_iter().filter(|leg| *leg != Leg::Take) {
                while let Some(mut body) = state.waiting[leg as usize].pop_front() {
                    loads.push((body.lease.take(), body.worked.take(), body.room.take()));
                    state.waiting[Leg::Take as usize].push_back(body);
                    self.want_leg(&mut state, Leg::Take, true);
                }
                self.want_leg(&mut state, leg, false);
            }
        }
        // Outside the lock: bodies and bells belong to others.
        drop(loads);
    }

    /// Sends waiting carts to idle gophers for as long as there are pairs.
    pub fn dispatch(self: &Arc<Self>) {
        let pair = self.pair(&mut self.lock());
        if let Some(pair) = pair {
            self.send(pair);
        }
    }

    /// A waiting cart and an idle gopher for it, if there are such.
    fn pair(self: &Arc<Self>, state: &mut State) -> Option<Pair> {
        for at in 0..state.idle.len() {
            let gopher = state.idle[at];
            if state.wanted.and(self.legs[gopher]).is_empty() {
                continue;
            }
            if let Some((body, leg)) = self.pick(state, self.legs[gopher]) {
                state.idle.remove(at);
                let more = !state.idle.is_empty() && !state.wanted.is_empty();
                return Some(Pair {
                    body,
                    leg,
                    gopher,
                    more,
                });
            }
        }
        None
    }

    /// Sends a cart to an idle gopher, and goes on with others where there may be some.
    fn send(self: &Arc<Self>, pair: Pair) {
        let mut next = Some(pair);
        while let Some(Pair {
            body,
            leg,
            gopher,
            more,
        }) = next.take()
        {
            let port = &self.seats[gopher].port;
            let sent = port.send_with(|epoch| Carry {
                cart: self.cart(body, self.holder_at(gopher, epoch)),
                leg,
            });
            if let Err(unsent) = sent {
                // That gopher is gone; its next life looks here by itself.
                let mut body = unsent.into_inner().cart.into_body();
                body.slot = None;
                if planted::has(Defect::GopherForgetsCart) {
                    std::mem::forget(body);
                    return;
                }
                let stale = self.keep(&mut self.lock(), body, leg);
                drop(stale);
            } else if !more {
                return;
            }
            next = self.pair(&mut self.lock());
        }
    }
}

#[cfg(test)]
mod tests;
